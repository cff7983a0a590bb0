"""Styles: each redraws finished pictures, with the object numbers at hand.

Every frame is redrawn by itself from fixed rules, so nothing flickers in a still picture. Line widths and blocks
scale with the picture.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d, pad

from .scene import Style, TimeOfDay
from .shading import hashed

PAPER = (0.960, 0.955, 0.940)
GRAPHITE = (0.17, 0.17, 0.18)
EXPOSURE: dict[TimeOfDay, float] = {"day": 1.0, "dawn": 1.05, "sunset": 1.15, "night": 2.2}  # for drawings


def luma(pictures: Tensor) -> Tensor:
    """(…, 3) stored colours to brightness (…), Rec. 601 weights."""
    return pictures @ torch.tensor([0.299, 0.587, 0.114], device=pictures.device)


def _pen(ident: Tensor) -> int:
    """Width of a line, pixels."""
    return max(1, round(min(ident.shape[1:]) / 64))


def _grown(values: Tensor, reach: int) -> Tensor:
    """Each pixel's greatest value (T, H, W) within `reach` pixels."""
    size = 2 * reach + 1
    return max_pool2d(values[:, None], size, stride=1, padding=reach)[:, 0]


def _smoothed(values: Tensor, reach: int) -> Tensor:
    """Mean over a square (T, H, W, C), edges repeated."""
    channels = pad(values.movedim(-1, 1), (reach,) * 4, mode="replicate")
    return avg_pool2d(channels, 2 * reach + 1, stride=1).movedim(1, -1)


def _outside(ident: Tensor, pen: int) -> Tensor:
    """Pixels (T, H, W), 0 or 1, beside an object and not on it: its outline, outermost object first."""
    ident = ident.float()
    return (_grown(ident, pen) > ident).float()


def _contrast(values: Tensor) -> Tensor:
    """Greatest difference (T, H, W) of any channel between a pixel and the next one right or down."""
    change = torch.zeros_like(values[..., 0])
    change[:, :, :-1] = (values[:, :, 1:] - values[:, :, :-1]).abs().amax(-1)
    change[:, :-1] = torch.maximum(change[:, :-1], (values[:, 1:] - values[:, :-1]).abs().amax(-1))
    return change


def _cartoon(pictures: Tensor, ident: Tensor, time: TimeOfDay) -> Tensor:
    """Few flat, strong tones within ink outlines."""
    pen, thing = _pen(ident), (ident > 0)[..., None]
    flat = torch.where(thing, pictures, _smoothed(pictures, pen))
    bright = flat.amax(-1, keepdim=True).clamp(min=1e-3)
    grey = flat.mean(-1, keepdim=True)
    vivid = (grey + 1.45 * (flat - grey)).clamp(0, 1)
    vivid = vivid * (bright / vivid.amax(-1, keepdim=True).clamp(min=1e-3))
    steps = torch.where(thing, 4.0, 6.0)
    tone = ((bright * steps + 0.35).round() / steps).clamp(max=1)
    drawn = (vivid * (tone / bright)).clamp(0, 1)
    crease = ((_contrast(pictures) - 0.16) * 6).clamp(0, 0.75) * thing[..., 0]
    ink = torch.maximum(_outside(ident, pen), crease)[..., None]
    return torch.lerp(drawn, torch.tensor([0.05, 0.05, 0.08], device=drawn.device), ink)


def _black_and_white(pictures: Tensor, ident: Tensor, time: TimeOfDay) -> Tensor:
    """An old film: greys with a little more contrast."""
    tone = luma(pictures)
    tone = torch.lerp(tone, tone * tone * (3 - 2 * tone), 0.5)
    return tone[..., None].expand(*tone.shape, 3)


def _sepia(pictures: Tensor, ident: Tensor, time: TimeOfDay) -> Tensor:
    """A faded brown photograph: one tint from dark brown to cream, darker towards the corners."""
    height, width = ident.shape[1:]
    tone = 0.05 + 0.93 * luma(pictures)
    x = torch.linspace(-1, 1, width, device=tone.device) if width > 1 else tone.new_zeros(1)
    y = torch.linspace(-1, 1, height, device=tone.device) if height > 1 else tone.new_zeros(1)
    tone = tone * (1 - 0.14 * (x[None] ** 2 + y[:, None] ** 2))
    return (tone[..., None] * torch.tensor([1.04, 0.84, 0.60], device=tone.device)).clamp(0, 1)


