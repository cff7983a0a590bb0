"""Clips with exact labels, from which the pixel judge learns: rendered once into a folder, read as arrays.

The scenes are of every level of Diorama, of compositions that training sees and of those that it does not alike,
and about a third stand on the clean stage of the probes. The renderer's object numbers say which pixel shows what.
"""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ...data.diorama import Scene, render, sample_scene
from ...data.diorama.directing import GOERS, follows
from ...data.diorama.draws import Draws
from ...data.diorama.events import scene_poses
from ...data.diorama.motions import clock
from ...data.diorama.scene import COLOURLESS, COLOURS, KINDS, MATERIALS, MOVES, PATTERNS, STYLES
from ...data.diorama.stage import TRAVELS, actions_of
from ..questions import ExamPrompt
from ..staging import StagingError, stage

SLOTS = 4  # objects in a scene at most
CLEAN_SHARE = 0.4
SIDE, FRAMES, FPS = 64, 17, 8.0
WAYS = {"roll": ("left", "right"), "fly": ("left", "right")}
NONE = 255  # no label
CHUNK = 50  # clips a task


def judge_scene(seed: int, index: int) -> Scene:
    """Scene `index` of the judge's own corpus `seed`."""
    draws = Draws("judge", seed, index)
    split = "heldout" if draws.chance(0.3) else "train"
    if not draws.chance(CLEAN_SHARE):
        level = draws.weighted({0: 1.0, 1: 1.0, 2: 2.0, 3: 3.0})
        return sample_scene(880_000 + seed, index, split=split, difficulty=(level, level))
    for attempt in range(50):
        try:
            return stage(clean_prompt(Draws("judge", seed, index, attempt), f"j{index}"), seed)
        except StagingError:
            continue
    raise RuntimeError(f"no clean scene found for seed {seed}, index {index}")


def clean_prompt(draws: Draws, name: str) -> ExamPrompt:
    """A random prompt for the clean stage: one thing, a row, a moving camera, two motions in turn, two things."""
    sort = draws.weighted({"one": 0.4, "row": 0.2, "camera": 0.22, "then": 0.08, "pair": 0.05, "event": 0.05})
    kind = draws.choice(GOERS if sort == "event" else KINDS)
    colour, other_colour = draws.choice(COLOURS), draws.choice(COLOURS)
    other = draws.choice([k for k in KINDS if k not in (kind, "airplane")])
    action = "stand" if sort == "camera" and draws.chance(0.6) else draws.weighted(actions_of(kind))
    direction = draws.choice(WAYS.get(action, ("left", "right", "towards", "away")))
    asked: dict[str, Any] = {"kind": kind, "colour": colour, "motion": action}
    more: dict[str, Any] = {}
    if sort in ("event", "pair"):
        others = [c for c in COLOURS if c != colour]
        asked["motion"] = draws.choice(TRAVELS[kind]) if sort == "event" else "stand"
        more["objects"] = (asked, {"kind": other, "colour": draws.choice(others), "motion": "stand"})
        if sort == "event":
            more["event"] = draws.choice(("pass behind", "pass in front of", "collide", "orbit"))
            asked["direction"] = draws.choice(("left", "right"))
        else:
            relations = ("left of", "right of", "behind", "in front of")
            more["objects"][1]["relation"] = draws.choice(relations)
    else:
        more["objects"] = (asked,)
        if action in TRAVELS[kind]:
            asked["direction"] = direction
        if sort == "row":
            asked["count"] = draws.integer(2, 4)
        if sort == "camera":
            move = draws.choice(MOVES)
            sideways = asked.get("direction") in ("left", "right")
            more["camera"] = "static" if move == "track" and not sideways else move
        if sort == "then":
            after = [a for a in actions_of(kind) if a != action and follows(action, a)]
            asked["then"] = draws.choice(after or ["stand"])
        if action == "change colour" or asked.get("then") == "change colour":
            asked["colour_to"] = other_colour
        finish = draws.weighted({"": 0.6, "material": 0.2, "pattern": 0.2})
        if finish:
            asked[finish] = draws.choice(MATERIALS[1:] if finish == "material" else PATTERNS[1:])
        if draws.chance(0.06):
            more["style"] = draws.choice(STYLES[1:])
    return ExamPrompt.model_validate({"id": name, "tier": "P", "text": name, **more})


