"""A studio that is served: its settings, its one server, its workers and what looks after it.

It listens on this machine only, unless told otherwise, and then wants an API key: whoever may ask may use the
machine. Two servers never share a folder.
"""

import contextlib
import fcntl
import ipaddress
import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ..data.files import atomic_path
from .boards import Boards
from .cluster.ray_workers import Cluster, RayWorkers
from .jobs.shelf import Shelf
from .jobs.store import JobStore
from .jobs.upkeep import EVERY, clean, clean_uploads, room
from .making.finishing import PLAIN, Finish, FinishError
from .making.workers import Workers, worker_command
from .models.model import read_model
from .prompts.improve import improver_of
from .rest.access import Access
from .service import Filter, Limits, Studio
from .webhooks import WebhookError, Webhooks, check_url, read_secret

KEYS = "KINEMA_API_KEY"  # environment: keys that are taken, with commas between
SECRET = "KINEMA_WEBHOOK_SECRET"  # environment: signs what other programs are told
FOLDER = Path("~/.local/share/kinema/studio")

logger = logging.getLogger(__name__)


class ServeError(RuntimeError):
    """The server cannot start; the message says what to change."""


@dataclass(frozen=True)
class Serving:
    """How a studio is served.

    Attributes:
        folder: of jobs, results and uploads.
        model: folder or hub id; None: the packaged checkpoint.
        devices: one worker each; None stands for the best there is.
        dtype: of the weights; None: the checkpoint's own.
        host, port: to listen on.
        hosts: further names that requests may come for, of a proxy in front.
        origins: of other pages that may call the API from a browser.
        keys: that are taken; none: everybody on this machine may ask.
        public: listen to other machines without a key, on purpose.
        per_minute: videos that a key may ask for.
        budget: bytes that results and uploads may take.
        limits: of what is asked for.
        captions: a dataset whose captions are reviewed in the app, too.
        finish: what results are marked and signed with.
        cluster: of Ray, whose actors make the videos; None: processes of this machine do.
        mcp: whether language models are answered, too.
        prompt_filter: why a text is refused; None: it is not.
        webhooks: addresses that are told of what is made or has failed.
        webhook_secret: signs what they are told.
        improve_url, improve_model: who improves prompts, see `improve.improver_of`.
    """

    folder: Path = FOLDER
    model: str | None = None
    devices: Sequence[str | None] = (None,)
    dtype: str | None = None
    host: str = "127.0.0.1"
    port: int = 7860
    hosts: Sequence[str] = ()
    origins: Sequence[str] = ()
    keys: Sequence[str] = ()
    public: bool = False
    per_minute: int | None = None
    budget: int = 20_000_000_000
    limits: Limits = field(default_factory=Limits)
    captions: Path | None = None
    finish: Finish = PLAIN
    cluster: Cluster | None = None
    mcp: bool = False
    prompt_filter: Filter = lambda text: None
    webhooks: Sequence[str] = ()
    webhook_secret: str = ""
    improve_url: str | None = None
    improve_model: str | None = None


@dataclass(frozen=True)
class Served:
    """What `open_studio` opened: the parts that pages and routes look at."""

    serving: Serving
    studio: Studio
    workers: Workers
    boards: Boards
    access: Access


def check_exposure(serving: Serving) -> None:
    """
    Raises:
        ServeError: other machines could ask, and nobody would be asked for a key.
    """
    if is_loopback(serving.host) or serving.keys or serving.public:
        return
    raise ServeError(
        f"--host {serving.host} lets other machines use this one, and there is no API key; set {KEYS} (or "
        "--api-key), or say --public if that is meant"
    )


def check_serving(serving: Serving) -> None:
    """What can be told before anything large is imported.

    Raises:
        ServeError: it could not be served; the message says what to change.
        CheckpointError: there is no such model.
    """
    check_exposure(serving)
    folder = serving.folder.expanduser().absolute()
    with _said(), only_server(folder):
        check_port(serving.host, serving.port)
        for url in serving.webhooks:
            check_url(url)
        if serving.webhooks:
            read_secret(serving.webhook_secret)
        if serving.captions is not None and not serving.captions.expanduser().is_dir():
            raise ServeError(f"--captions {serving.captions}: there is no such folder")
        improver_of(serving.improve_url, serving.improve_model)  # a JobError if they do not fit
        read_model(serving.model)
        serving.finish.check()


