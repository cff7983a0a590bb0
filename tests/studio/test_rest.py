"""The REST API as its users meet it: the real `openai` client over a real socket, a real worker behind it."""

import io
import json
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from kinema import write_video
from kinema.data.video_io import read_video
from kinema.pipeline.command import load
from kinema.studio.jobs.claims import claim, complete, fail, report
from kinema.studio.jobs.job import STATUSES
from kinema.studio.rest.access import Access
from kinema.studio.rest.bodies import unbracketed
from kinema.studio.service import Limits

sys.path.insert(0, str(Path(__file__).parent))
from rest_server import served

openai = pytest.importorskip("openai", reason="pip install 'kinema[test]' brings it")

pytestmark = [
    pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning"),  # the shape lives on
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # uvicorn leaves sockets to the collector
]
CAR = "a red car drives to the left"
FAST = {"num_inference_steps": 2, "seed": 7}


@pytest.fixture(scope="module")
def server(tmp_path_factory, tiny_model):
    pipe = load(str(tiny_model), device="cpu", quiet=True)
    with served(tmp_path_factory.mktemp("studio"), tiny_model, pipe=pipe) as (url, studio):
        yield url, studio


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=f"{server[0]}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_the_openai_client_makes_a_video(client, tmp_path):
    video = client.videos.create_and_poll(prompt=CAR, extra_body=FAST, poll_interval_ms=50)
    assert (video.status, video.progress, video.error) == ("completed", 100, None)
    assert isinstance(video.seconds, str) and isinstance(video.created_at, int) and video.completed_at is not None
    assert video.model_extra["seed"] == 7 and video.prompt == CAR
    client.videos.download_content(video.id).write_to_file(tmp_path / "car.mp4")
    frames = read_video(tmp_path / "car.mp4").frames
    assert f"{frames.shape[2]}x{frames.shape[1]}" == video.size
    for variant in ("thumbnail", "spritesheet"):
        with Image.open(io.BytesIO(client.videos.download_content(video.id, variant=variant).content)) as picture:
            assert min(picture.size) > 0
    assert client.videos.retrieve(video.id).id == video.id
    # The client refuses its own documented {"id": ...} where a file could stand, so its lower level is asked.
    wish = {"video": {"id": video.id}, "prompt": "it drives on", "seconds": "0.5", "num_inference_steps": 1}
    longer = client.post("/videos/extensions", cast_to=openai.types.Video, body=wish)
    assert longer.remixed_from_video_id == video.id
    longer = client.videos.poll(longer.id, poll_interval_ms=50)
    assert longer.status == "completed", longer.error
    assert float(longer.seconds) > float(video.seconds)
    remix = client.videos.remix(video.id, prompt="a blue ball", extra_body=FAST)
    assert client.videos.poll(remix.id, poll_interval_ms=50).status == "completed"
    assert client.videos.delete(video.id).deleted
    with pytest.raises(openai.NotFoundError, match="there is no video"):
        client.videos.retrieve(video.id)


def test_files_are_taken_in_whatever_they_are_called(client, tmp_path):
    picture = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(picture, format="JPEG")
    video = client.videos.create_and_poll(
        prompt=CAR, input_reference=("../../evil.exe", picture.getvalue()), extra_body=FAST, poll_interval_ms=50
    )
    assert video.status == "completed", video.error
    path = write_video(tmp_path / "grey.mp4", np.full((9, 32, 32, 3), 90, np.uint8), 8)
    edited = client.videos.edit(prompt="a blue ball", video=path, extra_body=FAST)
    assert client.videos.poll(edited.id, poll_interval_ms=50).status == "completed"
    assert edited.remixed_from_video_id is None
    for given, told in (
        (b"", "empty"),
        (b"no video at all", "cannot be used"),
        (b"\x89PNG\r\n\x1a\nno", "picture"),
    ):
        with pytest.raises(openai.BadRequestError, match=told):
            client.videos.create(prompt=CAR, input_reference=("a.png", given))


def test_pages(client):
    made = [client.videos.create(prompt=f"{CAR} {number}", extra_body=FAST) for number in range(5)]
    assert [video.id for video in client.videos.list(limit=2)][:5] == [video.id for video in reversed(made)]
    oldest = client.videos.list(limit=3, order="asc", after=made[1].id)
    assert [video.id for video in oldest.data][:3] == [video.id for video in made[2:]]
    for video in made:
        client.videos.delete(video.id)


