"""Looking into a video file without trusting it: in a child process that is killed when it hangs or crashes.

One child serves many files, since starting one costs more than looking into most files. It reads every packet of
the video, which tells how long it truly is and whether it is cut off, but decodes two frames only: the first one,
and the last that stands by itself.
"""

import json
import os
import resource
import selectors
import signal
import struct
import subprocess
import sys
import tempfile
import time
from array import array
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from av.error import FFmpegError

from ..data.video_probe import (
    VideoOpenError,
    average_fps,
    describe,
    display_size,
    open_video,
    read_tags,
    stream_duration,
)
from .commits import CaptionError

CHILD = [sys.executable, "-P", "-c", "from kinema.captioner.probing import serve; serve()"]
START_SECONDS = 60.0  # in which a child is ready, on a busy machine
BYTES_PER_SECOND = 10e6  # that a disk gives at least; the time limit grows with the file
MEMORY = 4 << 30  # bytes of address space of a child
ATTEMPTS = 2  # a crash that is the file's fault happens again

_PICTURES = ("image2", "ico", "mcpoca", "fits")  # demuxers of single pictures, beside those named "…_pipe"
_PICTURE_BRANDS = ("avif", "heic", "heix", "heim", "heis", "mif1")  # the same in MP4's clothes
_STATED = ("matroska", "webm", "flv", "asf", "mov")  # containers whose header states how long they are
_BOXES = (b"mdat", b"moov", b"moof")  # of MP4: one that ends after the file does was cut off


class Prober:
    """Looks into files in a child process, which it starts when needed and replaces when it dies.

    Args:
        seconds: for a file, besides the time that reading its bytes takes; then the child is killed.
        max_hours: a longer video is refused, before anything is done with it.
    """

    def __init__(self, seconds: float, max_hours: float) -> None:
        self.seconds, self.max_hours = seconds, max_hours
        self._child: subprocess.Popen[bytes] | None = None
        self._errors: Any = None
        self._asked: tuple[Path, float, float] | None = None  # path, seconds allowed, when they are over
        self._line = b""

    def probe(self, path: Path) -> dict[str, Any]:
        """What `measure` says of a file, or {"reason"} if it took too long or the decoder crashed.

        Raises:
            CaptionError: no child can be started.
        """
        self.ask(path)
        return self.answer()

    def ask(self, path: Path) -> None:
        """Begin with a file; `answer` waits for what comes out."""
        allowed = self.seconds + path.stat().st_size / BYTES_PER_SECOND
        for attempt in range(ATTEMPTS):
            child = self._ready()
            self._asked = (path, allowed, time.monotonic() + allowed)
            try:
                assert child.stdin is not None
                child.stdin.write(json.dumps([os.fspath(path), self.max_hours, allowed]).encode() + b"\n")
                child.stdin.flush()
                return
            except BrokenPipeError:  # it died since its last answer
                self.close()
                if attempt + 1 == ATTEMPTS:
                    raise CaptionError("the process that looks into files dies before it is asked") from None

    def answered(self) -> bool:
        """Whether `answer` would not wait."""
        return self._receive(0.0)

    def answer(self) -> dict[str, Any]:
        """Wait for what comes out of the file asked for."""
        code = 0
        for attempt in range(ATTEMPTS):
            assert self._asked is not None
            path, allowed, until = self._asked
            if not self._receive(max(0.0, until - time.monotonic())):
                self.close()
                return {"reason": f"it took longer than {allowed:.3g} s to look into; the decoder hangs"}
            line, self._line = self._line, b""
            if line:
                return json.loads(line)
            assert self._child is not None
            code = self._child.wait()
            self.close()
            if code == -signal.SIGALRM:
                return {"reason": f"it took longer than {allowed:.3g} s to look into; the decoder hangs"}
            if attempt + 1 < ATTEMPTS:
                self.ask(path)
        if code < 0:
            return {"reason": f"the decoder crashed on it (signal {-code}, {signal.Signals(-code).name})"}
        return {"reason": f"the decoder ended on it (exit code {code})"}

    def close(self) -> None:
        """End the child; the next question starts another."""
        child, self._child, self._asked, self._line = self._child, None, None, b""
        if child is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        self._errors.close()

    def __del__(self) -> None:
        self.close()

    def _ready(self) -> subprocess.Popen[bytes]:
        if self._child is not None:
            return self._child
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the child
        self._child = child = subprocess.Popen(
            CHILD,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,  # a process group of its own, to be killed whole
        )
        if not self._receive(START_SECONDS) or not self._line:
            self._errors.seek(0)
            told = self._errors.read().decode(errors="replace").strip()[-500:]
            self.close()
            raise CaptionError(f"the process that looks into files does not start: {told or 'it says nothing'}")
        self._line = b""
        return child

    def _receive(self, seconds: float) -> bool:
        """Whether within this time a whole line came, kept in `_line`, or the child ended, which leaves none."""
        if self._line.endswith(b"\n"):
            return True
        assert self._child is not None and self._child.stdout is not None
        until = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._child.stdout, selectors.EVENT_READ)
            while selector.select(max(0.0, until - time.monotonic())):
                part = os.read(self._child.stdout.fileno(), 1 << 16)
                self._line += part
                if not part:
                    self._line = b""
                if not part or self._line.endswith(b"\n"):
                    return True
        return False


