"""The endpoint backend against a real HTTP server that has every fault in turn."""

import base64
import contextlib
import io
import json
import os
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import numpy as np
import pytest
from PIL import Image

from kinema.captioner.backends import Request, calling, open_backend
from kinema.captioner.backends.base import prompt
from kinema.captioner.backends.calling import EndpointDown, EndpointRefused
from kinema.captioner.backends.endpoint import EndpointBackend
from kinema.captioner.captions.cost import (
    LEDGER,
    BudgetExceeded,
    Meter,
    check_budget,
    cost,
    densifier_run,
    estimate,
    price,
    spent_on,
)
from kinema.captioner.captions.densify import open_densifier
from kinema.captioner.captions.facts import Facts, Subject
from kinema.captioner.engine.claim import load_settings
from kinema.captioner.engine.commits import CaptionError, StageTable
from kinema.captioner.settings import CaptionSettings, RunSettings
from kinema.captioner.shots.frames import ClipFrames
from kinema.captioner.summary import lines, summarise
from kinema.captioner.tables import CAPTIONS
from kinema.configs.load import ConfigError

FACTS = Facts(subjects=[Subject(name="car", count=1, attributes=["red"])], actions=["car drives left"])
PROSE = {"short": "A red car drives left", "medium": "A red car drives left.", "dense": "A red car drives left."}
USAGE = {"prompt_tokens": 1000, "completion_tokens": 100}


def said(content, reason="stop", usage=USAGE, **message):
    content = content if isinstance(content, str) or content is None else json.dumps(content)
    choice = {"message": {"role": "assistant", "content": content, **message}, "finish_reason": reason}
    return 200, {"choices": [choice], "usage": usage}


def good(body):
    """What a model that is well says."""
    if "Write captions" in json.dumps(body["messages"]):
        return said(PROSE)
    return said(FACTS.model_dump())


class Server(ThreadingHTTPServer):
    """Answers as the script says, then well. A step is (status, body[, headers]), a function, or a fault."""

    daemon_threads = True

    def __init__(self, script=()):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.seen, self.lock = list(script), [], threading.Lock()
        self.busy = self.most_busy = 0
        self.slow = 0.0
        self.alive = True  # by GET /models

    def handle_error(self, request, client_address):
        pass

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        good = self.server.alive and self.path == "/v1/models"
        self.send_response(200 if good else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.seen.append((time.monotonic(), self.path, dict(self.headers), body))
            step = server.script.pop(0) if server.script else good
            server.busy += 1
            server.most_busy = max(server.most_busy, server.busy)
        try:
            time.sleep(server.slow)
            if step == "hang":
                time.sleep(1.5)
                self.close_connection = True
                return
            if step == "reset":
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            if callable(step):
                step = step(body)
            status, answer, *headers = step
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            for name, value in headers[0].items() if headers else ():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):  # a client that gave up
                self.wfile.write(data)
        finally:
            with server.lock:
                server.busy -= 1


@contextlib.contextmanager
def serving(*script):
    server = Server(script)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def backend(server, run=None, meter=None, **options):
    run = run or RunSettings(max_retries=3)
    run = run.model_copy(update={"request_seconds": min(run.request_seconds, 5.0)})
    return EndpointBackend("seer", server.url, "KINEMA_TEST_KEY", run, meter=meter, first_wait=0.01, **options)


def request(levels=("structured",), seed=1, **more):
    pixels = np.zeros((3, 24, 32, 3), np.uint8)
    pixels[:, :, :16] = (200, 30, 30)
    frames = ClipFrames(pixels, np.array([10.0, 10.5, 11.25]), [0, 1, 2], 1.6)
    facts = None if levels == ("structured",) else FACTS
    clip = {"clip_id": "c", "start_s": 10.0, "end_s": 12.0}
    return Request(clip=clip, levels=levels, frames=frames, facts=facts, seed=seed, **more)


