"""Who asks: API keys, and how often each may."""

import hashlib
import hmac
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from ..jobs import Job, JobError

WINDOW = 60.0  # seconds


class TooOftenError(JobError):
    """A key asks more often than it may.

    Attributes:
        seconds: after which it may again.
    """

    def __init__(self, per_minute: int, seconds: float) -> None:
        super().__init__(f"at most {per_minute} videos a minute may be asked for; try again later", "rate_limited")
        self.seconds = seconds


@dataclass(frozen=True)
class Owner:
    """Somebody who asks.

    Attributes:
        name: the fingerprint of a key, or "" where there are none.
        sees_all: whether other people's videos are shown, too.
        may_ask: raises a TooOftenError, or counts a video.
    """

    name: str
    sees_all: bool
    may_ask: Callable[[], None]

    def sees(self, job: Job) -> bool:
        """Whether a job is shown."""
        return self.sees_all or job.owner == self.name


class Access:
    """Knows the keys and counts what each asks for.

    Args:
        keys: that are taken; none: everybody may ask, and sees everything.
        per_minute: videos a key may ask for; None: any number.
    """

    def __init__(self, keys: Collection[str] = (), per_minute: int | None = None) -> None:
        self.keys, self.per_minute = tuple(keys), per_minute
        self._asked: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def owner(self, request: Request) -> Owner:
        """Who sends a request.

        Raises:
            JobError: no key, or a wrong one.
        """
        if not self.keys:
            return Owner("", True, lambda: self._count(""))
        given = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if not any(hmac.compare_digest(given.encode(), key.encode()) for key in self.keys):
            said = "the API key is wrong" if given else "an API key is needed: Authorization: Bearer KEY"
            raise JobError(said, "invalid_api_key")
        name = hashlib.sha256(given.encode()).hexdigest()[:16]
        return Owner(name, False, lambda: self._count(name))

    def _count(self, name: str) -> None:
        if self.per_minute is None:
            return
        now = time.monotonic()
        with self._lock:
            asked = self._asked.setdefault(name, deque())
            while asked and now - asked[0] >= WINDOW:
                asked.popleft()
            if len(asked) >= self.per_minute:
                raise TooOftenError(self.per_minute, WINDOW - (now - asked[0]))
            asked.append(now)


def _owner(request: Request) -> Owner:
    return request.app.state.access.owner(request)


Asker = Annotated[Owner, Depends(_owner)]  # a route's parameter: who asks, after their key was checked
