"""Fits the judge's readers of motion and camera on the tracks that its labeller finds in true clips.

    python -m kinema.eval.judge.fit RUN/judge --out RUN/judge/pixel

reads RUN/judge/final (see `train`) and RUN/judge/clips, and writes the whole judge. The tracks that a labeller
finds are kept in RUN/judge/tracks.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from ...data.diorama.scene import MOVES, TRAVEL, Motion, Scene
from ...data.files import atomic_path
from ...pipeline.provenance import fingerprint
from ..questions import MOTIONS, motion_word
from .clips import FPS, LabelledClips
from .flow import background_flow
from .labeller import FrameLabeller
from .pixel import VERSION, PixelJudge
from .readers import CameraReader, ThingReader, flow_data, track_data
from .reading import DIRECTIONS, SIZES, SPEEDS
from .things import find_instances, frames_tensor, link

NONE = -100  # no label
OWN_SHARE = 0.6  # of a track's pixels must be one object's, for it to be that object
STEADY = ("stand", "travel", "hop", "bounce", "spin", "swing")  # look alike in either half of a clip
BLURRED = 0.4  # share of the clips that are read blurred and noisy
CHUNK = 40


def main(argv: Sequence[str] | None = None) -> None:
    """Find tracks, fit, report, save."""
    parser = argparse.ArgumentParser(
        prog="python -m kinema.eval.judge.fit", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("run", type=Path, help="the labeller's run folder, RUN/judge")
    parser.add_argument("--out", type=Path, default=None, help="default: RUN/judge/pixel")
    parser.add_argument("--clips", type=int, default=8000, help="clips to read, at most")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args(argv)
    train = read_tracks(args.run, "clips", args.clips, args.workers)
    heldout = read_tracks(args.run, "heldout", args.clips, args.workers)
    torch.manual_seed(0)
    things, camera = ThingReader(), CameraReader()
    fit_camera(camera, train, args.epochs * 2)
    fit_things(things, train, args.epochs)
    labeller = FrameLabeller.from_pretrained(args.run / "final")
    assert isinstance(labeller, FrameLabeller)
    report = {"camera": camera_right(camera, heldout), **things_right(things, heldout)}
    out = args.out or args.run / "pixel"
    PixelJudge(labeller, things, camera).save_pretrained(out)
    (out / "heldout.json").write_text(json.dumps(report, indent=1) + "\n")
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


def read_tracks(run: Path, name: str, most: int, workers: int) -> dict[str, Tensor]:
    """Every matched track of the clips in RUN/`name`, in windows of whole and half clips, with its labels.

    Returns:
        numbers (N, T, 12), crops (N, T, 3, 16, 16) uint8, length (N,) frames that count, kind (N, 22), and the
        labels motion, direction, speed, size (N,), -100 where there is none; flows (C, T - 1, 14) and moves (C,)
        of clips.
    """
    clips = LabelledClips(run / name)
    total = min(most, len(clips.scenes))
    labeller = fingerprint([FrameLabeller.from_pretrained(run / "final")])  # type: ignore[list-item]
    path = run / "tracks" / f"{name}-{total}-{VERSION}-{labeller}.npz"
    if not path.is_file():
        tasks = [(run, name, start, min(start + CHUNK, total)) for start in range(0, total, CHUNK)]
        parts: list[dict[str, np.ndarray]] = []
        with (
            tqdm(total=total, desc=f"reading {name}", unit="clip") as bar,
            ProcessPoolExecutor(max(1, workers)) as pool,
        ):
            for part, task in zip(pool.map(_read, tasks), tasks):
                parts.append(part)
                bar.update(task[3] - task[2])
        joined: dict[str, Any] = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **joined)
    with np.load(path) as found:
        return {key: torch.from_numpy(found[key]) for key in found.files}


def _read(task: tuple[Path, str, int, int]) -> dict[str, np.ndarray]:
    torch.set_num_threads(1)
    run, name, start, end = task
    clips = LabelledClips(run / name)
    frames, ids = clips.array("frames"), clips.array("ids")
    labeller = FrameLabeller.from_pretrained(run / "final").eval()  # type: ignore[union-attr]
    rows: dict[str, list[Any]] = {
        key: [] for key in ("numbers", "crops", "length", "kind", "flows", "moves", *HEADS)
    }
    with torch.inference_mode():
        for number in range(start, end):
            scene = clips.scenes[number]
            pixels = _spoilt(frames_tensor(frames[number]), number)
            labels = labeller(pixels)
            maps, shown = background_flow(pixels, labels.inside.sigmoid())
            rows["flows"].append(flow_data(maps, shown, FPS).numpy())
            rows["moves"].append(MOVES.index(scene.camera.move))
            length = len(pixels)
            for track in link(find_instances(labels), pixels.shape[-1]):
                votes = np.zeros(8)
                for n, found in enumerate(track.instances):
                    if found is not None:
                        votes += np.bincount(ids[number, n][found.mask], minlength=8)
                owner = int(votes[1:].argmax())
                if votes[owner + 1] < OWN_SHARE * votes.sum():
                    continue
                data = track_data(track, pixels, maps, FPS)
                middle = length // 2
                for part, (first, last) in enumerate(((0, length), (0, middle + 1), (middle, length))):
                    labels_here = _labels(scene, owner, part)
                    if labels_here["motion"] == NONE:
                        continue
                    window = data.window(first, last)
                    pad = length - (last - first)
                    rows["numbers"].append(F.pad(window.numbers, (0, 0, 0, pad)).numpy())
                    crops = ((window.crops + 1) * 127.5).round().to(torch.uint8)
                    rows["crops"].append(F.pad(crops, (0, 0, 0, 0, 0, 0, 0, pad)).numpy())
                    rows["length"].append(last - first)
                    rows["kind"].append(data.kind.numpy())
                    for key, value in labels_here.items():
                        rows[key].append(value)
    return {key: np.stack(values) if values else np.zeros((0,)) for key, values in rows.items()}


HEADS = ("motion", "direction", "speed", "size")


def _labels(scene: Scene, place: int, part: int) -> dict[str, int]:
    """Labels of an object over the whole clip (part 0) or a half (1, 2); motion -100 where no word fits."""
    thing = scene.objects[place]
    second = scene.second_motions[place] if place < len(scene.second_motions) else None
    events = {place: event.event for event in scene.pair_events for place in (event.first, event.second)}
    motion: Motion | None = thing.motion
    if events.get(place) in ("orbit", "collide", "meet") or (second and part == 0):
        motion = None
    elif part == 2 and second:
        motion = second
    elif part and not second and motion_word(thing.motion.action) not in STEADY:
        motion = None
    if motion is None:
        return {key: NONE for key in HEADS}
    paced = motion.action in TRAVEL or motion.action == "spin"
    resized = motion.action in ("grow", "shrink") or second is not None
    return {
        "motion": MOTIONS.index(motion_word(motion.action)),
        "direction": DIRECTIONS.index(motion.direction) if motion.action in TRAVEL else 0,
        "speed": SPEEDS.index(motion.speed) if paced and not part else NONE,
        "size": NONE if resized else SIZES.index(thing.size),
    }


def _spoilt(pixels: Tensor, number: int) -> Tensor:
    """Some clips blurred and noisy, as a codec or a small model would leave them."""
    generator = torch.Generator().manual_seed(number)
    spoil, amount, strength = torch.rand(3, generator=generator).tolist()
    if spoil > BLURRED:
        return pixels
    small = F.interpolate(pixels, scale_factor=0.5, mode="area")
    blurred = F.interpolate(small, scale_factor=2.0, mode="bilinear", align_corners=False)
    noise = torch.randn(pixels.shape, generator=generator)
    return (torch.lerp(pixels, blurred, amount) + 0.08 * strength * noise).clamp(-1, 1)


def fit_things(model: ThingReader, data: dict[str, Tensor], epochs: int, batch_size: int = 256) -> None:
    """Fit the reader of tracks; half of each batch is mirrored. Whole and half clips go in different batches."""
    weights = {"motion": 1.0, "direction": 0.7, "speed": 0.5, "size": 0.4}
    balance = _balance(data["motion"], len(MOTIONS))

    def loss_of(rows: Tensor) -> Tensor:
        length = int(data["length"][rows[0]])
        numbers = data["numbers"][rows][:, :length].clone()
        crops = data["crops"][rows][:, :length].float() / 127.5 - 1
        direction = data["direction"][rows].clone()
        turned = torch.rand(len(rows)) < 0.5
        numbers[
            turned.nonzero().squeeze(1)[:, None, None],
            torch.arange(length)[None, :, None],
            torch.tensor([0, 2, 6]),
        ] *= -1
        crops[turned] = crops[turned].flip(-1)
        left, right = direction == 1, direction == 2
        direction[turned & left], direction[turned & right] = 2, 1
        said = model(
            numbers + 0.01 * torch.randn_like(numbers), crops + 0.03 * torch.randn_like(crops), data["kind"][rows]
        )
        total = numbers.new_zeros(())
        for head, weight in weights.items():
            target = direction if head == "direction" else data[head][rows]
            if (target != NONE).any():
                total = total + weight * F.cross_entropy(
                    said[head], target, ignore_index=NONE, weight=balance if head == "motion" else None
                )
        return total

    groups = [(data["length"] == length).nonzero().squeeze(1) for length in data["length"].unique()]
    _fit(model, loss_of, groups, epochs, batch_size, "fitting the reader of things")


def fit_camera(model: CameraReader, data: dict[str, Tensor], epochs: int, batch_size: int = 256) -> None:
    """Fit the reader of the background's motion; half of each batch is mirrored."""
    sides = {"left": "right", "right": "left"}
    words = [" ".join(sides.get(word, word) for word in move.split()) for move in MOVES]
    mirrored = torch.tensor([list(MOVES).index(word) for word in words])  # pyright: ignore[reportArgumentType]
    sign = torch.ones(14)
    sign[[1, 2, 3, 8, 9, 10]] = -1
    balance = _balance(data["moves"], len(MOVES))

    def loss_of(rows: Tensor) -> Tensor:
        flows, moves = data["flows"][rows], data["moves"][rows]
        turned = torch.rand(len(rows)) < 0.5
        flows = torch.where(turned[:, None, None], flows * sign, flows)
        moves = torch.where(turned, mirrored[moves], moves)
        return F.cross_entropy(model(flows + 0.01 * torch.randn_like(flows)), moves, weight=balance)

    _fit(
        model, loss_of, [torch.arange(len(data["moves"]))], epochs, batch_size, "fitting the reader of the camera"
    )


