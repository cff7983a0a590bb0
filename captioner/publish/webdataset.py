"""Clips in WebDataset shards: tar files that hold, for every clip, CLIP_ID.mp4 and then CLIP_ID.json.

Any tar reader opens them, and so do the `webdataset` package and `datasets.load_dataset("webdataset")`. Equal
clips give equal bytes.
"""

import io
import json
import tarfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ...data.files import atomic_path


class ShardWriter:
    """Writes shards of about one size, each whole or not at all; leaves none of an earlier writing behind.

    Args:
        folder: of the shards.
        size: bytes after which a shard is closed.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, self.size = folder, size
        self.names: list[str] = []
        self._open = ExitStack()
        self._tar: tarfile.TarFile | None = None

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is not None:
            self._open.__exit__(*error)
            return
        self._open.close()
        for path in self.folder.glob("shard-*.tar"):
            if path.name not in self.names:
                path.unlink()

    def shard(self) -> str:
        """The name of the shard that the next clip goes to; begins a new one if the last is full."""
        if self._tar is None or self._tar.offset >= self.size:
            self._open.close()
            self.names.append(f"shard-{len(self.names):06d}.tar")
            temporary = self._open.enter_context(atomic_path(self.folder / self.names[-1]))
            tar = tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
            self._tar = self._open.enter_context(tar)
        return self.names[-1]

    def add(self, key: str, video: Path, facts: Mapping[str, Any]) -> None:
        """Add one clip to the shard that `shard` named."""
        assert self._tar is not None
        text = json.dumps(facts, ensure_ascii=False, sort_keys=True).encode()
        with video.open("rb") as file:
            self._tar.addfile(_entry(f"{key}.mp4", video.stat().st_size), file)
        self._tar.addfile(_entry(f"{key}.json", len(text)), io.BytesIO(text))


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = size, 0, 0o644
    return entry
