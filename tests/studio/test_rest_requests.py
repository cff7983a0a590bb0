"""What the API takes: bodies of every kind, files once, and never too much; a real server, nothing is made."""

import contextlib
import errno
import io
import json
import select
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from kinema.data.fetch import FetchError
from kinema.studio import given
from kinema.studio.jobs.upkeep import held_uploads
from kinema.studio.rest import references, requests
from kinema.studio.rest.access import Access
from kinema.studio.service import Limits

sys.path.insert(0, str(Path(__file__).parent))
from rest_server import served

openai = pytest.importorskip("openai", reason="pip install 'kinema[test]' brings it")

pytestmark = [
    pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
CAR = "a red car drives to the left"
LIMITS = Limits(upload_bytes=200_000, waiting=500)


@pytest.fixture(scope="module")
def server(tmp_path_factory, tiny_model):
    with served(tmp_path_factory.mktemp("studio"), tiny_model, limits=LIMITS) as (url, studio):
        yield url, studio


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=f"{server[0]}/v1", api_key="none", max_retries=0) as client:
        yield client


def picture(color):
    file = io.BytesIO()
    Image.new("RGB", (32, 32), color).save(file, format="PNG")
    return file.getvalue()


def noise(random):
    file = io.BytesIO()
    Image.fromarray(random.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(file, format="PNG")
    return file.getvalue()


def uploads(studio):
    return sorted(path.name for path in (studio.shelf.folder / "uploads").iterdir())


def test_a_repeated_call_with_a_file_is_the_same_call(server, client):
    _, studio = server
    again = {"extra_headers": {"Idempotency-Key": "once"}}
    before = uploads(studio)
    videos = [
        client.videos.create(prompt=CAR, input_reference=(name, picture("red")), **again)
        for name in ("a.png", "b.png")
    ]
    assert videos[0].id == videos[1].id and len(uploads(studio)) == len(before) + 1
    with pytest.raises(openai.ConflictError, match="another request"):
        client.videos.create(prompt=CAR, input_reference=("a.png", picture("blue")), **again)
    other = client.videos.create(prompt=CAR, input_reference=("a.png", picture("red")))
    assert other.id != videos[0].id and len(uploads(studio)) == len(before) + 1  # the blue one is gone at once
    studio.upload(io.BytesIO(picture("red")), "somebody else")
    assert len(uploads(studio)) == len(before) + 2  # nobody learns what others gave


def test_storyboards_come_as_the_client_writes_them_as_json_and_with_pictures(server, client):
    url, studio = server
    cards = [{"at": 0, "text": "a red ball"}, {"at": 2, "text": "a blue cube"}]
    told = [{"at": 0.0, "text": "a red ball"}, {"at": 2.0, "text": "a blue cube"}]
    video = client.videos.create(prompt="", extra_body={"storyboard": cards})
    assert studio.store.get(video.id).request["storyboard"] == told
    assert video.prompt == "a red ball | a blue cube"
    asked = httpx.post(f"{url}/v1/videos", data={"storyboard": json.dumps(cards)})
    assert studio.store.get(asked.json()["id"]).request["storyboard"] == told
    fields = {f"storyboard[{n}][{name}]": value for n, card in enumerate(cards) for name, value in card.items()}
    files = {"storyboard[1][image]": ("x", picture("blue"))}
    asked = httpx.post(f"{url}/v1/videos", data=fields, files=files)
    kept = studio.store.get(asked.json()["id"]).request["storyboard"]
    assert "image" not in kept[0] and studio.shelf.upload(kept[1]["image"]).is_file()
    lost = httpx.post(f"{url}/v1/videos", data=fields, files={"storyboard[2][image]": ("x", picture("blue"))})
    assert lost.status_code == 400 and "card 2" in lost.json()["error"]["message"]


@pytest.mark.parametrize(
    ("sent", "status", "code", "param"),
    [
        ({"content": b"[" * 200_000}, 400, "invalid_request", None),
        ({"content": b"[]"}, 400, "invalid_request", None),
        ({"content": b'{"prompt": "\\ud800"}'}, 400, "invalid_request", "prompt"),
        ({"content": b'{"prompt": "a", "seconds": NaN}'}, 400, "invalid_request", "seconds"),
        ({"content": b'{"prompt": "a", "storyboard": {"a": 1}}'}, 400, "invalid_request", "storyboard"),
        ({"content": b'{"prompt": "a", "storyboard": "{"}'}, 400, "invalid_request", "storyboard"),
        ({"content": b'{"prompt": "a", "size": "1e9x1"}'}, 400, "invalid_request", "size"),
        ({"content": b'{"prompt": "a", "size": "4096x4096", "seconds": 600}'}, 400, "invalid_request", None),
        ({"content": b'{"prompt": "a", "video": "x"}'}, 400, "unknown_parameter", "video"),
        ({"content": b'{"prompt": "a", "videotape": "x"}'}, 400, "unknown_parameter", "videotape"),
        ({"content": b'{"prompt": "a", "input_reference": "/etc/passwd"}'}, 400, "invalid_request",
         "input_reference"),
        ({"content": b'{"prompt": "a", "input_reference": {"image_url": "file:///etc/passwd"}}'}, 400,
         "invalid_request", "input_reference"),
        ({"content": b'{"prompt": "a", "input_reference": {"image_url": "http://169.254.169.254/"}}'}, 400,
         "input_not_usable", "input_reference"),
        ({"content": b'{"prompt": "a", "input_reference": "data:image/png;base64,?"}'}, 400, "invalid_request",
         "input_reference"),
        ({"content": json.dumps({"prompt": "a", "input_reference": "upload_" + 32 * "0"}).encode()}, 404,
         "not_found", None),
        ({"content": json.dumps({"prompt": "x" * 1_000_000}).encode()}, 413, "too_large", None),
        ({"content": b"x" * 1_300_000}, 413, "too_large", None),
        ({"content": b"prompt=a", "headers": {"Content-Type": "text/plain"}}, 415, "unsupported_media_type", None),
        ({"data": {"a[": "x"}}, 400, "invalid_request", None),
        ({"data": {"a[][b][]": "x"}}, 400, "invalid_request", None),
        ({"files": {"prompt": ("a.txt", b"a")}}, 400, "invalid_request", "prompt"),
        ({"files": {"sound": ("a.wav", b"a")}}, 400, "unknown_parameter", "sound"),
        ({"files": {"input_reference": ("a", b"x" * 200_001)}}, 413, "too_large", None),
        ({"json": {"prompt": "a"}, "headers": {"Idempotency-Key": "x" * 256}}, 400, "invalid_request",
         "Idempotency-Key"),
    ],
)  # fmt: skip
def test_what_cannot_be_taken_is_said(server, sent, status, code, param):
    headers = {"Content-Type": "application/json"} if "content" in sent else {}
    answer = httpx.post(f"{server[0]}/v1/videos", **sent | {"headers": headers | sent.get("headers", {})})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param), error
    assert set(error) == {"message", "type", "param", "code"} and len(error["message"]) < 600
    assert answer.headers["x-request-id"].startswith("req_")


