"""The object of a clip, found from pixels alone: which pixels are not the surroundings.

No model is trained and no prompt is read. Two facts about simple scenes do the work. With a still camera the
surroundings are what each row of the picture shows at its left and right ends most of the time; and the object
is one region, connected through time, whose colours those ends lack. A first guess by that contrast is sharpened
a few times over: colours of the object (one set for the clip) are held against colours of the surroundings (one
set per row), and each pixel goes to the likelier. That is GrabCut (Rother et al. 2004) with histograms and a local
mean in place of mixtures and the graph cut. Rows, because ground and sky change with height, hardly along it.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F

CELL = 3.0  # Lab units: side of a colour cell; grown where a clip has more cells than the next line allows
MOST_CELLS = 8_000
MERGED = 4 / 3  # side of an object colour cell, in colour cells
WIDTH = 5.0  # Lab units: width of the kernel round a colour of the surroundings
OBJECT_WIDTH = 6.0  # Lab units: likewise of the object
EDGE = 0.75  # the outer columns beyond this share of the half width are believed to show surroundings
ELSEWHERE = 0.05  # belief in the other columns
STEADY = 12.0  # Lab units (sum of differences) within which a pixel counts as steady in time
SURPRISE = 2.0  # nats under the surroundings' colours that make a first guess
SMALLEST = 0.01  # share of the pixels below which the first guess is widened
ROUNDS = 6
REACH = 6  # pixels that a region may grow in one round
SURE = 2.0  # nats of odds that may join from anywhere
BIAS = -0.5  # nats against the object: without it the edge pixels, a blend of both, all join it
NEAR_ROWS = 8  # rows above and below that also tell what a row's surroundings may look like (checks, clouds)
NEAR_SHARE = 0.3  # how much they tell
_FLOOR = 1e-6  # least density


@dataclass(frozen=True)
class Foreground:
    """The most salient region of a clip."""

    mask: np.ndarray  # (T, H, W) bool
    salience: float  # mean surprise of its pixels under the surroundings' colours, nats
    lab: np.ndarray  # (T, H, W, 3) float32: the clip in CIE Lab


def to_lab(frames: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of sRGB frames: uint8 (…, 3) to float32 (…, 3). IEC 61966-2-1, CIE 15:2004."""
    stored = np.arange(256, dtype=np.float32) / 255
    table = np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4).astype(np.float32)
    matrix = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    xyz = table[frames] @ (matrix / np.array([[0.95047], [1.0], [1.08883]])).T.astype(np.float32)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


def find_object(frames: np.ndarray) -> Foreground:
    """The region that stands out most from its surroundings; its mask is empty if nothing does.

    Args:
        frames: uint8 (T, H, W, 3), about 64 pixels on the shorter side (`pixels.measure` shrinks larger clips).
    """
    lab = to_lab(frames)
    count, _, width, _ = lab.shape
    across = np.abs(np.linspace(-1, 1, width, dtype=np.float32))
    centred = 1 - 0.5 * across**2
    colours = _Colours(lab)

    steady = np.abs(lab - np.median(lab, 0)).sum(-1) < STEADY
    belief = ELSEWHERE + (across > EDGE)
    surprise = _local_mean(-colours.surroundings(belief * steady))
    mask = _main_region(surprise > SURPRISE, np.minimum(surprise, 2 * SURPRISE) * centred)
    if mask.mean() < SMALLEST:  # it differs little: believe the strongest hints
        level = float(np.clip(np.quantile(surprise, 0.97), 0.7, SURPRISE))
        mask = _main_region(surprise > level, surprise * centred)
    for _ in range(ROUNDS):
        if mask.sum() < count:
            break
        outside = ~_grown(mask, 1)
        odds = colours.object(mask) - colours.surroundings(belief * outside)
        odds = _local_mean(np.clip(odds, -8, 8) + BIAS)
        allowed = (odds > 0) & (_grown(mask, REACH) | (odds > SURE))
        last, mask = mask, _main_region(allowed, np.maximum(odds, 0) * centred)
        if np.array_equal(last, mask):
            break
    return Foreground(mask, float(surprise[mask].mean()) if mask.any() else 0.0, lab)


