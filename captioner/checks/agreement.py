"""Does a caption agree with what was measured: the camera's move, and the colours of the pixels?

A caption that is silent about either is fine. Only clear contradictions count: the measurement is not perfect, and
many moves look alike ("orbits", "follows" and "handheld" may measure as anything but nothing).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..signals.colours import colour_shares
from .grounding import COLOURS
from .sentences import split_sentences

ABSENT = 1e-4  # share of the pixels; a colour with less covers none, compression's noise aside
SATURATED = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")  # the others are everywhere
_SIDES = {"leftward": "left", "leftwards": "left", "rightward": "right", "rightwards": "right"}
_WAY = r"(?:\s+(?:slowly|quickly|gently|smoothly|slightly|steadily|back|around|over|across|from|to|the|its))*"
_SIDE = rf"{_WAY}\s+(left|right|leftwards?|rightwards?)\b"
_NOT = re.compile(r"\b(?:no|not|never|without|n['’]t)\b|n['’]t\b")

# What a phrase claims of the camera; one with a group takes its side from it. The first that matches counts.
_CLAIMS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), move)
    for pattern, move in (
        (
            r"camera (?:does|do|did) ?(?:not|n['’]t) (?:move|pan|tilt|zoom)|camera is(?: not|n['’]t) moving",
            "static",
        ),
        (
            r"(?:static|stationary|fixed|still|motionless|locked(?:-| )off|unmoving) (?:camera|shot|frame|view)",
            "static",
        ),
        (r"(?:no camera (?:movement|motion)|tripod shot)", "static"),
        (
            r"camera (?:is|remains?|stays?|holds?|stands?|kept|keeps?)(?: \w+ly)? "
            r"(?:static|stationary|fixed|still|motionless|steady|unmoving|in place)",
            "static",
        ),
        (rf"\b(?:pan(?:s|ned|ning)?|camera turn(?:s|ed|ing)?|camera swing(?:s|ing)?){_SIDE}", "pan"),
        (r"\b(left|right)ward pan\b", "pan"),
        (rf"\btilt(?:s|ed|ing)?{_WAY}\s+(up|down)(?:wards?)?\b", "tilt"),
        (rf"\bcamera look(?:s|ed|ing)?{_WAY}\s+(up|down)(?:wards?)?\b", "tilt"),
        (rf"\bzoom(?:s|ed|ing)?{_WAY}\s+(in|out)\b", "zoom"),
        (
            r"\bcamera (?:is )?(?:doll(?:y|ies|ying)|mov(?:es|ing)|push(?:es|ing)|com(?:es|ing)) "
            r"(?:in\b|closer|forward)",
            "zoom in",
        ),
        (
            r"\bcamera (?:is )?(?:(?:doll(?:y|ies|ying)|mov(?:es|ing)|pull(?:s|ing)) (?:out|back|away|backward))",
            "zoom out",
        ),
        (rf"\bcamera (?:is )?mov(?:es|ing){_SIDE}", "pan"),
        (
            r"\bcamera (?:is )?(?:orbits?|orbiting|circles?|circling|cranes?|craning|rises?|rising|sinks?)\b",
            "moving",
        ),
        (rf"\bcamera (?:is )?pan(?:s|ned|ning)?\b(?!{_SIDE})", "moving"),
    )
)
_OPPOSITE = {
    "pan left": "pan right", "pan right": "pan left", "tilt up": "tilt down", "tilt down": "tilt up",
    "zoom in": "zoom out", "zoom out": "zoom in",
}  # fmt: skip
CERTAIN = 2.0  # times the speed at which a camera counts as moving; faster, "static" is wrong


def camera_claims(text: str) -> list[str]:
    """What a caption says of the camera's moves: static, pan left, …, zoom out, or moving; in order."""
    found: list[str] = []
    for sentence in split_sentences(text.lower()):
        for pattern, move in _CLAIMS:
            match = pattern.search(sentence)
            if match is None:
                continue
            if move != "static" and _NOT.search(sentence[max(0, match.start() - 30) : match.start()]):
                break
            side = (match[1] or "") if pattern.groups else ""
            found.append(f"{move} {_SIDES.get(side, side)}".strip())
            break
    return found


def camera_problems(text: str, scores: Mapping[str, Any] | None) -> list[str]:
    """Claims about the camera that the measured move contradicts; [] where nothing was measured.

    Args:
        scores: of the clip: camera_move, and camera, its speed in diagonals a second.
    """
    measured = (scores or {}).get("camera_move")
    claims = list(dict.fromkeys(camera_claims(text)))
    if not measured or not claims:
        return []
    speed = (scores or {}).get("camera")
    problems = []
    for claim in claims:
        if claim == "static":
            wrong = measured not in ("static", "mixed") and (speed is None or speed >= CERTAIN * _still())
        elif measured == "static":
            wrong = True
        else:
            wrong = len(claims) == 1 and _OPPOSITE.get(claim) == measured
        if wrong:
            problems.append(f"says of the camera {claim!r}, and it was measured as {measured!r}")
    return problems


def _still() -> float:
    from ..signals.motion import STILL

    return STILL


def colours_named(text: str) -> list[str]:
    """Saturated colours that a text says are there."""
    return list(dict.fromkeys(_colours(text)))


def _colours(text: str) -> Iterator[str]:
    words = re.findall(r"[^\W_]+(?:['’][^\W_]+)?", text.lower())
    for at, word in enumerate(words):
        colour = COLOURS.get(word)
        if colour in SATURATED and word not in ("tan", "golden", "gold"):
            if {"no", "not", "without", "isn't", "never"} & set(words[max(0, at - 3) : at]):
                continue
            yield str(colour)


def colour_problems(text: str, frames: np.ndarray | None) -> list[str]:
    """Saturated colours that the text names and that cover no pixel of any frame.

    Args:
        frames: uint8 (T, H, W, 3) of the clip; None checks nothing.
    """
    named = colours_named(text)
    if frames is None or not named:
        return []
    shares = colour_shares(frames)
    return [f"names {colour}, and no pixel is {colour}" for colour in named if shares[colour] < ABSENT]
