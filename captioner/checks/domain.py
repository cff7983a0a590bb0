"""Is a clip of the world that our captioner was trained on?

It writes as fluently of a street as of Diorama, and what it then says is invented. So its first features, patch by
patch, are compared with those of clips of its world: their mean over places and frames, as a distance under
probabilistic principal components (Tipping and Bishop 1999). Later layers are made to tell captions apart, and
confuse a street with snow; single patches still look like a rendering or like a photograph.

The packaged captioner's statistics lie beside this file. Another captioner of Diorama gets its own, from rendered
clips, once a dataset. One with an open vocabulary was trained on who knows what: it has none, and nothing is
marked. `bench/caption_domain.py` measures all of it, and writes the packaged file.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from einops import rearrange
from safetensors import safe_open
from safetensors.numpy import save_file
from tqdm import tqdm

from ...conditioner.vision import select_frames
from ...data.files import atomic_path

if TYPE_CHECKING:
    from ...conditioner.captioner import ContrastiveCaptioner
    from ..shots.frames import ClipFrames

PACKAGED = Path(__file__).parent / "packaged.safetensors"
REFERENCE = 360  # clips that the statistics are of; a third as many set the threshold
INSIDE = 0.99  # share of the held-out clips that the bare threshold lets pass
MARGIN = 1.15  # times that; both errors are smallest about here
COMPONENTS = 0.5  # share of the features' directions that have a variance of their own
SEED = 20_777  # of the rendered clips; no recipe's
KNOWN_WORDS = 0.95  # share of a level's words that a captioner of that level knows
LEVELS = (0, 1, 2, 3)


@dataclass(frozen=True)
class Domain:
    """Where the clips of a captioner's world lie."""

    mean: np.ndarray  # (D,)
    components: np.ndarray  # (Q, D), orthonormal
    variances: np.ndarray  # (Q,) along them
    rest: float  # variance along every other direction
    threshold: float  # distances above it are outside
    fingerprint: str  # of the captioner's files
    levels: tuple[int, ...]  # of Diorama, that it was trained on

    def distance(self, features: np.ndarray) -> np.ndarray:
        """How far features (N, D) lie from the world, (N,): 1 is usual for one of it."""
        centred = features.astype(np.float64) - self.mean
        along = centred @ self.components.T  # (N, Q)
        across = (centred**2).sum(-1) - (along**2).sum(-1)
        total = (along**2 / self.variances).sum(-1) + np.maximum(across, 0) / self.rest
        return np.sqrt(total / len(self.mean))

    def distance_of(self, captioner: "ContrastiveCaptioner", clip: "ClipFrames") -> float:
        """How far one clip lies from the world."""
        return float(self.distance(features_of(captioner, clip.frames, clip.fps)[None])[0])

    def save(self, path: Path) -> None:
        """Write it as safetensors."""
        tensors = {"mean": self.mean, "components": self.components, "variances": self.variances}
        facts = {"rest": self.rest, "threshold": self.threshold, "levels": list(self.levels)}
        metadata = {"fingerprint": self.fingerprint, "facts": json.dumps(facts)}
        with atomic_path(path) as temporary:
            save_file({name: value.astype(np.float32) for name, value in tensors.items()}, temporary, metadata)

    @classmethod
    def load(cls, path: Path) -> "Domain":
        """Read what `save` wrote."""
        with safe_open(path, "numpy") as file:
            metadata = file.metadata()
            facts = json.loads(metadata["facts"])
            arrays = {name: file.get_tensor(name).astype(np.float64) for name in file.keys()}  # noqa: SIM118
        return cls(
            **arrays,
            rest=facts["rest"],
            threshold=facts["threshold"],
            fingerprint=metadata["fingerprint"],
            levels=tuple(facts["levels"]),
        )


@torch.inference_mode()
def features_of(captioner: "ContrastiveCaptioner", frames: np.ndarray, fps: float) -> np.ndarray:
    """First features (D,) of a clip, uint8 (T, H, W, 3): of patches, averaged over places and frames.

    Without places and times, which are added later: what is filmed counts, not how long.
    """
    config, visual = captioner.config, captioner.visual
    pixels = rearrange(torch.from_numpy(np.ascontiguousarray(frames)), "t h w c -> 1 c t h w")
    chosen, _ = select_frames(pixels.to(captioner.device), fps, config["num_frames"], config["image_size"])
    chosen = chosen.to(captioner.dtype)  # (1, 3, K, S, S)
    stem: Any = getattr(visual, "stem", None)
    if stem is not None:
        x = stem(chosen)  # (1, K, N, D)
    else:
        from ...conditioner.vision import beside_changes

        layers: Any = visual.layers
        x = rearrange(beside_changes(chosen), "b k c h w -> (b k) c h w")  # (K, 6, S, S)
        x = rearrange(layers[:4](x), "k d h w -> 1 k (h w) d")  # two halvings tell worlds apart best
    return x.float().mean((0, 1, 2)).cpu().numpy()