def test_cancel_events_and_previews(server, client):
    url, _ = server
    video = client.videos.create(prompt=CAR, extra_body={"num_inference_steps": 1000})
    kinds, told, shown = [], [], b""
    with httpx.stream("GET", f"{url}/v1/videos/{video.id}/events", timeout=60) as stream:
        for line in stream.iter_lines():
            if line.startswith("event:"):
                kinds.append(line.removeprefix("event: "))
            if line.startswith("data:") and kinds[-1] == "video":
                told.append(json.loads(line.removeprefix("data: ")))
                if "preview" in told[-1] and not shown:
                    shown = httpx.get(url + told[-1]["preview"]).content
                    httpx.post(f"{url}/v1/videos/{video.id}/cancel")
    assert shown[8:12] == b"WEBP"
    assert kinds[-1] == "done" and told[-1]["status"] == "cancelled"
    assert [each["progress"] for each in told] == sorted(each["progress"] for each in told)
    assert client.videos.retrieve(video.id).status == "cancelled"


def test_errors_have_one_shape(server, client):
    url, _ = server
    cases = [
        (client.videos.create, {"prompt": ""}, openai.BadRequestError, "invalid_request"),
        (client.videos.create, {"prompt": CAR, "model": "sora-9"}, openai.NotFoundError, "model_not_found"),
        (client.videos.create, {"prompt": CAR, "size": "big"}, openai.BadRequestError, "invalid_request"),
        (client.videos.create, {"prompt": CAR, "extra_body": {"sneed": 1}}, openai.BadRequestError,
         "unknown_parameter"),
        (client.videos.remix, {"video_id": "video_1", "prompt": CAR}, openai.NotFoundError, "not_found"),
        (client.videos.list, {"limit": 0}, openai.BadRequestError, "invalid_request"),
    ]  # fmt: skip
    for call, given, kind, code in cases:
        with pytest.raises(kind) as caught:
            call(**given)
        assert caught.value.code == code and set(caught.value.body) == {"message", "type", "param", "code"}
    wrong = httpx.post(f"{url}/v1/videos", json={"prompt": CAR, "fps": -1}).json()["error"]
    assert wrong["param"] == "fps" and "greater than 0" in wrong["message"]
    for named in ("../../etc/passwd", "upload_" + 32 * "0"):
        missing = httpx.post(f"{url}/v1/videos/edits", json={"prompt": CAR, "video": {"id": named}})
        assert missing.status_code in (400, 404)
    for path in ("/v1/nothing", "/v1/videos/x/y"):
        assert httpx.get(url + path).json()["error"]["code"] == "not_found"
    inside = httpx.post(
        f"{url}/v1/videos", json={"prompt": CAR, "input_reference": {"image_url": f"{url}/healthz"}}
    )
    assert inside.status_code == 400 and "127.0.0.1" in inside.json()["error"]["message"]
    assert httpx.get(f"{url}/healthz").json() == {"status": "ok"}
    assert httpx.get(f"{url}/v1/models").json()["data"][0]["capabilities"]["fps"] > 0
    assert 'kinema_videos{status="queued"} ' in httpx.get(f"{url}/metrics").text


def test_ranges_and_etags(server, client):
    url, _ = server
    video = client.videos.create_and_poll(prompt=CAR, extra_body=FAST, poll_interval_ms=50)
    at = f"{url}/v1/videos/{video.id}/content"
    whole = httpx.get(at)
    part = httpx.get(at, headers={"Range": "bytes=10-19"})
    assert part.status_code == 206 and part.content == whole.content[10:20]
    assert whole.headers["etag"] and whole.headers["content-type"] == "video/mp4"


def test_keys_keep_people_apart_and_limits_hold(tmp_path, tiny_model):
    access, limits = Access(["one", "two"], per_minute=3), Limits(waiting=4, video_seconds=5)
    refuse = {"prompt_filter": lambda text: "no ducks here" if "duck" in text else None}
    with served(tmp_path / "s", tiny_model, access=access, limits=limits, **refuse) as (url, studio):
        one, two = ({"Authorization": f"Bearer {key}"} for key in ("one", "two"))

        def ask(headers, **values):
            return httpx.post(f"{url}/v1/videos", json={"prompt": CAR} | values, headers=headers)

        for wrong in ({}, {"Authorization": "Bearer three"}):
            assert httpx.get(f"{url}/v1/videos", headers=wrong).status_code == 401
        mine = ask(one | {"Idempotency-Key": "k"}).json()["id"]
        assert ask(one | {"Idempotency-Key": "k"}).json()["id"] == mine
        assert httpx.get(f"{url}/v1/videos/{mine}", headers=two).status_code == 404
        assert httpx.get(f"{url}/v1/videos", headers=two).json()["data"] == []
        assert ask(two, prompt="a duck").json()["error"]["code"] == "refused"
        assert "at most 5" in ask(two, seconds=9).json()["error"]["message"]
        assert ask(one).status_code == 200
        often = ask(one)
        assert often.status_code == 429 and int(often.headers["retry-after"]) > 0
        assert ask(two).status_code == 200
        access.per_minute = None
        assert ask(two).status_code == 200
        full = ask(two)
        assert full.status_code == 429 and full.json()["error"]["code"] == "queue_full"
        assert int(full.headers["retry-after"]) > 0 and len(studio.store.waiting()) == 4


