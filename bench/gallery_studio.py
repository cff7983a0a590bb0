"""The gallery's studio: runs a call, checks its command line, saves and measures what it made."""

import shlex
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from kinema import KinemaPipeline
from kinema.cli import build_parser
from kinema.data.diorama.scene import COLOURS, KINDS
from kinema.data.video_io import read_video
from kinema.eval.judge.pixel import PixelJudge
from kinema.eval.judge.reading import DIRECTIONS
from kinema.eval.questions import MOTIONS
from kinema.pipeline.media import open_image
from kinema.pipeline.output import KinemaPipelineOutput
from kinema.pipeline.provenance import Provenance
from kinema.pipeline.task_commands import read_boxes, read_storyboard
from kinema.vae.context import encode_still
from kinema.vae.latents import decode_latents, encode_latents


@dataclass
class Row:
    """One row of the page.

    Attributes:
        title, look_at: its heading, and what to look at.
        calls: (Python, command line) pairs.
        clips: (title, uint8 frames) of the contact sheet.
        figures: what was measured, by what it is.
    """

    title: str
    look_at: str
    calls: list[tuple[str, str]] = field(default_factory=list)
    clips: list[tuple[str, np.ndarray]] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)


class Studio:
    """The pipeline, the judge, and the row under way; files lie in the current folder."""

    def __init__(self, model: str | None) -> None:
        self.pipe = KinemaPipeline.from_pretrained(model)
        self.pipe.set_progress_bar_config(disable=True)
        self.judge = PixelJudge.from_pretrained()
        self.row = Row("", "")

    def make(self, call: str, command: str, title: str) -> np.ndarray:
        """Run a call, save what it makes to the command's file, and show it.

        Returns:
            Frames (T, H, W, 3) in [0, 1]; of several videos the first one's, and all are shown.
        """
        output: KinemaPipelineOutput = eval(call, {"pipe": self.pipe})
        file = _parsed(command)["output"]
        output.save(file)
        check_same(command, (output.provenance or [])[0])
        self.row.calls.append((f"{call}.save({str(file)!r})".replace("'", '"'), command))
        for number, frames in enumerate(output.videos()):
            self.row.clips.append((title if number == 0 else f"… the same call, video {number + 1}", frames))
        return output.frames[0]

    def read(self, frames: np.ndarray, rate: float = 8.0) -> str:
        """What the pixel judge sees: it knows neither the prompt nor the generator."""
        things = self.judge.read(as_uint8(frames), rate).things
        if not things:
            return "nothing"
        thing = things[0]
        deeds = []
        for motion, direction in zip(thing.halves, thing.half_directions):
            way = DIRECTIONS[int(direction.argmax())]
            deeds.append(MOTIONS[int(motion.argmax())] + (f" {way}" if way != "none" else ""))
        deed = deeds[0] if deeds[0] == deeds[1] else " then ".join(deeds)
        return f"{COLOURS[int(thing.colour.argmax())]} {KINDS[int(thing.kind.argmax())]}, {deed}"

    def reconstructed(self, frames: np.ndarray) -> np.ndarray:
        """Frames (T, H, W, 3) through the autoencoder and back: the error that no call can be below."""
        pixels = torch.from_numpy(frames).float().permute(3, 0, 1, 2)[None] * 2 - 1
        with torch.no_grad():
            decoded = decode_latents(self.pipe.vae, encode_latents(self.pipe.vae, pixels))
        return _frames(decoded)

    def as_still(self, picture: np.ndarray) -> np.ndarray:
        """A picture (H, W, 3) as the frames of the latent frame that it fills, through the autoencoder."""
        pixels = torch.from_numpy(picture).float().permute(2, 0, 1)[None, :, None] * 2 - 1
        with torch.no_grad():
            first = encode_latents(self.pipe.vae, pixels)
            latents = torch.cat([first, encode_still(self.pipe.vae, pixels)], dim=2)
            return _frames(decode_latents(self.pipe.vae, latents))[1:]


def check_same(command: str, made: Provenance) -> None:
    """Raise a ValueError unless a command line asks for what a call has made."""
    asked, done = _parsed(command), _parsed(made.as_command("x.mp4")[0])
    for name in set(asked) - {"output", "num", "quiet", "aspect" if asked["command"] != "outpaint" else ""}:
        if asked[name] not in (None, [], "", False) and asked[name] != done.get(name):
            raise ValueError(f"{command} asks for {name} {asked[name]!r}, and the call made {done.get(name)!r}")


def _parsed(command: str) -> dict[str, Any]:
    values = vars(build_parser().parse_args(shlex.split(command)[1:]))
    if values.get("box"):
        values["box"] = read_boxes(values["box"])
    if values["command"] == "storyboard" or (values["command"] == "stream" and len(values["texts"]) > 1):
        values["texts"] = read_storyboard(values["texts"])
    return values


def _frames(pixels: torch.Tensor) -> np.ndarray:
    return (pixels[0] * 0.5 + 0.5).clamp(0, 1).permute(1, 2, 3, 0).numpy()


def as_uint8(frames: np.ndarray) -> np.ndarray:
    return (frames * 255).round().clip(0, 255).astype(np.uint8)


def file_frames(name: str) -> np.ndarray:
    """Frames of a file in [0, 1], as a call is given them."""
    if name.endswith(".png"):
        clip = open_image(name, height=64, width=64)
        return clip.frames.movedim(1, -1).numpy()
    return read_video(name).frames.astype(np.float32) / np.float32(255)


def psnr(made: np.ndarray, given: np.ndarray) -> float:
    """In dB, over all of both arrays."""
    error = np.square(made.astype(np.float64) - given).mean()
    return round(float(-10 * np.log10(max(error, 1e-12))), 1)


def steps(frames: np.ndarray) -> np.ndarray:
    """Mean absolute difference of each frame to the one before, of 255."""
    return np.abs(np.diff(frames.astype(np.float64), axis=0)).mean((1, 2, 3)) * 255


def seam(frames: np.ndarray, *places: int) -> str:
    """The steps into the frames at the given places beside the steps elsewhere."""
    all_steps = steps(frames)
    at = [place - 1 for place in places]
    inside = np.delete(all_steps, at)
    shown = " and ".join(f"{all_steps[place]:.1f}" for place in at)
    return f"{shown}; elsewhere {np.median(inside):.1f}, at most {inside.max():.1f}"


def untouched(made: np.ndarray, given: np.ndarray) -> str:
    """Whether given pixels came back."""
    error = np.abs(made - given).max()
    return "every bit" if error == 0 else f"no: they differ by up to {error * 255:.2f} of 255"
