"""Where an exam keeps its clips and readings, so that a stopped or repeated run does only what is missing.

    OUT/clips/<prompt id>-<seed>.npz      frames uint8 (T, H, W, 3), fps
    OUT/readings/<prompt id>-<seed>.npz   what the judge read in that clip

Every file carries a key, a digest of all that decided it: weights and settings for a clip, the clip and the judge
for a reading. A file with another key, or a damaged one, counts as missing and is made again in its place. Files
appear whole or not at all; nothing is pickled.
"""

import hashlib
import json
import struct
import uuid
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

from ..data.files import atomic_path
from .questions import ExamPrompt

Reading = TypeVar("Reading")
KEY = "key"
DAMAGE = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error)


@dataclass(frozen=True)
class Clip:
    """A clip as the judges take it."""

    frames: np.ndarray  # uint8 (T, H, W, 3)
    fps: float

    @property
    def digest(self) -> str:
        """A name for exactly these frames at this rate."""
        found = hashlib.sha256(f"{self.frames.shape} {float(self.fps)!r} ".encode())
        found.update(np.ascontiguousarray(self.frames).tobytes())
        return found.hexdigest()[:32]


class ClipStore:
    """A folder of clips that one system made of exam prompts.

    Args:
        folder: made when the first clip is written.
        facts: everything that decides the clips but prompt and seed (JSON: fingerprint of the weights, steps,
            guidance, size, …). None where that is not known, as with weights that are not in memory: then no clip
            is ever taken for an earlier one.
        decided_by: what of a prompt decides a clip: the "text" for a model, the whole "record" for true clips.
    """

    def __init__(
        self,
        folder: str | Path,
        facts: Mapping[str, Any] | None,
        decided_by: Literal["text", "record"] = "text",
    ) -> None:
        self.folder, self._decided_by = Path(folder), decided_by
        self._facts = {"unknown": uuid.uuid4().hex} if facts is None else dict(facts)

    def path(self, prompt: ExamPrompt, seed: int) -> Path:
        """Where the clip is, or will be."""
        return self.folder / f"{prompt.id}-{seed}.npz"

    def read(self, prompt: ExamPrompt, seed: int) -> Clip | None:
        """The clip; None if it is not there, is damaged, or was made by other weights or settings."""
        arrays = read_arrays(self.path(prompt, seed), self._key(prompt, seed))
        if arrays is None or {"frames", "fps"} - set(arrays):
            return None
        return Clip(arrays["frames"], float(arrays["fps"]))

    def write(self, prompt: ExamPrompt, seed: int, clip: Clip) -> Path:
        """Keep a clip.

        Raises:
            ValueError: frames of another type or shape.
        """
        frames = np.asarray(clip.frames)
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
            raise ValueError(
                f"clip {prompt.id}-{seed} is {frames.dtype} {frames.shape}; it needs to be uint8 (T, H, W, 3)"
            )
        path = self.path(prompt, seed)
        write_arrays(path, self._key(prompt, seed), {"frames": frames, "fps": np.float64(clip.fps)})
        return path

    def _key(self, prompt: ExamPrompt, seed: int) -> str:
        asked = prompt.text if self._decided_by == "text" else prompt.model_dump(mode="json", exclude_none=True)
        return key_of({"facts": self._facts, "asked": asked, "seed": seed})


class ReadingStore(Generic[Reading]):
    """A folder of a judge's readings.

    A reading is a dataclass of arrays, numbers and texts; a field may also be a tuple of further such dataclasses,
    all of the same shapes (`judge.Reading` and its things).

    Args:
        folder: made when the first reading is written.
        judge: fingerprint of the judge; another judge reads everything again.
        reading: the dataclass.
    """

    def __init__(self, folder: str | Path, judge: str, reading: type[Reading]) -> None:
        self.folder, self._judge, self._type = Path(folder), judge, reading

    def get(self, name: str, clip: Clip, read: Callable[[np.ndarray, float], Reading]) -> Reading:
        """The reading of a clip, kept or made.

        Args:
            name: of the file, such as "<prompt id>-<seed>"; what counts are the clip's frames.
            clip: the clip.
            read: (frames, fps) to reading.
        """
        path, key = self.folder / f"{name}.npz", key_of({"judge": self._judge, "clip": clip.digest})
        arrays = read_arrays(path, key)
        if arrays is not None:
            found = _unpack(arrays, self._type)
            if found is not None:
                return found
        made = read(clip.frames, clip.fps)
        write_arrays(path, key, _pack(made))
        return made


def key_of(facts: Mapping[str, Any]) -> str:
    """A digest of facts, whatever their order. Raises TypeError for what JSON cannot hold."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def write_arrays(path: str | Path, key: str, arrays: Mapping[str, Any]) -> None:
    """Write arrays and their key into a compressed .npz file that appears whole or not at all.

    Raises:
        ValueError: an array of Python objects, or one named "key".
    """
    plain = {name: np.asarray(array) for name, array in arrays.items()}
    odd = [name for name, array in plain.items() if array.dtype.hasobject or name == KEY]
    if odd:
        raise ValueError(
            f"{path}: {', '.join(odd)} cannot be kept: arrays hold numbers or text, and none is a key"
        )
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **{KEY: np.asarray(key)}, **plain)


def read_arrays(path: str | Path, key: str | None) -> dict[str, np.ndarray] | None:
    """The arrays of a file; None if there is none, it is damaged, or it has another key. Key None takes any."""
    try:
        with zipfile.ZipFile(path) as whole:
            if whole.testzip() is not None:  # damage is found here, not while numpy makes arrays of it
                return None
        with np.load(path, allow_pickle=False) as arrays:
            if key is not None and str(arrays[KEY]) != key:
                return None
            return {name: arrays[name] for name in arrays.files if name != KEY}
    except DAMAGE:
        return None


def _pack(reading: Any) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for name, part in _parts(type(reading)).items():
        value = getattr(reading, name)
        if part is None:
            arrays[name] = np.asarray(value)
            continue
        arrays[name] = np.asarray(len(value))
        for inner in fields(part) if value else ():
            arrays[f"{name}.{inner.name}"] = np.stack([np.asarray(getattr(one, inner.name)) for one in value])
    return arrays


def _unpack(arrays: Mapping[str, np.ndarray], kind: type[Reading]) -> Reading | None:
    """The reading; None if the arrays are those of another dataclass."""
    values: dict[str, Any] = {}
    left = dict(arrays)
    try:
        for name, part in _parts(kind).items():
            stored = left.pop(name)
            if part is None:
                values[name] = _restore(stored, get_type_hints(kind)[name])
                continue
            hints = get_type_hints(part)
            names = [inner.name for inner in fields(part)]
            columns = {inner: left.pop(f"{name}.{inner}") for inner in names} if stored else {}
            values[name] = tuple(
                part(**{inner: _restore(columns[inner][row], hints[inner]) for inner in names})
                for row in range(int(stored))
            )
    except KeyError:
        return None
    return None if left else kind(**values)


def _restore(array: Any, hint: Any) -> Any:
    return np.asarray(array) if hint is np.ndarray else hint(np.asarray(array).item())


def _parts(kind: Any) -> dict[str, Any]:
    """Fields of a dataclass to the dataclass that they hold a tuple of; None for plain ones."""
    hints, parts = get_type_hints(kind), {}
    for field in fields(kind):
        inner = get_args(hints[field.name])[:1] if get_origin(hints[field.name]) is tuple else ()
        parts[field.name] = inner[0] if inner and is_dataclass(inner[0]) else None
    return parts
