"""Looks into a given picture without trusting it: in a child process with little memory and time.

The child writes the picture anew, upright and as PNG; the file that was given is not opened by anybody else.
"""

import resource
import subprocess
import sys
from pathlib import Path

from .jobs.job import JobError

SECONDS, MEMORY = 20, 2 << 30  # of the child; bytes
FORMATS = ("PNG", "JPEG", "WEBP")
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF")
CHILD = [sys.executable, "-P", "-c", "from kinema.studio.looking import serve; serve()"]


def is_picture(path: Path) -> bool:
    """Whether a file begins like a picture that is taken."""
    with path.open("rb") as file:
        head = file.read(12)
    return head.startswith(_MAGIC[:2]) or (head.startswith(_MAGIC[2]) and head[8:] == b"WEBP")


def rewrite_picture(path: Path, into: Path, most_pixels: int) -> None:
    """Write a picture anew as PNG.

    Raises:
        JobError: it cannot be read, has too many pixels, or takes too long.
    """
    try:
        done = subprocess.run(
            [*CHILD, str(path), str(into), str(most_pixels)], capture_output=True, timeout=SECONDS + 10, text=True
        )
    except subprocess.TimeoutExpired:
        raise JobError("the picture takes too long to read", "input_not_usable") from None
    if done.returncode:
        told = done.stdout.strip() or f"its decoder ended with status {done.returncode}"
        raise JobError(f"the picture cannot be used: {told}", "input_not_usable")


def serve() -> None:
    """The child: a picture, where to, and pixels at most."""
    from PIL import Image, ImageOps

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    source, target, most = sys.argv[1:]
    try:
        with Image.open(source, formats=FORMATS) as picture:
            if picture.width * picture.height > int(most):
                raise ValueError(f"{picture.width} x {picture.height} pixels are more than are taken here")
            ImageOps.exif_transpose(picture).convert("RGB").save(target, format="PNG")
    except Exception as error:  # of a crafted file anything
        sys.stdout.write(" ".join(str(error).split()).replace(source, "it"))
        sys.exit(1)