def test_frames_times_facts_and_schema_reach_the_server_and_its_answer_comes_back(monkeypatch):
    monkeypatch.setenv("KINEMA_TEST_KEY", "geheim")
    with serving() as server:
        writer = backend(server)
        (facts,) = writer.write([request()])
        (prose,) = writer.write([request(tuple(PROSE), temperature=0.7)])
    assert facts.facts == FACTS and facts.status == "success"
    assert (facts.prompt_tokens, facts.output_tokens) == (1000, 100) and facts.latency_ms > 0
    assert prose.texts == PROSE
    _, path, headers, body = server.seen[0]
    assert path == "/v1/chat/completions" and headers["Authorization"] == "Bearer geheim"
    content = body["messages"][0]["content"]
    assert [part["type"] for part in content] == ["text", "image_url"] * 3 + ["text"]
    assert [part["text"] for part in content[:-1:2]] == [f"Frame at {t} s:" for t in ("0.00", "0.50", "1.25")]
    assert "at 0.00, 0.50, 1.25 seconds" in content[-1]["text"] and "of 2.00 seconds" in content[-1]["text"]
    kind, data = content[1]["image_url"]["url"].split(",", 1)
    assert kind == "data:image/jpeg;base64"
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert picture.shape == (24, 32, 3) and np.abs(picture[:, :12].mean((0, 1)) - (200, 30, 30)).max() < 6
    schema = body["response_format"]["json_schema"]["schema"]
    assert set(schema["required"]) == set(Facts.model_fields) and "top_p" not in body
    second = server.seen[1][3]
    assert second["temperature"] == 0.7 and second["top_p"] == 0.9
    assert json.dumps(FACTS.model_dump()) in second["messages"][0]["content"][-1]["text"]
    assert "$" not in prompt("captions").replace("$count", "").replace("$duration", "").replace(
        "$times", ""
    ).replace("$facts", "").replace("$levels", "")


def test_the_key_is_in_no_error_and_no_answer(monkeypatch):
    monkeypatch.setenv("KINEMA_TEST_KEY", "geheim")
    with serving((401, {"error": {"message": "bad key"}})) as server, pytest.raises(EndpointRefused) as caught:
        backend(server).write([request()])
    assert "geheim" not in str(caught.value) and "401 bad key" in str(caught.value)
    assert "captions.api_key_env" in str(caught.value) and len(server.seen) == 1


@pytest.mark.parametrize(
    "fault",
    [(500, {"error": "oops"}), (503, b"<p>busy"), (429, {}), "reset", (200, b"{ garbage"), (200, {"error": "x"})],
)  # fmt: skip
def test_what_passes_is_tried_again(fault):
    with serving(fault, fault) as server:
        (answer,) = backend(server).write([request()])
    assert answer.facts == FACTS and len(server.seen) == 3


def test_an_answer_that_does_not_come_in_time_is_asked_for_again():
    with serving("hang") as server:
        (answer,) = backend(server, RunSettings(request_seconds=0.3)).write([request()])
    assert answer.facts == FACTS and len(server.seen) == 2


def test_retry_after_is_obeyed_by_all_requests():
    with serving((429, {"error": "slow down"}, {"Retry-After": "1"})) as server:
        run = RunSettings(concurrency=1)
        answers = backend(server, run).write([request(), request()])
    assert [answer.status for answer in answers] == ["success", "success"]
    times = [seen[0] for seen in server.seen]
    assert len(times) == 3 and times[1] - times[0] >= 0.95


def test_a_server_that_stays_down_ends_the_run_and_says_what_was_tried():
    with serving(*[(503, {"error": {"message": "overloaded"}})] * 9) as server:
        server.alive = False
        with pytest.raises(EndpointDown) as caught:
            backend(server).write([request()])
        assert len(server.seen) == 4
    text = str(caught.value)
    assert server.url in text and "4 tries: 4× 503 overloaded" in text and "same command goes on" in text
    start = time.monotonic()
    with pytest.raises(EndpointDown, match="ConnectError"):  # now it is gone altogether
        backend(server).write([request() for _ in range(6)])
    assert time.monotonic() - start < 5


def test_a_server_that_dies_in_the_middle_ends_the_batch_and_the_next_server_finishes_it():
    with serving(good, *["reset"] * 60) as server:
        server.alive = False
        writer = backend(server, RunSettings(max_retries=2, concurrency=1))
        with pytest.raises(EndpointDown):
            writer.write([request(seed=seed) for seed in range(4)])
    with serving() as server:
        answers = backend(server).write([request(seed=seed) for seed in range(4)])
    assert all(answer.facts == FACTS for answer in answers)


