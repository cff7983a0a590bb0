"""One frame of a given video, and what the video is like, without trusting it: looked at in a child process.

The child has little memory and time, and hands back a picture that it wrote itself.
"""

import base64
import json
import resource
import subprocess
import sys
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from .jobs.job import JobError

SECONDS, MEMORY = 20, 4 << 30  # of the child; bytes
SIDE = 768  # pixels of the picture's long side at most
CHILD = [sys.executable, "-P", "-c", "from kinema.studio.stills import serve; serve()"]


@dataclass(frozen=True)
class Still:
    """A frame of a video or picture.

    Attributes:
        png: as the address of a picture in a page ("data:image/png;base64,…").
        width, height: pixels of the video.
        fps: frames a second; None: it is a picture.
        seconds: length; None: the file does not say.
        at: when the frame is shown, in seconds.
    """

    png: str
    width: int
    height: int
    fps: float | None
    seconds: float | None
    at: float


@lru_cache(64)
def look(path: Path, at: float = 0.0) -> Still:
    """
    Args:
        path: of a file of ours, which does not change.
        at: seconds; the last frame stands for all that come after it.

    Raises:
        JobError: it cannot be read, or takes too long.
    """
    try:
        done = subprocess.run([*CHILD, str(path), str(at)], capture_output=True, timeout=SECONDS + 10, text=True)
    except subprocess.TimeoutExpired:
        raise JobError("the video takes too long to read", "input_not_usable") from None
    if done.returncode:
        told = done.stdout.strip() or f"its decoder ended with status {done.returncode}"
        raise JobError(f"the video cannot be shown: {told}", "input_not_usable")
    return Still(**json.loads(done.stdout))


def serve() -> None:
    """The child: a file, and seconds."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    path, at = Path(sys.argv[1]), float(sys.argv[2])
    try:
        sys.stdout.write(json.dumps(asdict(_look(path, at))))
    except Exception as error:  # of a crafted file anything
        sys.stdout.write(" ".join(str(error).split()).replace(str(path), "it"))
        sys.exit(1)


def _look(path: Path, at: float) -> Still:
    from io import BytesIO

    from PIL import Image

    fps = seconds = None
    if path.suffix == ".png":
        with Image.open(path, formats=["PNG"]) as opened:
            picture, at = opened.convert("RGB"), 0.0
    else:
        from ..data.video_io import iter_stills, probe

        about = probe(path)
        fps, seconds, shown = about.fps, about.duration, None
        for still in iter_stills(path):
            if shown is not None and still.time > at + 1e-6:
                break
            shown = still
        if shown is None:
            raise ValueError("it has no frame")
        picture, at = Image.fromarray(shown.pixels(None)), shown.time
    width, height = picture.size
    picture.thumbnail((SIDE, SIDE))
    out = BytesIO()
    picture.save(out, "PNG")
    png = f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
    return Still(png, width, height, fps, seconds, at)
