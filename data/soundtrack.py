"""Soundtracks: pieces of the sound of given files, and where they lie in a new video."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Soundtrack:
    """A piece of a file's sound, placed in a video.

    Attributes:
        path: the file whose sound it is.
        start_s: seconds into that file at which the piece begins.
        duration_s: seconds that it lasts.
        offset_s: seconds into the new video at which it is heard.
        owner: kept alive as long as the piece is; the download that a temporary file belongs to.
    """

    path: Path
    start_s: float
    duration_s: float
    offset_s: float = 0.0
    owner: Any = field(default=None, compare=False, repr=False)

    def shifted(self, seconds: float) -> "Soundtrack":
        """The same piece, heard later."""
        return replace(self, offset_s=self.offset_s + seconds)
