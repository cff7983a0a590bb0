"""The exam of bench/recaption.py: new scenes of the corpus's world as prompts, read by the pixel judge."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from recaption_arms import VAE
from recaption_world import PROMPT_SEED, corpus
from tqdm import tqdm

from kinema.configs import Config
from kinema.data.diorama import Scene, facts
from kinema.data.files import atomic_path
from kinema.eval.answers import answer
from kinema.eval.exam import Clip, ClipStore, reconstructions
from kinema.eval.judge.pixel import PixelJudge
from kinema.eval.questions import ExamPrompt, clip_seed
from kinema.eval.sampling import deciding, exam_settings, sample_clips
from kinema.eval.sitting import ClipAnswers, deal_prompts, take_answers
from kinema.pipeline.build import assemble_pipeline

ATTRIBUTES = ("object", "colour", "motion", "direction", "floor", "time")
DEALS = 16
DRAWS = 4000  # of the bootstrap


def exam_prompts(count: int) -> list[ExamPrompt]:
    """A prompt for each of the first scenes of another seed: its medium caption, which names all that is asked."""
    scenes, prompts = corpus(count, seed=PROMPT_SEED), []
    for number in range(count):
        described = scenes.describe(number)
        truth = facts(Scene.from_json(described["scene"]))
        thing = {"kind": truth["object"], "colour": truth["colour"], "motion": truth["motion"]}
        if truth["direction"] in ("left", "right"):  # the judge does not tell which way things spin
            thing["direction"] = truth["direction"]
        values = {"id": f"R{number:03d}", "tier": "A", "text": described["captions"]["medium"], "objects": [thing]}
        values |= {"floor": truth["floor"], "time": truth["time_of_day"]}
        prompts.append(ExamPrompt.model_validate(values))
    return prompts


def wanted(prompts: Sequence[ExamPrompt], seed: int) -> list[tuple[ExamPrompt, int]]:
    """One clip of each prompt, its noise decided by the prompt and the run's seed, whatever the arm."""
    return [(prompt, clip_seed(prompt, seed)) for prompt in prompts]


def examine_arm(config: Config, finished: Path, prompts: Sequence[ExamPrompt], seed: int, out: Path) -> None:
    """Sample the prompts with a finished denoiser, read the clips, and write out/answers.json."""
    if (out / "answers.json").is_file():
        return
    parts = {"vae": VAE, "text_encoder": finished / "text_encoder", "transformer": finished / "transformer"}
    pipe = assemble_pipeline(config, **parts)
    settings = exam_settings(pipe)
    store = ClipStore(out / "clips", deciding(settings))
    pairs = wanted(prompts, seed)
    sample_clips(pipe, pairs, settings, store, batch_size=16)
    write_answers(read(store, pairs, prompts), prompts, out / "answers.json")


def examine_truth(config: Config, finished: Path, prompts: Sequence[ExamPrompt], out: Path) -> None:
    """The ceilings: the prompts' own scenes, as they are and after the autoencoder, read in the same way."""
    if (out / "vae.json").is_file():
        return
    scenes, pairs = corpus(len(prompts), seed=PROMPT_SEED), [(prompt, 0) for prompt in prompts]
    truth = ClipStore(out / "clips", {"seed": PROMPT_SEED, "shape": "as trained"}, decided_by="record")
    for number, prompt in enumerate(tqdm(prompts, "true clips", unit="clip")):
        item = scenes[number]
        truth.write(prompt, 0, Clip(item["pixel_values"].permute(1, 2, 3, 0).numpy(), item["fps"]))
    parts = {"vae": VAE, "text_encoder": finished / "text_encoder", "transformer": finished / "transformer"}
    pipe = assemble_pipeline(config, **parts)
    decoded = reconstructions(pipe, pairs, truth, exam_settings(pipe), out / "vae")
    write_answers(read(truth, pairs, prompts), prompts, out / "truth.json")
    write_answers(read(decoded, pairs, prompts), prompts, out / "vae.json")


def read(store: ClipStore, pairs: Sequence[tuple[ExamPrompt, int]], prompts: Sequence[ExamPrompt]) -> Any:
    """Each clip's answers to its own prompt, and to others dealt to it, from which chance is."""
    judge, triples = PixelJudge.from_pretrained(), []
    for number, (prompt, seed) in enumerate(tqdm(pairs, "reading", unit="clip")):
        clip = store.read(prompt, seed)
        assert clip is not None, f"{store.path(prompt, seed)} was made and is gone"
        triples.append((number, seed, judge.read(clip.frames, clip.fps)))
    return take_answers(triples, prompts, answer, deal_prompts(prompts, DEALS))


def write_answers(found: Sequence[ClipAnswers], prompts: Sequence[ExamPrompt], path: Path) -> None:
    """{attribute: {"own": a digit a prompt, "chance": share right under other prompts}}; "-": not asked."""
    plain: dict[str, dict[str, Any]] = {}
    for name in ATTRIBUTES:
        marks = ["-"] * len(prompts)
        others: list[bool] = []
        for clip in found:
            if name in clip.own:
                marks[clip.prompt] = str(int(clip.own[name]))
                others += clip.others[name]
        plain[name] = {"own": "".join(marks), "chance": float(np.mean(others)) if others else 0.0}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(plain))


def hits(answers: Mapping[str, Mapping[str, Any]], name: str) -> np.ndarray:
    """1, 0 or NaN (not asked) by prompt."""
    return np.array([{"1": 1.0, "0": 0.0, "-": np.nan}[mark] for mark in answers[name]["own"]])


def difference(one: np.ndarray, other: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Mean of `other` less `one`, each (seeds, prompts), with its 95 % interval.

    A bootstrap (Efron 1979) over prompts, drawn alike for both, and over the seeds of each; with three seeds its
    second part is rough.
    """
    rng = np.random.default_rng(seed)
    asked = ~np.isnan(one[0])
    one, other = one[:, asked], other[:, asked]
    drawn = []
    for _ in range(DRAWS):
        prompts = rng.integers(0, one.shape[1], one.shape[1])
        rows = [each[rng.integers(0, len(each), len(each))][:, prompts].mean() for each in (one, other)]
        drawn.append(rows[1] - rows[0])
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(other.mean() - one.mean()), float(low), float(high)
