"""Whether the asked thing obeys Diorama's world: it lasts while hidden, bounces without loss, falls ever faster.

Read from the pixel judge's tracks of clips whose prompts ask for it, so a judge that loses a thing counts against
the clip; the same on true clips tells how often that happens.

| asked                                   | read from the track of the first object                               |
|-----------------------------------------|-----------------------------------------------------------------------|
| pass behind, orbit                      | it is hidden by the second and comes out the same                     |
| bounce, hop left or right, still camera | parabolas of one acceleration between contacts; equal heights         |
| fall, still camera                      | y0 + g (t - t0)² / 2 from release to landing, against a straight line |
"""

import itertools
from dataclasses import dataclass

import numpy as np
from scipy.signal import find_peaks

from .answers import match
from .judge.reading import Reading, Thing
from .questions import COLOURLESS, SIDEWAYS, ExamPrompt

COVERED = 0.5  # of what is seen before and after: less is hidden
BACK = 0.25  # of what is seen before: with more it is out again
LEAST_FRAMES = 7  # of a track that is fitted
LEAST_RISE = 0.15  # of its own height that a thing bounces, or falls
LEAST_WAY = 0.04  # of the picture's height that it bounces, or falls
CONTACT = 0.2  # of its whole range: how much a contact stands out from both sides
LANDED = 0.88  # of the drop; Diorama's rebound stays below
UNDER_WAY = 0.04  # of the drop: past it a thing is falling
LEAST_FALLING = 3  # frames under way
GRID = 8  # tried moments of release per frame
NOISE = 0.1 / 64  # of the picture's height: standard error of a place, so that two perfect fits tie


@dataclass(frozen=True)
class Hiding:
    """What becomes of a thing that should pass behind another."""

    hidden: bool  # seen, and then hidden by the other
    out: bool  # and seen again
    unchanged: bool  # and of the same kind and colour then, with as many things in the picture


@dataclass(frozen=True)
class Bouncing:
    """How a thing bounces."""

    misfit: float  # RMS distance from parabolas of one common acceleration, as a share of the height
    unevenness: float | None  # mean difference of successive apexes, as a share of the height; None: one apex


@dataclass(frozen=True)
class Falling:
    """How a thing falls."""

    evidence: float  # 0: a constant speed fits, 1: a constant acceleration does
    gravity: float  # of the latter, in its own heights per second²


def asks_hiding(prompt: ExamPrompt) -> bool:
    """Whether the first object should be hidden for a while."""
    return prompt.event in ("pass behind", "orbit")


def asks_bouncing(prompt: ExamPrompt) -> bool:
    """Whether the first object should bounce, or hop sideways, all the time before a still camera."""
    first = prompt.objects[0]
    bounces = first.motion == "bounce" or (first.motion == "hop" and first.direction in SIDEWAYS)
    return bounces and not prompt.event and _plain(prompt)


def asks_falling(prompt: ExamPrompt) -> bool:
    """Whether the first object should fall before a still camera, and do nothing else."""
    return prompt.objects[0].motion == "fall" and _plain(prompt)


def _plain(prompt: ExamPrompt) -> bool:
    first = prompt.objects[0]
    return prompt.camera in (None, "static") and first.then is None and first.count in (None, 1)


def subject(reading: Reading, prompt: ExamPrompt) -> Thing | None:
    """The thing that stands for the prompt's first object; None if there is none."""
    return match(reading, prompt.objects)[0]


