"""Manifests: one row a clip.

Kinema writes Parquet, which pandas and `datasets.load_dataset("parquet")` read as it is. It reads anyone's CSV,
JSON lines or Parquet whose columns name a file and a caption.

| column                             | meaning                                                             |
|------------------------------------|---------------------------------------------------------------------|
| `id`                               | unique name of the clip                                             |
| `path`                             | media file, relative to the manifest                                |
| `start`, `end`                     | seconds of the clip in the file; null: from the beginning, to the end |
| `width`, `height`                  | pixels                                                              |
| `frames`, `fps`, `duration`        | count, frames per second, seconds                                   |
| `caption_original`                 | the caption that came with the clip, "" if none                     |
| `caption_short`, `_medium`, `_dense` | synthetic or exact captions by level, "" if none                  |
| `scene`                            | exact description as JSON, "" if none                               |

Further columns are kept as they are.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .files import atomic_path

COLUMNS: dict[str, pa.DataType] = {
    "id": pa.string(),
    "path": pa.string(),
    "start": pa.float64(),
    "end": pa.float64(),
    "width": pa.int32(),
    "height": pa.int32(),
    "frames": pa.int32(),
    "fps": pa.float64(),
    "duration": pa.float64(),
    "caption_original": pa.string(),
    "caption_short": pa.string(),
    "caption_medium": pa.string(),
    "caption_dense": pa.string(),
    "scene": pa.string(),
}
LEVELS = ("short", "medium", "dense")
SUFFIXES = (".parquet", ".csv", ".jsonl")
PATH_NAMES = ("path", "file", "video", "file_name", "filename", "video_path", "clip")
CAPTION_NAMES = ("caption_original", "caption", "text", "prompt", "description")


class ManifestError(ValueError):
    """A manifest that cannot be used; the message names the file, what it has and what is needed."""


def write_manifest(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as Parquet, whole or not at all. Columns that a row lacks are null, or "" for text.

    Raises:
        ManifestError: a row without id or path, or two rows with one id.
    """
    rows = list(rows)
    seen: set[str] = set()
    for number, row in enumerate(rows):
        if not row.get("id") or not row.get("path"):
            raise ManifestError(
                f"row {number} of {path} has id {row.get('id')!r} and path {row.get('path')!r}; it needs both"
            )
        if row["id"] in seen:
            raise ManifestError(f"{path} has two rows with the id {row['id']!r}; ids are unique")
        seen.add(row["id"])
    extra = sorted({key for row in rows for key in row} - set(COLUMNS))
    columns = {
        name: pa.array([row.get(name, "" if kind == pa.string() else None) for row in rows], kind)
        for name, kind in COLUMNS.items()
    } | {name: pa.array([row.get(name) for row in rows]) for name in extra}
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns), temporary)


def read_manifest(path: str | Path) -> list[dict[str, Any]]:
    """Rows of a manifest of Kinema, or of anyone's table of files and captions, with the columns above.

    Args:
        path: .parquet, .csv (with a header) or .jsonl (one object a line).

    Raises:
        FileNotFoundError: no such file.
        ManifestError: an unknown suffix, a broken line, no column that names files, a row without one, or a
            number that is none.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; a manifest is a .parquet, .csv or .jsonl file")
    rows = _read_table(path)
    if not rows:
        return []
    found = list(dict.fromkeys(name for row in rows for name in row))
    by_name = {name.lower(): name for name in found}
    path_column = next((by_name[name] for name in PATH_NAMES if name in by_name), None)
    caption_column = next((by_name[name] for name in CAPTION_NAMES if name in by_name), None)
    if path_column is None:
        raise ManifestError(
            f"{path} has the columns {', '.join(found)}; it needs one that names the files, called one of "
            f"{', '.join(PATH_NAMES)}"
        )
    normal = []
    for number, row in enumerate(rows, 1):
        try:
            normal.append(_normal_row(row, path_column, caption_column))
        except ValueError as error:
            raise ManifestError(f"row {number} of {path}: {error}") from None
    return normal


def captions_of(row: Mapping[str, Any]) -> dict[str, str]:
    """The captions of a row by level: "short", "medium", "dense" and "original", as far as there are any.

    An original caption stands in for a missing short one, but not where a captioned dataset says what there is.
    """
    if "captions_by_level" in row:
        return row["captions_by_level"]
    found = {level: row.get(f"caption_{level}") or "" for level in LEVELS}
    found["original"] = row.get("caption_original") or ""
    if not found["short"]:
        found["short"] = found.pop("original")
    return {level: text for level, text in found.items() if text}


def _normal_row(row: dict[str, Any], path_column: str, caption_column: str | None) -> dict[str, Any]:
    normal: dict[str, Any] = {name: "" if kind == pa.string() else None for name, kind in COLUMNS.items()}
    normal |= {key: value for key, value in row.items() if value is not None}
    normal["path"] = str(row.get(path_column) or "")
    if not normal["path"]:
        raise ValueError(f"{path_column!r} is empty; it needs the name of a file")
    normal["id"] = str(normal["id"] or Path(normal["path"]).with_suffix("").as_posix())
    if caption_column:
        normal["caption_original"] = str(row.get(caption_column) or "")
    for name, kind in COLUMNS.items():
        if isinstance(normal[name], str) and kind != pa.string():  # CSV has only text
            try:
                normal[name] = float(normal[name]) if normal[name].strip() else None
            except ValueError:
                raise ValueError(f"{name!r} is {normal[name]!r}; it needs a number") from None
    return normal


def iter_table(path: Path) -> Iterator[dict[str, Any] | ManifestError]:
    """Rows of anyone's table as they are, one at a time, in memory that does not grow with the table.

    Args:
        path: .parquet, .csv (with a header) or .jsonl (one object a line).

    Yields:
        A row, or the error that stands in the place of a broken one; rows may follow it.
    """
    try:
        if path.suffix == ".parquet":
            with pq.ParquetFile(path) as table:
                for batch in table.iter_batches(1024):
                    yield from batch.to_pylist()
        elif path.suffix == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as file:
                yield from csv.DictReader(file)
        elif path.suffix == ".jsonl":
            with path.open(encoding="utf-8-sig", newline="\n") as file:
                for number, line in enumerate(file, 1):
                    if line.strip():
                        yield _json_row(line, number, path)
        else:
            yield ManifestError(f"{path} ends in {path.suffix!r}; a manifest ends in .parquet, .csv or .jsonl")
    except pa.ArrowException as error:
        yield ManifestError(f"{path} is no Parquet file: {error}")
    except csv.Error as error:
        yield ManifestError(f"{path} is no CSV file: {error}")
    except UnicodeDecodeError as error:
        yield ManifestError(f"{path} is not UTF-8 text ({error}); save it as UTF-8")


def _json_row(line: str, number: int, path: Path) -> dict[str, Any] | ManifestError:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return ManifestError(f"line {number} of {path} is not JSON: {error}")
    if not isinstance(row, dict):
        return ManifestError(f"line {number} of {path} is a {type(row).__name__}; it needs an object")
    return row


def _read_table(path: Path) -> list[dict[str, Any]]:
    rows = []
    for row in iter_table(path):
        if isinstance(row, ManifestError):
            raise row
        rows.append(row)
    return rows
