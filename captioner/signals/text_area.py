"""Text in the picture: how much of it, and what it says. By RapidOCR, whose wheel carries its models."""

from importlib.util import find_spec
from typing import Any, NamedTuple

import cv2
import numpy as np

from ..engine.commits import CaptionError

INSTALL = "signals.text=true needs an OCR that is not installed here: pip install 'kinema[ocr]'"
SURE = 0.6  # probability from which on what was read is kept
LETTERS = 2  # a single one is more often a stripe or a lamp post
LOOKS = 3  # frames of a clip that are read; it takes about a second each


class Text(NamedTuple):
    """Text of a clip."""

    area: float  # share of the picture under text, 0 to 1, mean over the frames looked at
    strings: list[str]  # each once, in the order of the clip and, within a frame, from the top


def check_text() -> None:
    """Make sure that text can be looked for.

    Raises:
        CaptionError: the extra is missing, or its models are not where its wheel puts them.
    """
    if find_spec("rapidocr") is None or find_spec("onnxruntime") is None:
        raise CaptionError(INSTALL)


class TextReader:
    """Finds text. Nothing is fetched: all models are in the wheel."""

    def __init__(self) -> None:
        check_text()
        from rapidocr import RapidOCR

        threads = "EngineConfig.onnxruntime.intra_op_num_threads"
        self.engine: Any = RapidOCR(params={"Global.log_level": "error", threads: 1})

    def __call__(self, frames: np.ndarray) -> Text:
        """Text of frames, uint8 (T, H, W, 3); `LOOKS` of them are looked at, evenly spaced."""
        chosen = dict.fromkeys(np.linspace(0, len(frames) - 1, 2 * LOOKS + 1)[1::2].round().astype(int).tolist())
        areas, strings = [], []
        for frame in (frames[k] for k in chosen):
            boxes, texts = self._read(frame)
            canvas = np.zeros(frame.shape[:2], np.uint8)  # overlapping boxes count once
            cv2.fillPoly(canvas, [np.round(box).astype(np.int32) for box in boxes], 1)
            areas.append(float(canvas.mean()))
            strings += texts
        return Text(float(np.mean(areas)), list(dict.fromkeys(strings)))

    def _read(self, frame: np.ndarray) -> tuple[list[np.ndarray], list[str]]:
        """Boxes (4, 2) in pixels and the text in each, from the top of the frame."""
        if min(frame.shape[:2]) < 16:  # no letter fits
            return [], []
        found = self.engine(np.ascontiguousarray(frame[..., ::-1]))
        if found.boxes is None:
            return [], []
        rows = [
            (np.asarray(box), text.strip())
            for box, text, score in zip(found.boxes, found.txts, found.scores)
            if score >= SURE and sum(letter.isalnum() for letter in text) >= LETTERS
        ]
        rows.sort(key=lambda row: (round(float(row[0][:, 1].mean()) / 8), float(row[0][:, 0].mean())))
        return [box for box, _ in rows], [text for _, text in rows]
