"""Files inside plain tar files, by names such as "shard-000000.tar/cat.mp4": found without unpacking anything."""

import tarfile
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple


class Member(NamedTuple):
    """Where in an archive a file lies."""

    archive: Path
    start: int  # bytes
    size: int

    @property
    def url(self) -> str:
        """As FFmpeg opens it; protocols subfile and file."""
        return f"subfile,,start,{self.start},end,{self.start + self.size},,:file:{self.archive}"


def member(path: str | Path) -> Member | None:
    """The file of this name in a tar file; None if the name is not of that kind, or nothing of it is there."""
    path = Path(path)
    for archive in path.parents:
        if archive.suffix == ".tar" and archive.is_file():
            state = archive.stat()
            places = _places(archive, state.st_mtime_ns, state.st_size)
            place = places.get(path.relative_to(archive).as_posix())
            return None if place is None else Member(archive, *place)
    return None


@lru_cache(maxsize=256)
def _places(archive: Path, mtime: int, size: int) -> dict[str, tuple[int, int]]:
    """Start and size of every plain file in an archive; read anew once it has changed."""
    try:
        with tarfile.open(archive, "r:") as file:
            return {entry.name: (entry.offset_data, entry.size) for entry in file if entry.isreg()}
    except tarfile.TarError:
        return {}
