"""Long videos that play while they are made: block by block from `pipe.stream`, into a file that grows.

The growing file is a fragmented MP4: from its second frame on, what is in it can be played. The result is written
anew when all frames are there, from the frames themselves, as every result is.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.container
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from PIL import Image

from ...data.video_read import SCALER
from ...pipeline.provenance import Provenance
from ..jobs.wish import Wish, num_frames

logger = logging.getLogger(__name__)

# A fragment is there with the frame after it, and nothing after the head says at which byte of the file it is. The
# head is written with the first frame, not empty: it then tells the rate, for which players else await 20 frames.
FRAGMENTS = "frag_every_frame+default_base_moof+skip_trailer"
PIECE = 1 << 15  # bytes that Chromium fetches before it looks at any of them
CRF = 20
PREVIEW_SIDE, PREVIEW_FRAMES = 96, 8  # of a block, in what is shown beside it


class NothingYetError(Exception):
    """A stream was ended before its first block."""


class GrowingVideo:
    """A fragmented MP4 that can be played while it is written.

    A block may be a few hundred bytes, and Chromium plays whole pieces: so the last one is filled up after every
    block, with a box that readers skip (`free`, ISO/IEC 14496-12).

    Args:
        path: of the file.
        width, height: pixels, even.
        fps: frames a second.
    """

    def __init__(self, path: Path, width: int, height: int, fps: float) -> None:
        self._rate, self._count = Fraction(fps).limit_denominator(1001), 0
        options = {"movflags": FRAGMENTS, "flush_packets": "1", "fflags": "+bitexact"}
        self._file = path.open("wb", buffering=0)
        self._container = av.container.open(self._file, "w", format="mp4", container_options=options)
        self._stream = stream = self._container.add_stream("libx264", rate=self._rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        # Without B-frames and look-ahead every frame leaves the encoder at once.
        stream.options = {"crf": f"{CRF}", "preset": "veryfast", "tune": "zerolatency", "threads": "1"}
        context = stream.codec_context
        context.color_range, context.colorspace, context.color_primaries, context.color_trc = 1, 1, 1, 1
        self._scaler = VideoReformatter()

    def add(self, frames: np.ndarray) -> None:
        """Append frames, uint8 (T, H, W, 3)."""
        for frame in frames:
            picture = self._scaler.reformat(
                av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24"), format="yuv420p",
                dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG, interpolation=SCALER,
            )  # fmt: skip
            picture.pts, picture.time_base = self._count, 1 / self._rate
            self._count += 1
            self._container.mux(self._stream.encode(picture))
        if self._count > 1:  # the head is there: it does say where its frame is
            empty = -(self._file.tell() + 8) % PIECE
            self._file.write((8 + empty).to_bytes(4, "big") + b"free" + bytes(empty))

    def close(self) -> None:
        """Write what is left of it."""
        with self._file:
            if self._count:
                self._container.mux(self._stream.encode(None))
            self._container.close()


@dataclass
class StreamedOutput:
    """What a stream made, told as by a `KinemaPipelineOutput`; its frames are bytes, as long videos have many."""

    frames: np.ndarray  # uint8 (T, H, W, 3)
    frame_rate: float
    provenance: list[Provenance]
    warnings: list[str] = field(default_factory=list)
    interrupted: bool = False
    soundtrack: tuple[Any, ...] | None = None
    exact: bool = False

    def videos(self) -> list[np.ndarray]:
        """The one video."""
        return [self.frames]


def stream_wish(
    pipe: Any, wish: Wish, find: Callable[[str], Path], seed: int, path: Path,
    on_step: Callable[[float], bool], on_block: Callable[[np.ndarray], None],
    draw: Callable[[np.ndarray], object] = lambda frames: None,
) -> StreamedOutput:  # fmt: skip
    """Make a wish block by block.

    Args:
        pipe: a `KinemaPipeline` that can stream.
        wish, find, seed: as of `run_wish`.
        path: of the growing file.
        on_step: told the share that is done before each step of each block; returns whether to end with the blocks
            that are there. What it raises ends the stream.
        on_block: told small pictures of each block, uint8 (F, h, w, 3).
        draw: marks the frames of the growing file in place.

    Raises:
        ValueError: something does not fit.
        NothingYetError: it was ended before there was a block.
    """
    frames = num_frames(pipe, wish) or pipe.config["default_num_frames"]
    pipe.grid.latent_shape(frames, *pipe.grid.side_steps)  # a ValueError that speaks of frames, not of seconds
    rate = wish.fps or pipe.config["default_frame_rate"]
    texts: Any = wish.prompt
    if wish.storyboard:
        texts = [
            (card.at, card.text, *([str(find(card.image))] if card.image else [])) for card in wish.storyboard
        ]
    given = {
        "negative_prompt": wish.negative_prompt, "width": wish.width, "height": wish.height,
        "num_inference_steps": wish.num_inference_steps, "guidance_scale": wish.guidance_scale,
        "image": str(find(wish.image)) if wish.image else None,
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value is not None}
    stream = pipe.stream(
        texts, seconds=(frames - 1) / rate, frame_rate=wish.fps, generator=seed, fit=wish.fit, **given
    )
    state = {"steps": 0, "ended": False}
    blocks = -(-(frames - 1) // pipe.grid.temporal) + 1
    asked = 2  # times that a block asks besides its steps
    steps = blocks * (asked + (wish.num_inference_steps or pipe.config["default_num_inference_steps"]))

    def step_begins() -> None:
        if on_step(min(1.0, state["steps"] / steps)):
            state["ended"] = True
            pipe._interrupt = True
        state["steps"] += 1

    stream.on_step = step_begins
    # Room is taken as it is filled: a long video is kept once, and one that ends early takes no more than it has.
    room = np.empty((stream.num_frames, stream.height, stream.width, 3), np.uint8)
    made = 0
    growing = GrowingVideo(path, stream.width, stream.height, stream.frame_rate)
    try:
        with stream:
            for chunk in stream:
                block = (chunk * 255).round().clip(0, 255).astype(np.uint8)
                room[made : made + len(block)] = block
                made += len(block)
                shown = block.copy()
                draw(shown)
                growing.add(shown)
                on_block(_small(block))
    finally:
        growing.close()
    if not made:
        raise NothingYetError("it was ended before there was anything to keep")
    video = room[:made]
    assert stream.provenance is not None
    provenance = replace(stream.provenance, num_frames=len(video))
    warnings = list(stream.warnings)
    if state["ended"] and len(video) < frames:
        # A stream's beginning is the same whatever its length: this one is made again by asking for so much.
        shorter = {**provenance.settings, "seconds": (len(video) - 1) / stream.frame_rate}
        provenance = replace(provenance, settings=shorter)
        warnings.append(f"ended after {len(video)} of {frames} frames")
    return StreamedOutput(video, stream.frame_rate, [provenance], warnings, len(video) < frames)


def _small(block: np.ndarray) -> np.ndarray:
    """Small pictures of a block."""
    chosen = block[:: max(1, len(block) // PREVIEW_FRAMES)][:PREVIEW_FRAMES]
    pictures = []
    for frame in chosen:
        picture = Image.fromarray(frame)
        picture.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
        pictures.append(np.asarray(picture))
    return np.stack(pictures)
