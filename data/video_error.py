"""What can be wrong with a video file.

    OSError
    └── VideoError                  .path, .time (seconds or None), .cause
        ├── NotAVideoError          no video inside: text, sound only, an unknown format
        ├── EmptyVideoError         no bytes, no frames, or no frame in the part that was asked for
        ├── UnsupportedVideoError   a video whose codec this build of FFmpeg cannot decode or encode
        └── CorruptVideoError       bytes that cannot be decoded
            └── TruncatedVideoError the file stops before the end that it announces

    UserWarning
    └── VideoWarning                only the readable part was read (`on_error="readable"`)

A file that is missing, or may not be opened, raises Python's own FileNotFoundError, IsADirectoryError or
PermissionError. A wrong argument raises ValueError or TypeError.
"""

from pathlib import Path


class VideoError(OSError):
    """A video file that cannot be read or written.

    Attributes:
        path: the file.
        time: seconds from the first frame at which reading stopped; None if no frame was reached.
        cause: what is wrong, in words.
    """

    def __init__(self, path: str | Path, time: float | None, cause: str):
        self.path, self.time, self.cause = Path(path), time, cause
        at = "" if time is None else f" at {time:.3f} s"
        super().__init__(f"{path}{at}: {cause}")

    def __reduce__(self):  # OSError would pickle the joined message alone; loader processes send errors
        return type(self), (self.path, self.time, self.cause)


class NotAVideoError(VideoError):
    """There is no video in the file: text, sound only, or a format nobody knows."""


class EmptyVideoError(VideoError):
    """The file has no bytes or no frames, or none in the part that was asked for."""


class UnsupportedVideoError(VideoError):
    """FFmpeg, as built into PyAV, has no decoder or encoder for this video."""


class CorruptVideoError(VideoError):
    """The bytes at `time` cannot be decoded."""


class TruncatedVideoError(CorruptVideoError):
    """The file stops before the end that it announces: a download or a copy that was cut short."""


class VideoWarning(UserWarning):
    """Part of a video could not be read and was left out, as `on_error="readable"` allows."""
