"""How much a clip moves, how much of that is the camera's doing, and what the camera does.

Between two frames a short while apart the camera's move is the one similarity transform (shift, zoom and roll)
that explains most of the picture: Gauss-Newton on brightness differences (Lucas and Kanade 1981; Baker and
Matthews 2004) with Tukey's biweight (Beaton and Tukey 1974), so that what moves by itself is left out; from
several first guesses, of which the one that explains most wins. A still camera is believed first. All motion is
also measured as dense optical flow (DIS, Kroeger et al. 2016).

Lengths are shares of the picture's diagonal; x is right, y is down.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import cv2
import numpy as np

SIDE = 160  # pixels of the long side that motion is looked at in; smaller pictures are enlarged
SMOOTH = 0.8  # pixels; without it a shift by part of a pixel is overestimated
LEVELS = (4, 2, 1)  # shrinking at each level of the pyramid
ROUNDS = (8, 6, 4)  # of Gauss-Newton at each
NOISE = 1.0  # levels of 255 by which a pixel differs though it shows the same
GAIN = 0.004  # share of the picture that a moving camera must explain beyond what a still one does
CUT_OFF = 4.685  # of Tukey's biweight, in standard deviations
DAMPING = 1e-3  # of the largest direction: keeps what the picture does not show from drifting
SPREAD = 12**-0.5  # root mean square distance from the centre of a rectangle, in its diagonals

SLOW = 0.02  # diagonals a second; below, frames further apart tell more than neighbours
LARGEST = 0.7  # diagonals, or change of scale, between two frames; more is no camera

STILL = 0.006  # diagonals a second; a camera that moves less is static
STEADY = 0.5  # share of a camera's motion that must go one way, or it shakes
CLEAR = 0.8  # share of that which one kind of move must have, or it is mixed


class Step(NamedTuple):
    """Motion between two frames, a second."""

    motion: float  # mean length of all motion
    camera: np.ndarray  # (4,) of the camera: zoom, roll (at the spread from the centre), right, down
    explained: float  # share of the picture that the camera's move explains, 0 to 1


class Motion(NamedTuple):
    """Motion of a clip."""

    motion: float | None  # mean length of all motion, diagonals a second; None of a single frame
    camera: float | None  # of that, what the camera's move explains
    camera_move: str | None  # static, pan left|right, tilt up|down, zoom in|out, roll or mixed


def measure_motion(pictures: np.ndarray, times: np.ndarray, near: Sequence[tuple[int, int]]) -> Motion:
    """Motion of a clip from pairs of frames.

    Args:
        pictures: grey frames, uint8 (T, H, W).
        times: (T,) seconds.
        near: pairs of places in those of frames about a tenth of a second apart. Where they hardly differ, the
            first of each pair and the first of the next are compared, too.
    """
    pictures = _sized(pictures)

    def steps(pairs: Sequence[tuple[int, int]]) -> list[Step]:
        return [measure_step(pictures[a], pictures[b], float(times[b] - times[a])) for a, b in pairs]

    found = steps([pair for pair in near if times[pair[1]] > times[pair[0]]])
    if not found:
        return Motion(None, None, None)
    if np.mean([step.motion for step in found]) < SLOW and len(near) > 1:
        firsts = [first for first, _ in near]
        found = steps([pair for pair in pairwise(firsts) if times[pair[1]] > times[pair[0]]]) or found
    motion = float(np.mean([step.motion for step in found]))
    weight = np.array([step.explained for step in found]) + 1e-6  # a step that shows little counts little
    camera = np.array([step.camera for step in found])
    return Motion(motion, float(np.average(speeds(camera), weights=weight)), camera_word(camera, weight))


def camera_word(camera: np.ndarray, weight: np.ndarray | None = None) -> str:
    """What the camera does, from its motion in several steps (N, 4), and how much each counts (N,)."""
    total, mean = np.average(speeds(camera), weights=weight), np.average(camera, axis=0, weights=weight)
    way = speeds(mean[None])[0]
    if max(way, total * STEADY) < STILL:
        return "static"
    zoom, roll, right, down = mean
    kinds = {
        "zoom in" if zoom > 0 else "zoom out": abs(zoom),
        "roll": abs(roll),
        "pan left" if right > 0 else "pan right": abs(right),  # what is shown goes the other way
        "tilt up" if down > 0 else "tilt down": abs(down),
    }
    word = max(kinds, key=lambda kind: kinds[kind])
    return word if way >= STEADY * total and kinds[word] >= CLEAR * way else "mixed"


def speeds(camera: np.ndarray) -> np.ndarray:
    """Root mean square length (N,) over the picture of camera motions (N, 4)."""
    return np.sqrt((camera**2).sum(-1))


def measure_step(before: np.ndarray, after: np.ndarray, seconds: float) -> Step:
    """Motion between two grey pictures, uint8 (H, W), of at least `SIDE` pixels."""
    height, width = before.shape
    diagonal = float(np.hypot(height, width))
    dense: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    guesses = [np.zeros(4), _shift(before, after), _of_flow(dense.calc(before, after, None))]
    explained, found = _best_fit(before, after, guesses)
    flow = dense.calc(
        before, after, _as_flow(found, (height, width))
    )  # from the camera's move on: a fast one is found
    return Step(
        float(np.hypot(flow[..., 0], flow[..., 1]).mean()) / diagonal / seconds,
        found * np.array([SPREAD, SPREAD, 1, 1]) / seconds,
        explained,
    )


def _sized(pictures: np.ndarray) -> np.ndarray:
    height, width = pictures.shape[1:]
    scale = SIDE / max(height, width)
    size = max(16, round(width * scale)), max(16, round(height * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.stack(
        [cv2.GaussianBlur(cv2.resize(picture, size, interpolation=method), (0, 0), SMOOTH) for picture in pictures]
    )


def _places(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """x (1, W) and y (H, 1) of pixels, in diagonals from the centre."""
    diagonal = np.hypot(height, width)
    x = (np.arange(width, dtype=np.float32) - (width - 1) / 2) / diagonal
    y = (np.arange(height, dtype=np.float32) - (height - 1) / 2) / diagonal
    return x[None], y[:, None]


def _shift(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """First guess: the shift of the whole, by phase correlation."""
    window = cv2.createHanningWindow(before.shape[::-1], cv2.CV_32F)
    (right, down), _ = cv2.phaseCorrelate(before.astype(np.float32), after.astype(np.float32), window)
    return np.array([0.0, 0.0, right, down]) / [1, 1, *[np.hypot(*before.shape)] * 2]


def _of_flow(flow: np.ndarray) -> np.ndarray:
    """First guess: the similarity transform that most of the flow follows."""
    height, width = flow.shape[:2]
    x, y = _places(height, width)
    start = np.stack(np.broadcast_arrays(x, y), -1)[4::8, 4::8].reshape(-1, 2).astype(np.float32)
    end = start + flow[4::8, 4::8].reshape(-1, 2) / np.hypot(height, width)
    matrix: Any
    matrix, _ = cv2.estimateAffinePartial2D(
        start, end.astype(np.float32), method=cv2.RANSAC, ransacReprojThreshold=1 / np.hypot(height, width)
    )
    if matrix is None:
        return np.zeros(4)
    return np.array([matrix[0, 0] - 1, matrix[1, 0], matrix[0, 2], matrix[1, 2]])


def _as_flow(move: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    height, width = shape
    x, y = _places(height, width)
    zoom, roll, right, down = move
    flow = np.stack(np.broadcast_arrays(zoom * x - roll * y + right, roll * x + zoom * y + down), -1)
    return (flow * np.hypot(height, width)).astype(np.float32)


def _best_fit(before: np.ndarray, after: np.ndarray, guesses: Sequence[np.ndarray]) -> tuple[float, np.ndarray]:
    """(share explained, (zoom, roll, right, down)) of the transform that explains most; guesses are told apart in
    the small picture, and only the best is made exact.
    """
    best = 0.0, np.zeros(4)
    for shrink, rounds in zip(LEVELS, ROUNDS):
        size = before.shape[1] // shrink, before.shape[0] // shrink
        one, two = (cv2.resize(p, size, interpolation=cv2.INTER_AREA).astype(np.float32) for p in (before, after))
        best = max((_fit(one, two, guess, rounds) for guess in guesses), key=lambda fit: fit[0])
        guesses = [best[1]]
        still = _explained(one, two, np.zeros(4))
        if shrink == LEVELS[-1] and still + GAIN > best[0]:
            best = still, np.zeros(4)
    return best


def _explained(one: np.ndarray, two: np.ndarray, move: np.ndarray) -> float:
    _, wrong, inside = _difference(one, two, move, float(np.hypot(*one.shape)))
    return float(np.where(inside, _tukey(wrong, NOISE), 0).mean())


def _fit(one: np.ndarray, two: np.ndarray, guess: np.ndarray, rounds: int) -> tuple[float, np.ndarray]:
    """Gauss-Newton from a guess on."""
    height, width = one.shape
    diagonal, (x, y) = float(np.hypot(height, width)), _places(height, width)
    found = guess.copy()
    for _ in range(rounds):
        warped, wrong, inside = _difference(one, two, found, diagonal)
        sigma = max(NOISE, 1.4826 * float(np.median(np.abs(wrong)[inside])))
        weight = np.where(inside, _tukey(wrong, sigma), 0).ravel()
        slope_x = cv2.Sobel(warped, cv2.CV_32F, 1, 0, scale=diagonal / 8)
        slope_y = cv2.Sobel(warped, cv2.CV_32F, 0, 1, scale=diagonal / 8)
        slopes = np.stack([slope_x * x + slope_y * y, slope_y * x - slope_x * y, slope_x, slope_y]).reshape(4, -1)
        weighted = slopes * weight
        square = (weighted @ slopes.T).astype(np.float64)
        square += np.diag([SPREAD**2, SPREAD**2, 1, 1]) * (DAMPING * square.trace() + 1e-6)
        step = np.linalg.solve(square, weighted @ wrong.ravel())
        found = found - step
        if np.abs(found).max() > LARGEST:
            return 0.0, np.zeros(4)
        if np.abs(step).max() * diagonal < 0.01:
            break
    return _explained(one, two, found), found


def _difference(
    one: np.ndarray, two: np.ndarray, move: np.ndarray, diagonal: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The second picture brought back onto the first, what is left between them, and where both are."""
    warped, inside = _warp(two, move, diagonal)
    wrong = warped - one
    if inside.any():
        wrong -= np.median(wrong[inside])  # a change of exposure is no motion
    else:
        inside = np.ones_like(inside)
    return warped, wrong, inside


def _tukey(wrong: np.ndarray, sigma: float) -> np.ndarray:
    return np.clip(1 - (wrong / (CUT_OFF * sigma)) ** 2, 0, None) ** 2


def _warp(picture: np.ndarray, move: np.ndarray, diagonal: float) -> tuple[np.ndarray, np.ndarray]:
    """The second picture brought back onto the first, and which pixels it has."""
    height, width = picture.shape
    zoom, roll, right, down = move
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    turn = np.array([[1 + zoom, -roll], [roll, 1 + zoom]])
    matrix = np.column_stack([turn, centre - turn @ centre + np.array([right, down]) * diagonal])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(picture, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    ones = np.ones(picture.shape, np.float32)
    inside = cv2.warpAffine(ones, matrix, (width, height), flags=flags, borderValue=0) > 0.99
    return warped, inside
