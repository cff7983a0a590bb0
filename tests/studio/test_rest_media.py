"""Files and streams of the API, over a real server; what a worker would write is written by the test."""

import json
import sys
import threading
from pathlib import Path

import httpx
import pytest

from kinema.studio.jobs.claims import claim, complete, fail, report

sys.path.insert(0, str(Path(__file__).parent))
from rest_server import served

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
RESULT = {"width": 32, "height": 32, "num_frames": 9, "fps": 8.0, "seconds": 1.125, "seed": 7,
          "num_inference_steps": 2, "guidance_scale": 4.0, "warnings": []}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory, tiny_model):
    with served(tmp_path_factory.mktemp("studio"), tiny_model) as (url, studio):
        yield url, studio


def begun(studio):
    studio.store.add("generate", {"prompt": "a red car"})
    return claim(studio.store, "w")


def made(studio, content=bytes(range(256)) * 4):
    job = begun(studio)
    with studio.shelf.new_result(job) as folder:
        (folder / "video.mp4").write_bytes(content)
    return complete(studio.store, job, RESULT)


def test_parts_and_tags_of_files(server):
    url, studio = server
    job = made(studio)
    at = f"{url}/v1/videos/{job.id}/content"
    whole = httpx.get(at)
    tag = whole.headers["etag"]
    for wanted, status, content in (
        ("bytes=10-19", 206, whole.content[10:20]),
        ("bytes=-5", 206, whole.content[-5:]),
        ("bytes=1000-", 206, whole.content[1000:]),
        ("bytes=4000-", 416, None),
        ("pages=1-2", 400, None),
    ):
        part = httpx.get(at, headers={"Range": wanted})
        assert part.status_code == status
        if content is not None:
            assert part.content == content
        else:
            assert part.json()["error"]["code"] == "invalid_range"
    assert (
        httpx.get(at, headers={"Range": "bytes=4000-"}).headers["content-range"] == f"bytes */{len(whole.content)}"
    )
    for given in (tag, f'"other", W/{tag}', "*"):
        same = httpx.get(at, headers={"If-None-Match": given})
        assert same.status_code == 304 and not same.content and same.headers["etag"] == tag
    assert httpx.get(at, headers={"If-None-Match": '"other"'}).status_code == 200
    assert httpx.get(at, headers={"Range": "bytes=0-1", "If-Range": '"other"'}).status_code == 200
    head = httpx.head(at)
    assert head.status_code == 200 and not head.content and head.headers["content-length"] == "1024"
    assert whole.headers["content-disposition"] == f'inline; filename="{job.id}.mp4"'
    assert httpx.get(at, params={"variant": "../job"}).status_code == 400
    studio.store.mark_cleaned(job.id)
    assert httpx.get(at).json()["error"]["code"] == "cleaned"
    studio.store.delete(job.id)
    assert httpx.get(at).json()["error"]["code"] == "not_found"


def test_what_is_not_made_yet_is_not_ready(server):
    url, studio = server
    job = studio.store.add("generate", {"prompt": "a red car"})
    for name in ("content", "preview", "stream"):
        answer = httpx.get(f"{url}/v1/videos/{job.id}/{name}")
        assert answer.status_code == 404 and answer.json()["error"]["code"] == "not_ready"
    studio.store.stop(job.id)


@pytest.mark.parametrize("how", ["completed", "failed", "deleted", "tried again"])
def test_a_stream_follows_a_file_until_its_job_ends(server, how):
    url, studio = server
    job = begun(studio)
    at = f"{url}/v1/videos/{job.id}"
    assert "stream" not in httpx.get(at).json()
    path = studio.shelf.growing(job.id)
    path.write_bytes(b"head")
    assert httpx.get(at).json()["stream"] == f"/v1/videos/{job.id}/stream"
    first = threading.Event()

    def grow():
        first.wait(10)
        with path.open("ab") as file:
            file.write(b"tail")
        if how == "completed":
            path.unlink()  # as the worker does
            complete(studio.store, job, RESULT)
        elif how == "failed":
            fail(studio.store, job, "disk_full", "no room")
        elif how == "deleted":
            studio.store.delete(job.id)
        else:
            with studio.store.change() as db:
                db.execute("UPDATE jobs SET attempt = 2 WHERE id = ?", (job.id,))

    writer = threading.Thread(target=grow)
    writer.start()
    taken = b""
    with httpx.stream("GET", f"{at}/stream", timeout=10) as answer:
        assert answer.headers["content-type"] == "video/mp4" and "content-length" not in answer.headers
        for part in answer.iter_raw():
            taken += part
            first.set()
    writer.join()
    assert taken == b"headtail"
    path.unlink(missing_ok=True)


def test_events_tell_every_change_until_the_end(server):
    url, studio = server
    job = begun(studio)
    kinds, told = [], []
    with httpx.stream("GET", f"{url}/v1/videos/{job.id}/events", timeout=10) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("event: "):
                kinds.append(line.removeprefix("event: "))
            elif line.startswith("data: ") and kinds[-1] == "video":
                told.append(json.loads(line.removeprefix("data: ")))
                if len(told) == 1:
                    report(studio.store, job, "denoising", 0.5, seconds_left=2.0, preview=3)
                elif len(told) == 2:
                    complete(studio.store, job, RESULT)
    assert kinds == ["video", "video", "video", "done"]
    assert [each["progress"] for each in told] == [0, 50, 100]
    assert told[1]["preview"].endswith("/preview?number=3") and told[1]["seconds_left"] == 2.0
    assert told[2]["status"] == "completed" and "preview" not in told[2]