def _balance(labels: Tensor, words: int) -> Tensor:
    """Weights that go half the way to counting every word alike."""
    counts = torch.bincount(labels[labels >= 0], minlength=words).clamp(min=1).float()
    return (counts.mean() / counts) ** 0.5


def _fit(model: nn.Module, loss_of: Any, groups: list[Tensor], epochs: int, batch_size: int, title: str) -> None:
    batches = [(group, start) for group in groups for start in range(0, len(group), batch_size)]
    total = epochs * len(batches)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=total, pct_start=0.1)
    model.train()
    with tqdm(total=total, desc=title, unit="step") as bar:
        for _ in range(epochs):
            orders = {id(group): group[torch.randperm(len(group))] for group in groups}
            for n in torch.randperm(len(batches)).tolist():
                group, start = batches[n]
                loss = loss_of(orders[id(group)][start : start + batch_size])
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                bar.update()
                bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    model.eval()


@torch.inference_mode()
def things_right(model: ThingReader, data: dict[str, Tensor]) -> dict[str, float]:
    """Share of held-out tracks that are read right, over whole clips and halves."""
    right: dict[str, float] = {}
    for length in data["length"].unique():
        rows = (data["length"] == length).nonzero().squeeze(1)
        said = model(
            data["numbers"][rows][:, :length],
            data["crops"][rows][:, :length].float() / 127.5 - 1,
            data["kind"][rows],
        )
        for head in HEADS:
            known = data[head][rows] != NONE
            if known.any():
                share = (said[head].argmax(-1) == data[head][rows])[known].float().mean()
                right[f"{head} over {int(length)} frames"] = round(float(share), 4)
    return right


@torch.inference_mode()
def camera_right(model: CameraReader, data: dict[str, Tensor]) -> float:
    """Share of held-out clips whose camera move is read right."""
    return round(float((model(data["flows"]).argmax(-1) == data["moves"]).float().mean()), 4)


if __name__ == "__main__":
    main()