def serve() -> None:
    """The child: a question a line on the standard input, an answer a line on the standard output."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints is no answer
    with suppress(ValueError, OSError):  # not every system can limit it
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        path, max_hours, seconds = json.loads(line)
        signal.alarm(int(seconds) + 2)  # ends this process also when its parent is no more
        answer = json.dumps(measure(Path(path), max_hours))
        signal.alarm(0)
        print(answer, file=answers, flush=True)


def measure(path: Path, max_hours: float) -> dict[str, Any]:
    """What a video file holds, or {"reason"} if it cannot be used whole.

    Returns:
        width, height (pixels, as displayed), fps (average), duration_s and num_frames (counted, not as the header
        says), time_base ("1/12800"), start_pts, codec, has_audio.
    """
    try:
        with open_video(path) as (container, stream):
            _check_header(container, stream, path, max_hours)
            return _count(container, stream, path, max_hours)
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
    _check_hours(announced, max_hours, "its header claims")
    context = stream.codec_context
    if (context is not None and context.codec_tag in ("encv", "drmi")) or "enc_key_id" in stream.metadata:
        raise _Unusable("encrypted; decrypt it first")
    if context is None:
        raise _Unusable("its video is of a codec that FFmpeg does not know")


def _check_hours(seconds: float, max_hours: float, who: str) -> None:
    if seconds > max_hours * 3600:
        raise _Unusable(
            f"{who} {seconds / 3600:.1f} hours of video; the most that is taken is {max_hours:g} "
            "(settings ingest.max_hours)"
        )


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
    broken = ""
    everything = not {"mov", "avi"} & set(container.format.name.split(","))  # those state each stream's length
    try:
        for packet in container.demux() if everything else container.demux(stream):
            if packet.stream_index != stream.index:
                if packet.pts is not None:
                    other_end = max(other_end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                continue
            if packet.is_corrupt:
                broken = "a packet is incomplete"
                break
            if shown is None:
                shown = next((frame for frame in packet.decode() if not frame.is_corrupt), None)
            if packet.size == 0 or packet.is_discard:
                continue
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
        "codec": getattr(context.codec, "canonical_name", context.name),
        "has_audio": bool(container.streams.audio),
    }


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


def _cut_mp4(path: Path) -> str:
    """How an MP4 or QuickTime file is cut off, by the sizes of its outermost boxes; "" if it is whole or neither.

    ISO/IEC 14496-12, section 4.2: a box is a 32-bit size, a type and, if that size is 1, a 64-bit size; a box of
    size 0 lasts to the end of the file.
    """
    length, at, seen = path.stat().st_size, 0, set()
    with path.open("rb") as file:
        while at + 8 <= length:
            file.seek(at)
            head = file.read(16)
            size, kind = struct.unpack(">I4s", head[:8])
            if not at and kind != b"ftyp":
                return ""
            if size == 1 and len(head) == 16:
                size = struct.unpack(">Q", head[8:])[0]
            seen.add(kind)
            if size == 0:
                break
            if size < 8:
                return ""
            at += size
            if at > length and kind in _BOXES:
                return f"cut off: {at - length:,} bytes of its end are missing"
    if seen and b"moov" not in seen:
        return "cut off: its index (moov), which is written last, is missing"
    return ""