def test_one_clip_that_the_server_cannot_bear_is_an_error_of_that_clip_alone():
    def poisoned(body):
        return (500, {"error": "crashed"}) if body["seed"] == 3 else good(body)

    with serving(*[poisoned] * 30) as server:
        server.slow = 0.01
        answers = backend(server, RunSettings(max_retries=2, concurrency=2)).write(
            [request(seed=seed) for seed in range(8)]
        )
    assert [answer.status for answer in answers] == ["success"] * 3 + ["error"] + ["success"] * 4
    assert "crashed" in answers[3].error and not answers[3].can_retry


def test_the_last_clip_of_a_run_that_a_living_server_cannot_bear_is_an_error_of_that_clip():
    with serving(*[(500, {"error": "crashed"})] * 3) as server:
        writer = backend(server, RunSettings(max_retries=2))
        (answer,) = writer.write([request()])
        assert answer.status == "error" and "crashed" in answer.error and not answer.can_retry
        assert writer.write([request()])[0].facts == FACTS


def test_a_server_that_answers_to_its_name_and_to_no_request_ends_the_run():
    with serving(*["reset"] * 99) as server:
        writer = backend(server, RunSettings(max_retries=1, concurrency=1))
        for _ in range(calling.MOST_UNANSWERED):
            assert writer.write([request()])[0].status == "error"
        with pytest.raises(EndpointDown, match="2 tries"):
            writer.write([request()])


def test_a_server_that_goes_away_is_no_fault_of_a_clip_while_which_others_were_answered(monkeypatch):
    with serving() as server:
        writer = backend(server, RunSettings(max_retries=2))

    def post(*_, **__):
        writer.endpoint.answered += 1
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(writer.endpoint.client, "post", post)
    with pytest.raises(EndpointDown, match="3 tries"):
        writer.write([request()])


