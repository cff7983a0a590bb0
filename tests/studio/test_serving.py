"""The server as a process: where it listens, whom it lets in, and how it ends."""

import argparse
import errno
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from kinema.studio.command import add_options, read_bytes, read_options
from kinema.studio.serving import (
    KEYS,
    ServeError,
    Serving,
    check_exposure,
    check_port,
    is_loopback,
    only_server,
    open_studio,
)

sys.path.insert(0, str(Path(__file__).parent))
from served import Server


def options(*words):
    parser = argparse.ArgumentParser()
    add_options(parser)
    return read_options(parser.parse_args(words))


@pytest.mark.parametrize(
    ("host", "here"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("127.9.9.9", True), ("0.0.0.0", False),
     ("::", False), ("192.168.1.2", False), ("example.org", False)],
)  # fmt: skip
def test_other_machines_are_let_in_with_a_key_or_on_purpose_only(tmp_path, host, here):
    assert is_loopback(host) == here
    check_exposure(Serving(tmp_path, host=host, keys=["k"]))
    check_exposure(Serving(tmp_path, host=host, public=True))
    if here:
        check_exposure(Serving(tmp_path, host=host))
        return
    with pytest.raises(ServeError, match=f"{KEYS}.*--public"):
        check_exposure(Serving(tmp_path, host=host))


def test_options_become_settings(monkeypatch, tmp_path):
    monkeypatch.setenv(KEYS, "two, three,")
    given = options(
        "--api-key", "one", "--device", "cpu", "--device", "cuda:1", "--disk", "1.5 GB", "--longest", "9"
    )
    assert given.keys == ["one", "two", "three"]
    assert given.devices == ["cpu", "cuda:1"]
    assert given.budget == 1_500_000_000 and given.limits.video_seconds == 9
    monkeypatch.delenv(KEYS)
    assert options("--workers", "3").devices == [None] * 3 and options().keys == []
    for wrong in (["--workers", "0"], ["--disk", "much"], ["--workers", "2", "--device", "cpu"]):
        with pytest.raises(ServeError, match=wrong[-2] if wrong[-2] == "--disk" else "--workers"):
            options(*wrong)
    assert read_bytes("500MB") == 500_000_000


def test_a_prompt_filter_is_named_like_a_function():
    refuse = options("--prompt-filter", "operator:not_").prompt_filter
    assert refuse("") and not refuse("a red ball") and options().prompt_filter("anything") is None
    for wrong in ("nowhere:nothing", "operator:nothing", "operator:__name__"):
        with pytest.raises(ServeError, match=f"--prompt-filter {wrong}"):
            options("--prompt-filter", wrong)


def test_a_folder_has_one_server(tmp_path):
    with (
        only_server(tmp_path),
        pytest.raises(ServeError, match="is served already by process"),
        only_server(tmp_path),
    ):
        pass
    with only_server(tmp_path):
        pass


LIGHT = """
import json, sys
from kinema.cli import main
for large in ("torch", "gradio", "diffusers", "transformers"):
    sys.modules[large] = None  # who imports it now fails
for words in json.loads(sys.argv[1]):
    try:
        main(["serve", *words])
    except SystemExit as ended:
        sys.stdout.write(f"{ended.code}\\n")
"""