def check_port(host: str, port: int) -> None:
    """
    Raises:
        ServeError: nothing can listen there.
    """
    if not 0 < port < 65536:
        raise ServeError(f"--port {port}: a number from 1 to 65535 is needed")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ServeError(f"--host {host}: this is no address to listen on ({error.strerror or error})") from None
    tried, why = 0, ""
    for family, kind, protocol, _, address in found:
        try:
            trial = socket.socket(family, kind, protocol)
        except OSError as error:  # this machine has no IPv6, say
            why = error.strerror or str(error)
            continue
        tried += 1
        with trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                trial.bind(address)
            except OSError as error:
                raise ServeError(
                    f"{host}:{port} cannot be listened on ({error.strerror}); end what is there, or give another "
                    "--port or --host"
                ) from None
    if not tried:
        raise ServeError(f"{host}:{port} cannot be listened on ({why}); give another --host")


def is_loopback(host: str) -> bool:
    """Whether only this machine can ask there."""
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


@contextlib.contextmanager
def only_server(folder: Path) -> Iterator[None]:
    """Hold a studio's folder.

    Raises:
        ServeError: another server holds it, or it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".server").open("a+")
    except OSError as error:
        raise ServeError(
            f"{folder} cannot be written to ({error.strerror}); give another --folder, or allow it"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ServeError(
                f"{folder} is served already{_by(lock)}; end that server, or give another --folder"
            ) from None
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _by(lock: IO[str]) -> str:
    lock.seek(0)
    pid = lock.read().strip()
    return f" by process {pid}" if pid else ""


@contextlib.contextmanager
def open_studio(serving: Serving) -> Iterator[Served]:
    """A studio and its workers, until the block ends.

    Raises:
        ServeError: see `check_exposure` and `only_server`, or it could not do what it was told to.
        CheckpointError: there is no such model.
    """
    check_exposure(serving)
    folder = serving.folder.expanduser().absolute()
    with _said(), only_server(folder), contextlib.ExitStack() as ending:
        serving.finish.check()
        improver_of(serving.improve_url, serving.improve_model)  # a JobError if they do not fit
        model, shelf = read_model(serving.model), Shelf(folder)
        store = JobStore(shelf.database)
        studio = Studio(store, shelf, model, serving.limits, serving.prompt_filter)
        ending.callback(studio.close)
        access = Access(serving.keys, serving.per_minute, _secret(folder))
        workers, boards = _workers(serving, store, shelf), Boards(studio, access.count)
        studio.given.kept = boards.media
        services: list[Any] = [workers, boards, Cleaner(studio, serving.budget, boards.media)]
        if serving.webhooks:
            services.append(Webhooks(store, serving.webhooks, serving.webhook_secret))
        for service in services:
            service.start()
            ending.callback(service.stop)
        yield Served(serving, studio, workers, boards, access)


def _workers(serving: Serving, store: JobStore, shelf: Shelf) -> Workers:
    commands = [
        worker_command(shelf.folder, serving.model, device, serving.dtype, serving.finish)
        for device in serving.devices
    ]
    if serving.cluster is None:
        return Workers(store, shelf, commands)
    try:
        return RayWorkers(store, shelf, commands[0], serving.cluster)
    except ImportError as error:
        raise ServeError(str(error)) from None


@contextlib.contextmanager
def _said() -> Iterator[None]:
    try:
        yield
    except (FinishError, WebhookError) as error:
        raise ServeError(str(error)) from None


def _secret(folder: Path) -> str:
    """What signs the sessions of this folder, so that they outlive the server."""
    path = folder / ".secret"
    if not path.exists():
        with atomic_path(path) as made:
            made.touch(0o600)
            made.write_text(secrets.token_hex(32))
    return path.read_text()


class Cleaner:
    """Keeps a studio within its budget, in a thread of its own.

    Args:
        studio: whose results.
        budget: bytes.
        kept: ids of what is never cleaned away.
    """

    def __init__(self, studio: Studio, budget: int, kept: Callable[[], Collection[str]] = tuple) -> None:
        self.studio, self.budget, self.kept, self._ended = studio, budget, kept, threading.Event()
        self._thread = threading.Thread(target=self._clean, name="cleaner", daemon=True)

    def start(self) -> None:
        """Clean now, and again and again."""
        self._thread.start()

    def stop(self) -> None:
        """End, when what is being deleted is."""
        self._ended.set()
        self._thread.join()

    def _clean(self) -> None:
        store, shelf = self.studio.store, self.studio.shelf
        while True:
            try:
                kept = self.kept()
                for job in clean(store, shelf, self.budget, kept=kept):
                    logger.warning("the files of %s were deleted to make room (it was not starred)", job.id)
                clean_uploads(store, shelf, kept=kept)
                self.studio.given.looked(room(store, shelf, self.budget, kept))
            except Exception:  # a full disk, say: the next round may go better
                logger.exception("cleaning up failed")
            if self._ended.wait(EVERY):
                store.close()
                return