def test_a_body_whose_size_nobody_told_is_stopped_all_the_same(server):
    def parts():
        yield b'--a\r\nContent-Disposition: form-data; name="input_reference"; filename="a"\r\n\r\n'
        for _ in range(300):
            yield b"x" * 10_000

    headers = {"Content-Type": "multipart/form-data; boundary=a"}
    answer = httpx.post(f"{server[0]}/v1/videos", content=parts(), headers=headers)
    assert answer.status_code == 413 and answer.json()["error"]["code"] == "too_large"


def test_a_body_that_drips_is_given_up(server, monkeypatch):
    monkeypatch.setattr(requests, "PATIENCE", 1.0)
    monkeypatch.setattr(requests, "SLOWEST", 10_000)
    host, port = server[0].removeprefix("http://").split(":")
    head = "POST /v1/videos HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with socket.create_connection((host, int(port)), timeout=20) as slow:
        slow.sendall(f"{head}Content-Length: 1000\r\n\r\n".encode())
        begun = time.monotonic()
        with contextlib.suppress(OSError):  # it does not listen any more
            while time.monotonic() - begun < 10 and not select.select([slow], [], [], 0.05)[0]:
                slow.sendall(b" ")
        answer = b"".join(iter(lambda: slow.recv(4096), b"")).decode()
        assert time.monotonic() - begun < 10
    assert answer.startswith("HTTP/1.1 408 ") and "x-request-id: req_" in answer and "connection: close" in answer
    error = json.loads(answer.partition("\r\n\r\n")[2])["error"]
    assert error["code"] == "too_slow" and error["type"] == "invalid_request_error"

    def steady():
        for _ in range(12):
            time.sleep(0.1)
            yield b" " * 15_000
        yield b'{"prompt": "a"}'

    sent = {"content": steady(), "headers": {"Content-Type": "application/json"}}
    assert httpx.post(f"{server[0]}/v1/videos", **sent, timeout=20).status_code == 200  # longer, but it comes


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/nothing", ""), ("GET", "/v1/videos/x/y", ""), ("GET", "/v1/videos/..%2fx/content", ""),
        ("PUT", "/v1/videos", "GET, POST"), ("DELETE", "/v1/videos/x/content", "GET, HEAD"),
        ("POST", "/v1/models", "GET"), ("PATCH", "/v1/videos/x", "GET, DELETE"),
    ],
)  # fmt: skip
def test_addresses_that_are_not_there_have_the_same_errors(server, method, path, allowed):
    answer = httpx.request(method, server[0] + path)
    code = "method_not_allowed" if allowed else "not_found"
    assert answer.json()["error"]["code"] == code and answer.status_code == (405 if allowed else 404)
    assert answer.headers.get("allow", "") == allowed