def test_bracketed_forms_nest():
    fields = [("prompt", "x"), ("video[id]", "v"), ("storyboard[0][at]", "0"), ("storyboard[0][text]", "a"),
              ("storyboard[1][at]", "2"), ("storyboard[1][text]", "b"), ("t[]", "1"), ("t[]", "2")]  # fmt: skip
    assert unbracketed(fields) == {
        "prompt": "x", "video": {"id": "v"}, "t": ["1", "2"],
        "storyboard": [{"at": "0", "text": "a"}, {"at": "2", "text": "b"}],
    }  # fmt: skip


def test_the_client_asks_again_when_the_server_says(server, monkeypatch):
    """`openai-poll-after-ms` is on all that is not at its end, and is what the client waits."""
    url, studio = server
    told, waited = [], []

    def note(response):
        told.append(response.headers.get("openai-poll-after-ms"))

    with (
        httpx.Client(event_hooks={"response": [note]}) as http,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, http_client=http) as client,
    ):
        sleep = client.videos._sleep
        monkeypatch.setattr(client.videos, "_sleep", lambda seconds: (waited.append(seconds), sleep(seconds)))
        video = client.videos.create(prompt=CAR, extra_body={"num_inference_steps": 1000, "seed": 7})
        assert told == ["1000"]  # nothing is known yet
        while not client.videos.retrieve(video.id).progress:
            assert told.pop() is not None
        told.clear()
        studio.store.stop(video.id, "keep")
        assert client.videos.poll(video.id).status == "completed"
        assert told[-1] is None and waited == [int(each) / 1000 for each in told[:-1]]
        assert all(0.25 <= each <= 5 for each in waited)
        again = client.videos.create_and_poll(prompt=CAR, extra_body=FAST)
        assert again.status == "completed" and waited and told[-1] is None
        client.videos.retrieve(again.id)
        assert told[-1] is None


@pytest.mark.parametrize("left, header", [(None, 1000), (0.01, 250), (2.5, 2500), (600.0, 5000)])
def test_when_to_ask_again_follows_the_time_that_is_left(tmp_path, tiny_model, left, header):
    with served(tmp_path / "s", tiny_model) as (url, studio):
        video = httpx.post(f"{url}/v1/videos", json={"prompt": CAR}).json()["id"]
        job = claim(studio.store, "w")
        report(studio.store, job, "denoising", 0.5, seconds_left=left)
        assert httpx.get(f"{url}/v1/videos/{video}").headers["openai-poll-after-ms"] == str(header)
        fail(studio.store, job, "internal_error", "it broke")
        assert "openai-poll-after-ms" not in httpx.get(f"{url}/v1/videos/{video}").headers


def figures(url):
    """What Prometheus reads: by name and labels; each family has its kind and a word of help."""
    answer = httpx.get(f"{url}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4") and answer.text.endswith("\n")
    families = list(text_string_to_metric_families(answer.text))
    assert all(family.type == "gauge" and family.documentation for family in families)
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def test_figures_are_prometheus_and_move_with_the_videos(tmp_path, tiny_model):
    with served(tmp_path / "s", tiny_model) as (url, studio):
        empty = figures(url)
        assert {status for name, *status in empty for status in status} == set(STATUSES)
        assert not any(empty["kinema_videos", status] for status in STATUSES)
        videos = [httpx.post(f"{url}/v1/videos", json={"prompt": CAR}).json()["id"] for _ in range(5)]

        def count():
            now = figures(url)
            return {status: now["kinema_videos", status] for status in STATUSES if now["kinema_videos", status]}

        assert count() == {"queued": 5}
        broken, making = claim(studio.store, "w"), claim(studio.store, "v")
        fail(studio.store, broken, "internal_error", "it broke")
        httpx.post(f"{url}/v1/videos/{videos[2]}/cancel")
        assert count() == {"failed": 1, "in_progress": 1, "cancelled": 1, "queued": 2}
        httpx.delete(f"{url}/v1/videos/{videos[4]}")
        complete(studio.store, making, {"num_frames": 9, "making_seconds": 2.0})
        assert count() == {"failed": 1, "completed": 1, "cancelled": 1, "queued": 1}
        assert figures(url)["kinema_up_seconds",] > empty["kinema_up_seconds",]
