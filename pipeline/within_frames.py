"""Frames of which a part is given: inpainting makes what is inside a mask, outpainting what is round a picture.

A token is known if its whole cell and its whole group of frames are given. What lies under a mask is filled from
its surroundings before the video is encoded, so that known cells beside it carry no trace of it.
"""

from collections.abc import Mapping
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from einops import reduce
from torch.nn.functional import avg_pool2d, interpolate, pad

from .canvas import Canvas, with_given, with_known
from .conform import Fit
from .draft import Draft, Encoder, named
from .grid import aspect_ratio
from .masks import mask_notes, open_mask
from .media import look, open_video
from .remix import check_strength
from .wishes import Wishes, first_frames


def inpaint_draft(
    wishes: Wishes, video: Any, mask: Any, strength: float | None = None, fit: Fit = "cover"
) -> Draft:
    """Make anew what is white in a mask; everything else comes back exactly.

    Args:
        wishes: size, length and rate that the call asks for; a length takes the first so many frames.
        video: see `look`; a picture is inpainted as a video of one frame.
        mask: see `open_mask`; as long as what is made, or as the video.
        strength: noise level at which the masked part starts, from what the video shows there; None: 1, from
            noise alone.
        fit: see `open_video`.

    Raises:
        ValueError: a length off the grid, a mask of another length, or media that cannot be read.
    """
    start = 1.0 if strength is None else strength
    check_strength(start)
    seen = look(video, "video")
    shape = wishes.shape_for(seen)
    clip = open_video(seen, height=shape.height, width=shape.width, frame_rate=shape.frame_rate, fit=fit)
    frames = first_frames(clip, wishes)
    made = open_mask(
        mask,
        num_frames=len(frames),
        height=shape.height,
        width=shape.width,
        frame_rate=shape.frame_rate,
        fit=fit,
        given_size=seen.size,
        given_rate=seen.frame_rate,
        given_frames=len(clip.frames),
    )
    keep = ~made[None, :, None]
    given = frames[None]

    def lay_out(canvas: Canvas, encode: Encoder) -> Canvas:
        shown = given if start < 1 else fill(given, keep)
        return with_given(_known_cells(canvas, encode.clip(shown), keep, start), given, keep)

    notes = (*shape.notes, *clip.notes, *mask_notes(made))
    draft = Draft(
        len(frames), shape.height, shape.width, shape.frame_rate, lay_out,
        notes=notes, soundtrack=clip.soundtrack, exact=True,
    )  # fmt: skip
    settings: dict[str, Any] = {"strength": start, "fit": fit}
    sources = {"video": video, "mask": mask}
    if (boxes := boxes_of(mask)) is not None:
        settings["mask"] = boxes
        del sources["mask"]
    return named(draft, "inpaint", sources, **settings)


def boxes_of(mask: Any) -> list[Any] | None:
    """A mask that is a box as [x0, y0, x1, y1], one that moves as [[time, box], …]; None: it is neither."""
    if isinstance(mask, Mapping):
        if hasattr(mask, "output_type"):  # outputs are mappings too
            return None
        return [[_plain(time), boxes_of(box)] for time, box in mask.items()]
    if isinstance(mask, np.ndarray | torch.Tensor) and tuple(mask.shape) == (4,):
        return mask.tolist()
    if isinstance(mask, list | tuple) and all(isinstance(value, Real) for value in mask):
        return [_plain(value) for value in mask]
    return None


def _plain(value: Real) -> int | float:
    """A number of Python's own, which JSON and the command line can say; whole numbers stay whole."""
    return int(value) if isinstance(value, Integral) else float(value)


def _known_cells(canvas: Canvas, latents: torch.Tensor, keep: torch.Tensor, start: float) -> Canvas:
    """Write the cells that are wholly given, and start the frames of the others from the latents as noised."""
    frames, rows, columns = canvas.latents.shape[-3:]
    known = cells_inside(keep, frames, rows, columns).to(latents.device)
    canvas = replace(canvas, latents=latents, start=torch.full_like(canvas.start, start))
    return with_known(canvas, latents, known)


def cells_inside(keep: torch.Tensor, frames: int, rows: int, columns: int) -> torch.Tensor:
    """Which latent cells have all of their pixels in all of their frames kept.

    Args:
        keep: (1, T, 1, H, W) bool.
        frames, rows, columns: of the latents.

    Returns:
        bool (1, 1, F, h, w).
    """
    made = ~keep[0, :, 0]
    cells = reduce(made, "t (h a) (w b) -> t h w", "any", h=rows, w=columns)
    stride = (len(made) - 1) // max(1, frames - 1)
    groups = [cells[:1]]
    if frames > 1:
        groups.append(reduce(cells[1:], "(f s) h w -> f h w", "any", s=stride))
    return ~torch.cat(groups)[None, None]


