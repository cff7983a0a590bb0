"""Video files in and out, through PyAV: read, probe and write them.

Errors are `VideoError`s with a path, a time and a cause; `video_probe` draws their tree.
"""

from .video_exact import Written, write_video_exactly
from .video_probe import (
    VideoDamageError,
    VideoError,
    VideoInfo,
    VideoOpenError,
    VideoRangeError,
    VideoWarning,
    VideoWriteError,
    probe,
    read_metadata,
)
from .video_read import Still, Video, iter_stills, iter_video, read_video
from .video_times import FrameTime, frame_times
from .video_write import write_video

__all__ = [
    "FrameTime",
    "Still",
    "Video",
    "VideoDamageError",
    "VideoError",
    "VideoInfo",
    "VideoOpenError",
    "VideoRangeError",
    "VideoWarning",
    "VideoWriteError",
    "Written",
    "frame_times",
    "iter_stills",
    "iter_video",
    "probe",
    "read_metadata",
    "read_video",
    "write_video",
    "write_video_exactly",
]
