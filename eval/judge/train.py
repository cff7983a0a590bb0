"""Trains the pixel judge's labeller on the renderer's object numbers.

    kinema train judge --config judge --out RUN

renders its clips into RUN/judge/clips first (used again by a later start), and writes the averaged weights to
RUN/judge/final. `python -m kinema.eval.judge.fit` then fits the readers of motion and camera on the same clips.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from ... import trainer
from ...configs import Config
from ...data.diorama.scene import BACKGROUNDS, COLOURLESS, FLOORS, KINDS, MATERIALS, PATTERNS, STYLES, TIMES_OF_DAY
from .clips import NONE, SLOTS, LabelledClips, write_clips
from .labeller import ARROW_UNIT, STRIDE, FrameLabeller, Labels

HELDOUT_SEED = 1_000_003  # added to the seed of the corpus that is only looked at


def train(config: Config, out: Path) -> Path:
    """Train the labeller of `config`, or go on with the run in `out`.

    Returns:
        `out`/final, the labeller's folder.

    Raises:
        TrainingError: a loss that is not finite, a full disk.
        TrainingPaused: the run was asked to stop; a checkpoint holds all of it.
    """
    settings = config.judge
    workers = config.data.num_workers
    clips = write_clips(out / "clips", seed=config.seed, count=settings.num_clips, workers=workers)
    heldout = write_clips(
        out / "heldout", seed=config.seed + HELDOUT_SEED, count=settings.heldout_clips, workers=workers
    )
    run = trainer.start_run(config, "judge", out)
    dataset, checks = LabelledFrames(clips), LabelledFrames(heldout)
    model = FrameLabeller(channels=settings.channels, depths=settings.depths)
    ddp = run.accelerator.prepare(model)
    optimizers = trainer.make_optimizers(run, ddp)
    ema = trainer.make_ema(run, ddp)
    first = trainer.resume(run, ema)

    for step, batches in trainer.training_steps(run, dataset, collate, first):
        trainer.set_learning_rates(run, optimizers, step)
        values: dict[str, Any] = {}
        for batch in batches:
            with run.accelerator.accumulate(ddp):
                frames, truth = vary(batch)
                parts = losses(ddp(frames), truth)
                loss = torch.stack(list(parts.values())).sum()
                run.accelerator.backward(loss)
                norm = trainer.clip_and_step(run, optimizers, ddp)
                values = trainer.add_up(run, values, norm, loss=loss, **parts)
        if ema:
            ema.step(trainer.ema_parameters(ddp))
        trainer.log(run, step, values)
        if trainer.due(run, step, run.train.validate_every):
            with trainer.averaged(ema, ddp):
                validate(run, model, checks, step)
        if trainer.checkpoint_due(run, step):
            trainer.checkpoint(run, step, ema)

    with trainer.averaged(ema, ddp):
        if run.is_main:
            model.save_pretrained(run.directory / "final")
    trainer.finish(run)
    return run.directory / "final"


class LabelledFrames(Dataset[dict[str, Any]]):
    """Single frames of labelled clips; item n is frame n % T of clip n // T."""

    def __init__(self, clips: LabelledClips) -> None:
        self.frames, self.ids = clips.array("frames"), clips.array("ids")
        self.centres, self.colours, self.area = (clips.array(name) for name in ("centres", "colours", "area"))
        count, self.length = self.frames.shape[:2]
        self.things = np.full((count, SLOTS, 3), NONE, np.uint8)  # kind, material, pattern
        self.whole = np.zeros((count, 4), np.int64)
        for number, scene in enumerate(clips.scenes):
            for place, thing in enumerate(scene.objects):
                self.things[number, place] = (
                    KINDS.index(thing.kind),
                    MATERIALS.index(thing.material),
                    PATTERNS.index(thing.pattern),
                )
            self.whole[number] = (
                FLOORS.index(scene.floor),
                BACKGROUNDS.index(scene.background),
                TIMES_OF_DAY.index(scene.time_of_day) if scene.style not in COLOURLESS else -100,
                STYLES.index(scene.style),
            )

    def __len__(self) -> int:
        return len(self.frames) * self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        clip, frame = divmod(index, self.length)
        return {
            "pixels": torch.from_numpy(self.frames[clip, frame].copy()),
            "ids": torch.from_numpy(self.ids[clip, frame].copy()),
            "centres": torch.from_numpy(self.centres[clip, :, frame].copy()),
            "area": torch.from_numpy(self.area[clip, :, frame].copy()),
            "things": torch.from_numpy(
                np.concatenate([self.things[clip], self.colours[clip, :, frame, None]], 1).astype(np.int64)
            ),
            "whole": torch.from_numpy(self.whole[clip]),
        }