def fill(frames: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    """Each frame with its missing pixels filled smoothly from the kept ones round them (a pull-push pyramid).

    Args:
        frames: (B, T, 3, H, W).
        keep: (1, T, 1, H, W) bool. A frame without a kept pixel becomes grey.
    """
    flat = frames.flatten(0, 1)
    weight = keep.expand(len(frames), -1, -1, -1, -1).flatten(0, 1).to(frames.dtype)
    return _pull_push(flat, weight).unflatten(0, frames.shape[:2])


def _pull_push(frames: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """(N, 3, H, W), weights (N, 1, H, W) in [0, 1]: what weighs less than 1 comes from the next coarser level."""
    if max(frames.shape[-2:]) == 1:
        return torch.where(weight > 0, frames, torch.full_like(frames, 0.5))
    coarse_weight = avg_pool2d(weight, 2, ceil_mode=True)
    coarse = avg_pool2d(frames * weight, 2, ceil_mode=True) / coarse_weight.clamp(min=1e-6)
    coarse = _pull_push(coarse, (2 * coarse_weight).clamp(max=1))
    wide = interpolate(coarse, size=frames.shape[-2:], mode="bilinear", align_corners=False)
    return torch.lerp(wide, frames, weight)


def outpaint_draft(wishes: Wishes, source: Any, aspect: str | float | None = None, fit: Fit = "cover") -> Draft:
    """Make what is round a picture or video, which comes back exactly in the middle.

    Args:
        wishes: height and width of the whole, unless `aspect` decides them; a length takes the first frames.
        source: see `look`.
        aspect: width to height of the whole, such as "9:16" or 1.5; the nearest on the grid is taken, and told.
        fit: see `open_video`; it matters where the given frames must be made smaller.

    Raises:
        ValueError: no larger frame is asked for, one that cannot be made, or media that cannot be read.
    """
    seen = look(source, "video")
    inner, outer, notes = _nested_sizes(wishes, seen.size, seen.name, aspect)
    rate = wishes.frame_rate or wishes.shape_for(seen).frame_rate
    clip = open_video(seen, height=inner[0], width=inner[1], frame_rate=rate, fit=fit)
    frames = first_frames(clip, wishes)[None]
    cell = wishes.grid.spatial
    # The middle, but on whole cells where there is room: more of the cells are then given.
    corner = [
        max(0, round((o - i) / 2 / cell) * cell if o - i >= cell else (o - i) // 2) for o, i in zip(outer, inner)
    ]
    top, left = corner
    sides = (left, outer[1] - inner[1] - left, top, outer[0] - inner[0] - top)
    keep = pad(torch.ones(1, frames.shape[1], 1, *inner), sides).bool()
    given = pad(frames[0], sides, mode="replicate")[None]

    def lay_out(canvas: Canvas, encode: Encoder) -> Canvas:
        return with_given(_known_cells(canvas, encode.clip(given), keep, 1.0), given, keep)

    draft = Draft(
        frames.shape[1], *outer, rate, lay_out,
        notes=(*notes, *clip.notes), soundtrack=clip.soundtrack, exact=True,
    )  # fmt: skip
    return named(draft, "outpaint", {"video": source}, aspect=aspect, fit=fit)


def _nested_sizes(
    wishes: Wishes, given: tuple[int, int], name: str, aspect: str | float | None
) -> tuple[tuple[int, int], tuple[int, int], list[str]]:
    """(height, width) of the given frames as they are used and of the whole, and notes."""
    steps, limit = wishes.grid.side_steps, 2 * wishes.defaults[0] * wishes.defaults[1]
    notes: list[str] = []
    if (aspect is None) == (wishes.height is None and wishes.width is None):
        raise ValueError('outpaint needs either an aspect, such as "9:16", or a height or width of the whole')
    if aspect is not None:
        ratio = aspect_ratio(aspect)
        inner = given
        if given[0] * given[1] > limit:
            scale = (wishes.defaults[0] * wishes.defaults[1] / (given[0] * given[1])) ** 0.5
            inner = (max(1, round(given[0] * scale)), max(1, round(given[1] * scale)))
        least = [-(-side // step) * step for side, step in zip(inner, steps)]
        wish = (max(inner[0], inner[1] / ratio), max(inner[1], inner[0] * ratio))
        outer = tuple(max(low, wishes.grid.nearest_side(axis, wish[axis])) for axis, low in enumerate(least))
        notes.append(f"outpaint: aspect {aspect} becomes {outer[1]} × {outer[0]}, round {inner[1]} × {inner[0]}")
    else:
        outer = (
            wishes.height or -(-given[0] // steps[0]) * steps[0],
            wishes.width or -(-given[1] // steps[1]) * steps[1],
        )
        wishes.grid.latent_shape(1, *outer)
        scale = min(1.0, outer[0] / given[0], outer[1] / given[1])
        inner = (max(1, round(given[0] * scale)), max(1, round(given[1] * scale)))
    if tuple(inner) == tuple(outer):
        raise ValueError(
            f"{name} is {given[1]} × {given[0]} and fills all of the {outer[1]} × {outer[0]} asked for, so there "
            "is nothing to make; ask for another aspect or a larger height or width"
        )
    return inner, outer, notes  # pyright: ignore[reportReturnType]
