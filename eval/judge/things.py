"""From per-frame labels to tracked things: instances in each frame, linked through the clip."""

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import label as components
from scipy.optimize import linear_sum_assignment

from .labeller import ARROW_UNIT, STRIDE, Labels

LEAST_PIXELS = 8  # of an instance
LEAST_PEAK = 0.35  # probability of a centre
PEAK_ROOM = 5.0  # pixels between two centres
FARTHEST = 9.0  # pixels from where a pixel's arrow ends to the centre that it counts for
LEAST_PRESENCE = 0.3  # share of the frames in which a thing must be seen
LEAST_MEAN = 16  # pixels of a thing, on the mean of the frames that show it
SHARED = 0.5  # of a track's frames: pieces of one thing are seen together in fewer
ALIKE = 0.5  # likeness of two colours (Bhattacharyya), from which pieces may be one thing
FARTHEST_JUMP = 0.22  # of the picture's shorter side, between two frames; more for each frame unseen


@dataclass(frozen=True)
class Instance:
    """One thing in one frame. Log-probabilities are means over its pixels."""

    mask: np.ndarray  # (H, W) bool
    spot: np.ndarray  # (2,) x, y in pixels: where its pixels say its centre is, hidden parts included
    kind: np.ndarray  # (22,)
    colour: np.ndarray  # (12,)
    material: np.ndarray  # (4,)
    pattern: np.ndarray  # (4,)

    @property
    def pixels(self) -> int:
        """How many pixels of it are seen."""
        return int(self.mask.sum())


