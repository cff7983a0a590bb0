"""Webhooks as their receivers meet them: a real server takes them, the real `openai` client verifies them."""

import base64
import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kinema.studio.jobs.claims import claim, complete, fail
from kinema.studio.jobs.store import JobStore
from kinema.studio.webhooks import WebhookError, Webhooks

openai = pytest.importorskip("openai", reason="pip install 'kinema[test]' brings it")

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
SOON = (0.1, 0.1, 0.1, 0.1)


class Receiver(ThreadingHTTPServer):
    """Takes events, or answers with what `answers` says first."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.taken, self.answers = [], []
        self.url = f"http://127.0.0.1:{self.server_port}/hook"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = self.server.answers.pop(0) if self.server.answers else 200
        self.server.taken.append((answer, dict(self.headers.items()), body))
        if answer == "drip":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
            with contextlib.suppress(OSError):
                for _ in range(200):
                    self.wfile.write(b"x")
                    time.sleep(0.02)
            return
        self.send_response(answer)
        if answer == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def receiver():
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


@contextlib.contextmanager
def sending(store, *urls, timeout=2.0):
    webhooks = Webhooks(JobStore(store.path), urls, SECRET, SOON, timeout)
    webhooks.start()
    try:
        yield
    finally:
        webhooks.stop()
        webhooks.store.close()


def ended(store, how=complete, *what):
    store.add("generate", {"prompt": "a red car"})
    return how(store, claim(store, "w"), *(what or ({"seconds": 1.0},)))


def test_the_openai_client_verifies_an_event_and_nothing_that_was_changed(studio, wait_until):
    store, _ = studio
    ended(store)  # before anybody wanted to know
    with receiver() as server, sending(store, server.url):
        made, broken = ended(store), ended(store, fail, "out_of_memory", "no room")
        store.stop(store.add("generate", {"prompt": "cancelled"}).id)
        wait_until(lambda: len(server.taken) == 2, 10)
        store.star(made.id)  # changed, but no news
        time.sleep(0.5)
    assert len(server.taken) == 2
    with openai.OpenAI(api_key="none") as client:
        for (_, headers, body), job, kind in zip(
            server.taken, (made, broken), ("video.completed", "video.failed")
        ):
            event = client.webhooks.unwrap(body, headers, secret=SECRET)
            assert (event.type, event.data.id, event.object) == (kind, job.id, "event")
            assert event.id == headers["webhook-id"] and event.created_at == int(job.finished_at)
            for wrong, secret in ((body.replace(b"event", b"Event"), SECRET), (body, SECRET.replace("A", "B"))):
                with pytest.raises(openai.InvalidWebhookSignatureError):
                    client.webhooks.unwrap(wrong, headers, secret=secret)


def test_an_event_is_tried_again_under_its_id_until_it_is_taken_or_given_up(studio, wait_until):
    store, _ = studio
    with receiver() as server, receiver() as other, sending(store, server.url, other.url, timeout=0.3):
        server.answers += [500, "drip", 302]
        ended(store)
        wait_until(lambda: server.taken and server.taken[-1][0] == 200, 10)
        assert [answer for answer, _, _ in server.taken] == [500, "drip", 302, 200]
        assert len({headers["webhook-id"] for _, headers, _ in server.taken}) == 1
        assert len(other.taken) == 1  # is told in its own time
        other.answers += [503] * 9
        ended(store)
        wait_until(lambda: len(other.taken) == 1 + len(SOON) + 1, 10)
        time.sleep(0.5)
        assert len(other.taken) == 1 + len(SOON) + 1  # given up


def test_a_restart_loses_and_doubles_nothing(studio, wait_until):
    store, _ = studio
    with receiver() as server:
        with sending(store, server.url):
            ended(store)
            wait_until(lambda: server.taken, 10)
            server.answers += [500] * 2
            ended(store)
            wait_until(lambda: len(server.taken) > 1, 10)
        ended(store)  # while nobody sends
        before = len(server.taken)
        with sending(store, server.url):
            wait_until(lambda: [each for each, _, _ in server.taken].count(200) == 3, 10)
            time.sleep(0.4)
    assert len(server.taken) > before
    taken = [json.loads(body)["data"]["id"] for answer, _, body in server.taken if answer == 200]
    assert sorted(taken) == sorted(job.id for job in store.page())


@pytest.mark.parametrize(
    ("url", "secret", "told"),
    [
        ("file:///etc/passwd", SECRET, "neither http nor https"),
        ("gopher://127.0.0.1:70/1", SECRET, "neither http nor https"),
        ("http:///hook", SECRET, "neither http nor https"),
        ("https://example.org/hook", "whsec_" + base64.b64encode(bytes(8)).decode(), "at least 24 bytes"),
        ("https://example.org/hook", "secret", "make one with"),
    ],
)
def test_settings_are_looked_at_first(studio, url, secret, told):
    with pytest.raises(WebhookError, match=told):
        Webhooks(studio[0], [url], secret)
