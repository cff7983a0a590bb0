"""The clips of bench/recaption.py, their poor captions, and datasets that tell clips by any captions.

A corpus is Diorama's level 0: ten kinds, twelve colours, ten motions, one large object. The first 2 % of its clips
have their true captions; of the rest, the pool, only poor ones are known.
"""

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange
from torch.utils.data import Dataset

from kinema.data.diorama import DioramaDataset, Scene
from kinema.data.diorama.draws import Draws
from kinema.data.diorama.scene import COLOURS
from kinema.data.diorama.simple import SIMPLE_KINDS, actions_of
from kinema.data.diorama.words import (
    COLOUR_WORDS,
    DIRECTION_WORDS,
    FLOOR_WORDS,
    KIND_WORDS,
    TIME_WORDS,
    VERBS,
    VERBS_OF,
)  # fmt: skip

CORPUS_SEED = 5
PROMPT_SEED = 1005  # its scenes are the exam's; nothing is trained on them
SHAPE = {"height": 48, "width": 48, "num_frames": 9, "fps": 4.0, "supersample": 1, "difficulty": (0, 0)}
TRUE_SHARE = 0.02

# How often an alt-text tells what (the object it names always, unless that is its flaw), and its flaws.
TOLD = {"colour": 0.5, "motion": 0.15, "floor": 0.15, "time": 0.1}
FLAWED = 0.3  # of the alt-texts have one flaw:
WRONG = 0.6  # of those say one thing wrongly; in the rest the object is not named
OPENINGS = (
    "", "", "a ", "a ", "the ", "my ", "video of a ", "clip of a ", "some video of a ", "nice ", "short clip, ",
)  # fmt: skip
UNNAMED = ("thing", "object", "something", "toy")
SHIFT = 3  # pixels
OTHER_WAY = {"left": "right", "right": "left", "counterclockwise": "clockwise", "clockwise": "counterclockwise"}
TIMES = ("day", "sunset", "night")
FLOORS = ("grass", "sand", "snow", "wood")


class AltText(NamedTuple):
    """A poor caption."""

    text: str
    flaw: str  # "", "wrong colour", …, "unnamed object"


def alt_text(scene: Scene, seed: int = 0) -> AltText:
    """What a person might have typed beside a clip of level 0, a pure function of its arguments.

    It names the object, and tells the colour in 50 % of texts, what it does in 15 %, the floor in 15 % and the
    time of day in 10 %. 30 % have one flaw: in 60 % of these one of the things told, each alike, has another of
    its values; in 40 % the object is not named.
    """
    draws = Draws("alt-text", seed, scene.seed, scene.index)
    thing = scene.objects[0]
    kind, colour, action, direction = thing.kind, thing.colour, thing.motion.action, thing.motion.direction
    floor, time = scene.floor, scene.time_of_day
    told = ["object", *(name for name, share in TOLD.items() if draws.chance(share))]
    flaw = ""
    if draws.chance(FLAWED):
        flaw = f"wrong {draws.choice(told)}" if draws.chance(WRONG) else "unnamed object"
    if flaw == "wrong object":
        kind = draws.choice([other for other in SIMPLE_KINDS if other != kind])
    elif flaw == "wrong colour":
        colour = draws.choice([other for other in COLOURS if other != colour])
    elif flaw == "wrong motion":
        action = draws.choice([other for other in actions_of(kind, 0) if other != action])
        direction = ""
    elif flaw == "wrong floor":
        floor = draws.choice([other for other in FLOORS if other != floor])
    elif flaw == "wrong time":
        time = draws.choice([other for other in TIMES if other != time])
    words = [draws.choice(COLOUR_WORDS[colour])] if "colour" in told else []
    words.append(draws.choice(UNNAMED if flaw == "unnamed object" else KIND_WORDS[kind]))
    if "motion" in told:
        way = draws.choice(DIRECTION_WORDS[direction])
        verb = draws.choice(VERBS_OF.get((kind, action), VERBS[action]))[1]
        words.append(verb.format(to=way, colour="").strip())
    words += [draws.choice(FLOOR_WORDS[floor])] if "floor" in told else []
    words += [draws.choice(TIME_WORDS[time])] if "time" in told else []
    return AltText(draws.choice(OPENINGS) + " ".join(words), flaw)