def test_one_key_cannot_fill_the_queue(tmp_path, tiny_model):
    limits = Limits(waiting=5, waiting_each=2)
    with served(tmp_path / "s", tiny_model, access=Access(["one", "two", "three"]), limits=limits) as (url, _):

        def ask(key):
            return httpx.post(f"{url}/v1/videos", json={"prompt": CAR}, headers={"Authorization": f"Bearer {key}"})

        for key in ("one", "two"):
            answers = [ask(key) for _ in range(3)]
            assert [answer.status_code for answer in answers] == [200, 200, 429]
            assert answers[2].json()["error"]["code"] == "queue_full" and int(answers[2].headers["retry-after"])
        assert [ask("three").status_code for _ in range(2)] == [200, 429]


def test_a_full_disk_is_said_and_nothing_is_left_of_what_had_no_room(server, monkeypatch):
    url, studio = server

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = uploads(studio)
    monkeypatch.setattr(given, "_copy", full)
    answer = httpx.post(f"{url}/v1/videos", data={"prompt": CAR}, files={"input_reference": ("a", picture("red"))})
    assert answer.status_code == 507 and answer.json()["error"]["code"] == "disk_full"
    assert uploads(studio) == before


def test_an_error_that_nobody_expected_is_in_the_log_by_its_id(server, monkeypatch, caplog):
    url, studio = server
    monkeypatch.setattr(studio.store, "page", lambda **_: 1 / 0)
    answer = httpx.get(f"{url}/v1/videos")
    error = answer.json()["error"]
    assert answer.status_code == 500 and error["code"] == "internal_error"
    request_id = answer.headers["x-request-id"]
    assert request_id in error["message"] and "ZeroDivision" not in answer.text
    end = time.monotonic() + 5
    while request_id not in caplog.text:
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"fps": "-1"}, "invalid_request"),
        ({"size": "4096x4096", "seconds": "600"}, "invalid_request"),
        ({"storyboard[0][at]": "0", "storyboard[0][text]": "a", "storyboard[0][image]": "x"}, "invalid_request"),
    ],
)
def test_a_refused_request_keeps_no_files(server, values, code):
    url, studio = server
    before = uploads(studio)
    files = {"input_reference": ("a", picture("green"))}
    answer = httpx.post(f"{url}/v1/videos", data={"prompt": CAR} | values, files=files)
    assert answer.status_code == 400 and answer.json()["error"]["code"] == code
    path = f"{url}/v1/videos/edits"
    answer = httpx.post(path, data={"strength": "7"}, files={"video": ("a", picture("green"))})
    assert answer.status_code == 400 and "strength" in answer.json()["error"]["message"]
    assert uploads(studio) == before


