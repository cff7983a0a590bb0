"""Fetching given URLs into temporary files, guarded against addresses inside the machine or its network.

An address that a stranger gives (to a server that generates, say) must not make this machine ask its own network
on their behalf. So every host, also after a redirect, is resolved once, all of its addresses must be public, and
the connection goes to one of those very addresses; a name that resolves otherwise a moment later changes nothing.
Proxies of the environment are not used, since they would resolve names themselves.
"""

import contextlib
import ipaddress
import os
import socket
import tempfile
import threading
import weakref
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Self

import httpx

ALLOWED_HOSTS = "KINEMA_ALLOWED_HOSTS"  # environment: "media.lan, localhost:8000"; hosts that may be private
MAX_BYTES = 1 << 30
MAX_REDIRECTS = 5
MAX_SECONDS = 600.0  # for the whole download, so that a server that drips bytes does not hold it for ever
TIMEOUT = httpx.Timeout(30.0, connect=10.0)  # seconds without progress
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
AZURE_HOST = ipaddress.ip_address("168.63.129.16")  # looks public, but is the cloud's own within it


class FetchError(ValueError):
    """A URL that cannot be fetched, or may not be.

    Attributes:
        url: the address given, without a password in it.
        cause: what is wrong and what to do, in words.
        passing: whether it may be well a moment later.
    """

    def __init__(self, url: str, cause: str, passing: bool = False) -> None:
        super().__init__(url, cause, passing)  # the arguments, so that worker processes can hand it on
        self.url, self.cause, self.passing = url, cause, passing

    def __str__(self) -> str:
        return f"{self.url}: {self.cause}"


class Download:
    """A fetched file; it is deleted when nothing refers to the download any more.

    Attributes:
        path: the temporary file.
        name: the file's name in the URL, for messages.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self._finalizer = weakref.finalize(self, path.unlink, missing_ok=True)


class TimeLimit:
    """Hangs up when a request takes too long in all, however steadily its answer drips in.

    Its `trace` is given to httpx, as the extension of that name, so that it knows the connections.

    Args:
        seconds: from its beginning, by `with`, on.

    Attributes:
        over: whether it is too late.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self.over = seconds, False
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._hang_up)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def trace(self, name: str, info: Mapping[str, Any]) -> None:
        """Note a connection when there is one."""
        if name in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            with self._lock:
                self._socket = info["return_value"].get_extra_info("socket")
            if self.over:  # meanwhile
                self._hang_up()

    def _hang_up(self) -> None:
        with self._lock:
            self.over = True
            if self._socket is not None:
                with contextlib.suppress(OSError):  # it is closed already
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # TLS's own is not for other threads


def fetch(
    url: str,
    *,
    allowed_hosts: Collection[str] | None = None,
    max_bytes: int = MAX_BYTES,
    max_seconds: float = MAX_SECONDS,
    folder: Path | None = None,
) -> Download:
    """Fetch a picture or video.

    Args:
        url: http or https.
        allowed_hosts: hosts ("media.lan") or hosts with a port ("localhost:8000") that may have private addresses;
            None: those in the environment variable KINEMA_ALLOWED_HOSTS, separated by commas.
        max_bytes: the most that is taken.
        max_seconds: the longest that it may take.
        folder: where the temporary file is made; None: the system's place for those.

    Raises:
        FetchError: a ValueError; another scheme, a private address, too many redirects, too much data, too little
            speed, an answer that is no file, or no answer.
    """
    if allowed_hosts is None:
        allowed_hosts = [host for entry in os.environ.get(ALLOWED_HOSTS, "").split(",") if (host := entry.strip())]
    try:
        at = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise FetchError(str(url), f"this is no URL ({error}); give http:// or https:// and an address") from None
    shown = _shown(at)
    limit = TimeLimit(max_seconds)
    client = httpx.Client(trust_env=False, verify=httpx.create_ssl_context(), timeout=TIMEOUT)
    try:
        with limit, client:
            for _ in range(MAX_REDIRECTS + 1):
                response = _answer(client, at, shown, allowed_hosts, limit)
                try:
                    if not response.has_redirect_location:
                        return _saved(response, at, shown, max_bytes, limit, folder)
                    at = at.join(response.headers["Location"])
                finally:
                    response.close()
    except httpx.HTTPError as error:
        raise _late(shown, limit) if limit.over else _told(error, shown) from None
    except httpx.InvalidURL as error:
        raise FetchError(shown, f"it redirects to what is no URL ({error}); give the file's own address") from None
    raise FetchError(shown, f"it redirects more than {MAX_REDIRECTS} times; give the file's own address")


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet, also where it carries another one inside."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip.is_site_local:
            return False
    if ip == AZURE_HOST:
        return False
    special = ip.is_private or ip.is_loopback or ip.is_link_local or ip.is_multicast
    return ip.is_global and not (special or ip.is_reserved or ip.is_unspecified)