def corpus(clips: int, first: int = 0, seed: int = CORPUS_SEED) -> DioramaDataset:
    """`clips` clips of the corpus from number `first`."""
    return DioramaDataset(seed=seed, split="train", num_clips=clips, first_index=first, **SHAPE)


def render_corpus(path: Path, clips: int, workers: int = 2) -> None:
    """Render every clip of the corpus once: an array (N, T, H, W, 3) uint8 that appears whole or not at all."""
    if path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part.npy")
    shape = (clips, SHAPE["num_frames"], SHAPE["height"], SHAPE["width"], 3)
    array = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
    size = max(1, min(256, clips // workers))
    parts = [(start, min(size, clips - start)) for start in range(0, clips, size)]
    with ProcessPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for (start, count), frames in zip(parts, pool.map(_render, parts)):
            array[start : start + count] = frames
    array.flush()
    partial.replace(path)


def _render(part: tuple[int, int]) -> np.ndarray:
    start, count = part
    clips = corpus(count, start)
    return np.stack([rearrange(clips[i]["pixel_values"], "c t h w -> t h w c").numpy() for i in range(count)])


class ToldClips(Dataset[dict[str, Any]]):
    """Rendered clips of the corpus, told by given captions.

    Args:
        frames: the array of `render_corpus`.
        numbers: which clip of the corpus each item is; one may come several times.
        captions: of each item, by level.
        exact: clips with numbers below this come with their exact scene; of others only the captions are known.
        vary: shift every item's picture by up to 3 pixels, and mirror every second item, its words with it; so
            that few clips are worth more.
    """

    def __init__(
        self,
        frames: Path,
        numbers: Sequence[int],
        captions: Sequence[Mapping[str, str]],
        exact: int = 0,
        vary: bool = False,
    ) -> None:
        if len(numbers) != len(captions):
            raise ValueError(f"{len(numbers)} clips and {len(captions)} captions; each item needs both")
        self.path, self.numbers, self.captions, self.exact = frames, numbers, captions, exact
        self.corpus, self.vary = corpus(max(numbers) + 1), vary

    @cached_property
    def frames(self) -> np.ndarray:
        """All clips of the corpus, mapped into memory."""
        return np.load(self.path, mmap_mode="r")

    def __len__(self) -> int:
        return len(self.captions)

    def describe(self, index: int) -> dict[str, Any]:
        """All of item `index` but its pixels."""
        number = self.numbers[index]
        scene = self.corpus.describe(number)["scene"] if number < self.exact else ""
        told = {level: self._turned(text, index) for level, text in self.captions[index].items()}
        return {
            "id": f"recaption-{index}-{number}",
            "index": index,
            "captions": told,
            "fps": float(SHAPE["fps"]),
            "scene": self._turned(scene, index),
        }

    def _turned(self, text: str, index: int) -> str:
        return mirrored(text) if self._variation(index)[0] else text

    def _variation(self, index: int) -> tuple[bool, int, int]:
        """Whether the item is mirrored, and by how many pixels it is shifted down and to the right."""
        if not self.vary:
            return False, 0, 0
        draws = Draws("variation", index)
        return draws.chance(0.5), draws.integer(-SHIFT, SHIFT), draws.integer(-SHIFT, SHIFT)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        mirror, down, right = self._variation(index)
        clip = np.array(self.frames[self.numbers[index]])
        if down or right:
            rows, columns = (np.clip(np.arange(n) - by, 0, n - 1) for n, by in zip(clip.shape[1:3], (down, right)))
            clip = clip[:, rows][:, :, columns]
        clip = torch.from_numpy(np.ascontiguousarray(clip[:, :, ::-1]) if mirror else clip)
        return self.describe(index) | {"pixel_values": rearrange(clip, "t h w c -> c t h w").contiguous()}


def mirrored(text: str) -> str:
    """A caption, or a scene's JSON, with left and right, clockwise and counterclockwise exchanged."""
    return re.sub("|".join(sorted(OTHER_WAY, key=len, reverse=True)), lambda found: OTHER_WAY[found[0]], text)
