"""`kinema serve`: its options, and what they come to."""

import argparse
import os
import pkgutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from .options import add_finish_options, add_improve_options, finish_of

if TYPE_CHECKING:
    from .service import Filter
    from .serving import Serving


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `kinema serve`."""
    add = parser.add_argument
    add("--model", default=None, help="folder or hub id of a Kinema model, or of a diffusers pipeline that makes "
        "videos (default: the packaged checkpoint)")  # fmt: skip
    add("--folder", type=Path, default=None, help="where jobs and results are kept (default: "
        "~/.local/share/kinema/studio)")  # fmt: skip
    add("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine only)")
    add("--port", type=int, default=7860, help="port to listen on (default: 7860)")
    add("--api-key", action="append", default=[], metavar="KEY", help="a key that may ask; can be repeated. "
        "KINEMA_API_KEY in the environment, several with commas between, does the same and is not seen in lists "
        "of processes (default: none, everybody who reaches the server may ask)")  # fmt: skip
    add("--public", action="store_true", help="listen to other machines without a key (default: refuse to)")
    add("--allow-host", action="append", default=[], metavar="NAME", help="another name that the server is asked "
        "under, of a proxy in front; can be repeated (default: --host, localhost and bare addresses)")  # fmt: skip
    add("--allow-origin", action="append", default=[], metavar="URL", help="origin of a page that may call the "
        "API from a browser; can be repeated (default: none)")  # fmt: skip
    add("--workers", type=int, default=None, metavar="N", help="processes that make videos, one a GPU in turn "
        "(default: 1)")  # fmt: skip
    add("--device", action="append", default=[], help="cpu, cuda:0, mps …; repeated: one worker each (default: "
        "the best there is)")  # fmt: skip
    add("--engine", default="local", choices=["local", "ray"], help="local: workers are processes of this machine "
        "(default); ray: actors of a Ray cluster (pip install 'kinema[ray]')")  # fmt: skip
    add("--ray-address", default=None, metavar="ADDRESS", help="auto, HOST:PORT or ray://HOST:PORT (default: "
        "RAY_ADDRESS, or a Ray of this machine alone)")  # fmt: skip
    add("--mcp", action="store_true", help="let language models make videos, at /mcp (pip install 'kinema[mcp]', "
        "default: off)")  # fmt: skip
    add("--dtype", default=None, choices=["float32", "bfloat16", "float16"], help="of the weights (default: as "
        "they were saved)")  # fmt: skip
    add("--captions", type=Path, default=None, metavar="DATASET", help="folder of a dataset whose captions are "
        "reviewed in the app, too (default: none)")  # fmt: skip
    add("--disk", default=None, metavar="SIZE", help="that results and uploads may take, in KB, MB, GB or TB "
        "(default: 20GB); the least recently used go first, starred ones never")  # fmt: skip
    add("--per-minute", type=_positive(int), default=None, metavar="N", help="videos that a key may ask for in a "
        "minute (default: any number)")  # fmt: skip
    add("--waiting", type=_positive(int), default=None, metavar="N", help="videos that may wait in the queue "
        "(default: 200)")  # fmt: skip
    add("--waiting-each", type=_positive(int), default=None, metavar="N", help="of them of one key (default: 50)")
    add("--longest", type=_positive(float), default=None, metavar="SECONDS", help="length of a video at most "
        "(default: 600)")  # fmt: skip
    add("--prompt-filter", default=None, metavar="MODULE:FUNCTION", help="is given every text, "
        "and answers why it is refused, or None (default: nothing is refused)")  # fmt: skip
    add("--webhook", action="append", default=[], metavar="URL", help="is told of every video that is made or "
        "has failed; can be repeated. KINEMA_WEBHOOK_SECRET in the environment signs it (default: "
        "none)")  # fmt: skip
    add_finish_options(parser)
    add_improve_options(parser)


def _positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            number = kind(text)
        except ValueError:
            number = 0
        if not 0 < number < float("inf"):
            raise argparse.ArgumentTypeError(f"{text!r} is not more than 0")
        return number

    return read


def command(args: argparse.Namespace) -> None:
    """Serve; what keeps it from starting is one line."""
    from kinema.app import say, serve

    say(f"starting with {args.model or 'the packaged checkpoint'} …")  # to import the rest takes a while
    from ..pipeline.checkpoint import CheckpointError
    from .jobs.job import JobError
    from .making.finishing import FinishError
    from .serving import ServeError

    try:
        serve(read_options(args))
    except (ServeError, FinishError, CheckpointError, JobError) as error:
        raise SystemExit(f"kinema serve: {error}") from None


def read_options(args: argparse.Namespace) -> "Serving":
    """
    Raises:
        ServeError: they contradict one another, or cannot be read.
    """
    from .cluster.ray_workers import Cluster
    from .service import Limits
    from .serving import FOLDER, KEYS, SECRET, ServeError, Serving

    usual = Limits()
    limits = Limits(
        waiting=args.waiting or usual.waiting,
        waiting_each=args.waiting_each or usual.waiting_each,
        video_seconds=args.longest or usual.video_seconds,
    )
    keys = [key.strip() for key in [*args.api_key, *os.environ.get(KEYS, "").split(",")] if key.strip()]
    if args.device and args.workers is not None and args.workers != len(args.device):
        raise ServeError(f"--workers {args.workers}, but {len(args.device)} devices; a device has one worker each")
    if args.engine == "local" and args.ray_address is not None:
        raise ServeError("--ray-address is for --engine ray")
    return Serving(
        folder=args.folder or FOLDER,
        model=args.model,
        devices=devices(args.device, args.workers if args.engine == "local" else 1),
        dtype=args.dtype,
        host=args.host,
        port=args.port,
        hosts=args.allow_host,
        origins=args.allow_origin,
        keys=keys,
        public=args.public,
        per_minute=args.per_minute,
        budget=Serving.budget if args.disk is None else read_bytes(args.disk),
        limits=limits,
        captions=args.captions,
        finish=finish_of(args),
        cluster=Cluster(args.ray_address, args.workers) if args.engine == "ray" else None,
        mcp=args.mcp,
        prompt_filter=read_filter(args.prompt_filter),
        improve_url=args.improve_url,
        improve_model=args.improve_model,
        webhooks=args.webhook,
        webhook_secret=os.environ.get(SECRET, ""),
    )


def devices(given: Sequence[str], workers: int | None) -> list[str | None]:
    """The device of each worker; None stands for the best there is.

    Raises:
        ServeError: fewer than one.
    """
    from .serving import ServeError

    if given:
        return list(given)
    count = 1 if workers is None else workers
    if count < 1:
        raise ServeError(f"--workers {count}: at least one is needed")
    if count == 1:
        return [None]
    import torch

    cards = torch.cuda.device_count()
    return [f"cuda:{number % cards}" if cards else None for number in range(count)]


def read_filter(name: str | None) -> "Filter":
    """The function that a name such as "rules:refuse" stands for; None: nothing is refused.

    Raises:
        ServeError: there is none.
    """
    from .serving import ServeError

    if name is None:
        return lambda text: None
    try:
        found: Any = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ServeError(
            f"--prompt-filter {name}: {error}; write MODULE:FUNCTION of a module on PYTHONPATH"
        ) from None
    if not callable(found):
        raise ServeError(f"--prompt-filter {name} is no function")
    return cast("Filter", found)


def read_bytes(text: str) -> int:
    """Bytes of a size such as "20GB" or "500 MB".

    Raises:
        ServeError: it cannot be read.
    """
    from .serving import ServeError

    units = {"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
    number, unit = text.strip()[:-2].strip(), text.strip()[-2:].upper()
    try:
        return int(float(number) * units[unit])
    except (KeyError, ValueError):
        raise ServeError(f"--disk {text}: write a number and KB, MB, GB or TB, such as 20GB") from None
