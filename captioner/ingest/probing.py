"""Looking into a video file without trusting it: in a child process that is killed when it hangs or crashes.

One child serves many files, since starting one costs more than looking into most files.
"""

import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..engine.commits import CaptionError
from .measuring import MEMORY, measure

CHILD = [sys.executable, "-P", "-c", "from kinema.captioner.ingest.probing import serve; serve()"]
START_SECONDS = 60.0  # in which a child is ready, on a busy machine
BYTES_PER_SECOND = 10e6  # that a disk gives at least; the time limit grows with the file
FILES_PER_CHILD = 2000  # then it is replaced: FFmpeg keeps a little memory of each
ATTEMPTS = 2  # a crash that is the file's fault happens again


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
        self._served = 0  # files that the child was asked about

    def probe(self, path: Path) -> dict[str, Any]:
        """What `measure` says of a file; {"reason"} if the decoder crashed.

        {"unreached"} if time or memory was short, as they may be on a busy machine: no lasting fault of the file.

        Raises:
            CaptionError: no child can be started.
        """
        self.ask(path)
        return self.answer()

    def ask(self, path: Path) -> None:
        """Begin with a file; `answer` waits for what comes out."""
        if self._served >= FILES_PER_CHILD:
            self.close()
        allowed = self.seconds + path.stat().st_size / BYTES_PER_SECOND
        for attempt in range(ATTEMPTS):
            child = self._ready()
            self._asked = (path, allowed, time.monotonic() + allowed)
            try:
                assert child.stdin is not None
                child.stdin.write(json.dumps([os.fspath(path), self.max_hours, allowed]).encode() + b"\n")
                child.stdin.flush()
                self._served += 1
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
        code, allowed = 0, 0.0
        for attempt in range(ATTEMPTS):
            assert self._asked is not None
            path, allowed, until = self._asked
            if not self._receive(max(0.0, until - time.monotonic())):
                self.close()
                return {"unreached": self._too_long(allowed)}
            line, self._line = self._line, b""
            if line:
                return json.loads(line)
            assert self._child is not None
            code = self._child.wait()
            self.close()
            if code == -signal.SIGALRM:
                return {"unreached": self._too_long(allowed)}
            if attempt + 1 < ATTEMPTS:
                self.ask(path)
        if code == -signal.SIGKILL:  # by the system: memory ran out, maybe by others' fault
            return {"unreached": "the process that looked into it was killed (out of memory?)"}
        if code < 0:
            return {"reason": f"the decoder crashed on it (signal {-code}, {signal.Signals(-code).name})"}
        return {"reason": f"the decoder ended on it (exit code {code})"}

    def _too_long(self, allowed: float) -> str:
        return (
            f"it took longer than {allowed:.3g} s to look into: the decoder hangs, or the machine is busy; "
            f"ingest.probe_seconds={4 * self.seconds:g} gives it more time"
        )

    def close(self) -> None:
        """End the child; the next question starts another."""
        child, self._child, self._asked, self._line, self._served = self._child, None, None, b"", 0
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
