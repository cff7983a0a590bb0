"""Tells other programs when a video is made or has failed: signed events, sent until somebody takes them.

The form is that of https://www.standardwebhooks.com, which `OpenAI().webhooks.unwrap` verifies. What is to be sent
lies in the jobs' own file, so an event outlives a restart. One that was taken just before the server was killed is
sent again, under the same id: who takes events remembers their ids.
"""

import base64
import binascii
import hashlib
import hmac
import json
import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

import httpx

from ..data.fetch import TimeLimit
from .jobs.job import Job
from .jobs.store import JobStore

EVENTS = {"completed": "video.completed", "failed": "video.failed"}  # by status; a cancelled one is no news
LOOK = 0.2  # seconds between looks
SECONDS = 10.0  # for one try, all of it
WAITS = (5.0, 30.0, 300.0, 1800.0)  # seconds before the second try and those after it
OLDEST = 86_400.0  # seconds: what ended longer ago than this is no news any more
PREFIX, SHORTEST = "whsec_", 24  # bytes of a secret
_TABLES = """
CREATE TABLE IF NOT EXISTS webhooks (
    url TEXT NOT NULL, id TEXT NOT NULL, job TEXT NOT NULL, body TEXT NOT NULL, tries INTEGER NOT NULL DEFAULT 0,
    next_at REAL, PRIMARY KEY (url, id)
);
CREATE TABLE IF NOT EXISTS webhook_marks (url TEXT PRIMARY KEY, changed INTEGER NOT NULL);
"""

logger = logging.getLogger(__name__)


class WebhookError(ValueError):
    """An address or a secret that cannot be used; the message says which."""