def _answer(
    client: httpx.Client, at: httpx.URL, shown: str, allowed: Collection[str], limit: TimeLimit
) -> httpx.Response:
    """The head of a server's answer, its body unread; from an address that was checked."""
    if at.scheme not in ("http", "https") or not at.host:
        raise FetchError(shown, f"{_shown(at)} is neither http nor https; give such an address, or a local file")
    problem: httpx.HTTPError | None = None
    for address in _addresses(at, shown, allowed):
        if limit.over:
            raise _late(shown, limit)
        request = client.build_request(
            "GET",
            at.copy_with(host=address),
            headers={"Host": at.netloc.decode("ascii"), "Accept-Encoding": "identity", "User-Agent": "kinema"},
            extensions={"sni_hostname": at.raw_host.decode("ascii"), "trace": limit.trace},
        )
        try:
            return client.send(request, stream=True)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            problem = error
    assert problem is not None
    raise problem


def _addresses(at: httpx.URL, shown: str, allowed: Collection[str]) -> list[str]:
    """All addresses of a URL's host, each of them public or the host allowed."""
    host = at.raw_host.decode("ascii").strip("[]")
    port = at.port or {"http": 80, "https": 443}[at.scheme]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        lost = isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
        raise FetchError(
            shown, f"the host {host} is not found ({error}); check the address", passing=lost
        ) from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if {host, f"{host}:{port}"} & {name.lower() for name in allowed}:
        return addresses
    private = [address for address in addresses if not is_public(address)]
    if private:
        raise FetchError(
            shown,
            f"the host {host} has the address {private[0]}, which is not on the public internet, so it is not "
            f"asked; download the file yourself, or name the host in {ALLOWED_HOSTS} if you trust it",
        )
    return addresses


def _saved(
    response: httpx.Response,
    at: httpx.URL,
    shown: str,
    max_bytes: int,
    limit: TimeLimit,
    folder: Path | None,
) -> Download:
    """The body in a temporary file."""
    if response.status_code != 200:
        reason = f"{response.status_code} {response.reason_phrase}".strip()
        busy = response.status_code >= 500 or response.status_code in (408, 429)
        raise FetchError(shown, f"the server answers {reason}; check the address in a browser", passing=busy)
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml"):
        raise FetchError(shown, "this is a web page and no file; give the address of the picture or video itself")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise FetchError(shown, "the server packs the file though asked not to; give another address")
    too_much = f"the file has more than {max_bytes / 1e6:.4g} MB, the most that is fetched; download it yourself"
    announced = response.headers.get("Content-Length", "")
    if announced.isdigit() and int(announced) > max_bytes:
        raise FetchError(shown, too_much)
    name = PurePosixPath(at.path).name
    suffix = PurePosixPath(name).suffix
    suffix = suffix if suffix[1:].isalnum() and suffix.isascii() and len(suffix) <= 6 else ""
    with tempfile.NamedTemporaryFile(prefix="kinema-", suffix=suffix, dir=folder, delete=False) as file:
        download = Download(Path(file.name), name or at.host)
        for taken, part in _counted(response.iter_raw()):
            if taken > max_bytes:
                raise FetchError(shown, too_much)
            if limit.over:
                raise _late(shown, limit)
            file.write(part)
    if limit.over:  # hung up in the middle of a file whose length nobody told
        raise _late(shown, limit)
    if not download.path.stat().st_size:
        raise FetchError(shown, "the server sends an empty file; check the address")
    return download


def _counted(parts: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    total = 0
    for part in parts:
        total += len(part)
        yield total, part


def _late(shown: str, limit: TimeLimit) -> FetchError:
    return FetchError(shown, f"it takes longer than {limit.seconds:.4g} s; download it yourself")


def _told(error: httpx.HTTPError, shown: str) -> FetchError:
    if isinstance(error, httpx.TimeoutException):
        late = "the server does not answer in time; try again, or give a local file"
        return FetchError(shown, late, passing=True)
    return FetchError(
        shown, f"it cannot be fetched ({error}); check the address, or give a local file", passing=True
    )


def _shown(url: httpx.URL) -> str:
    return str(url.copy_with(username=None, password=None) if url.userinfo else url)
