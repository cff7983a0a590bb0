"""`kinema serve`: its options, and what they come to."""

import argparse
import os
import pkgutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from .options import add_finish_options, add_improve_options, finish_of

if TYPE_CHECKING:
    from .service import Filter
    from .serving import Serving


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `kinema serve`."""
    add = parser.add_argument
    add("--model", default=None, help="folder or hub id (default: the packaged checkpoint)")
    add("--folder", type=Path, default=None, help="of jobs and results (default: ~/.local/share/kinema/studio)")
    add("--host", default="127.0.0.1", help="to listen on (default: this machine only)")
    add("--port", type=int, default=7860)
    add("--api-key", action="append", default=[], metavar="KEY", help="may ask; can be repeated. KINEMA_API_KEY "
        "in the environment does the same, and is not seen in the list of processes")  # fmt: skip
    add("--public", action="store_true", help="listen to other machines without a key")
    add("--allow-host", action="append", default=[], metavar="NAME", help="of a proxy in front")
    add("--allow-origin", action="append", default=[], metavar="URL", help="of a page that may call the API")
    add("--workers", type=int, default=None, metavar="N", help="processes that make videos (default: 1)")
    add("--device", action="append", default=[], help="cpu, cuda:0, mps; repeated: one worker each")
    add("--engine", default="local", choices=["local", "ray"], help="ray: workers are actors of a Ray cluster "
        "(pip install 'kinema[ray]')")  # fmt: skip
    add("--ray-address", default=None, metavar="ADDRESS", help="auto, HOST:PORT or ray://HOST:PORT (default: "
        "RAY_ADDRESS, or a Ray of this machine alone)")  # fmt: skip
    add("--mcp", action="store_true", help="let language models make videos, at /mcp (pip install 'kinema[mcp]')")
    add("--dtype", default=None, choices=["float32", "bfloat16", "float16"])
    add("--captions", type=Path, default=None, metavar="DATASET", help="review its captions in the app, too")
    add("--disk", default=None, metavar="SIZE", help="that results and uploads may take, such as 20GB "
        "(the default); the least recently used go first, starred ones never")  # fmt: skip
    add("--per-minute", type=int, default=None, metavar="N", help="videos a key may ask for")
    add("--waiting", type=int, default=None, metavar="N", help="videos that may wait (default: 200)")
    add("--waiting-each", type=int, default=None, metavar="N", help="of one key (default: 50)")
    add("--prompt-filter", default=None, metavar="MODULE:FUNCTION", help="is given every text, "
        "and answers why it is refused, or None")  # fmt: skip
    add("--webhook", action="append", default=[], metavar="URL", help="is told of every video that is made or "
        "has failed; the secret that signs it is read from KINEMA_WEBHOOK_SECRET")  # fmt: skip
    add_finish_options(parser)
    add_improve_options(parser)
    add("--longest", type=float, default=None, metavar="SECONDS", help="of a video (default: 600)")


def command(args: argparse.Namespace) -> None:
    """Serve; what keeps it from starting is one line."""
    from kinema.app import serve

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