def hiding(reading: Reading, prompt: ExamPrompt) -> Hiding:
    """What becomes of the first object behind the second.

    It is hidden in the frame in which least of it is seen, if that is at most half of what is seen before (and
    after, if it comes out), and it is at the other's place then. A track that ends there goes on with the most
    alike one that begins later. Kind and colour are the likeliest ones; in styles without colours the kind alone.
    Things count as there if seen in half the frames of the clip's first, or last, third.
    """
    first, second = match(reading, prompt.objects)[:2]
    if first is None or second is None:
        return Hiding(False, False, False)
    before, after = _either_side(first, second, reading)
    area = before.area if before is after else before.area + after.area
    where = _hidden_frame(area)
    if where is None:
        return Hiding(False, False, False)
    early, late = area[:where].max(), area[where + 1 :].max()
    out = late >= BACK * early
    covered = area[where] <= COVERED * (min(early, late) if out else early)
    if not covered or not _at(before, after, second, where):
        return Hiding(False, False, False)
    same = before.kind.argmax() == after.kind.argmax() and (
        prompt.style in COLOURLESS or before.colour.argmax() == after.last_colour.argmax()
    )
    third = max(1, len(area) // 3)
    counts = [
        sum((thing.area[part] > 0).mean() >= 0.5 for thing in reading.things)
        for part in (slice(0, third), slice(-third, None))
    ]
    return Hiding(True, bool(out), bool(out and same and counts[0] == counts[1]))


def _either_side(first: Thing, second: Thing, reading: Reading) -> tuple[Thing, Thing]:
    """The thing before and after it is hidden: one track, or two that follow each other."""
    seen = first.area.nonzero()[0]
    others = [thing for thing in reading.things if thing is not first and thing is not second and thing.presence]
    later = [thing for thing in others if thing.area.nonzero()[0][0] > seen[-1]]
    earlier = [thing for thing in others if thing.area.nonzero()[0][-1] < seen[0]]
    if later and not earlier:
        return first, max(later, key=lambda thing: _likeness(first, thing))
    if earlier:
        return max(earlier, key=lambda thing: _likeness(thing, first)), first
    return first, first


def _likeness(before: Thing, after: Thing) -> float:
    """Overlap of the probabilities of kind and colour (Bhattacharyya), 0 to 2."""
    return float(np.sqrt(before.kind * after.kind).sum() + np.sqrt(before.colour * after.last_colour).sum())


def _hidden_frame(area: np.ndarray) -> int | None:
    """The frame in which most is missing of what is seen before and after; else the one with the least of it."""
    frames = range(1, len(area) - 1)
    if not frames or not area.any():
        return None
    around = np.array([min(area[:n].max(), area[n + 1 :].max()) for n in frames])
    between = int(np.argmax(around - area[1:-1]))
    comes_out = around[between] > 0 and area[1:-1][between] <= COVERED * around[between]
    return frames[between if comes_out else int(np.argmin(area[1:-1]))]


def _at(before: Thing, after: Thing, second: Thing, frame: int) -> bool:
    """Whether the thing, at a frame, is where the second stands, to its own width."""
    x = np.where(before.area > 0, before.centres[:, 0], after.centres[:, 0])
    known = np.isfinite(x).nonzero()[0]
    boxes = [_median_box(thing) for thing in (before, second)]
    widths = sum(box[2] - box[0] for box in boxes)
    apart = np.interp(frame, known, x[known]) - (boxes[1][0] + boxes[1][2]) / 2
    return bool(abs(apart) <= widths / 2)


def _median_box(thing: Thing) -> np.ndarray:
    return np.nanmedian(thing.boxes[thing.area > 0], axis=0)


def bouncing(thing: Thing) -> Bouncing | None:
    """Parabolas fitted to a track between contacts.

    Contacts are the lowest frames (they stand out by a fifth of the whole range); the frames between two are one
    piece of flight, each with its own place and speed, all with one acceleration: y = a_k + b_k t + c t². Frames
    of contact are left out. Heights are shares of the track's range.

    Returns:
        None where nothing bounces: no contact, too little way, or too few frames for the fit.
    """
    times = np.isfinite(thing.centres[:, 1]).nonzero()[0]
    y = thing.centres[times, 1]
    if len(times) < LEAST_FRAMES or not _goes_far(y, thing):
        return None
    span = float(np.ptp(y))
    inside = find_peaks(y, prominence=CONTACT * span)[0]
    contacts = find_peaks(np.pad(y, 1, constant_values=y.min()), prominence=CONTACT * span)[0] - 1
    edges = [-1, *contacts, len(y)]  # at an end, what lies beyond cannot be seen: a low frame there counts too
    pieces = [np.arange(start + 1, end) for start, end in itertools.pairwise(edges) if end - start > 3]
    used = sum(map(len, pieces))
    spare = used - 2 * len(pieces) - 1
    if not len(inside) or spare < 2:
        return None
    table, wanted = np.zeros((used, 2 * len(pieces) + 1)), np.concatenate([y[piece] for piece in pieces])
    middles, row = [float(times[piece].mean()) for piece in pieces], 0
    for number, piece in enumerate(pieces):
        rows = slice(row, row := row + len(piece))
        t = times[piece] - middles[number]
        table[rows, 2 * number], table[rows, 2 * number + 1], table[rows, -1] = 1, t, t**2
    found = np.linalg.lstsq(table, wanted, rcond=None)[0]
    misfit = float(np.sqrt(((table @ found - wanted) ** 2).sum() / spare)) / span
    apexes, bend = [], found[-1]
    for number, piece in enumerate(pieces):
        place, speed = found[2 * number : 2 * number + 2]
        top = -speed / (2 * bend) if bend > 0 else np.inf
        if times[piece[0]] - 0.5 <= top + middles[number] <= times[piece[-1]] + 0.5:
            apexes.append(place - speed**2 / (4 * bend))
    unevenness = float(np.abs(np.diff(apexes)).mean()) / span if len(apexes) > 1 else None
    return Bouncing(misfit, unevenness)


def falling(thing: Thing, step: float) -> Falling | None:
    """Constant acceleration against constant speed, from the clip's start to the landing.

        y = y0 + g max(t - t0, 0)² / 2        y = y0 + v max(t - t0, 0)

    Both begin at rest, at most one frame before the track, and have three parameters; t0 is searched on a grid of
    an eighth of a frame. With their sums of squared residuals G and V,

        evidence = (V + e) / (G + V + 2 e)

    where e is what an error of a tenth of a pixel in 64 makes: with residuals below it neither fits better.

    Args:
        step: seconds between two frames of the track.

    Returns:
        None where nothing falls: too little way down, or under 3 frames between release and landing.
    """
    times = np.isfinite(thing.centres[:, 1]).nonzero()[0]
    y = thing.centres[times, 1]
    if len(times) < LEAST_FRAMES or not _goes_far(y, thing):
        return None
    drop, top = float(np.ptp(y)), float(y.min())
    landing = int((y >= top + LANDED * drop).argmax())
    start = int(y[:landing].argmin()) if landing else 0  # what rises first is not falling yet
    start = 0 if np.ptp(y[: start + 1]) < UNDER_WAY * drop else start
    t, y = times[start:landing] * step, y[start:landing]
    if len(y) < LEAST_FALLING + 1 or (y > top + UNDER_WAY * drop).sum() < LEAST_FALLING:
        return None
    releases = np.arange(t[0] - step, t[-1] - step, step / GRID)
    fits = [[_fit(np.maximum(t - t0, 0) ** power, y) for t0 in releases] for power in (1, 2)]
    line, curve = (min(found, key=lambda each: each[0]) for found in fits)
    error = len(y) * NOISE**2
    evidence = (line[0] + error) / (line[0] + curve[0] + 2 * error)
    return Falling(float(evidence), float(2 * curve[1] / _height(thing)))


def _fit(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Sum of squared residuals and slope of the best y = a + b x."""
    wide = x - x.mean()
    slope = float(wide @ y / max(wide @ wide, 1e-12))
    return float(((y - y.mean() - slope * wide) ** 2).sum()), slope


def _goes_far(y: np.ndarray, thing: Thing) -> bool:
    return float(np.ptp(y)) >= max(LEAST_WAY, LEAST_RISE * _height(thing))


def _height(thing: Thing) -> float:
    """Median height of its box, in shares of the picture's height."""
    box = _median_box(thing)
    return float(box[3] - box[1])