def test_what_cannot_be_served_is_said_in_a_line_before_anything_large_is_imported(tmp_path, tiny_model):
    ours = ["--model", str(tiny_model), "--folder", str(tmp_path / "studio")]
    (tmp_path / "file").touch()
    with socket.socket() as other, socket.socket() as free, only_server(tmp_path / "served"):
        for each in (other, free):
            each.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        ours += ["--port", str(free.getsockname()[1])]
        free.close()
        cases = [
            (["--host", "0.0.0.0"], "--host 0.0.0.0 lets other machines use this one"),
            (["--host", "no such host", "--public"], "--host no such host: this is no address to listen on"),
            (["--port", port], f"127.0.0.1:{port} cannot be listened on"),
            (["--port", "70000"], "--port 70000: a number from 1 to 65535"),
            (["--model", "nosuch/thing"], "there is no folder 'nosuch/thing'"),
            (["--model", str(tmp_path)], f"{tmp_path} has no model_index.json"),
            (["--folder", str(tmp_path / "file")], f"{tmp_path / 'file'} cannot be written to"),
            (["--folder", str(tmp_path / "served")], f"{tmp_path / 'served'} is served already by process"),
            (["--captions", str(tmp_path / "none")], "--captions "),
            (["--webhook", "ftp://example.org"], "the webhook address"),
            (["--improve-url", "http://example.org/v1"], "which model of http://example.org/v1?"),
            ([], "import of "),  # all is well: now it is imported
        ]
        words = [[*ours, *given] for given, _ in cases]
        done = subprocess.run(
            [sys.executable, "-c", LIGHT, json.dumps(words)], capture_output=True, text=True, timeout=120,
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2 * len(cases), done.stdout
    for begins, line, (_, said) in zip(lines[::2], lines[1::2], cases, strict=True):
        assert begins.startswith("Kinema: starting with ") and line.startswith(f"kinema serve: {said}"), line


def test_numbers_that_mean_nothing_are_refused(capsys):
    for wrong in (["--waiting", "0"], ["--per-minute", "-1"], ["--longest", "nan"], ["--waiting-each", "many"]):
        with pytest.raises(SystemExit):
            options(*wrong)
        assert f"argument {wrong[0]}: '{wrong[1]}' is not more than 0" in capsys.readouterr().err


def test_every_option_says_what_it_is_without():
    parser = argparse.ArgumentParser()
    add_options(parser)
    for action in parser._actions:
        if "--help" not in action.option_strings:
            assert "default" in (action.help or "") or action.dest in ("c2pa_key", "improve_url"), action


def test_a_key_opens_the_pages_for_a_browser_and_nothing_else_does(tmp_path, tiny_model):
    server = Server(tmp_path / "studio", model=tiny_model, env={KEYS: "secret-one,secret-two"})
    try:
        server.wait("healthz")
        with httpx.Client(base_url=server.url) as client:
            shut = client.get("/")
            assert (shut.status_code, shut.headers["location"]) == (303, "login")
            assert client.get("/config").status_code == 401 and client.get("/v1/videos").status_code == 401
            refused = client.post("/login", data={"key": "<b>wrong"})
            assert refused.status_code == 401 and "role=alert" in refused.text and "<b>" not in refused.text
            linked = f"video_{'0' * 32}"
            assert client.get(f"/?video={linked}").headers["location"] == f"login?video={linked}"
            assert linked in client.get(f"/login?video={linked}").text
            assert 'name="video"' not in client.get("/login?video=//example.org").text
            elsewhere = client.post("/login", data={"key": "secret-one", "video": "//example.org"})
            assert elsewhere.headers["location"] == "/"
            client.cookies.clear()
            client.post("/login", data={"key": "secret-two"})
            (name, other), *_ = client.cookies.items()
            client.cookies.clear()
            let_in = client.post("/login", data={"key": "secret-one", "video": linked})
            assert (let_in.status_code, let_in.headers["location"]) == (303, f"/?video={linked}")
            cookie = let_in.headers["set-cookie"]
            assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "secret-one" not in cookie
            assert client.get("/").status_code == 200 and client.get("/config").status_code == 200
            assert client.get("/v1/videos").json()["data"] == []
            assert client.post("/v1/videos", data={"prompt": "a red car", "seconds": "30"}).status_code == 200
            value = client.cookies[name]
            said, signature = value.rsplit(".", 1)  # its last character has two bits that mean nothing
            forged = f"{said}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"
            asked = {each: httpx.get(server.url + "v1/videos", cookies={name: each}) for each in (forged, other)}
            assert [each.status_code for each in asked.values()] == [401, 200]
        assert server.stop() in (0, 130)  # 0 where a shell in the background lets nothing be interrupted
        first, ready, kept, stopping, stopped = server.log.read_text().splitlines()
        assert first == f"Kinema: starting with {tiny_model} …"
        assert ready == f"Kinema: ready at {server.url.rstrip('/')} (API: /docs)"
        assert str(server.folder) in kept and stopped == "Kinema: stopped; the same command starts it again"
        assert re.fullmatch("Kinema: stopping; 1 .*: made when it is started again. All .* is kept", stopping)
        server = Server(tmp_path / "studio", model=tiny_model, env={KEYS: "secret-one"}).wait("healthz")
        for each, status in ((value, 200), (other, 401)):  # sessions outlive the server, but not their keys
            asked = httpx.get(server.url + "v1/videos", cookies={name: each})
            assert asked.status_code == status
            assert status != 200 or asked.json()["data"][0]["status"] in ("queued", "in_progress", "completed")
        server.process.terminate()
        assert server.process.wait(60) == 0
    finally:
        server.stop()


def test_the_studio_opens_and_closes_in_this_process_too(tmp_path, tiny_model):
    with open_studio(Serving(tmp_path / "s", model=str(tiny_model))) as served:
        assert served.studio.store.waiting() == []
        assert (tmp_path / "s" / ".secret").stat().st_mode & 0o777 == 0o600


def test_a_kind_of_address_that_this_machine_lacks_is_passed_over(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port, opened = free.getsockname()[1], []
    both = [(family, socket.SOCK_STREAM, 0, "", (host, port)) for family, host in
            ((socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1"))]  # fmt: skip
    real = socket.socket

    def without(lacking):
        def open_one(family, *more):
            if family in lacking:
                raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
            opened.append(family)
            return real(family, *more)

        monkeypatch.setattr(socket, "socket", open_one)

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    without([socket.AF_INET6])
    check_port("localhost", port)
    assert opened == [socket.AF_INET]
    without([socket.AF_INET6, socket.AF_INET])
    with pytest.raises(ServeError, match=r"cannot be listened on \(Address family not supported"):
        check_port("localhost", port)


def test_a_server_ends_in_order_when_nobody_reads_what_it_says(tmp_path, tiny_model):
    words = ["serve", "--folder", str(tmp_path / "studio"), "--model", str(tiny_model), "--port"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        words.append(str(free.getsockname()[1]))
    log = tmp_path / "log"
    with log.open("wb") as file:
        server = subprocess.Popen(
            [sys.executable, "-m", "kinema.cli", *words], stdout=subprocess.PIPE, stderr=file,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    assert server.stdout is not None
    try:
        while b"loses nothing" not in server.stdout.readline():
            assert server.poll() is None, log.read_text()
        server.stdout.close()
        server.send_signal(2)
        assert server.wait(60) in (0, 130) and log.read_text() == ""
    finally:
        server.kill()
        server.wait()