def levels_known(vocabulary: Sequence[str] | None) -> tuple[int, ...]:
    """The levels of Diorama whose captions a closed vocabulary can tell; () if it is open, or of another world."""
    if vocabulary is None:
        return ()
    known, found = set(vocabulary), []
    for level in LEVELS:
        words = _caption_words(level)
        if len(words & known) < KNOWN_WORDS * len(words):
            break
        found.append(level)
    return tuple(found)


@cache
def _caption_words(level: int) -> frozenset[str]:
    from ...data.diorama import captions, sample_scene

    scenes = (sample_scene(SEED, index, difficulty=(level, level)) for index in range(80))
    texts = (text for scene in scenes for text in captions(scene, SEED).values())
    return frozenset(word for text in texts for word in re.findall("[a-z]+", text.lower()))


def world_clips(
    levels: Sequence[int], count: int, *, split: Literal["train", "heldout"], num_frames: int, size: int
) -> Iterator[tuple[np.ndarray, float]]:
    """Clips of Diorama, uint8 (T, H, W, 3) and their frames a second: shapes, lengths and sharpness vary."""
    from ...data.diorama import DioramaDataset

    small, large = round(size * 0.75), round(size * 1.25)
    shapes = ((size, size), (size, size), (small, large), (large, small))
    for index in range(count):
        level = levels[index % len(levels)]
        turn = index // len(levels)
        height, width = shapes[turn % len(shapes)]
        seconds = (2.0, 2.0, 4.0, 3.0)[turn // 4 % 4]
        fps = max(1, num_frames - 1) / seconds
        clips = DioramaDataset(
            SEED, split, (level, level), height, width, num_frames, fps, count,
            supersample=2 - turn % 2, two_events=0.3,
        )  # fmt: skip
        yield rearrange(clips[index]["pixel_values"], "c t h w -> t h w c").numpy(), fps


def fit(features: np.ndarray, heldout: np.ndarray, fingerprint: str, levels: Sequence[int]) -> Domain:
    """The statistics of features (N, D), and the threshold of clips that are not among them (M, D)."""
    features = features.astype(np.float64)
    mean = features.mean(0)
    _, singular, directions = np.linalg.svd(features - mean, full_matrices=False)
    variances = singular**2 / len(features)
    count = max(1, min(int(COMPONENTS * features.shape[1]), len(variances) - 1))
    left = max(1, features.shape[1] - count)
    rest = max(float(variances[count:].sum()) / left, 1e-12)
    found = Domain(
        mean, directions[:count], np.maximum(variances[:count], rest), rest, np.inf, fingerprint, tuple(levels)
    )
    return replace(found, threshold=float(MARGIN * np.quantile(found.distance(heldout), INSIDE)))


def calibrate(captioner: "ContrastiveCaptioner", fingerprint: str, *, clips: int = REFERENCE) -> Domain | None:
    """Statistics of a captioner's world, from rendered clips; None if that is not Diorama.

    Args:
        clips: that the statistics are of; a third as many set the threshold. About 0.15 s each.
    """
    levels, config = levels_known(captioner.config["vocabulary"]), captioner.config
    if not levels:
        return None
    both: list[np.ndarray] = []
    with tqdm(total=clips + clips // 3, desc="the captioner's world", unit="clip", dynamic_ncols=True) as progress:
        sets: tuple[tuple[Literal["train", "heldout"], int], ...] = (("train", clips), ("heldout", clips // 3))
        for split, count in sets:
            rows = []
            rendered = world_clips(
                levels, count, split=split, num_frames=config["num_frames"], size=config["image_size"]
            )
            for frames, fps in rendered:
                rows.append(features_of(captioner, frames, fps))
                progress.update()
            both.append(np.stack(rows))
    return fit(both[0], both[1], fingerprint, levels)


def packaged_domain(fingerprint: str) -> Domain | None:
    """The packaged statistics, if they are those of the captioner with this fingerprint."""
    found = Domain.load(PACKAGED)
    return found if found.fingerprint == fingerprint else None


def open_domain(captioner: "ContrastiveCaptioner", fingerprint: str, folder: Path | None = None) -> Domain | None:
    """The statistics of a captioner: packaged, kept, or made now; None if its world is not known.

    Args:
        folder: where what is made now is kept.
    """
    found = packaged_domain(fingerprint)
    if found is not None:
        return found
    kept = folder / f"{fingerprint}.safetensors" if folder else None
    if kept is not None and kept.is_file():
        found = Domain.load(kept)
        if found.fingerprint == fingerprint:
            return found
    found = calibrate(captioner, fingerprint)
    if found is not None and kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        found.save(kept)
    return found
