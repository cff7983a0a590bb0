"""Who asks: API keys, sessions of people who logged in with one, and how often each may ask."""

import hashlib
import hmac
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from itsdangerous import BadSignature, URLSafeTimedSerializer

from ..given import mark_of
from ..jobs.job import Job, JobError, TooOftenError

WINDOW = 60.0  # seconds
COOKIE = "kinema"
SESSION_SECONDS = 30 * 24 * 3600


@dataclass(frozen=True)
class Owner:
    """Somebody who asks.

    Attributes:
        name: the fingerprint of a key, or "" where there are none.
        sees_all: whether other people's videos and files are shown, too.
        may_ask: raises a TooOftenError, or counts a video.
    """

    name: str
    sees_all: bool
    may_ask: Callable[[], None]

    def sees(self, what: Job | str) -> bool:
        """Whether a job, or a given file by its id, is shown: ids stand in files that people pass on."""
        if isinstance(what, str):
            return self.sees_all or what.startswith(mark_of(self.name))
        return self.sees_all or what.owner == self.name

    @property
    def listed(self) -> str | None:
        """Whose jobs a list shows; None: everybody's."""
        return None if self.sees_all else self.name


class Access:
    """Knows the keys and counts what each asks for.

    A page in a browser cannot send a key with every picture, so a key can be exchanged for a session: a signed
    cookie with the key's fingerprint in it, never the key.

    Args:
        keys: that are taken; none: everybody may ask, and sees everything.
        per_minute: videos a key may ask for; None: any number.
        secret: signs sessions; whoever knows it needs no key.
    """

    def __init__(self, keys: Collection[str] = (), per_minute: int | None = None, secret: str = "") -> None:
        self.keys, self.per_minute = tuple(keys), per_minute
        secret = secret or hashlib.sha256("\n".join(self.keys).encode()).hexdigest()
        self._sessions = URLSafeTimedSerializer(secret, salt="kinema session")
        self._asked: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def owner(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> Owner:
        """Who sends a request.

        Args:
            headers, cookies: of the request.

        Raises:
            JobError: no key or session, or a wrong one.
        """
        if not self.keys:
            return Owner("", True, lambda: self.count(""))
        scheme, _, key = headers.get("authorization", "").partition(" ")
        given = key.strip() if scheme.lower() == "bearer" else ""
        name = self.name_of(given) if given else self._of_session(cookies.get(COOKIE, ""))
        if name is None:
            said = "the API key is wrong" if given else "an API key is needed: Authorization: Bearer KEY"
            raise JobError(said, "invalid_api_key")
        return Owner(name, False, lambda: self.count(name))

    def name_of(self, key: str) -> str | None:
        """The fingerprint of a key that is taken; None: it is not."""
        if not any(hmac.compare_digest(key.encode(), each.encode()) for each in self.keys):
            return None
        return hashlib.sha256(key.encode()).hexdigest()[:16]

    def session(self, name: str) -> str:
        """A cookie for somebody whose key was checked."""
        return str(self._sessions.dumps(name))

    def count(self, name: str) -> None:
        """Count a video that somebody asks for.

        Args:
            name: of an `Owner`.

        Raises:
            TooOftenError: it is one more than they may ask for.
        """
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

    def _of_session(self, cookie: str) -> str | None:
        try:
            name = self._sessions.loads(cookie, max_age=SESSION_SECONDS)
        except BadSignature:
            return None
        return name if name in {self.name_of(key) for key in self.keys} else None  # keys can be taken away


def owner_of(request: Request) -> Owner:
    """Who sends a request, by the app's `Access`."""
    return request.app.state.access.owner(request.headers, request.cookies)


Asker = Annotated[Owner, Depends(owner_of)]  # a route's parameter: who asks, after their key was checked