def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Items stacked."""
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}


def vary(batch: dict[str, Any], plain: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
    """Frames (B, 3, H, W) in [-1, 1] and their truth, mirrored, zoomed, blurred, tinted and made noisy at random.

    The blur and noise are any camera's or codec's: the judge must not know what a generator's faults look like.
    Everything is drawn from each sample's own seed. `plain` leaves the frames as they are.
    """
    pixels = batch["pixels"].permute(0, 3, 1, 2).float() / 127.5 - 1
    ids, centres = batch["ids"].float(), batch["centres"]
    size, (height, width) = len(pixels), pixels.shape[-2:]
    if not plain:
        draws = torch.stack(
            [
                torch.rand(10, generator=torch.Generator().manual_seed(int(s)), device="cpu")
                for s in batch["sample_seed"]
            ]
        ).to(pixels.device)
        zoom = 0.8 + 0.35 * draws[:, 0]
        mirror = torch.where(draws[:, 1] < 0.5, -1.0, 1.0)
        shift_x, shift_y = (draws[:, 2] - 0.5) * 0.3, (draws[:, 3] - 0.5) * 0.2
        same = draws[:, 4] < 0.4
        zoom, shift_x, shift_y = (
            torch.where(same, torch.full_like(v, d), v) for v, d in ((zoom, 1.0), (shift_x, 0.0), (shift_y, 0.0))
        )
        zero = torch.zeros_like(zoom)
        theta = torch.stack(
            [torch.stack([zoom * mirror, zero, shift_x], 1), torch.stack([zero, zoom, shift_y], 1)], 1
        )
        grid = F.affine_grid(theta, [size, 3, height, width], align_corners=False)
        pixels = F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
        ids = F.grid_sample(ids[:, None], grid, mode="nearest", padding_mode="reflection", align_corners=False)[
            :, 0
        ]
        spot = centres * 2 / torch.tensor([width, height], device=centres.device) - 1
        spot = torch.stack(
            [
                (spot[..., 0] - shift_x[:, None]) / (zoom * mirror)[:, None],
                (spot[..., 1] - shift_y[:, None]) / zoom[:, None],
            ],
            -1,
        )
        centres = (spot + 1) / 2 * torch.tensor([width, height], device=centres.device)
        pixels = _spoilt(pixels, draws, batch["sample_seed"])
    return pixels, {"ids": ids.long(), "centres": centres, "things": batch["things"], "whole": batch["whole"]}


def _spoilt(pixels: Tensor, draws: Tensor, seeds: Tensor) -> Tensor:
    """Blur for some, noise for some, a little brightness, contrast and saturation for all."""
    small = F.interpolate(pixels, scale_factor=0.5, mode="area")
    blurred = F.interpolate(small, scale_factor=2.0, mode="bilinear", align_corners=False)
    amount = ((draws[:, 5] - 0.5) * 2).clamp(0, 1)[:, None, None, None]
    pixels = torch.lerp(pixels, blurred, amount)
    gray = pixels.mean(1, keepdim=True)
    saturation = (0.85 + 0.3 * draws[:, 6])[:, None, None, None]
    pixels = gray + (pixels - gray) * saturation
    contrast, light = 0.88 + 0.24 * draws[:, 7], (draws[:, 8] - 0.5) * 0.16
    pixels = pixels * contrast[:, None, None, None] + light[:, None, None, None]
    generator = torch.Generator().manual_seed(int(seeds[0]))
    noise = torch.randn(pixels.shape, generator=generator).to(pixels.device)
    strength = (draws[:, 9] - 0.6).clamp(min=0)[:, None, None, None] * 0.25
    return (pixels + strength * noise).clamp(-1, 1)


def losses(labels: Labels, truth: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each head's loss; every visible object counts alike, however small."""
    ids = truth["ids"]
    inside = (ids > 0).float()
    cells = ids[:, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]  # (B, h, w)
    solid = cells > 0
    slot = (cells - 1).clamp(min=0)
    one_hot = F.one_hot(cells, SLOTS + 1)[..., 1:].float()  # (B, h, w, K)
    share = one_hot.sum((1, 2)).clamp(min=1)  # (B, K) cells of each object
    weight = (one_hot / share[:, None, None].sqrt()).sum(-1)  # (B, h, w)
    weight = weight / weight.sum().clamp(min=1e-6)
    things = truth["things"].gather(1, slot.flatten(1)[..., None].expand(-1, -1, 4)).view(*slot.shape, 4)
    kind, material, pattern, colour = things.unbind(-1)

    def told(logits: Tensor, target: Tensor) -> Tensor:
        ignored = ~solid | (target == NONE)
        each = F.cross_entropy(logits, target.masked_fill(ignored, 0), reduction="none")
        return (each * weight * ~ignored).sum()

    nothing = F.cross_entropy(labels.kind, torch.zeros_like(cells), reduction="none")
    spots = truth["centres"].gather(1, slot.flatten(1)[..., None].expand(-1, -1, 2)).view(*slot.shape, 2)
    rows = torch.arange(cells.shape[1], device=cells.device) * STRIDE + STRIDE / 2
    columns = torch.arange(cells.shape[2], device=cells.device) * STRIDE + STRIDE / 2
    away_x, away_y = spots[..., 0] - columns, spots[..., 1] - rows[:, None]
    arrow = torch.stack([away_x, away_y], 1).nan_to_num() / ARROW_UNIT
    off = (labels.arrow - arrow).abs().sum(1)
    heat = heat_map(truth["centres"], share > 2, rows, columns)
    centre = F.binary_cross_entropy_with_logits(
        labels.centre, heat, reduction="none", pos_weight=heat.new_tensor(4.0)
    )
    whole = truth["whole"]
    return {
        "inside": F.binary_cross_entropy_with_logits(labels.inside, inside, reduction="none").mean() * 3,
        "kind": told(labels.kind, kind + 1) + nothing[~solid].mean(),
        "colour": 0.5 * told(labels.colour, colour),
        "material": 0.5 * told(labels.material, material),
        "pattern": 0.5 * told(labels.pattern, pattern),
        "arrow": 0.5 * (off * weight).sum(),
        "centre": 3 * centre.mean(),
        "whole": 0.3
        * sum(
            (
                F.cross_entropy(logits, whole[:, place], ignore_index=-100)
                for place, logits in enumerate((labels.floor, labels.background, labels.time, labels.style))
            ),
            start=whole.new_zeros((), dtype=torch.float32),
        ),
    }


