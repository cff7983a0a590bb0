"""Diorama as a torch dataset: clips made on the fly, nothing on disk."""

from functools import cached_property
from typing import Any, TypedDict, cast

from torch import Tensor
from torch.utils.data import Dataset

from .captions import captions, typed_prompt
from .draws import Draws
from .render import render
from .sampler import sample_scene
from .scene import Scene, Split


class Clip(TypedDict):
    """One training clip; the same keys for every dataset of Kinema."""

    id: str
    index: int
    pixel_values: Tensor  # (3, T, H, W) uint8
    captions: dict[str, str]  # short, medium, dense; Diorama has typed too, if that is asked for
    fps: float
    scene: str  # JSON
    timed_captions: list[tuple[float, float, str]]  # (start, end, text), times as shares of the clip; often empty


class DioramaDataset(Dataset[Clip]):
    """`num_clips` clips of the corpus `seed`; item i is the scene (seed, i) filmed at the given shape.

    With `fps_choices` each clip's frame rate is drawn from them (by seed and index) in place of `fps`; with
    `buckets`, (frames, height, width) each, its shape in place of `num_frames`, `height` and `width`. `two_events`
    is explained at `sample_scene`. With `typed` clips have a caption of `typed_prompt` too. Scenes begin
    at index `first_index`, so that disjoint ranges of one corpus are disjoint datasets.
    """

    def __init__(
        self,
        seed: int = 0,
        split: Split = "train",
        difficulty: tuple[int, int] = (0, 3),
        height: int = 64,
        width: int = 64,
        num_frames: int = 17,
        fps: float = 8.0,
        num_clips: int = 16384,
        supersample: int = 2,
        fps_choices: tuple[float, ...] = (),
        first_index: int = 0,
        buckets: tuple[tuple[int, int, int], ...] = (),
        two_events: float = 0.0,
        typed: bool = False,
    ):
        self.seed, self.difficulty = seed, difficulty
        self.split: Split = split
        self.height, self.width, self.num_frames, self.fps = height, width, num_frames, fps
        self.num_clips, self.supersample = num_clips, supersample
        self.fps_choices, self.first_index = tuple(fps_choices), first_index
        self.buckets, self.two_events, self.typed = tuple(buckets), two_events, typed

    def __len__(self) -> int:
        return self.num_clips

    def describe(self, index: int) -> dict[str, Any]:
        """All of clip `index` but its pixels, which takes no rendering."""
        if not 0 <= index < self.num_clips:
            raise IndexError(f"clip {index} of a dataset of {self.num_clips}")
        number, scene, fps = self.first_index + index, self._scene(index), self.fps
        if self.fps_choices:
            fps = Draws("fps", self.seed, number, self.split).choice(self.fps_choices)
        return {
            "id": f"diorama-{self.split}-{self.seed}-{number}",
            "index": index,
            "captions": self.captions(index),
            "fps": float(fps),
            "scene": scene.to_json(),
            "timed_captions": [(timed.start, timed.end, timed.text) for timed in scene.timed_captions],
        }

    def captions(self, index: int) -> dict[str, str]:
        """The captions of clip `index` by level."""
        scene = self._scene(index)
        typed = {"typed": typed_prompt(scene, self.seed)} if self.typed else {}
        return captions(scene, self.seed) | typed

    def shape(self, index: int) -> tuple[int, int, int]:
        """Frames, height and width of clip `index`."""
        if not self.buckets:
            return self.num_frames, self.height, self.width
        return Draws("shape", self.seed, self.first_index + index, self.split).choice(self.buckets)

    @cached_property
    def bucket_of(self) -> list[int]:
        """For each clip, a number that clips of the same shape share: a batch has one shape (`data.buckets`)."""
        numbers = {shape: number for number, shape in enumerate(sorted(set(self.buckets)))}
        return [numbers.get(self.shape(index), 0) for index in range(len(self))]

    def __getitem__(self, index: int) -> Clip:
        described = self.describe(index)
        num_frames, height, width = self.shape(index)
        clip = render(
            self._scene(index),
            height=height,
            width=width,
            num_frames=num_frames,
            fps=described["fps"],
            supersample=self.supersample,
        )
        pixels = clip.frames.permute(3, 0, 1, 2).contiguous()
        return cast(Clip, described | {"pixel_values": pixels})

    def _scene(self, index: int) -> Scene:
        return sample_scene(
            self.seed,
            self.first_index + index,
            split=self.split,
            difficulty=self.difficulty,
            two_events=self.two_events,
        )
