"""What a server knows of its model without loading it, from the checkpoint's files: so it starts at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

from ...conditioner.vocabulary import unknown_words
from ...pipeline.checkpoint import CheckpointError, check_checkpoint
from ..jobs.job import JobError
from ..jobs.wish import Wish
from .facts import (
    aspects_of,
    facts_folder,
    read_config,
    read_examples,
    read_index,
    read_vocabulary,
    strides,
    trained_sizes,
    values_of,
    weights_of,
)
from .foreign_model import foreign_facts

NAME = "kinema"  # of the packaged checkpoint
KINEMA = "KinemaPipeline"
LONG = 2  # clips of the model's own length that are still made as one
STREAM_SECONDS = 60.0  # that are offered of a model that makes any length


@dataclass(frozen=True)
class Model:
    """A checkpoint's own ways.

    Attributes:
        name: to be told to others: never a path.
        height, width: pixels.
        num_frames: of a clip.
        fps: frames a second.
        steps: of denoising.
        created: when its files were written, seconds since 1970.
        kind: "kinema", or the name of the diffusers pipeline's class.
        guidance_scale: its own.
        multiple: widths and heights are multiples of this.
        frame_step: frames come as a multiple of this and one more.
        max_seconds: of the longest video that is offered.
        streams: whether it can make any length block by block.
        aspects: (name, width, height) that it makes well, its own first.
        examples: prompts that work on it, from its card.
        vocabulary: its words, lower case; (): any.
        needs: what every wish has to give besides a text, such as "image".
        off: what it cannot do, to the reason for people: tasks and options by their names in a `Wish`, "preview"
            and "sampler". What is not here it can.
        weights: bytes of its weights in their files; None: not known.
        values: numbers in memory at the peak, a pixel and a pixel and frame; see `facts.values_of`.
    """

    name: str
    height: int
    width: int
    num_frames: int
    fps: float
    steps: int
    created: int = 0
    kind: str = "kinema"
    guidance_scale: float = 4.0
    multiple: int = 16
    frame_step: int = 4
    max_seconds: float = STREAM_SECONDS
    streams: bool = True
    aspects: tuple[tuple[str, int, int], ...] = ()
    examples: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    off: Mapping[str, str] = field(default_factory=dict)
    weights: int | None = None
    values: tuple[float, float] = (0.0, 100.0)

    @property
    def drafts(self) -> dict[str, int]:
        """Steps of a quick look, of the model's own way, and of patience."""
        return {"draft": ceil(self.steps / 3), "standard": self.steps, "best": 2 * self.steps}

    def size(self, wish: Wish) -> tuple[int, int]:
        """(width, height) that a wish will have, as far as it says."""
        return wish.width or self.width, wish.height or self.height

    def seconds(self, wish: Wish) -> float:
        """Length that a wish will have, as far as it says; the file's own is known when it is made."""
        if wish.num_frames is not None:
            return wish.num_frames / (wish.fps or self.fps)
        return wish.seconds or self.num_frames / self.fps

    def frames(self, wish: Wish) -> int:
        """Frames that a generated wish will have: for seconds the nearest number that the model can make."""
        if wish.num_frames is not None:
            return wish.num_frames
        if wish.seconds is None:
            return self.num_frames
        return 1 + self.frame_step * max(0, int(wish.seconds * (wish.fps or self.fps) / self.frame_step + 0.5))

    def is_streamed(self, wish: Wish) -> bool:
        """Whether a wish is made block by block, and plays while it is: long ones, where the model can.

        Not with what only a video made as a whole can have: pictures on the way, another sampler.
        """
        if (
            wish.task != "generate"
            or not self.streams
            or wish.keyframes
            or wish.sampler
            or wish.schedule == "equal"
        ):
            return False
        long = self.frames(wish) > LONG * self.num_frames
        return wish.schedule == "stream" or (wish.schedule is None and long)

    def unknown(self, prompt: str) -> dict[str, list[str]]:
        """Words of a prompt that it never saw, each with the nearest that it knows."""
        return unknown_words(prompt, self.vocabulary or None)

    def check(self, wish: Wish) -> None:
        """Raise a JobError if a wish asks for what this model cannot do."""
        asked = (wish.task, *(name for name in self.off if getattr(wish, name, None) not in (None, ())))
        for name in asked:
            if name in self.off:
                raise JobError(f"{name}: {self.off[name]}")
        for name in self.needs:
            if getattr(wish, name) is None:
                raise JobError(f"{name}: this model makes videos from one and a text; give one")
        for name, side in (("width", wish.width), ("height", wish.height)):
            if side is not None and side % self.multiple:
                nearest = max(1, round(side / self.multiple)) * self.multiple
                raise JobError(f"{name}: {side} is no multiple of {self.multiple}; the nearest is {nearest}")


def name_of(model: str | None) -> str:
    """What a model is called before others: never a path.

    Args:
        model: folder or hub id; None, or "default" in what a file says of itself: the packaged checkpoint.
    """
    if model is None or model == "default":
        return NAME
    path = Path(model)
    return (path.resolve() if path.name in ("", "..") else path).name  # "." says no name


def read_model(model: str | None = None) -> Model:
    """
    Args:
        model: folder or hub id of a Kinema checkpoint, or of any diffusers pipeline that makes videos of texts;
            None: the packaged checkpoint. Of a hub id only the small files are fetched.

    Raises:
        CheckpointError: there is none, or it makes no videos of texts.
    """
    folder = facts_folder(model)
    index = read_index(folder)
    name = name_of(model)
    created = int((folder / "model_index.json").stat().st_mtime)
    if index.get("_class_name") != KINEMA:
        return Model(name=name, created=created, **foreign_facts(folder, index))
    if model is None or Path(model).expanduser().is_dir():
        check_checkpoint(folder)
    transformer, vae = (read_config(folder, part) for part in ("transformer", "vae"))
    patch: Sequence[int] = transformer.get("patch_size", (1, 1, 1))
    spatial, temporal = strides(vae)
    streams = vae.get("_class_name") == "AutoencoderKLKinema"
    trained = {"height": "height", "width": "width", "num_frames": "frames", "frame_rate": "fps"}
    own: list[Any] = [index.get(f"default_{name}") or transformer.get(f"sample_{as_trained}")
                      for name, as_trained in trained.items()]  # fmt: skip
    if None in own:
        raise CheckpointError(
            f"{folder} does not say its {', '.join(trained)}: model_index.json lacks the defaults"
        )
    height, width, frames, fps = own
    multiple = spatial * max(patch[1:])
    off = {}
    if "latent_rgb_weights" not in vae:
        off["preview"] = (
            "this model's autoencoder has no map from latents to colours; a video is seen when it is done"
        )
    return Model(
        name=name,
        height=height,
        width=width,
        num_frames=frames,
        fps=fps,
        steps=index.get("default_num_inference_steps") or 30,
        created=created,
        guidance_scale=float(index.get("default_guidance_scale") or 4.0),
        multiple=multiple,
        frame_step=temporal * patch[0],
        max_seconds=STREAM_SECONDS if streams else round(4 * frames / fps, 1),
        streams=streams,
        aspects=aspects_of(width, height, multiple, trained_sizes(folder)),
        examples=read_examples(folder),
        vocabulary=read_vocabulary(folder / "text_encoder"),
        off=off,
        weights=weights_of(folder, index),
        values=values_of(vae, transformer),
    )
