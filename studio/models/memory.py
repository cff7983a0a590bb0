"""Memory of a worker: what a job took at its peak, what there is, and a limit that is met before the machine's is.

On a CPU a process that takes too much would be killed by the system, and perhaps others with it. So a job may take
as much as is free when it begins; past that an allocation fails, and the job says so.
"""

import contextlib
import json
import logging
import os
import resource
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

SPARE = 0.05  # of the free memory, left to others
TOLD = "memory.json"  # in the shelf's logs, by worker


@dataclass(frozen=True)
class Memory:
    """What a worker knows of its device's memory, in bytes.

    Attributes:
        base: taken by the model and the libraries, when nothing is made.
        room: that a worker may take in all.
        value: of one number of its computation, 4 or 2.
        most: that it was told to take at most; 0: it was not.
        pid: of its process, if it shares the machine's main memory; else 0.
    """

    base: int
    room: int
    value: int
    most: int = 0
    pid: int = 0

    def now(self) -> "Memory":
        """With the room of this moment, for what shares this machine's memory.

        Raises:
            psutil.Error: the process has ended.
        """
        import psutil

        if not self.pid:
            return self
        room = int((1 - SPARE) * free()) + psutil.Process(self.pid).memory_info().rss
        return replace(self, room=min(room, self.most) if self.most else room)


class Meter:
    """The memory of a worker, as its jobs come and go.

    Args:
        pipe: a loaded pipeline.
        most: bytes that the worker may take in all; 0: what is free.
    """

    def __init__(self, pipe: Any, most: int = 0) -> None:
        self.most = most
        inner = getattr(pipe, "pipe", pipe)
        self.device = inner._execution_device
        main = getattr(inner, "transformer", None) or getattr(inner, "unet", None)
        self.value = main.dtype.itemsize if main is not None else 4
        self.base = self.taken()

    @property
    def on_gpu(self) -> bool:
        """Whether the device has a memory of its own that can be asked."""
        return self.device.type == "cuda"

    def taken(self) -> int:
        """Bytes that this process takes of the device now."""
        if self.on_gpu:
            import torch

            return torch.cuda.memory_reserved(self.device)
        return _status("VmRSS")

    def memory(self) -> Memory:
        """What may be taken now, and what is taken when nothing is made."""
        if self.on_gpu:
            import torch

            room = torch.cuda.mem_get_info(self.device)[0] + self.taken()
            return Memory(self.base, min(room, self.most or room), self.value, self.most)
        return Memory(self.base, 0, self.value, self.most, os.getpid()).now()

    @contextlib.contextmanager
    def job(self) -> Iterator[Callable[[], dict[str, int]]]:
        """Keep a job within the room that there is; what comes gives its "base", "room", "value" and "peak"."""
        now = self.memory()
        if self.on_gpu:
            import torch

            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            _forget_peak()
        with contextlib.nullcontext() if self.on_gpu else limited(now.room):
            yield lambda: {"base": now.base, "room": now.room, "value": now.value, "peak": self._peak()}

    def _peak(self) -> int:
        if self.on_gpu:
            import torch

            return torch.cuda.max_memory_reserved(self.device)
        return _status("VmHWM")

    def tell(self, folder: Path, name: str) -> None:
        """Write down what is known, for the server's estimates."""
        path = folder / f"{name.partition('-')[0]}.{TOLD}"
        path.write_text(json.dumps(asdict(self.memory())), encoding="utf-8")


@contextlib.contextmanager
def limited(most: int) -> Iterator[None]:
    """Let no allocation succeed that would bring this process above so many bytes; on Linux only."""
    if not sys.platform.startswith("linux"):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    room = max(0, most - _status("VmRSS"))
    limit = _status("VmData") + room
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def told(folder: Path) -> list[Memory]:
    """What the workers said of their memory that share this machine's, or have one of their own; as it is now."""
    import psutil

    found = []
    for path in sorted(folder.glob(f"*.{TOLD}")):
        with contextlib.suppress(OSError, ValueError, TypeError, psutil.Error):  # it ended, or just writes
            found.append(Memory(**json.loads(path.read_text(encoding="utf-8"))).now())
    return found


def free() -> int:
    """Bytes of main memory that can be taken: of the machine, or of the container if that has less."""
    import psutil

    least = psutil.virtual_memory().available
    for most, taken in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        with contextlib.suppress(OSError, ValueError):  # "max": no limit
            least = min(least, int(Path(most).read_text()) - int(Path(taken).read_text()))
    return max(0, least)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, by whatever name."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError | OSError) and (
        "can't allocate memory" in said or "not enough memory" in said or "cannot allocate memory" in said
    )


def _status(name: str) -> int:
    """A line of /proc/self/status in bytes; elsewhere the peak of this process's life."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _forget_peak() -> None:
    with contextlib.suppress(OSError):  # elsewhere a peak is that of all jobs so far: an estimate errs to be safe
        Path("/proc/self/clear_refs").write_text("5")
