"""Work on many files, one after the other, of which a kill loses nothing that was finished.

Each file's result is one small JSON file, written whole, named by the file's content. A finished result is never
made again; a file that was changed is another file.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..data.files import atomic_path


def content_key(row: Mapping[str, Any], root: Path) -> str:
    """The name of a clip's result: a digest of its path, part and bytes. A missing file has one too."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([row["path"], row.get("start"), row.get("end")]).encode())
    path = root / row["path"]
    if path.is_file():
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def run_once_each(
    rows: Iterable[Mapping[str, Any]],
    root: Path,
    records: Path,
    work: Callable[[Mapping[str, Any]], dict[str, Any]],
    description: str,
) -> list[dict[str, Any]]:
    """The result of `work` for every row, in order; results that are already in `records` are read from there.

    Args:
        rows: manifest rows; their paths are relative to `root`.
        records: folder of the finished results.
        work: makes a row's result, a JSON object; what it raises ends the run.
    """
    results = []
    rows = list(rows)
    with tqdm(rows, desc=description, unit="clip", dynamic_ncols=True) as progress:
        for row in progress:
            path = records / f"{content_key(row, root)}.json"
            if not path.is_file():
                result = work(row)
                with atomic_path(path) as temporary:
                    temporary.write_text(json.dumps(result), encoding="utf-8")
            results.append(json.loads(path.read_text(encoding="utf-8")))
    return results
