"""What a video file holds, and whether it can be used whole.

Every packet of the video is read, which tells how long it truly is and whether it is cut off, but two frames only
are decoded: the first one, and the last that stands by itself.
"""

import struct
from array import array
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

from av.error import FFmpegError

from ...data.video_probe import (
    VideoOpenError,
    average_fps,
    describe,
    display_size,
    open_video,
    read_tags,
    stream_duration,
)

MEMORY = 4 << 30  # bytes of address space of a child
EMPTY = bytes(32)
ENCRYPTED = "encrypted; a copy that is not is needed"

_PICTURES = ("image2", "ico", "mcpoca", "fits")  # demuxers of single pictures, beside those named "…_pipe"
_PICTURE_BRANDS = ("avif", "heic", "heix", "heim", "heis", "mif1")  # the same in MP4's clothes
_NEVER_ZEROS = ("h264", "hevc", "av1", "vp8", "vp9")  # codecs whose frames never begin with so many zeros
_STATED = ("matroska", "webm", "flv", "asf", "mov")  # containers whose header states how long they are
_MP4_DATA = (b"mdat", b"moov", b"moof")  # boxes: if one ends after its file does, that was cut off


def measure(path: Path, max_hours: float) -> dict[str, Any]:
    """What a video file holds, or {"reason"} if it cannot be used whole, with "too_long_s" if it is too long.

    Returns:
        width, height (pixels, as displayed), fps (average), duration_s and num_frames (counted, not as the header
        says), time_base ("1/12800"), start_pts, codec, has_audio.
    """
    try:
        with open_video(path) as (container, stream):
            _check_header(container, stream, path, max_hours)
            return _count(container, stream, path, max_hours)
    except _TooLong as error:
        return {"reason": str(error), "too_long_s": error.seconds}
    except _Unusable as error:
        return {"reason": str(error)}
    except VideoOpenError as error:
        return {"reason": _cut_mp4(path) or error.cause}
    except MemoryError:
        return {"reason": f"it needs more than {MEMORY >> 30} GiB of memory to open"}
    except FFmpegError as error:
        return {"reason": f"it cannot be read ({describe(error)})"}
    except Exception as error:  # what a crafted file does to PyAV is not to be foreseen, and no reason to stop
        return {"reason": f"it cannot be looked into ({type(error).__name__}: {error})"}


class _Unusable(Exception):
    """A file that cannot be used, and why."""


class _TooLong(_Unusable):
    """A longer file than is taken."""

    def __init__(self, who: str, seconds: float, max_hours: float) -> None:
        super().__init__(
            f"{who} {seconds / 3600:.1f} hours of video; the most that is taken is {max_hours:g} "
            "(settings ingest.max_hours)"
        )
        self.seconds = seconds


def _check_header(container: Any, stream: Any, path: Path, max_hours: float) -> None:
    names, tags = container.format.name.split(","), read_tags(container)
    brand = tags.get("major_brand", "").strip()
    picture = next((name for name in names if name.endswith("_pipe") or name in _PICTURES), "")
    if picture or brand in _PICTURE_BRANDS:
        kind = picture.removesuffix("_pipe") if picture else brand
        raise _Unusable(f"a {kind} picture, though named {path.suffix or path.name}: a video is needed")
    announced = stream_duration(container, stream) or 0.0
    if set(names) & set(_STATED):
        announced = max(announced, (container.duration or 0) / 1e6)
    if "mov" in names:
        announced = max(announced, _mp4_hours(path) * 3600)
    _check_hours(announced, max_hours, "its header claims")
    context = stream.codec_context
    if (context is not None and context.codec_tag in ("encv", "drmi")) or "enc_key_id" in stream.metadata:
        raise _Unusable(ENCRYPTED)
    if context is None:
        raise _Unusable("its video is of a codec that FFmpeg does not know")


def _check_hours(seconds: float, max_hours: float, who: str) -> None:
    if seconds > max_hours * 3600:
        raise _TooLong(who, seconds, max_hours)


