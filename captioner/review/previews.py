"""Files of clips that a browser can play, whatever the dataset keeps its media in."""

import shutil
import tarfile
import threading
from pathlib import Path

from ...data.files import atomic_path
from ..publish.media import cut_clip
from ..tables import Row

PREVIEW_SIDE, PREVIEW_CRF = 640, 23  # of what is shown of a part of a whole file


class Previews:
    """Files that a browser can play, of clips in any kind of dataset; those that must be made are kept.

    Args:
        dataset: its folder.
        folder: for what is cut or unpacked.
        beside: let all files come from that folder: the page may open no other.
    """

    def __init__(self, dataset: Path, folder: Path, *, beside: bool = False) -> None:
        self.dataset, self.folder, self.beside = dataset, folder, beside
        self._lock = threading.Lock()

    def file(self, clip: Row) -> Path:
        """The file of a clip: its own, one out of a shard, or the part of a whole file cut small.

        Raises:
            VideoError, OSError, KeyError, TarError: it is not there any more, or cannot be read.
        """
        path = Path((clip.get("video") or {}).get("path") or "")
        made = self.folder / f"{clip['clip_id']}.mp4"
        with self._lock:
            if made.is_file():
                return made
            if path == Path():  # a clip that was not kept has no file of its own
                raise FileNotFoundError("the dataset keeps no video of this clip")
            if path.is_absolute():
                return self._cut(clip, path, made)
            if path.parent.suffix == ".tar":
                with tarfile.open(self.dataset / path.parent) as shard, atomic_path(made) as temporary:
                    member = shard.extractfile(path.name)
                    assert member is not None
                    temporary.write_bytes(member.read())
                return made
        if not (self.dataset / path).is_file():
            raise FileNotFoundError(f"{self.dataset / path} is not there")
        if self.beside:
            with atomic_path(made) as temporary:
                shutil.copyfile(self.dataset / path, temporary)
            return made
        return self.dataset / path

    def _cut(self, clip: Row, path: Path, made: Path) -> Path:
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not there")
        cut_clip(clip | {"path": str(path)}, made, crf=PREVIEW_CRF, max_side=PREVIEW_SIDE)
        return made
