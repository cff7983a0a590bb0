"""The clips of what SOURCE holds now.

A file that was changed or removed leaves rows of old in the table of clips. What their path now leads to is
something else, or nothing: no stage may read it as theirs. And the license and the captions that come with a file
may change while its pictures stay the same: clips have those of now, and nothing is cut or written anew.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..engine.commits import StageTable
from ..tables import SHOTS, Row, digest
from .stage import listed_keys, sources

NOW = ("source_uri", "path", "bytes", "mtime_ns", "license")  # columns of clips that are those of their file now
_COLUMNS = ("source_key", "source_sha256", "start_s", "end_s", "status", "captions", *NOW)
Place = tuple[str, str]  # address and key: the order of files


def range_key(source: Row) -> str:
    """What names the content of a file, or the part of it that was asked for: the key of stage `shots`."""
    return digest(source["source_sha256"], source["start_s"], source["end_s"])


def clips(dataset: Path) -> Iterator[Row]:
    """The rows of `shots` that are of what SOURCE holds now: with its place, license and captions of now.

    Of several files of one content the first decides, and the captions are those of the first that has any.
    """
    table = StageTable(dataset, "shots", SHOTS)
    if listed_keys(dataset) is None:
        yield from table.rows()
        return
    files: dict[str, tuple[Place, Row]] = {}
    said: dict[str, tuple[Place, list[str]]] = {}
    for row in sources(dataset, _COLUMNS):
        if row["status"] == "ok":
            key, place = range_key(row), (row["source_uri"], row["source_key"])
            _offer(files, key, place, {name: row[name] for name in NOW})
            if row["captions"]:
                _offer(said, key, place, row["captions"])
    for inputs, part in table.batches():
        if (file := files.get(inputs[0])) is not None:  # a batch is one file, or one part of one
            captions = said[inputs[0]][1] if inputs[0] in said else []
            for row in part.to_pylist():
                yield row | file[1] | {"captions": captions}


def _offer(best: dict[str, tuple[Place, Any]], key: str, place: Place, value: Any) -> None:
    """Take what the first of several files of one content has."""
    if key not in best or place < best[key][0]:
        best[key] = (place, value)


def clip_ids(dataset: Path) -> set[str] | None:
    """Ids of these clips; None if SOURCE was never listed."""
    return None if listed_keys(dataset) is None else {row["clip_id"] for row in clips(dataset)}
