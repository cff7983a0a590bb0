"""New frames between given ones: what the model sees at a time, and how it lies on the canvas.

Before the new frames stand 1 + k · stride given ones, encoded as a clip of their own; after them m · stride,
encoded as a suffix. Where nothing stands before, the canvas begins with one surplus frame, since its first latent
frame is one pixel frame and the new ones come in whole groups; that frame is made and dropped.
"""

from dataclasses import dataclass

import torch

from .canvas import Canvas, with_given, with_known_frames
from .draft import Draft, Encoder

LEAST_CONTEXT = 2  # latent frames before new ones, so that a motion can be seen: one picture has none


@dataclass(frozen=True)
class Bridge:
    """One stretch that the model makes at a time, in latent frames.

    Attributes:
        before: given ones before, the first of them one pixel frame; 0: none.
        new: those to be made.
        after: given ones after.
        stride: pixel frames per latent frame.
    """

    before: int
    new: int
    after: int
    stride: int

    @property
    def frames_before(self) -> int:
        """Given pixel frames before."""
        return 1 + (self.before - 1) * self.stride if self.before else 0

    @property
    def num_frames(self) -> int:
        """Pixel frames of the canvas."""
        return (self.frames_before or 1) + (self.new + self.after) * self.stride

    @property
    def made(self) -> slice:
        """Where the new pixel frames lie on the canvas."""
        start = self.frames_before or 1
        return slice(start, start + self.new * self.stride)


def plan(
    new: int, window: int, stride: int, frames_before: int, frames_after: int, context: int | None = None
) -> list[Bridge]:
    """Share new latent frames out over rounds.

    Each round sees as many given frames as leave room in the window. Between two videos all rounds but the last
    continue the first one, and the last sees both.

    Args:
        new: latent frames to be made.
        window: latent frames that the model sees at a time: the length it was trained on.
        stride: pixel frames per latent frame.
        frames_before, frames_after: given pixel frames on each side.
        context: given pixel frames to see on the one side that has some; None: as many as there is room for.

    Raises:
        ValueError: a context that does not fit.
    """
    if context is not None:
        given = frames_before or frames_after
        shown = _latent_context(context, stride, given, bool(frames_before))
        sizes = _shares(new, max(1, window - shown - (0 if frames_before else 1)))
        sides = (shown, 0) if frames_before else (0, shown)
        return [Bridge(sides[0], size, sides[1], stride) for size in sizes]
    if frames_before and frames_after:
        last = min(new, max(1, window - LEAST_CONTEXT - 1))
        leading = plan(new - last, window, stride, frames_before, 0) if new > last else []
        room = max(2, window - last)
        after = max(1, min(room // 2, frames_after // stride))
        before = min(room - after, _latents_in(frames_before + (new - last) * stride, stride))
        return [*leading, Bridge(before, last, after, stride)]
    lead = 0 if frames_before else 1  # the surplus latent frame
    sizes = _shares(new, max(1, window - lead - min(LEAST_CONTEXT, window - 1)))
    bridges, have = [], frames_before or frames_after
    for size in sizes:
        room = max(1, window - lead - size)
        if frames_before:
            bridges.append(Bridge(min(room, _latents_in(have, stride)), size, 0, stride))
        else:
            bridges.append(Bridge(0, size, max(1, min(room, have // stride)), stride))
        have += size * stride
    return bridges


def bridge_draft(
    bridge: Bridge, before: torch.Tensor | None, after: torch.Tensor | None, frame_rate: float
) -> Draft:
    """The canvas of one round.

    Args:
        bridge: its lengths.
        before, after: all given frames on each side, (B, T, 3, H, W) in [0, 1]; the nearest are used. Where fewer
            come after than fill a group, the last is repeated, and the repetitions are not among what is kept.
        frame_rate: frames per second.
    """
    sides = [side for side in (before, after) if side is not None]
    batch, (height, width) = len(sides[0]), sides[0].shape[-2:]
    given = torch.zeros(batch, bridge.num_frames, 3, height, width)
    keep = torch.zeros(1, bridge.num_frames, 1, 1, 1, dtype=torch.bool)
    if bridge.before and before is not None:
        given[:, : bridge.frames_before] = before[:, -bridge.frames_before :].cpu()
        keep[:, : bridge.frames_before] = True
    if bridge.after and after is not None:
        real = after[:, : bridge.after * bridge.stride].cpu()
        end = bridge.made.stop
        given[:, end:] = real[:, -1:]
        given[:, end : end + real.shape[1]] = real
        keep[:, end : end + real.shape[1]] = True

    def lay_out(canvas: Canvas, encode: Encoder) -> Canvas:
        if bridge.before:
            canvas = with_known_frames(canvas, 0, encode.clip(given[:, : bridge.frames_before]))
        if bridge.after:
            first = len(canvas.start) - bridge.after
            canvas = with_known_frames(canvas, first, encode.suffix(given[:, bridge.made.stop :]))
        return with_given(canvas, given, keep)

    return Draft(bridge.num_frames, height, width, frame_rate, lay_out, batch=batch, exact=True)


def _shares(new: int, room: int) -> list[int]:
    """So many latent frames in as few rounds as there is room for, evenly."""
    rounds = -(-new // room)
    return [new // rounds + (1 if number < new % rounds else 0) for number in range(rounds)]


def _latents_in(frames: int, stride: int) -> int:
    """Latent frames of the longest clip 1 + k · stride in so many pixel frames."""
    return 1 + (frames - 1) // stride


def _latent_context(context: int, stride: int, given: int, leads: bool) -> int:
    """Latent frames of a context asked for in pixel frames."""
    first = 1 if leads else 0
    groups, rest = divmod(context - first, stride)
    least = 1 if leads else stride
    if rest or context < least or context > max(given, least):
        most = first + (given - first) // stride * stride
        raise ValueError(
            f"context is {context} frames; it needs {'1 + ' if leads else ''}a multiple of {stride}, from {least} "
            f"to {max(most, least)} of the {given} given ones"
        )
    return groups + first
