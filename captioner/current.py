"""The clips of what SOURCE holds now.

A file that was changed or removed leaves rows of old in the table of clips. What their path now leads to is
something else, or nothing: no stage may read it as theirs.
"""

from collections.abc import Iterator
from pathlib import Path

from .commits import StageTable
from .ingest import listed_keys, sources
from .tables import SHOTS, Row, digest

_COLUMNS = ("source_uri", "source_key", "path", "source_sha256", "start_s", "end_s", "status")


def range_key(source: Row) -> str:
    """What names the content of a file, or the part of it that was asked for: the key of stage `shots`."""
    return digest(source["source_sha256"], source["start_s"], source["end_s"])


def clips(dataset: Path) -> Iterator[Row]:
    """The rows of `shots` that are of what SOURCE holds now, with the paths where it lies now."""
    table = StageTable(dataset, "shots", SHOTS)
    if listed_keys(dataset) is None:
        yield from table.rows()
        return
    places: dict[str, tuple[str, str, str]] = {}
    for row in sources(dataset, _COLUMNS):
        if row["status"] == "ok":
            key, place = range_key(row), (row["source_uri"], row["source_key"], row["path"])
            places[key] = min(places.get(key, place), place)
    for inputs, part in table.batches():
        if (place := places.get(inputs[0])) is not None:  # a batch is one file, or one part of one
            for row in part.to_pylist():
                yield row | {"path": place[2]}


def clip_ids(dataset: Path) -> set[str] | None:
    """Ids of these clips; None if SOURCE was never listed."""
    return None if listed_keys(dataset) is None else {row["clip_id"] for row in clips(dataset)}