@dataclass
class Track:
    """One thing through a clip of T frames; None where it is not seen."""

    length: int
    instances: list[Instance | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.instances = self.instances or [None] * self.length

    @property
    def presence(self) -> float:
        """Share of the frames in which it is seen."""
        return sum(found is not None for found in self.instances) / self.length

    @property
    def mean_pixels(self) -> float:
        """How many pixels of it are seen, on the mean of the frames that show it."""
        return float(np.mean([found.pixels for found in self.instances if found is not None]))

    def mean(self, name: str, first: int = 0, last: int | None = None) -> np.ndarray:
        """Probabilities from the mean log-probabilities of frames first … last, large views counting more."""
        found = [i for i in self.instances[first:last] if i is not None] or [
            i for i in self.instances if i is not None
        ]
        weights = np.array([i.pixels for i in found], float) ** 0.5
        logs = np.average([getattr(i, name) for i in found], axis=0, weights=weights)
        values = np.exp(logs - logs.max())
        return values / values.sum()


def find_instances(labels: Labels) -> list[list[Instance]]:
    """The instances of every frame."""
    inside = (labels.inside > 0).cpu().numpy()
    heat = labels.centre.sigmoid()
    peak = (F.max_pool2d(heat[:, None], 5, stride=1, padding=2)[:, 0] == heat) & (heat > LEAST_PEAK)
    arrows = _full_size(labels.arrow)
    maps = {
        name: _full_size(logits.log_softmax(1))
        for name, logits in (
            ("kind", labels.kind[:, 1:]), ("colour", labels.colour), ("material", labels.material),
            ("pattern", labels.pattern),
        )
    }  # fmt: skip
    peaks, heat = peak.cpu().numpy(), heat.cpu().numpy()
    return [
        _instances(inside[n], arrows[n] * ARROW_UNIT, peaks[n], heat[n], {k: v[n] for k, v in maps.items()})
        for n in range(len(inside))
    ]


def _full_size(maps: torch.Tensor) -> np.ndarray:
    return F.interpolate(maps, scale_factor=STRIDE, mode="bilinear", align_corners=False).cpu().numpy()


def _instances(
    inside: np.ndarray, arrow: np.ndarray, peaks: np.ndarray, heat: np.ndarray, maps: dict[str, np.ndarray]
) -> list[Instance]:
    rows, columns = inside.nonzero()
    if len(rows) < LEAST_PIXELS:
        return []
    ends = np.stack([columns + 0.5 + arrow[0, rows, columns], rows + 0.5 + arrow[1, rows, columns]], 1)  # (N, 2)
    spots = _spots(peaks, heat)
    owner = np.full(len(rows), -1)
    if len(spots):
        gaps = np.linalg.norm(ends[:, None] - spots[None], axis=-1)
        owner = np.where(gaps.min(1) < FARTHEST, gaps.argmin(1), -1)
    masks = []
    for number in range(len(spots)):
        masks.append(_mask(inside.shape, rows, columns, owner == number))
    lost = _mask(inside.shape, rows, columns, owner == -1)
    parts, count = components(lost)  # pyright: ignore[reportGeneralTypeIssues]
    masks += [parts == number + 1 for number in range(count)]
    found = []
    for mask in masks:
        if mask.sum() < LEAST_PIXELS:
            continue
        own = mask[rows, columns]
        logs = {name: values[:, mask].mean(1) for name, values in maps.items()}
        found.append(Instance(mask=mask, spot=np.median(ends[own], axis=0), **logs))
    return found


def _spots(peaks: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """(n, 2) x, y in pixels of the centres, the surest of each neighbourhood."""
    rows, columns = peaks.nonzero()
    kept: list[np.ndarray] = []
    for n in np.argsort(-heat[rows, columns]):
        spot = np.array([columns[n] + 0.5, rows[n] + 0.5]) * STRIDE
        if all(np.linalg.norm(spot - other) > PEAK_ROOM for other in kept):
            kept.append(spot)
    return np.array(kept).reshape(-1, 2)


def _mask(shape: tuple[int, ...], rows: np.ndarray, columns: np.ndarray, own: np.ndarray) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[rows[own], columns[own]] = True
    return mask


def link(frames: list[list[Instance]], side: int) -> list[Track]:
    """Tracks of the instances, most visible first; what is seen only briefly is left out.

    Neighbouring frames are matched so that the sum of distances and disagreements over kind and colour is least
    (the Hungarian method); a thing that was hidden is found again near where it was heading.

    Args:
        frames: instances of each frame.
        side: shorter side of the picture in pixels.
    """
    tracks: list[Track] = []
    for time, found in enumerate(frames):
        if tracks and found:
            costs = np.array([[_cost(track, instance, time, side) for instance in found] for track in tracks])
            rows, columns = linear_sum_assignment(np.minimum(costs, 1e3))
            pairs = {int(c): int(r) for r, c in zip(rows, columns) if costs[r, c] < 1}
        else:
            pairs = {}
        for number, instance in enumerate(found):
            if number in pairs:
                tracks[pairs[number]].instances[time] = instance
            else:
                tracks.append(Track(len(frames)))
                tracks[-1].instances[time] = instance
    tracks = _joined(tracks, side)
    tracks = [t for t in tracks if t.presence >= LEAST_PRESENCE and t.mean_pixels >= LEAST_MEAN]
    return sorted(tracks, key=lambda track: -sum(i.pixels for i in track.instances if i is not None))


def _joined(tracks: list[Track], side: int) -> list[Track]:
    """Pieces of one thing put together: of the same colour, beside each other, and seldom seen at the same time.

    A smeared thing comes apart into two here and there; two things that are really there are both seen most of the
    time.
    """
    kept: list[Track] = []
    for track in sorted(tracks, key=lambda t: -t.presence):
        for whole in kept:
            if _same(whole, track, side):
                for time, found in enumerate(track.instances):
                    if found is not None:
                        whole.instances[time] = _united(whole.instances[time], found)
                break
        else:
            kept.append(track)
    return kept


def _same(whole: Track, piece: Track, side: int) -> bool:
    times = [n for n, found in enumerate(piece.instances) if found is not None]
    both = [n for n in times if whole.instances[n] is not None]
    if len(both) > SHARED * len(times):
        return False
    if float(np.sqrt(whole.mean("colour") * piece.mean("colour")).sum()) < ALIKE:
        return False
    seen = np.array([n for n, found in enumerate(whole.instances) if found is not None])
    gaps = []
    for n in times:
        near = int(seen[np.abs(seen - n).argmin()])
        one, two = whole.instances[near], piece.instances[n]
        assert one is not None and two is not None
        reach = (one.pixels**0.5 + two.pixels**0.5) / 2 + FARTHEST_JUMP * side * 0.5 * abs(near - n)
        gaps.append(np.linalg.norm(one.spot - two.spot) / reach)
    return float(np.median(gaps)) < 1.2


def _united(one: Instance | None, two: Instance) -> Instance:
    """Two pieces as one instance; each counts by its pixels."""
    if one is None:
        return two
    share = one.pixels / (one.pixels + two.pixels)
    mixed = {
        name: share * getattr(one, name) + (1 - share) * getattr(two, name)
        for name in ("spot", "kind", "colour", "material", "pattern")
    }
    return Instance(mask=one.mask | two.mask, **mixed)


def _cost(track: Track, instance: Instance, time: int, side: int) -> float:
    """Below 1: may be the same thing."""
    seen = [(n, i) for n, i in enumerate(track.instances[:time]) if i is not None]
    last, before = seen[-1], seen[max(0, len(seen) - 4)]
    steps = last[0] - before[0]
    speed = (last[1].spot - before[1].spot) / steps if steps else np.zeros(2)
    ahead = time - last[0]
    gap = min(
        np.linalg.norm(instance.spot - last[1].spot - ahead * speed), np.linalg.norm(instance.spot - last[1].spot)
    )
    room = FARTHEST_JUMP * side * (1 + 0.15 * (ahead - 1))
    unlike = 1 - float(np.sqrt(np.exp(last[1].kind) * np.exp(instance.kind)).sum())
    other = 1 - float(np.sqrt(np.exp(last[1].colour) * np.exp(instance.colour)).sum())
    return float(0.75 * gap / room + 0.2 * unlike + 0.2 * other) + (10.0 if gap > room else 0.0)


def frames_tensor(frames: np.ndarray) -> torch.Tensor:
    """uint8 (T, H, W, 3) as (T, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.array(frames)).permute(0, 3, 1, 2).float() / 127.5 - 1