@dataclass(frozen=True)
class LabelledClips:
    """A folder of N labelled clips as arrays; K = 4 places for objects, T frames, sides H and W."""

    folder: Path

    @cached_property
    def scenes(self) -> list[Scene]:
        """What each clip shows."""
        lines = (self.folder / "scenes.jsonl").read_text().splitlines()
        return [Scene.from_json(line) for line in lines]

    def array(self, name: str) -> np.ndarray:
        """frames (N, T, H, W, 3) uint8, ids (N, T, H, W) uint8, centres (N, K, T, 2) float32 in pixels, area
        (N, K, T) float32, colours (N, K, T) uint8."""
        return np.load(self.folder / f"{name}.npy", mmap_mode="r")


def write_clips(folder: Path, *, seed: int, count: int, workers: int = 0) -> LabelledClips:
    """Render `count` clips of the corpus `seed` into `folder`; what an earlier call finished is kept."""
    done = folder / "scenes.jsonl"
    if done.is_file() and len(done.read_text().splitlines()) >= count:
        return LabelledClips(folder)
    folder.mkdir(parents=True, exist_ok=True)
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        "frames": ((count, FRAMES, SIDE, SIDE, 3), np.uint8),
        "ids": ((count, FRAMES, SIDE, SIDE), np.uint8),
        "centres": ((count, SLOTS, FRAMES, 2), np.float32),
        "area": ((count, SLOTS, FRAMES), np.float32),
        "colours": ((count, SLOTS, FRAMES), np.uint8),
    }
    arrays = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=kind, shape=shape)
        for name, (shape, kind) in shapes.items()
    }
    tasks = [(seed, start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    scenes: list[str] = []
    with tqdm(total=count, desc="rendering", unit="clip") as bar, ProcessPoolExecutor(max(1, workers)) as pool:
        for task, results in zip(tasks, pool.map(_render, tasks)):
            for offset, (line, values) in enumerate(results):
                scenes.append(line)
                for name, value in values.items():
                    arrays[name][task[1] + offset] = value
            bar.update(len(results))
    for array in arrays.values():
        array.flush()
    done.write_text("\n".join(scenes) + "\n")
    return LabelledClips(folder)


def _render(task: tuple[int, int, int]) -> list[tuple[str, dict[str, np.ndarray]]]:
    torch.set_num_threads(1)
    seed, start, end = task
    results = []
    for index in range(start, end):
        scene = judge_scene(seed, index)
        clip = render(scene, height=SIDE, width=SIDE, num_frames=FRAMES, fps=FPS, supersample=2)
        count = len(scene.objects)
        centres = np.full((SLOTS, FRAMES, 2), np.nan, np.float32)
        area = np.zeros((SLOTS, FRAMES), np.float32)
        centres[:count], area[:count] = clip.tracks.centres.numpy(), clip.tracks.area.numpy()
        values = {"frames": clip.frames.numpy(), "ids": clip.object_ids.numpy(), "centres": centres, "area": area}
        results.append((scene.to_json(), values | {"colours": colour_labels(scene)}))
    return results


def colour_labels(scene: Scene) -> np.ndarray:
    """(K, T) uint8: the number of each object's colour at each frame; 255 while it turns or cannot be told."""
    labels = np.full((SLOTS, FRAMES), NONE, np.uint8)
    if scene.style in COLOURLESS:
        return labels
    for place, (thing, pose) in enumerate(zip(scene.objects, scene_poses(scene, clock(FRAMES, FPS)))):
        motions = (thing.motion, *(scene.second_motions[place : place + 1]))
        turned = next((m.colour_to for m in motions if m and m.colour_to), None)
        blend = pose.blend.numpy()
        labels[place, blend < 0.1] = COLOURS.index(thing.colour)
        if turned:
            labels[place, blend > 0.9] = COLOURS.index(turned)
    return labels
