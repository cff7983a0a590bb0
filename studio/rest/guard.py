"""What a browser may be used for: a page of somebody else must not ask this server in its reader's name.

Three ways in are closed. A name that its owner lets point to this machine (DNS rebinding) is not among the hosts
that are answered. A form or script of another page names its origin, and nothing is changed for it. And no other
page may read or frame an answer, unless its origin was allowed. The other way round, our own pages load nothing
from elsewhere: the browser itself is told not to.
"""

import ipaddress
from collections.abc import Collection

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import error_response

READING = ("GET", "HEAD", "OPTIONS")
ANY = "*"
# Gradio's pages hold scripts and styles; nothing of them comes from elsewhere, nor is anybody else told anything.
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' blob: data:; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'self'"
)
SHOWN = "ETag, Content-Range, Retry-After, openai-poll-after-ms, x-request-id"  # headers that other pages may read


def add_guard(app: FastAPI, hosts: Collection[str] = (), origins: Collection[str] = ()) -> None:
    """Guard an app and all that is mounted in it. Call it after all other middleware was added.

    Args:
        hosts: names that it is asked under, besides localhost and bare IP addresses: "films.example.org",
            "*.example.org", or "*" for any (behind a proxy that checks them).
        origins: of other pages that may call it: "https://example.org".
    """
    app.add_middleware(Guard, hosts=hosts, origins=origins)


class Guard:
    """The middleware of `add_guard`.

    Args:
        app: what is guarded.
        hosts, origins: see there.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] = (), origins: Collection[str] = ()) -> None:
        self.app = app
        self.hosts = {host.lower().strip("[]") for host in hosts}
        self.origins = {origin.lower().rstrip("/") for origin in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer for the app, or mark its answer."""
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        allowed = origin is not None and origin.lower() in self.origins
        method = scope.get("method", "")  # "" of a websocket
        answer = self._refusal(headers.get("host", "").lower(), None if allowed else origin, method)
        if answer is not None and not method:
            return await send({"type": "websocket.close", "code": 1008})
        if answer is None and method == "OPTIONS" and origin and "access-control-request-method" in headers:
            answer = Response(status_code=204, headers=_preflight(headers) if allowed else None)

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._mark(MutableHeaders(scope=message), origin if allowed else None)
            await send(message)

        await (answer or self.app)(scope, receive, marked)

    def _refusal(self, host: str, origin: str | None, method: str) -> Response | None:
        if not self._is_ours(host):
            name = name_of(host)
            said = f"this server is not asked as {name!r}; if that is its name, start it with --allow-host {name}"
            return error_response(403, said, "host_not_allowed")
        if origin is not None and method not in READING and not _is_same(origin, host):
            said = f"pages of {origin!r} may not change anything here; allow them with --allow-origin"
            return error_response(403, said, "origin_not_allowed")
        return None

    def _is_ours(self, host: str) -> bool:
        name = name_of(host)
        if ANY in self.hosts or name in self.hosts or name == "localhost" or name.endswith(".localhost"):
            return True
        if any(each.startswith("*.") and name.endswith(each[1:]) for each in self.hosts):
            return True
        try:
            ipaddress.ip_address(name)  # only a name can be made to point elsewhere
        except ValueError:
            return False
        return True

    def _mark(self, headers: MutableHeaders, origin: str | None) -> None:
        for name in [name for name in headers if name.startswith("access-control-") and origin is None]:
            del headers[name]  # Gradio has its own, laxer rules
        if origin is not None and "access-control-allow-methods" not in headers:
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Expose-Headers"] = SHOWN
        if self.origins:
            headers.add_vary_header("Origin")
        for name, value in (
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "same-origin"),  # a signature in an address stays here
            ("Content-Security-Policy", " ".join([POLICY, *sorted(self.origins)])),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
        ):
            headers.setdefault(name, value)


def name_of(host: str) -> str:
    """The name or address in a Host header, its port left out."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _is_same(origin: str, host: str) -> bool:
    """Whether an origin is the server itself. A proxy may speak another scheme than it."""
    scheme, _, at = origin.lower().partition("://")
    return scheme in ("http", "https") and _with_port(at, scheme) == _with_port(host, scheme)


def _with_port(at: str, scheme: str) -> str:
    bare = at.endswith("]") or ":" not in at
    return f"{at}:{'443' if scheme == 'https' else '80'}" if bare else at


def _preflight(headers: Headers) -> dict[str, str]:
    return {
        "Access-Control-Allow-Origin": headers["origin"], "Access-Control-Max-Age": "600",
        "Access-Control-Allow-Methods": "GET, HEAD, POST, DELETE",
        "Access-Control-Allow-Headers": headers.get("access-control-request-headers", ""),
    }  # fmt: skip