@pytest.mark.parametrize(
    "step, status",
    [
        (said("", reason="content_filter"), "blocked"),
        (said(None, refusal="I can't help with that."), "blocked"),
        ((400, {"error": {"message": "Rejected", "code": "content_policy_violation"}}), "blocked"),
        ((400, {"error": {"message": "context length is 4096", "code": "context_length_exceeded"}}), "error"),
        ((413, b"too large"), "error"),
        (said('{"subjects": [{"name": "do', reason="length"), "truncated"),
        (said("Sorry, no JSON today"), "error"),
        (said({"subjects": []}), "error"),
        (said([1, 2]), "error"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_one_answer_is_told_of_it_without_a_retry(step, status):
    with serving(step) as server:
        (answer,) = backend(server).write([request()])
    assert answer.status == status and answer.facts is None and len(server.seen) == 1
    assert answer.error


MALFORMED = [
    {"choices": []},
    {"choices": [None]},
    {"choices": [{"finish_reason": "stop"}]},
    {"choices": [{"message": "hello"}]},
    {"choices": {"0": 1}},
    {"usage": [1]},
]


@pytest.mark.parametrize("answer", MALFORMED)
def test_an_answer_without_a_message_is_asked_for_again_and_then_an_error_of_its_clip(answer):
    with serving((200, answer)) as server:
        assert backend(server).write([request()])[0].facts == FACTS and len(server.seen) == 2
    with serving(*[(200, answer)] * 3) as server:
        writer = backend(server, RunSettings(max_retries=2))
        (told,) = writer.write([request()])
        assert told.status == "error" and "200 with no message" in told.error and not told.can_retry
        assert writer.write([request()])[0].facts == FACTS


@pytest.mark.parametrize("answer", [b"[" * 100_000, b"\xff", b"3"])
def test_an_answer_that_is_hostile_is_asked_for_again(answer):
    with serving((200, answer), (500, answer)) as server:
        assert backend(server).write([request()])[0].facts == FACTS and len(server.seen) == 3


@pytest.mark.parametrize(
    "usage", [[], {"prompt_tokens": "many"}, {"prompt_tokens": -5, "completion_tokens": 1e400}]
)
def test_tokens_that_are_no_counts_are_not_believed(usage, tmp_path):
    run = RunSettings(**PRICED)
    with serving(lambda _: said([{"text": "no"}], usage=usage)) as server:
        writer = backend(server, run, Meter(tmp_path / LEDGER, run))
        (answer,) = writer.write([request()])
    assert (answer.prompt_tokens, answer.output_tokens) == (0, 0)
    assert spent_on(tmp_path) > price(0, 512, run)


def test_structured_output_that_is_refused_is_not_asked_for_again():
    refused = (
        400,
        {"error": {"message": "response_format json_schema is not supported", "param": "response_format"}},
    )
    with serving(refused) as server:
        writer = backend(server)
        answers = [writer.write([request()])[0] for _ in range(3)]
    assert all(answer.facts == FACTS for answer in answers)
    assert ["response_format" in seen[3] for seen in server.seen] == [True, False, False, False]


def test_parameters_a_server_does_not_take_are_left_out_and_told():
    def picky(body):
        for name in ("max_tokens", "temperature", "seed"):
            if name in body:
                return 400, {"error": {"message": f"Unsupported parameter: '{name}'", "param": name}}
        return good(body)

    with serving(*[picky] * 9) as server:
        (answer,) = backend(server).write([request()])
    assert answer.facts == FACTS and answer.refused == ("seed", "temperature")
    assert server.seen[-1][3]["max_completion_tokens"] == 512


def test_a_model_that_refuses_everything_ends_the_run():
    with (
        serving(*[(400, {"error": "this model takes no images"})] * 50) as server,
        pytest.raises(EndpointRefused, match=r"first 8 requests.*takes no images"),
    ):
        backend(server).write([request() for _ in range(30)])
    assert len(server.seen) < 30


def test_every_thread_hears_what_ended_the_run_and_not_that_it_was_given_up():
    with serving((401, {"error": "wrong key"})) as server:
        writer = backend(server)
        for _ in range(2):  # the second is another thread's, which waits for its turn
            with pytest.raises(EndpointRefused, match="wrong key"):
                writer.write([request()])
        assert len(server.seen) == 1


def test_no_more_requests_than_agreed_are_in_flight_nor_a_minute():
    with serving() as server:
        server.slow = 0.02
        run = RunSettings(concurrency=3, requests_per_minute=60 / 0.05)
        writer = backend(server, run)
        threads = [threading.Thread(target=writer.write, args=([request()] * 4,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert server.most_busy <= 3
    times = sorted(seen[0] for seen in server.seen)
    assert len(times) == 12 and times[-1] - times[0] >= 11 * 0.05 * 0.9


PRICED = {"price_per_million_prompt": 1000.0, "price_per_million_output": 10000.0}


def test_the_run_stops_before_a_request_that_could_exceed_the_budget(tmp_path):
    run = RunSettings(budget=30.0, concurrency=1, **PRICED)
    one = price(1000, 100, run)
    with serving() as server:
        meter = Meter(tmp_path / "spent", run)
        writer = backend(server, run, meter)
        done = 0
        with pytest.raises(BudgetExceeded, match=r"higher run\.budget"):
            for _ in range(99):
                writer.write([request()])
                done += 1
        assert len(server.seen) == done > 3
    assert one * done <= 30.0
    assert json.loads((tmp_path / "spent").read_text())["spent"] == pytest.approx(one * done)
    with serving() as server:  # another process of the same dataset
        other = backend(server, run, Meter(tmp_path / "spent", run))
        with pytest.raises(BudgetExceeded):
            for _ in range(99):
                other.write([request()])
        assert one * (done + len(server.seen)) <= 30.0
    with serving() as server:  # with more money it goes on
        more = run.model_copy(update={"budget": 60.0})
        assert backend(server, more, Meter(tmp_path / "spent", more)).write([request()])[0].facts == FACTS


def test_no_budget_is_exceeded_by_requests_that_go_out_before_it_is_known_what_a_picture_takes(tmp_path):
    greedy = {"prompt_tokens": 20000, "completion_tokens": 100}  # some forty times what one would think
    run = RunSettings(budget=70.0, concurrency=8, **PRICED)
    with serving(*[lambda body: said(FACTS.model_dump(), usage=greedy)] * 99) as server:
        server.slow = 0.02
        with pytest.raises(BudgetExceeded):
            backend(server, run, Meter(tmp_path / "spent", run)).write([request() for _ in range(20)])
        assert len(server.seen) > 1 and len(server.seen) * price(20000, 100, run) <= 70.0


def test_the_first_request_is_no_longer_alone_when_it_was_answered(tmp_path):
    run = RunSettings(budget=1e6, concurrency=4, **PRICED)
    with serving(*[lambda body: said(FACTS.model_dump(), usage=None)] * 99) as server:  # that tells no tokens
        server.slow = 0.05
        backend(server, run, Meter(tmp_path / "spent", run)).write([request() for _ in range(12)])
        assert server.most_busy > 1
        assert server.seen[1][0] - server.seen[0][0] > 0.04


def test_the_ledger_counts_without_a_budget_too_and_the_summary_tells_what_was_forgotten_since(tmp_path):
    run = RunSettings(**PRICED)
    assert spent_on(tmp_path) == 0
    with serving() as server:
        backend(server, run, Meter(tmp_path / LEDGER, run)).write([request(), request()])
    assert spent_on(tmp_path) == pytest.approx(2 * price(1000, 100, run))
    StageTable(tmp_path, "captions", CAPTIONS).commit(["c"], [], told={"cost": 1.5})  # all that was left by a redo
    assert "cost so far: 4.00" in lines(summarise(tmp_path), tmp_path)


def test_a_densifier_has_prices_of_its_own_and_what_runs_here_is_free(tmp_path):
    own = PRICED | {"densify_price_per_million_prompt": 1.0, "densify_price_per_million_output": 0.0}
    rows = [{"level": level, "prompt_tokens": 1000, "output_tokens": 100} for level in ("structured", "short")]

    def of(run, **captions):
        return cost(rows, CaptionSettings.model_validate({"captions": captions, "run": run}))

    text = {"densify_model": "t", "densify_base_url": "http://x"}
    assert of(PRICED, backend="openai") == of(PRICED, backend="openai", **text) == pytest.approx(4.0)
    assert of(own, backend="openai", **text) == pytest.approx(2.001)
    assert of(own, backend="openai", densify_model="t") == pytest.approx(2.0)
    assert of(own, **text) == pytest.approx(0.001)
    assert of(own) == 0
    run = densifier_run(RunSettings(**own))
    Meter(tmp_path / LEDGER, run).settle(Meter(tmp_path / LEDGER, run).reserve(5000, 5), 1000, 100)
    assert spent_on(tmp_path) == pytest.approx(0.001)
    settings = CaptionSettings.model_validate({"captions": {"backend": "openai", **text}, "run": own})
    cheaper = CaptionSettings.model_validate({"captions": {"backend": "openai", **text}, "run": PRICED})
    assert float(estimate(1000, settings).split("≈")[1].split()[0]) < float(
        estimate(1000, cheaper).split("≈")[1].split()[0]
    )


def test_a_request_that_may_have_been_answered_stays_counted_at_its_worst(tmp_path):
    run = RunSettings(budget=1000.0, max_retries=2, **PRICED)
    with serving("reset") as server:
        backend(server, run, Meter(tmp_path / "spent", run)).write([request()])
    spent = json.loads((tmp_path / "spent").read_text())["spent"]
    assert spent > price(1000, 100, run) + price(0, 512, run)


def test_answers_that_cannot_be_read_are_paid_for_and_held_to_the_budget(tmp_path):
    run = RunSettings(budget=1.0, price_per_million_prompt=1.0, price_per_million_output=1.0)
    empty = (200, {"choices": [], "usage": {"prompt_tokens": 100_000, "completion_tokens": 0}})
    with serving(*[empty] * 9) as server:
        with pytest.raises(BudgetExceeded):
            for _ in range(9):
                backend(server, run, Meter(tmp_path / LEDGER, run)).write([request()])
        assert 1 < len(server.seen) <= 10 and spent_on(tmp_path) == pytest.approx(0.1 * len(server.seen))
    untold = RunSettings(max_retries=1, **PRICED)
    with serving(*[(200, {"choices": []})] * 2) as server:  # what it does not tell is taken at its worst
        backend(server, untold, Meter(tmp_path / "spent", untold)).write([request()])
    assert json.loads((tmp_path / "spent").read_text())["spent"] > 2 * price(0, 512, untold)


def test_many_processes_share_one_budget(tmp_path):
    run = RunSettings(budget=10.0, **PRICED)
    meters = [Meter(tmp_path / "spent", run) for _ in range(4)]
    taken = []

    def spend(meter):
        with pytest.raises(BudgetExceeded):
            while True:
                taken.append(meter.reserve(100, 0))

    threads = [threading.Thread(target=spend, args=(meter,)) for meter in meters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 100


def test_a_kill_while_the_ledger_is_written_forgets_nothing(tmp_path, monkeypatch):
    run = RunSettings(budget=10.0, **PRICED)
    Meter(tmp_path / "spent", run).reserve(5000, 0)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", killed)
        with pytest.raises(KeyboardInterrupt):
            Meter(tmp_path / "spent", run).reserve(1000, 0)
    Meter(tmp_path / "spent", run).settle(5.0, 4000, 0)  # a shorter sum than before leaves none of its digits
    assert json.loads((tmp_path / "spent").read_text())["spent"] == 4.0


def test_a_budget_needs_prices_and_an_endpoint_needs_a_model():
    with pytest.raises(CaptionError, match="price_per_million"):
        check_budget(RunSettings(budget=1.0))
    settings = CaptionSettings.model_validate({"captions": {"backend": "openai"}})
    with pytest.raises(CaptionError, match=r"captions\.model"):
        open_backend(settings)


def test_a_key_goes_to_its_own_host_alone(monkeypatch):
    monkeypatch.setenv("SEER_KEY", "geheim")
    monkeypatch.setenv("POET_KEY", "verse")

    def sent(base_url, **captions):
        captions |= {"densify_model": "poet", "densify_base_url": base_url, "api_key_env": "SEER_KEY"}
        settings = CaptionSettings.model_validate({"captions": {"base_url": "https://seer.example/v1"} | captions})
        writer = open_densifier(settings, "cpu")
        return writer.endpoint.client.headers.get("Authorization", "").removeprefix("Bearer ")

    assert sent("https://seer.example:8001/v2") == "geheim"
    assert sent("https://poet.example/v1") == sent("http://seer.example/v1") == ""
    assert sent("https://poet.example/v1", densify_api_key_env="POET_KEY") == "verse"
    assert sent("https://seer.example/v1", densify_api_key_env="POET_KEY") == "verse"
    with serving((401, {"error": "who?"})) as server:
        text = {"densify_model": "poet", "densify_base_url": server.url}
        writer = open_densifier(CaptionSettings.model_validate({"captions": text}), "cpu")
        with pytest.raises(EndpointRefused, match=r"captions\.densify_api_key_env"):
            writer.write([Request(clip={}, levels=("short",), facts=FACTS)])


@pytest.mark.parametrize("name", ["base_url", "densify_base_url"])
@pytest.mark.parametrize(
    "address", ["https://u:geheim@h/v1", "https://h/v1?key=geheim", "geheim@h", "http://h/v1#geheim"]
)
def test_an_address_with_a_key_in_it_is_refused_and_not_told(name, address):
    with pytest.raises(ConfigError, match=rf"captions\.{name}: .*captions\.api_key_env") as caught:
        load_settings(overrides=[f"captions.{name}={address}"])
    assert "geheim" not in str(caught.value)
    with pytest.raises(ValueError, match="api_key_env") as raised:
        CaptionSettings.model_validate({"captions": {name: address}})
    assert "geheim" not in str(raised.value)
    fine = ["https://h/v1", "http://[::1]:8000/v1/", "https://api.example/accounts/@cf/v1"]
    assert all(load_settings(overrides=[f"captions.{name}={url}"]) for url in fine)


def test_the_estimate_says_what_is_known_and_what_is_not():
    def of(captions, run):
        return estimate(1000, CaptionSettings.model_validate({"captions": captions, "run": run}))

    assert of({}, {}) == ""
    paid = {"backend": "openai", "model": "m"}
    assert "unknown" in of(paid, {}) and "1000 clips" in of(paid, {})
    priced = of(paid, PRICED | {"budget": 5.0})
    assert "≈" in priced.split("output tokens")[1] and "budget of 5" in priced
    text_only = of({"densify_model": "t", "densify_base_url": "http://x"}, PRICED)
    assert "420" not in text_only and "400 prompt and 280 output" in text_only
