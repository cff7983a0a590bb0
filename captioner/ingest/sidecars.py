"""The captions that came with videos: texts beside them, and rows of anyone's table."""

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ...data.manifest import CAPTION_NAMES, PATH_NAMES
from ..tables import Row
from .walking import Tree

SIDECARS = (".json", ".txt")  # the first that is there is read
_SEVERAL_NAMES = ("captions", "texts", "sentences")
_LEVEL_NAMES = ("caption_dense", "caption_medium", "caption_short")  # of our own manifests, where nothing else is
_LICENSE_NAMES = ("license", "licence")
_START_NAMES = ("start", "start_s", "start_time", "begin")
_END_NAMES = ("end", "end_s", "end_time")


def read_sidecar(tree: Tree, path: str, caption_column: str) -> Row:
    """What a .txt or .json file beside a video says: {"captions", "license"}.

    A .txt file is one caption. A .json file holds a text, a list of texts, or an object with one of the usual
    names of captions.

    Raises:
        ValueError: it is neither, or cannot be read.
    """
    try:
        text = tree.read(path).decode("utf-8-sig")
        if path.endswith(".txt"):
            return {"captions": texts(text), "license": None}
        found = json.loads(text)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text ({error})") from None
    except (OSError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if isinstance(found, dict):
        return {"captions": captions_of(found, caption_column), "license": license_of(found)}
    if isinstance(found, (str, list)):
        return {"captions": texts(found), "license": None}
    raise ValueError(f"it holds a {type(found).__name__}; it needs a text, a list of texts or an object")


def file_of(row: Mapping[str, Any]) -> str:
    """The file that a table's row names.

    Raises:
        ValueError: it names none.
    """
    column = _column(row, PATH_NAMES)
    if column is None:
        names = ", ".join(str(name) for name in row)
        raise ValueError(
            f"a row with the columns {names}, none of which names files; call one of them {PATH_NAMES[0]!r}"
        )
    named = row[column]
    if isinstance(named, Mapping):  # the video column of a dataset
        named = named.get("path")
    if not isinstance(named, str) or not named:
        raise ValueError(f"{column!r} is {row[column]!r:.60}; it needs the name of a file")
    return named


def part_of(row: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """The part of the file that a table's row means, in seconds; None: from the beginning, to the end.

    Raises:
        ValueError: what it says is no part of a file.
    """
    start, end = _seconds(row, _START_NAMES), _seconds(row, _END_NAMES)
    if (start or 0.0) < 0 or (end is not None and end <= (start or 0.0)):
        raise ValueError(f"the part from {start} s to {end} s is empty; it needs 0 <= start < end")
    return start, end


def captions_of(row: Mapping[str, Any], caption_column: str) -> list[str]:
    """The original captions in a row or object; our own manifests' synthetic ones where there is no other."""
    if caption_column:
        return texts(row.get(caption_column))
    for names in (CAPTION_NAMES, _SEVERAL_NAMES):
        column = _column(row, names, filled=True)
        if column is not None:
            return texts(row[column])
    return [text for name in _LEVEL_NAMES for text in texts(row.get(name))]


def license_of(row: Mapping[str, Any]) -> str | None:
    """The license that a row or object names."""
    column = _column(row, _LICENSE_NAMES, filled=True)
    return clean(str(row[column])) if column is not None else None


def texts(value: Any) -> list[str]:
    """One text, a list of them, or such a list written as JSON, as texts that are not empty, each once."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(ValueError, RecursionError):  # of a text that only begins with a bracket
            value = json.loads(value)
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, (list, tuple)):
        return []
    kept = [clean(text).strip() for text in value if isinstance(text, str)]
    return list(dict.fromkeys(text for text in kept if text))


def clean(text: str) -> str:
    """A text without halves of characters, which JSON can spell and files cannot hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _column(row: Mapping[str, Any], names: tuple[str, ...], *, filled: bool = False) -> str | None:
    by_name = {name.lower(): name for name in row if isinstance(name, str)}
    found = [by_name[name] for name in names if name in by_name]
    if filled:
        found = [name for name in found if row[name] not in (None, "", []) and row[name] == row[name]]
    return next(iter(found), None)


def _seconds(row: Mapping[str, Any], names: tuple[str, ...]) -> float | None:
    column = _column(row, names, filled=True)
    if column is None:
        return None
    try:
        value = float(row[column])
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{column!r} is {row[column]!r:.60}; it needs a number of seconds") from None
    if not math.isfinite(value):
        raise ValueError(f"{column!r} is {value}; it needs a number of seconds")
    return value