def heat_map(centres: Tensor, there: Tensor, rows: Tensor, columns: Tensor, spread: float = 3.0) -> Tensor:
    """(B, h, w): a bump of `spread` pixels at the centre (B, K, 2) of every object that is there (B, K)."""
    spots = centres.nan_to_num(-1e4)
    gap = (spots[:, :, None, None, 0] - columns) ** 2 + (spots[:, :, None, None, 1] - rows[:, None]) ** 2
    return (torch.exp(-gap / (2 * spread**2)) * there[:, :, None, None]).amax(1)


@torch.no_grad()
def validate(run: trainer.Run, model: FrameLabeller, checks: LabelledFrames, step: int, frames: int = 768) -> None:
    """Losses, and shares of objects told right, on clips that training does not see."""
    model.eval()
    totals: dict[str, list[float]] = {}
    picks = np.linspace(0, len(checks) - 1, frames).astype(int)
    for start in range(0, frames, 64):
        batch = collate([checks[int(n)] for n in picks[start : start + 64]])
        batch = {name: value.to(run.accelerator.device) for name, value in batch.items()}
        pixels, truth = vary(batch, plain=True)
        labels = model(pixels)
        for name, value in {**losses(labels, truth), **told_right(labels, truth)}.items():
            totals.setdefault(name, []).append(float(value))
    model.train()
    trainer.log_row(run, step, {f"heldout_{name}": float(np.nanmean(values)) for name, values in totals.items()})


def told_right(labels: Labels, truth: dict[str, Tensor]) -> dict[str, Tensor]:
    """Share of visible objects whose cells vote for the right word, by attribute; overlap of what is a thing."""
    ids = truth["ids"]
    cells = ids[:, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
    mask = F.one_hot(cells, SLOTS + 1)[..., 1:].float()
    there = mask.sum((1, 2)) > 4
    right = {}
    for name, logits, place in (
        ("kind", labels.kind[:, 1:], 0), ("material", labels.material, 1), ("pattern", labels.pattern, 2),
        ("colour", labels.colour, 3),
    ):  # fmt: skip
        votes = torch.einsum("bchw,bhwk->bkc", logits.log_softmax(1), mask)
        target = truth["things"][..., place]
        known = there & (target != NONE)
        right[f"{name}_right"] = (votes.argmax(-1) == target)[known].float().mean()
    found, true = labels.inside > 0, ids > 0
    right["overlap"] = (found & true).sum() / (found | true).sum()
    for place, name in enumerate(("floor", "background", "time", "style")):
        right[f"{name}_right"] = (getattr(labels, name).argmax(-1) == truth["whole"][:, place]).float().mean()
    return right


if __name__ == "__main__":
    trainer.main("judge", train)