def _count(container: Any, stream: Any, path: Path, max_hours: float) -> dict[str, Any]:
    """Read every packet, decode the first frame and a late one."""
    context, tick = stream.codec_context, stream.time_base
    context.options = {"err_detect": "explode"}  # as the reader of frames does
    context.thread_count = 1  # memory, and few frames are decoded
    rate = average_fps(stream)
    period = 1 / rate if rate else 0.04
    shown: Any = None
    times, last_key, last_end = array("d"), None, 0.0  # seconds of the stream's clock
    first_pts, other_end = None, 0.0
    broken, squeezed = "", _codec(context) in _NEVER_ZEROS
    everything = not {"mov", "avi"} & set(container.format.name.split(","))  # those state each stream's length
    try:
        for packet in container.demux() if everything else container.demux(stream):
            if packet.stream_index != stream.index:
                if packet.pts is not None:
                    other_end = max(other_end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                continue
            if packet.has_sidedata("encryption_info"):
                raise _Unusable(ENCRYPTED)
            if packet.is_corrupt:
                broken = "a packet is incomplete"
                break
            if shown is None:
                shown = next((frame for frame in packet.decode() if not frame.is_corrupt), None)
            if packet.size == 0 or packet.is_discard:
                continue
            if squeezed and packet.size > len(EMPTY) and bytes(packet)[: len(EMPTY)] == EMPTY:
                broken = "the rest was never written: it is zeros"
                break
            at = packet.pts if packet.pts is not None else packet.dts
            moment = len(times) * period if at is None else float(at * tick)
            times.append(moment)
            last_end = max(last_end, moment + (float((packet.duration or 0) * tick) or period))
            if at is not None:
                first_pts = at if first_pts is None else min(first_pts, at)
                if packet.is_keyframe:
                    last_key = at
    except (FFmpegError, ValueError) as error:
        broken = describe(error)
    if shown is None:
        raise _Unusable(
            f"its first frame cannot be decoded ({broken})" if broken else "a video stream without a frame"
        )
    ordered = sorted(times)
    first = ordered[0]
    reached = last_end - first
    _check_hours(reached, max_hours, "the times of its frames span")
    gap = max((b - a for a, b in pairwise(ordered)), default=period)
    announced = stream_duration(container, stream)
    slack = max(3 * max(gap, period), 0.1)
    if broken:
        raise _Unusable(f"cut off or damaged: its data ends at {reached:.2f} s ({broken})")
    if announced and announced - reached > slack:
        raise _Unusable(f"cut off: it announces {announced:.2f} s of video, and its data ends at {reached:.2f} s")
    if set(container.format.name.split(",")) & set(_STATED) and everything and container.duration:
        whole, held = container.duration / 1e6, max(last_end, other_end) - min(0.0, first)
        if whole - held > max(slack, 0.5):
            raise _Unusable(f"cut off: it announces {whole:.2f} s, and its data ends at {held:.2f} s")
    if cut := _cut_mp4(path):
        raise _Unusable(f"{cut}; its data ends at {reached:.2f} s")
    if last_key is not None and last_key != first_pts:
        _decode_late(container, stream, last_key, float(last_key * tick) - first)
    span = ordered[-1] - first
    if not rate or abs(rate * span - (len(times) - 1)) > max(1.0, 0.01 * len(times)):
        rate = (len(times) - 1) / span if span else rate  # the header's is another
    height, width = display_size(shown, stream.sample_aspect_ratio, read_tags(container))
    return {
        "width": width,
        "height": height,
        "fps": rate,
        "duration_s": reached,
        "num_frames": len(times),
        "time_base": f"{tick.numerator}/{tick.denominator}",
        "start_pts": first_pts or 0,
        "codec": _codec(context),
        "has_audio": bool(container.streams.audio),
    }


def _codec(context: Any) -> str:
    """Name of the codec, and not of the library that decodes it."""
    return getattr(context.codec, "canonical_name", context.name)


def _decode_late(container: Any, stream: Any, pts: int, seconds: float) -> None:
    """Decode the frame of one key packet by itself: data that was never written is zeros."""
    context = stream.codec_context
    try:
        container.seek(pts, stream=stream)
    except FFmpegError:  # a container without an index, which was read whole a moment ago
        return
    context.flush_buffers()
    for packet in container.demux(stream):
        if packet.size and packet.is_keyframe and packet.pts is not None and packet.pts >= pts:
            try:
                context.decode(packet)
                context.decode(None)
            except FFmpegError as error:
                raise _Unusable(
                    f"damaged: its frame at {seconds:.2f} s cannot be decoded ({describe(error)})"
                ) from None
            return


def _mp4_hours(path: Path) -> float:
    """Hours that an MP4 file says it lasts; 0.0: unsaid. FFmpeg looks at the frames instead, players do not."""
    with path.open("rb") as file:
        for kind, begin, end in _boxes(file, 0, path.stat().st_size):
            if kind == b"moov":
                for inner, at, _ in _boxes(file, begin, end):
                    if inner == b"mvhd":
                        file.seek(at)
                        head = file.read(32)
                        scale, lasts = struct.unpack(
                            *((">IQ", head[20:32]) if head[:1] == b"\1" else (">II", head[12:20]))
                        )
                        unknown = lasts in (0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
                        return lasts / scale / 3600 if scale and not unknown else 0.0
    return 0.0


def _cut_mp4(path: Path) -> str:
    """How an MP4 or QuickTime file is cut off, by the sizes of its outer boxes; "" if it is whole or neither."""
    length, seen = path.stat().st_size, set()
    with path.open("rb") as file:
        for kind, _, end in _boxes(file, 0, length):
            if not seen and kind != b"ftyp":
                return ""
            seen.add(kind)
            if end > length and kind in _MP4_DATA:
                return f"cut off: {end - length:,} bytes of its end are missing"
    if seen and b"moov" not in seen:
        return "cut off: its index (moov), which is written last, is missing"
    return ""


def _boxes(file: BinaryIO, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Type, begin and end of the content of the boxes that an MP4 file has between two places, as far as they go.

    ISO/IEC 14496-12, section 4.2: a box is a 32-bit size, a type and, if that size is 1, a 64-bit size; a box of
    size 0 lasts to the end of the file.
    """
    while begin + 8 <= end:
        file.seek(begin)
        head = file.read(16)
        if len(head) < 8:
            return
        size, kind = struct.unpack(">I4s", head[:8])
        inner = begin + 8
        if size == 1 and len(head) == 16:
            size, inner = struct.unpack(">Q", head[8:])[0], begin + 16
        if size == 0:
            size = end - begin
        if begin + size < inner:
            return
        yield kind, inner, begin + size
        begin += size