class _Colours:
    """The clip's colours, gathered into cells of each row so that densities are sums over few colours."""

    def __init__(self, lab: np.ndarray):
        count, height, width, _ = lab.shape
        row = np.arange(height)[None, :, None]
        side = CELL
        cells, place = np.unique((row << 24) + _keys(lab, side), return_inverse=True)
        while len(cells) > MOST_CELLS:  # noise has every colour: fine cells would cost gigabytes and tell no more
            side *= 1.5
            cells, place = np.unique((row << 24) + _keys(lab, side), return_inverse=True)
        self._place = place.reshape(count, height, width)
        self._number = len(cells)
        size = np.bincount(place.ravel(), minlength=self._number)
        colour = np.stack([np.bincount(place.ravel(), lab[..., k].ravel()) / size for k in range(3)], 1)
        ends = np.searchsorted(cells >> 24, np.arange(height + 1))
        self._rows = [slice(start, end) for start, end in pairwise(ends)]
        self._row_kernels = [_kernel(colour[row], colour[row], WIDTH) for row in self._rows]
        # Colours of the object are compared over all rows, so the cells of different rows are merged.
        merged, self._merged = np.unique(_keys(colour, side * MERGED), return_inverse=True)
        share = np.bincount(self._merged, minlength=len(merged))
        centre = np.stack([np.bincount(self._merged, colour[:, k]) / share for k in range(3)], 1)
        self._object_kernel = _kernel(colour, centre, OBJECT_WIDTH)

    def surroundings(self, weight: np.ndarray) -> np.ndarray:
        """Log density (T, H, W) of each pixel's colour among its row's colours, weighted by (T, H, W) or (W,)."""
        share = self._gather(weight)
        density = np.empty(self._number, np.float32)
        merged = np.zeros((len(self._rows) + 1, self._object_kernel.shape[1]), np.float32)  # summed from the top
        for number, (row, kernel) in enumerate(zip(self._rows, self._row_kernels)):
            density[row] = kernel @ share[row] / max(share[row].sum(), 1e-9)
            merged[number + 1] = np.bincount(self._merged[row], share[row], merged.shape[1])
        merged = np.cumsum(merged, 0)
        last = len(self._rows)
        for number, row in enumerate(self._rows):
            near = merged[min(number + NEAR_ROWS + 1, last)] - merged[max(number - NEAR_ROWS, 0)]
            density[row] *= 1 - NEAR_SHARE
            density[row] += NEAR_SHARE * (self._object_kernel[row] @ (near / max(near.sum(), 1e-9)))
        return np.log(density + _FLOOR)[self._place]

    def object(self, mask: np.ndarray) -> np.ndarray:
        """Log density (T, H, W) of each pixel's colour among the colours under the mask (T, H, W), of all rows."""
        share = np.bincount(self._merged, self._gather(mask)).astype(np.float32)
        return np.log(self._object_kernel @ (share / share.sum()) + _FLOOR)[self._place]

    def _gather(self, weight: np.ndarray) -> np.ndarray:
        weight = np.broadcast_to(weight, self._place.shape)
        return np.bincount(self._place.ravel(), weight.ravel(), self._number).astype(np.float32)


def _keys(lab: np.ndarray, cell: float) -> np.ndarray:
    """One whole number per colour cell, below 2 ** 24."""
    q = np.round(lab / cell).astype(np.int64) + 64
    return (q[..., 0] << 16) + (q[..., 1] << 8) + q[..., 2]


def _kernel(points: np.ndarray, centres: np.ndarray, width: float) -> np.ndarray:
    """exp(-d² / 2 width²) of every point (N, 3) to every centre (M, 3): (N, M) float32."""
    squares = (points**2).sum(1)[:, None] + (centres**2).sum(1)[None] - 2 * points @ centres.T
    return np.exp(squares.clip(min=0).astype(np.float32) * np.float32(-0.5 / width**2))


def _main_region(mask: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The connected region in (T, H, W) with the greatest sum of `weight`."""
    labels = _connected(mask)
    mass = np.bincount(labels.ravel(), weight.ravel())
    mass[0] = 0
    return (labels == mass.argmax()) & mask


def _connected(mask: np.ndarray) -> np.ndarray:
    """Labels of the connected regions of (T, H, W), 0 outside: pixels touch in space, or in time at one place."""
    number = np.cumsum(mask).reshape(mask.shape) * mask  # 1 … N inside
    pairs = []
    for t, y, x in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1), (0, 1, -1)):
        first = number[: len(number) - t, : number.shape[1] - y, max(0, -x) : number.shape[2] - max(0, x)]
        second = number[t:, y:, max(0, x) : number.shape[2] - max(0, -x)]
        both = (first > 0) & (second > 0)
        pairs.append((first[both], second[both]))
    one, two = (np.concatenate(ends) for ends in zip(*pairs))
    label = np.arange(number.max() + 1)
    while True:  # hook the higher label of each touching pair to the lower, then follow the hooks to their ends
        low, high = np.minimum(label[one], label[two]), np.maximum(label[one], label[two])
        apart = low < high
        if not apart.any():
            return label[number]
        label[high[apart]] = low[apart]
        while not np.array_equal(further := label[label], label):
            label = further


def _local_mean(values: np.ndarray) -> np.ndarray:
    """Mean over 3 × 3 pixels, per frame."""
    padded = F.pad(torch.from_numpy(values)[None].float(), (1, 1, 1, 1), mode="replicate")
    return F.avg_pool2d(padded, 3, 1)[0].numpy()


def _grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    """The mask with every pixel within `pixels` of it, per frame."""
    side = 2 * pixels + 1
    grown = F.max_pool2d(torch.from_numpy(mask)[None].float(), (1, side), 1, (0, pixels))
    return F.max_pool2d(grown, (side, 1), 1, (pixels, 0))[0].numpy() > 0
