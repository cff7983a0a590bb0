"""The pixel judge: what a clip shows, read from its pixels alone.

    judge = PixelJudge.from_pretrained()
    reading = judge.read(frames, fps=8.0)

It learned from Diorama's object numbers, never from a generator's clips, and sees no prompt.
"""

import json
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...pipeline.provenance import fingerprint
from .flow import background_flow
from .hue import hue_word
from .labeller import FrameLabeller, Labels
from .readers import CameraReader, ThingReader, flow_data, track_data
from .reading import Reading, Thing
from .things import Track, find_instances, frames_tensor, link

FOLDER = Path(__file__).parent / "weights" / "pixel"
SIDE = 64  # pixels on the shorter side at which clips are read
RATE = 8.0  # frames per second at which they are read
LONGEST = 65  # frames
MULTIPLE = 8  # of the labeller's sides
LEAST_HALVED = 5  # frames: shorter clips have no halves
VERSION = 2  # of the measurements between the networks: a change of them is another judge


class PixelJudge:
    """Three small networks and the measurements between them.

    Args:
        labeller: frames to labels.
        things: tracks to what each thing does.
        camera: the background's motion to a camera move.
    """

    def __init__(self, labeller: FrameLabeller, things: ThingReader, camera: CameraReader) -> None:
        self.labeller, self.things, self.camera = labeller.eval(), things.eval(), camera.eval()

    @classmethod
    def from_pretrained(cls, folder: str | Path = FOLDER) -> "PixelJudge":
        """The judge in a folder; the packaged one by default."""
        folder = Path(folder)
        return cls(
            cast(FrameLabeller, FrameLabeller.from_pretrained(folder / "labeller")),
            cast(ThingReader, ThingReader.from_pretrained(folder / "thing_reader")),
            cast(CameraReader, CameraReader.from_pretrained(folder / "camera_reader")),
        )

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype = torch.float16) -> None:
        """Write the judge's three parts; float16 halves the files."""
        parts = {"labeller": self.labeller, "thing_reader": self.things, "camera_reader": self.camera}
        for name, part in parts.items():
            nn.Module.to(part, dtype)  # diffusers' own `to` warns
            part.save_pretrained(Path(folder) / name)
            config = Path(folder) / name / "config.json"
            values = json.loads(config.read_text())
            values.pop("_name_or_path", None)  # where it was trained is nobody's business
            config.write_text(json.dumps(values, indent=2) + "\n")
            nn.Module.to(part, torch.float32)

    @property
    def fingerprint(self) -> str:
        """A digest of its weights, and the version of what is measured between them."""
        return f"{VERSION}-{fingerprint([self.labeller, self.things, self.camera])}"

    @torch.inference_mode()
    def read(self, frames: np.ndarray, fps: float) -> Reading:
        """Read one clip.

        Args:
            frames: uint8 (T, H, W, 3), T >= 2, H and W >= 16; read at about 64 pixels and 8 frames a second.
            fps: frames per second.

        Raises:
            ValueError: frames of another type or shape, or a rate that is not above 0.
        """
        pixels, rate = prepared(frames, fps)
        labels = self.label(pixels)
        maps, shown = background_flow(pixels, labels.inside.sigmoid())
        tracks = link(find_instances(labels), min(pixels.shape[-2:]))
        whole = {name: _mean(getattr(labels, name)) for name in ("floor", "background", "time", "style")}
        time = int(whole["time"].argmax())
        return Reading(
            things=tuple(self._thing(track, pixels, maps, rate, time) for track in tracks),
            camera=self._read_camera(flow_data(maps, shown, rate)),
            seconds=len(frames) / fps,
            **whole,
        )

    def label(self, pixels: Tensor) -> Labels:
        """Labels of (T, 3, H, W) frames in [-1, 1], sides multiples of 8."""
        parts = [self.labeller(part) for part in pixels.split(32)]
        return Labels(**{name: torch.cat([getattr(part, name) for part in parts]) for name in vars(parts[0])})

    def _thing(self, track: Track, pixels: Tensor, maps: Tensor, rate: float, time: int) -> Thing:
        data = track_data(track, pixels, maps, rate)
        middle = track.length // 2
        parts = [data, data, data]
        if track.length >= LEAST_HALVED:
            parts = [data, data.window(0, middle + 1), data.window(middle, track.length)]
        said = [
            {name: logits.softmax(-1)[0].numpy() for name, logits in self._read_thing(part).items()}
            for part in parts
        ]
        height, width = pixels.shape[-2:]
        boxes = np.full((track.length, 4), np.nan)
        centres, area = np.full((track.length, 2), np.nan), np.zeros(track.length)
        for n, found in enumerate(track.instances):
            if found is not None:
                ys, xs = found.mask.nonzero()
                boxes[n] = xs.min() / width, ys.min() / height, (xs.max() + 1) / width, (ys.max() + 1) / height
                centres[n], area[n] = found.spot / (width, height), found.pixels / (width * height)
        third = max(1, track.length // 3)
        return Thing(
            kind=track.mean("kind"),
            colour=track.mean("colour", 0, third),
            last_colour=track.mean("colour", track.length - third),
            material=track.mean("material"),
            pattern=track.mean("pattern"),
            hue=hue_word(pixels, [found and found.mask for found in track.instances[:third]], time),
            centres=centres,
            boxes=boxes,
            area=area,
            motion=said[0]["motion"],
            halves=np.stack([part["motion"] for part in said[1:]]),
            direction=said[0]["direction"],
            half_directions=np.stack([part["direction"] for part in said[1:]]),
            speed=said[0]["speed"],
            size=said[0]["size"],
        )

    def _read_camera(self, flows: Tensor) -> np.ndarray:
        flows = flows.repeat(2, 1) if len(flows) == 1 else flows  # a spread needs two
        return self.camera(flows[None]).softmax(-1)[0].numpy()

    def _read_thing(self, data: object) -> dict[str, Tensor]:
        numbers, crops, kind = (getattr(data, name)[None] for name in ("numbers", "crops", "kind"))
        return self.things(numbers, crops, kind)


def prepared(frames: np.ndarray, fps: float) -> tuple[Tensor, float]:
    """The clip as (T, 3, H, W) in [-1, 1] at the size and rate at which it is read, and that rate."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or min(frames.shape[1:3]) < 16:
        raise ValueError(f"frames are {frames.dtype} {frames.shape}; a clip is uint8 (T, H, W, 3), H and W >= 16")
    if len(frames) < 2 or not fps > 0:
        raise ValueError(
            f"the clip has {len(frames)} frames at {fps} a second; motion needs at least 2, and a rate"
        )
    wanted = min(LONGEST, max(2, 1 + round((len(frames) - 1) / fps * RATE)))
    if len(frames) > wanted:
        picks = np.linspace(0, len(frames) - 1, wanted).round().astype(int)
        fps = fps * (wanted - 1) / (len(frames) - 1)
        frames = frames[picks]
    pixels = frames_tensor(frames)
    height, width = pixels.shape[-2:]
    scale = SIDE / min(height, width)
    size = [max(MULTIPLE, round(side * scale / MULTIPLE) * MULTIPLE) for side in (height, width)]
    if (height, width) != tuple(size):
        pixels = F.interpolate(pixels, size=size, mode="bilinear", antialias=True, align_corners=False).clamp(
            -1, 1
        )
    return pixels, fps


def _mean(logits: Tensor) -> np.ndarray:
    return logits.log_softmax(-1).mean(0).softmax(-1).numpy()