def _pixel_art(pictures: Tensor, ident: Tensor, time: TimeOfDay) -> Tensor:
    """Blocks of a sixteenth of the shorter side in few colours; each shows whatever fills most of it."""
    count, height, width = ident.shape
    size = max(1, round(min(height, width) / 16))
    down, across = -(-height // size), -(-width // size)
    fill = (0, across * size - width, 0, down * size - height)

    def blocks(values: Tensor) -> Tensor:  # (T, H, W, C) to (T, down, across, size², C)
        values = pad(values.movedim(-1, 1), fill, mode="replicate").movedim(1, -1)
        cut = values.view(count, down, size, across, size, -1).transpose(2, 3)
        return cut.reshape(count, down, across, size * size, -1)

    tones, idents = blocks(pictures), blocks(ident.float()[..., None])
    votes = (idents == idents.transpose(-1, -2)).sum(-1)  # how many pixels of the block show the same thing
    winner = idents[..., 0].gather(-1, votes.argmax(-1, keepdim=True))
    chosen = (idents[..., 0] == winner).float()[..., None]
    mean = (tones * chosen).sum(-2) / chosen.sum(-2)
    tone = luma(mean)[..., None]
    chroma = ((mean - tone) * 1.15 * 7).round() / 7
    drawn = ((tone * 8).round() / 8 + chroma).clamp(0, 1)
    drawn = (drawn * 15).round() / 15
    return drawn.repeat_interleave(size, 1).repeat_interleave(size, 2)[:, :height, :width]


def _sketch(pictures: Tensor, ident: Tensor, time: TimeOfDay) -> Tensor:
    """Pencil on paper: edges, hatching in the dark, a light wash on things. It makes little of the time of day."""
    pen, (height, width) = _pen(ident), ident.shape[1:]
    tone = (luma(pictures) * EXPOSURE[time]).clamp(0, 1)
    thing = (ident > 0).float()
    edge = ((_contrast(_smoothed(pictures, pen) * EXPOSURE[time]) * pen - 0.07) * 5).clamp(0, 0.8)
    edge = torch.maximum(edge * torch.where(thing > 0, 1.0, 0.7), 0.95 * _outside(ident, pen))
    period = 4 * pen
    x, y = torch.arange(width, device=tone.device), torch.arange(height, device=tone.device)[:, None]
    stroke = ((x + y) % period < pen).float()  # (H, W)
    cross = ((x - y) % period < pen).float()
    smooth = _smoothed(tone[..., None], pen)[..., 0]
    dark = ((0.52 - torch.where(thing > 0, tone, smooth)) * 6).clamp(0, 1)
    darker = ((0.27 - tone) * 6).clamp(0, 1) * thing
    lead = torch.maximum(edge, (0.34 + 0.16 * thing) * dark * stroke)
    lead = torch.maximum(lead, 0.5 * darker * cross)
    lead = torch.maximum(lead, thing * 0.32 * (0.85 - tone).clamp(min=0))
    grain = hashed((x // pen).expand(height, width), (y // pen).expand(height, width), 11) - 0.5
    lead = (lead * (1 + 0.35 * grain) + 0.035 * grain).clamp(0, 1)[..., None]
    paper, graphite = (torch.tensor(c, device=tone.device) for c in (PAPER, GRAPHITE))
    return torch.lerp(paper, graphite, lead)


STYLES: dict[Style, Callable[[Tensor, Tensor, TimeOfDay], Tensor]] = {
    "cartoon": _cartoon,
    "black and white": _black_and_white,
    "sepia": _sepia,
    "pixel art": _pixel_art,
    "sketch": _sketch,
}


def stylise(pictures: Tensor, ident: Tensor, style: Style, time: TimeOfDay) -> Tensor:
    """Pictures (T, H, W, 3), stored values in [0, 1], in a style of `scene.Scene.style`.

    Args: ident (T, H, W): object numbers, 0 for none; time: of day, whose darkness drawings lift.
    """
    return pictures if style == "realistic" else STYLES[style](pictures, ident, time)
