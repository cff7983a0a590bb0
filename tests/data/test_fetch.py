import contextlib
import gc
import ipaddress
import pickle
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.data import fetch as module
from kinema.data.fetch import ALLOWED_HOSTS, MAX_REDIRECTS, FetchError, fetch, is_public

BODY = bytes(range(256)) * 40


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.seen.append((self.path, self.headers["Host"]))
        kind, _, rest = self.path.lstrip("/").partition("/")
        if kind == "to":
            self._head(302, Location=rest.replace("%3A", ":"))
        elif kind == "hop":
            self._head(302, Location=f"/hop/{int(rest) - 1}" if int(rest) else "/file/a.mp4")
        elif kind == "file":
            self._head(200, **{"Content-Type": "video/mp4", "Content-Length": str(len(BODY))})
            self.wfile.write(BODY)
        elif kind == "unannounced":
            self._head(200, **{"Content-Type": "video/mp4"})
            self.wfile.write(BODY)
        elif kind == "page":
            self._head(200, **{"Content-Type": "text/html; charset=utf-8"})
            self.wfile.write(b"<html>")
        elif kind == "packed":
            self._head(200, **{"Content-Encoding": "gzip"})
            self.wfile.write(b"x")
        elif kind == "empty":
            self._head(200, **{"Content-Length": "0"})
        elif kind == "drip":  # a head that never ends
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
            with contextlib.suppress(OSError):
                for _ in range(200):
                    self.wfile.write(b"x")
                    time.sleep(0.02)
        elif kind == "endless":  # a body whose length nobody tells
            self._head(200)
            with contextlib.suppress(OSError):
                for _ in range(200):
                    self.wfile.write(b"x")
                    time.sleep(0.02)
        elif kind == "slow":
            self._head(200, **{"Content-Length": "1000"})
            for _ in range(50):
                self.wfile.write(b"x")
                time.sleep(0.05)
        else:
            self.send_error(404)

    def _head(self, status, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass  # a client that hangs up in the middle is part of the tests


@pytest.fixture(scope="module")
def server():
    with Server(("127.0.0.1", 0), Handler) as server:
        server.seen = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def at(server):
    server.seen.clear()
    return f"http://127.0.0.1:{server.server_port}"


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A folder of their own for temporary files."""
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path))
    return tmp_path


HERE = ["127.0.0.1"]


def test_an_allowed_host_is_fetched_and_the_file_is_gone_when_no_longer_needed(at, temporary):
    download = fetch(f"{at}/file/a%20clip.mp4?token=1", allowed_hosts=HERE)
    assert download.path.read_bytes() == BODY and download.path.parent == temporary
    assert download.path.suffix == ".mp4" and download.name == "a clip.mp4"
    del download
    gc.collect()
    assert not list(temporary.iterdir())


def test_hosts_can_be_allowed_by_the_environment_and_with_a_port(at, monkeypatch, server):
    monkeypatch.setenv(ALLOWED_HOSTS, f"media.lan, 127.0.0.1:{server.server_port}")
    assert fetch(f"{at}/file/a.mp4").path.read_bytes() == BODY
    monkeypatch.setenv(ALLOWED_HOSTS, "127.0.0.1:1, media.lan")
    with pytest.raises(FetchError, match="not on the public internet"):
        fetch(f"{at}/file/a.mp4")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]"]
)
def test_this_machine_is_never_asked_however_it_is_written(server, at, host):
    with pytest.raises(FetchError, match=r"public internet|not found") as caught:
        fetch(f"http://{host}:{server.server_port}/file/a.mp4", allowed_hosts=[])
    assert not server.seen and host.strip("[]") in str(caught.value)
    assert isinstance(caught.value, ValueError) and str(pickle.loads(pickle.dumps(caught.value))) == str(
        caught.value
    )


def test_a_redirect_to_a_private_address_is_refused(server, at):
    with pytest.raises(FetchError, match=r"169\.254\.169\.254"):
        fetch(f"{at}/to/http://169.254.169.254/latest/meta-data", allowed_hosts=HERE)
    with pytest.raises(FetchError, match="localhost"):
        fetch(f"{at}/to/http://localhost:{server.server_port}/file/a.mp4", allowed_hosts=HERE)
    with pytest.raises(FetchError, match="neither http nor https"):
        fetch(f"{at}/to/file:///etc/passwd", allowed_hosts=HERE)
    assert [path.split("/")[1] for path, _ in server.seen] == ["to"] * 3


def test_redirects_are_followed_up_to_a_limit(at):
    assert fetch(f"{at}/hop/{MAX_REDIRECTS - 1}", allowed_hosts=HERE).path.read_bytes() == BODY
    with pytest.raises(FetchError, match="redirects more than"):
        fetch(f"{at}/hop/{MAX_REDIRECTS}", allowed_hosts=HERE)


def test_the_checked_address_is_the_one_asked(server, at, monkeypatch):
    """A name that is public when checked and private when asked (DNS rebinding) gains nothing."""
    asked = []

    def resolve(host, port, **_):
        asked.append(host)
        address = "93.184.216.34" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    connected = []

    def connect(address, *_args, **_kwargs):
        connected.append(address)
        raise OSError("no route in this test")

    monkeypatch.setattr(module.socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(FetchError, match="no route"):
        fetch(f"http://rebind.example:{server.server_port}/file/a.mp4", allowed_hosts=[])
    assert asked == ["rebind.example"] and connected == [("93.184.216.34", server.server_port)]


def test_the_host_is_named_to_the_server_though_its_address_is_dialled(server, at, monkeypatch):
    monkeypatch.setattr(
        module.socket,
        "getaddrinfo",
        lambda _, port, *__, **___: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))],
    )
    fetch(f"http://media.lan:{server.server_port}/file/a.mp4", allowed_hosts=["media.lan"])
    assert server.seen == [("/file/a.mp4", f"media.lan:{server.server_port}")]


def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch):
    entries = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, 80)) for a in ("93.184.216.34", "10.0.0.8")]
    monkeypatch.setattr(module.socket, "getaddrinfo", lambda *_, **__: entries)
    with pytest.raises(FetchError, match=r"10\.0\.0\.8"):
        fetch("http://mixed.example/a.mp4", allowed_hosts=[])


def test_limits_hold_with_and_without_an_announced_length(at, temporary):
    for kind in ("file", "unannounced"):
        assert fetch(f"{at}/{kind}/a.mp4", allowed_hosts=HERE, max_bytes=len(BODY)).path.stat().st_size == len(
            BODY
        )
        with pytest.raises(FetchError, match="more than"):
            fetch(f"{at}/{kind}/a.mp4", allowed_hosts=HERE, max_bytes=len(BODY) - 1)
    for kind in ("slow", "drip", "endless", "to//drip/a.mp4"):
        begin = time.monotonic()
        with pytest.raises(FetchError, match=r"longer than 0\.2 s"):
            fetch(f"{at}/{kind}/a.mp4", allowed_hosts=HERE, max_seconds=0.2)
        assert time.monotonic() - begin < 1.5
    gc.collect()
    assert not list(temporary.iterdir())


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("{at}/page/watch", "web page"),
        ("{at}/empty/a.mp4", "empty file"),
        ("{at}/packed/a.mp4", "packs the file"),
        ("{at}/gone", "404"),
        ("ftp://example.org/a.mp4", "neither http nor https"),
        ("http:///a.mp4", "neither http nor https"),
        ("http://[::1/a", "no URL"),
        ("http://no-such-host.invalid/a.mp4", "not found"),
    ],
)
def test_what_cannot_be_fetched_is_said(at, url, match):
    with pytest.raises(FetchError, match=match) as caught:
        fetch(url.format(at=at), allowed_hosts=HERE)
    assert ";" in str(caught.value) or "not found" in match  # and what to do


def test_passwords_are_not_shown(at):
    with pytest.raises(FetchError) as caught:
        fetch("http://name:secret@127.0.0.1/a.mp4", allowed_hosts=[])
    assert "secret" not in str(caught.value)


@given(st.ip_addresses(v=4))
def test_an_address_inside_another_counts_as_itself(ip):
    inside = (
        f"::ffff:{ip}",
        str(ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) | int(ip))),
        str(ipaddress.IPv6Address((0x2002 << 112) | (int(ip) << 80))),
    )
    assert {is_public(address) for address in inside} == {is_public(str(ip))}


@given(
    st.sampled_from(
        [
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.2.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "224.0.0.0/4",
            "240.0.0.0/4",
            "::1/128",
            "::/128",
            "fc00::/7",
            "fe80::/10",
            "fec0::/10",
            "ff00::/8",
        ]
    ),
    st.data(),
)
def test_no_special_network_is_public(network, data):
    block = ipaddress.ip_network(network)
    number = data.draw(st.integers(int(block[0]), int(block[-1])))
    assert not is_public(
        str(ipaddress.ip_address(number) if block.version == 4 else ipaddress.IPv6Address(number))
    )


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "2001:4860:4860::8888"])
def test_the_public_internet_is_public(address):
    assert is_public(address)
