"""The exam: clips of the prompts, true clips of the same prompts, both read by the judges; a report comes out.

    report = examine(pipe, full_list(), out="runs/exam", repeats=4)

Three systems are read in the same way: the samples, the true clips (their score is the judge's ceiling), and the
true clips after the model's autoencoder (the ceiling of any sample of this model). Everything made is kept in
`out`, so that a stopped exam goes on where it was: clips/, truth/, vae/ hold the clips, readings/ what the judge
said of them.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm import tqdm

from ..pipeline.provenance import fingerprint
from .answers import answer, said
from .crosscheck import hue_agreement, text_likeness
from .foreign import content_digest, find_clips
from .judge.pixel import PixelJudge
from .judge.reading import Reading
from .judge.similar import SimilarityJudge
from .outcome import build_report
from .questions import ExamPrompt, clip_seed, load_prompts
from .sampling import Wanted, deciding, exam_settings, sample_clips
from .sitting import Sitting, deal_prompts, take_answers
from .staging import stage
from .store import Clip, ClipStore, ReadingStore

if TYPE_CHECKING:
    from ..pipeline.pipeline import KinemaPipeline

FULL = ("probe", "test")
# Clips of each prompt.
REPEATS = {"quick": 1, "dev": 2, "test": 4, "probe": 4, "full": 4, "simple-dev": 2, "simple-test": 4}
TRUTH = 1  # raise it when scenes are staged or rendered otherwise: true clips and what follows are made anew
DEALS = 8  # other prompts that each clip is held to, for chance
TRUTH_SIDE = 64  # pixels on the shorter side of true clips beside foreign ones: what the judge sees
LONGEST_TRUTH = 65  # frames


@dataclass(frozen=True)
class Shape:
    """Of true clips."""

    height: int
    width: int
    num_frames: int
    fps: float


def prompts_of(name: str) -> list[ExamPrompt]:
    """The prompts of "full" (probes and test), of one list of `questions.NAMES`, or of a file."""
    names = FULL if name == "full" else (name,)
    return [prompt for each in names for prompt in load_prompts(each)]


def wanted_clips(prompts: Sequence[ExamPrompt], repeats: int, seed: int = 0) -> list[Wanted]:
    """Every prompt `repeats` times, with its seeds; sitting `seed` shares no noise with another."""
    return [(prompt, clip_seed(prompt, seed * 1000 + number)) for number in range(repeats) for prompt in prompts]


def examine(
    pipe: "KinemaPipeline",
    prompts: Sequence[ExamPrompt],
    *,
    out: str | Path,
    list_name: str,
    repeats: int = 4,
    seed: int = 0,
    num_inference_steps: int | None = None,
    guidance_scale: float | None = None,
    command: str = "",
    batch_size: int = 8,
    workers: int | None = None,
    measures: bool = True,
    progress: bool = True,
) -> dict[str, Any]:
    """Let a pipeline sit the exam.

    Args:
        pipe: its own size, length and frame rate are used.
        prompts: what to ask.
        out: folder of everything that is made.
        list_name: of the prompts, for the report.
        repeats: clips of each prompt.
        seed: the sitting; see `wanted_clips`.
        num_inference_steps, guidance_scale: None: the checkpoint's own.
        command: what makes the report again, for the report.
        batch_size: clips sampled at once.
        workers: processes that render and read; None: one per core, 0: this one.
        measures: also quality and physics (`measures`).
        progress: show bars.

    Returns:
        The report, see `outcome`.
    """
    out = Path(out)
    settings = exam_settings(pipe, num_inference_steps=num_inference_steps, guidance_scale=guidance_scale)
    wanted = wanted_clips(prompts, repeats, seed)
    store = ClipStore(out / "clips", deciding(settings))
    sample_clips(pipe, wanted, settings, store, batch_size=batch_size, progress=progress)
    shape = Shape(settings["height"], settings["width"], settings["num_frames"], settings["frame_rate"])
    truth = true_clips(wanted, shape, out / "truth", workers=workers, progress=progress)
    vae = reconstructions(pipe, wanted, truth, settings, out / "vae", progress=progress)
    settings |= {"repeats": repeats, "sitting": seed}
    return _report(
        prompts,
        {"samples": (wanted, store), "truth": (wanted, truth), "vae": (wanted, vae)},
        out=out, name=str(settings["model"]), command=command, settings=settings, list_name=list_name,
        workers=workers, measures=measures, progress=progress,
    )  # fmt: skip


def examine_clips(
    source: str | Path,
    prompts: Sequence[ExamPrompt],
    *,
    out: str | Path,
    list_name: str,
    partial: bool = False,
    command: str = "",
    workers: int | None = None,
    measures: bool = True,
    progress: bool = True,
) -> dict[str, Any]:
    """Let any system's video files sit the exam; see `foreign.find_clips` for how they are named.

    Args and result as of `examine`. True clips are rendered at 64 pixels, as long as the longest clip of the
    system.

    Raises:
        ValueError: clips that belong to no prompt, or prompts without a clip unless `partial`.
    """
    out = Path(out)
    found = find_clips(source, prompts, partial=partial)
    kept = [prompts[number] for number in sorted({clip.prompt for clip in found})]
    wanted = [(prompts[clip.prompt], clip.seed) for clip in found]
    store = ClipStore(out / "clips", {"files": content_digest(found)})  # files may be replaced in place
    seconds, rate = 0.0, 8.0
    for clip, (prompt, seed) in zip(tqdm(found, "decoding", unit="clip", disable=not progress), wanted):
        frames = store.read(prompt, seed)
        if frames is None:
            frames = clip.read()
            store.write(prompt, seed, frames)
        seconds = max(seconds, (len(frames.frames) - 1) / frames.fps)
    count = min(LONGEST_TRUTH, 1 + round(seconds * rate))
    shape = Shape(TRUTH_SIDE, TRUTH_SIDE, max(2, count), rate)
    truth = true_clips(wanted, shape, out / "truth", workers=workers, progress=progress)
    return _report(
        kept,
        {"samples": (wanted, store), "truth": (wanted, truth)},
        out=out, name=str(source), command=command, settings={"source": str(source)}, list_name=list_name,
        workers=workers, measures=measures, progress=progress,
    )  # fmt: skip


def true_clips(
    wanted: Sequence[Wanted], shape: Shape, folder: Path, *, workers: int | None = None, progress: bool = True
) -> ClipStore:
    """A true clip beside every wanted one, staged by its seed."""
    store = ClipStore(folder, {"diorama": TRUTH, **vars(shape)}, decided_by="record")
    todo = [pair for pair in wanted if store.read(*pair) is None]
    _each(_render, [(store, shape, *pair) for pair in todo], "true clips", workers, progress)
    return store


def _render(task: tuple[ClipStore, Shape, ExamPrompt, int]) -> None:
    from ..data.diorama import render

    store, shape, prompt, seed = task
    made = render(stage(prompt, seed), **vars(shape), supersample=2)
    store.write(prompt, seed, Clip(made.frames.numpy(), shape.fps))


def reconstructions(
    pipe: "KinemaPipeline",
    wanted: Sequence[Wanted],
    truth: ClipStore,
    settings: Mapping[str, Any],
    folder: Path,
    *,
    batch_size: int = 8,
    progress: bool = True,
) -> ClipStore:
    """The true clips, encoded and decoded by the pipeline's autoencoder."""
    from ..vae.latents import decode_latents, encode_latents

    weights = fingerprint([pipe.vae])  # of the autoencoder alone: another denoiser leaves these as they are
    shape = {name: settings[name] for name in ("height", "width", "num_frames", "frame_rate")}
    facts = None if weights is None else {"vae": weights, **shape, "reconstructed": TRUTH}
    store = ClipStore(folder, facts, decided_by="record")
    todo = [pair for pair in wanted if store.read(*pair) is None]
    bar = tqdm(
        total=len(wanted),
        initial=len(wanted) - len(todo),
        desc="through the VAE",
        unit="clip",
        disable=not progress,
    )
    with bar, torch.inference_mode():
        for start in range(0, len(todo), batch_size):
            batch = todo[start : start + batch_size]
            clips = [_kept(truth, prompt, seed) for prompt, seed in batch]
            pixels = torch.stack([torch.from_numpy(clip.frames.copy()) for clip in clips])
            pixels = (pixels.permute(0, 4, 1, 2, 3) / 127.5 - 1).to(pipe.vae.device, pipe.vae.dtype)
            made = decode_latents(pipe.vae, encode_latents(pipe.vae, pixels))
            made = ((made + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 4, 1).cpu().numpy()
            for (prompt, seed), frames, clip in zip(batch, made, clips, strict=True):
                store.write(prompt, seed, Clip(frames, clip.fps))
            bar.update(len(batch))
    return store


def read_clips(
    pairs: Iterable[Wanted], store: ClipStore, folder: Path, *, workers: int | None = None, progress: bool = True
) -> list[Reading]:
    """The pixel judge's reading of each clip, in order; readings are kept in `folder`."""
    tasks = [(store, folder, prompt, seed) for prompt, seed in pairs]
    return _each(_read, tasks, f"reading {store.folder.name}", workers, progress)


def _read(task: tuple[ClipStore, Path, ExamPrompt, int]) -> Reading:
    store, folder, prompt, seed = task
    readings = ReadingStore(folder, _judge_name(), Reading)
    return readings.get(f"{prompt.id}-{seed}", _kept(store, prompt, seed), _judge().read)


@cache
def _judge() -> PixelJudge:
    return PixelJudge.from_pretrained()


@cache
def _judge_name() -> str:
    return _judge().fingerprint


def _kept(store: ClipStore, prompt: ExamPrompt, seed: int) -> Clip:
    clip = store.read(prompt, seed)
    if clip is None:
        raise RuntimeError(f"{store.path(prompt, seed)} was made and is gone; repeat the command to make it again")
    return clip


def _each(
    work: Callable[[Any], Any], tasks: Sequence[Any], title: str, workers: int | None, progress: bool
) -> list[Any]:
    """The results of `work` on each task, in order, under a bar; in processes of one thread each."""
    count = (os.cpu_count() or 1) if workers is None else workers
    bar = tqdm(total=len(tasks), desc=title, unit="clip", disable=not progress or not tasks)
    results = []
    if count < 2 or len(tasks) < 64:
        with bar:
            for task in tasks:
                results.append(work(task))
                bar.update()
        return results
    with bar, ProcessPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for result in pool.map(work, tasks, chunksize=8):
            results.append(result)
            bar.update()
    return results


def _report(
    prompts: Sequence[ExamPrompt],
    systems: Mapping[str, tuple[Sequence[Wanted], ClipStore]],
    *,
    out: Path,
    name: str,
    command: str,
    settings: dict[str, Any],
    list_name: str,
    workers: int | None,
    measures: bool,
    progress: bool,
) -> dict[str, Any]:
    places = {prompt.id: number for number, prompt in enumerate(prompts)}
    deals = deal_prompts(prompts, DEALS)
    answers, seen = {}, {}
    for system, (wanted, store) in systems.items():
        found = read_clips(wanted, store, out / "readings" / system, workers=workers, progress=progress)
        pairs = list(zip(wanted, found, strict=True))
        triples = [(places[prompt.id], seed, reading) for (prompt, seed), reading in pairs]
        answers[system] = take_answers(triples, prompts, answer, deals if system == "samples" else None)
        seen[system] = {(prompt.id, seed): reading for (prompt, seed), reading in pairs}
    sitting = Sitting(tuple(prompts), **answers, deals=DEALS)
    by_id = {prompt.id: prompt for prompt in prompts}
    reads = {key: said(reading, by_id[key[0]]) for key, reading in seen["samples"].items()}
    similar = SimilarityJudge.from_pretrained() if measures else None
    return build_report(
        sitting,
        reads,
        name=name,
        command=command,
        settings=settings,
        list_name=list_name,
        judges={"pixel": _judge_name()} | ({"similarity": similar.fingerprint} if similar else {}),
        measures=_measures(prompts, systems, seen, similar, progress) if similar else None,
    )


def _measures(
    prompts: Sequence[ExamPrompt],
    systems: Mapping[str, tuple[Sequence[Wanted], ClipStore]],
    seen: Mapping[str, Mapping[tuple[str, int], Reading]],
    similar: SimilarityJudge,
    progress: bool,
) -> dict[str, dict[str, Any]]:
    from .measures import measures

    samples, truth = (_Seen(*systems[system], readings=seen[system]) for system in ("samples", "truth"))
    found = measures(samples, truth, prompts, features=_features(similar), progress=progress)
    found["likeness"] = text_likeness(samples, truth, prompts, similar)
    agreement = hue_agreement(seen["samples"], seen["truth"], prompts)
    return found | ({"hue agreement": agreement} if agreement else {})


class _Seen(Mapping[tuple[str, int], tuple[Clip, Reading]]):
    """Clips and their readings by prompt id and seed; clips are read from disk one by one, for all may not fit."""

    def __init__(
        self, wanted: Sequence[Wanted], store: ClipStore, readings: Mapping[tuple[str, int], Reading]
    ) -> None:
        self._prompts = {(prompt.id, seed): prompt for prompt, seed in wanted}
        self._store, self._readings = store, readings

    def __getitem__(self, key: tuple[str, int]) -> tuple[Clip, Reading]:
        return _kept(self._store, self._prompts[key], key[1]), self._readings[key]

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter(self._prompts)

    def __len__(self) -> int:
        return len(self._prompts)


def _features(similar: SimilarityJudge) -> Callable[[Sequence[Clip]], np.ndarray]:
    """Clips of any rates to features."""

    def features(clips: Sequence[Clip]) -> np.ndarray:
        rates = sorted({clip.fps for clip in clips})
        found: dict[int, np.ndarray] = {}
        for rate in rates:
            own = [number for number, clip in enumerate(clips) if clip.fps == rate]
            found |= dict(zip(own, similar.video_features([clips[n].frames for n in own], rate), strict=True))
        return np.stack([found[number] for number in range(len(clips))])

    return features


__all__ = ["examine", "examine_clips", "prompts_of", "true_clips", "wanted_clips"]
