"""The server as a process: where it listens, whom it lets in, and how it ends."""

import argparse
import sys
from pathlib import Path

import httpx
import pytest

from kinema.studio.command import add_options, read_bytes, read_options
from kinema.studio.serving import KEYS, ServeError, Serving, check_exposure, is_loopback, only_server, open_studio

sys.path.insert(0, str(Path(__file__).parent))
from served import Server, serving


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


def test_settings_that_cannot_be_served_are_one_line(tmp_path, tiny_model):
    server = Server(tmp_path / "studio", "--host", "0.0.0.0", model=tiny_model)
    assert server.process.wait(60) == 1
    assert server.log.read_text().startswith("kinema serve: --host 0.0.0.0 lets other machines use this one")
    server = Server(tmp_path / "studio", model=tmp_path / "nothing")
    assert server.process.wait(60) == 1 and "Traceback" not in server.log.read_text()


def test_a_key_opens_the_pages_for_a_browser_and_nothing_else_does(tmp_path, tiny_model):
    with serving(tmp_path / "studio", model=tiny_model, env={KEYS: "secret-one"}) as server:
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
            let_in = client.post("/login", data={"key": "secret-one", "video": linked})
            assert (let_in.status_code, let_in.headers["location"]) == (303, f"/?video={linked}")
            cookie = let_in.headers["set-cookie"]
            assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "secret-one" not in cookie
            assert client.get("/").status_code == 200 and client.get("/config").status_code == 200
            assert client.get("/v1/videos").json()["data"] == []
            name, value = next(iter(client.cookies.items()))
            said, signature = value.rsplit(".", 1)  # its last character has two bits that mean nothing
            forged = f"{said}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"
            assert httpx.get(server.url + "v1/videos", cookies={name: forged}).status_code == 401
        assert server.stop() in (0, 130)  # 0 where a shell in the background lets nothing be interrupted
        again = Server(tmp_path / "studio", model=tiny_model, env={KEYS: "secret-one"}).wait()
        try:  # the session outlives the server, but not its key
            assert httpx.get(again.url + "v1/videos", cookies={name: value}).status_code == 200
            again.stop()
            other = Server(tmp_path / "studio", model=tiny_model, env={KEYS: "secret-two"}).wait()
            assert httpx.get(other.url + "v1/videos", cookies={name: value}).status_code == 401
            other.process.terminate()
            assert other.process.wait(60) == 0
        finally:
            again.stop()


def test_the_studio_opens_and_closes_in_this_process_too(tmp_path, tiny_model):
    with open_studio(Serving(tmp_path / "s", model=str(tiny_model))) as served:
        assert served.studio.store.waiting() == []
        assert (tmp_path / "s" / ".secret").stat().st_mode & 0o777 == 0o600