def test_a_full_queue_keeps_no_files_but_answers_what_was_asked_before(tmp_path, tiny_model):
    with served(tmp_path / "s", tiny_model, limits=Limits(waiting=1)) as (url, studio):

        def ask(key, color):
            return httpx.post(
                f"{url}/v1/videos", data={"prompt": CAR}, files={"input_reference": ("a", picture(color))},
                headers={"Idempotency-Key": key},
            )  # fmt: skip

        first = ask("k", "red")
        full = ask("other", "blue")
        assert full.status_code == 429 and int(full.headers["retry-after"]) > 0
        assert ask("k", "red").json()["id"] == first.json()["id"] and len(uploads(studio)) == 1


def test_what_is_refused_at_last_keeps_no_files_but_those_that_were_there(tmp_path, tiny_model, monkeypatch):
    limits = Limits(waiting=1, unclaimed_bytes=6000)
    with served(tmp_path / "s", tiny_model, limits=limits) as (url, studio):

        def ask(*given):
            files = [(f"storyboard[{n}][image]", ("a", each)) for n, each in enumerate(given)]
            cards = [{"at": n, "text": "a"} for n in range(len(given))]
            return httpx.post(f"{url}/v1/videos", data={"storyboard": json.dumps(cards)}, files=files)

        here = studio.upload(io.BytesIO(picture("red")))
        monkeypatch.setattr(
            studio, "foresee", lambda *_, **__: None
        )  # somebody else takes the last place after it
        studio.submit({"prompt": "a"})
        assert ask(picture("red"), picture("blue")).status_code == 429
        assert uploads(studio) == [here]
        assert ask(picture("blue"), b"nothing that can be read").status_code == 400
        assert uploads(studio) == [here]
        submit = studio.submit

        def given_again(values, **more):
            studio.upload(io.BytesIO(picture("green")))  # in the app, say
            return submit(values, **more)

        monkeypatch.setattr(studio, "submit", given_again)
        assert ask(picture("green")).status_code == 429
        assert len(uploads(studio)) == 2
        random = np.random.default_rng(0)
        while (answer := ask(noise(random))).status_code == 429:
            studio.upload(io.BytesIO(noise(random)))
        error = answer.json()["error"]
        assert answer.status_code == 413 and error["code"] == "uploads_full" and "a day" in error["message"]
        assert sum(each.size for each in held_uploads(studio.shelf)) <= 6000
        studio.upload(io.BytesIO(noise(random)), "somebody else")


def test_slow_addresses_let_no_other_call_wait(server, monkeypatch):
    url, _ = server
    end = threading.Event()

    def slow(*_, **__):
        end.wait(30)
        raise FetchError("it was slow", "unreachable")

    def ask(reference):
        return httpx.post(f"{url}/v1/videos", json={"prompt": CAR} | reference, timeout=20)

    monkeypatch.setattr(references, "fetch", slow)
    with ThreadPoolExecutor(40) as pool:
        reference = {"input_reference": "http://example.com/a.png"}
        asked = [pool.submit(ask, reference) for _ in range(40)]
        time.sleep(1)
        try:
            made = httpx.post(
                f"{url}/v1/videos",
                data={"prompt": CAR},
                files={"input_reference": ("a", picture("red"))},
                timeout=9,
            )
            assert httpx.post(f"{url}/v1/videos/{made.json()['id']}/cancel", timeout=9).status_code == 200
        finally:
            end.set()
        assert {answer.result().status_code for answer in asked} == {400}