class Webhooks:
    """Sends the events of a store to some addresses, each in its own time.

    Args:
        store: of the jobs.
        urls: of whoever wants to know; they are the server's own settings, never a stranger's.
        secret: "whsec_" and at least 24 bytes in base64.
        waits: seconds before the second try, the third …; after the last one an event is given up.
        timeout: seconds for one try.

    Raises:
        WebhookError: an address that is not http(s), or no such secret.
    """

    def __init__(
        self,
        store: JobStore,
        urls: Sequence[str],
        secret: str,
        waits: Sequence[float] = WAITS,
        timeout: float = SECONDS,
    ) -> None:
        self.store, self.urls, self.waits, self.timeout = store, [check_url(url) for url in urls], waits, timeout
        self._key, self._stop = read_secret(secret), threading.Event()
        self._threads = [
            threading.Thread(target=self._serve, args=(url,), name="webhooks", daemon=True) for url in self.urls
        ]

    def start(self) -> None:
        """Begin; an address that is new is told of what ends from now on."""
        with self.store.change() as db:
            for statement in _TABLES.split(";"):
                db.execute(statement)
            db.execute("DELETE FROM webhooks WHERE job NOT IN (SELECT id FROM jobs)")
            for url in self.urls:
                db.execute("INSERT OR IGNORE INTO webhook_marks SELECT ?, changed FROM counter", (url,))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End; what was not taken is sent by the next server."""
        self._stop.set()
        for thread in self._threads:
            thread.join(self.timeout + 1)

    def _serve(self, url: str) -> None:
        row = self.store.db.execute("SELECT changed FROM webhook_marks WHERE url = ?", (url,)).fetchone()
        mark: int = row["changed"]
        with httpx.Client() as client:
            while not self._stop.wait(LOOK):
                try:
                    mark = self._note(url, mark)
                    self._send(client, url)
                except Exception:  # a locked file, say; nothing that is queued is lost by it
                    logger.exception("the webhooks to %s had an error, and go on", shown(url))
        self.store.close()

    def _note(self, url: str, mark: int) -> int:
        """Queue the events after a mark; both are on the disk when this returns, or neither."""
        newest, jobs = self.store.changed_since(mark)
        news = [job for job in jobs if job.status in EVENTS and time.time() - (job.finished_at or 0) < OLDEST]
        if news:
            with self.store.change() as db:
                for job in news:  # once each: a job that is starred, say, has changed, too
                    event = event_of(job)
                    db.execute(
                        "INSERT OR IGNORE INTO webhooks (url, id, job, body, next_at) VALUES (?, ?, ?, ?, ?)",
                        (url, event["id"], job.id, json.dumps(event), time.time()),
                    )
                db.execute("UPDATE webhook_marks SET changed = ? WHERE url = ?", (newest, url))
        return newest

    def _send(self, client: httpx.Client, url: str) -> None:
        """Try what is due, the oldest first."""
        due = self.store.db.execute(
            "SELECT id, body, tries FROM webhooks WHERE url = ? AND next_at <= ? ORDER BY next_at, rowid",
            (url, time.time()),
        ).fetchall()
        for event_id, body, tries in due:
            if self._stop.is_set():
                return
            problem = self._try(client, url, event_id, body)
            if not problem:
                next_at = None
            elif tries < len(self.waits):
                next_at = time.time() + self.waits[tries]
                logger.info("%s to %s: %s; another try follows", event_id, shown(url), problem)
            else:
                next_at = None
                logger.warning("%s to %s: %s; given up after %d tries", event_id, shown(url), problem, tries + 1)
            with self.store.change() as db:
                db.execute(
                    "UPDATE webhooks SET tries = ?, next_at = ? WHERE url = ? AND id = ?",
                    (tries + 1, next_at, url, event_id),
                )

    def _try(self, client: httpx.Client, url: str, event_id: str, body: str) -> str:
        """What went wrong; "": it was taken."""
        headers = {"Content-Type": "application/json", "User-Agent": "kinema"}
        headers |= signed(self._key, event_id, body, int(time.time()))
        with TimeLimit(self.timeout) as limit:
            try:
                with client.stream("POST", url, content=body, headers=headers, timeout=self.timeout,
                                   extensions={"trace": limit.trace}) as answer:  # fmt: skip
                    return "" if answer.is_success else f"the answer is {answer.status_code}"
            except httpx.HTTPError as error:
                return f"no answer within {self.timeout:g} s" if limit.over else f"{type(error).__name__}: {error}"


def event_of(job: Job) -> dict[str, Any]:
    """The event of a job that has ended; its id is the same whenever it is asked for."""
    what = f"{job.id} {job.status} {job.finished_at}"  # a job that is tried again ends twice
    return {
        "id": f"evt_{hashlib.sha256(what.encode()).hexdigest()[:32]}", "object": "event",
        "created_at": int(job.finished_at or 0), "type": EVENTS[job.status], "data": {"id": job.id},
    }  # fmt: skip


def signed(key: bytes, event_id: str, body: str, now: int) -> dict[str, str]:
    """The headers that tell who sends an event, and when."""
    digest = hmac.new(key, f"{event_id}.{now}.{body}".encode(), hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": event_id, "webhook-timestamp": str(now), "webhook-signature": signature}


def read_secret(secret: str) -> bytes:
    """
    Raises:
        WebhookError: it is none.
    """
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or len(key) < SHORTEST:
        raise WebhookError(
            f"the webhook secret is no {PREFIX} and at least {SHORTEST} bytes in base64; make one with "
            f"""python -c "import base64, os; print('{PREFIX}' + base64.b64encode(os.urandom(32)).decode())" """
        )
    return key


def check_url(url: str) -> str:
    """
    Raises:
        WebhookError: it is not http or https, or no address.
    """
    try:
        at = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise WebhookError(f"the webhook address {url!r} cannot be read: {error}") from None
    if at.scheme not in ("http", "https") or not at.host:
        raise WebhookError(f"the webhook address {url!r} is neither http nor https; give such an address")
    return url


def shown(url: str) -> str:
    """An address for a log: what may be secret in it is left out."""
    return str(httpx.URL(url).copy_with(userinfo=b"", query=None))
