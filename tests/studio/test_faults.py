"""What goes wrong on a bad day: a worker and a server are killed, the disk fills up, uploads are broken.

After each of them everything that was finished is there, byte for byte, and the studio goes on.
"""

import contextlib
import hashlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from served import Server

QUICK = {"prompt": "a red ball rolls to the left", "num_inference_steps": "2", "seed": "1"}
LONG = QUICK | {"num_inference_steps": "1000"}


class Day:
    """A server and what it finished so far."""

    def __init__(self, folder, model, wait_until):
        self.folder, self.model, self.wait_until, self.finished = folder, model, wait_until, {}
        self.begin()

    def begin(self):
        self.server = Server(self.folder, model=self.model).wait()
        self.client = httpx.Client(base_url=self.server.url, timeout=30)

    def post(self, fields=None, path="v1/videos", **more):
        return self.client.post(path, data=fields, **more)

    def start(self, fields):
        answer = self.post(fields)
        assert answer.status_code == 200, answer.text
        return answer.json()["id"]

    def get(self, video):
        return self.client.get(f"v1/videos/{video}").json()

    def content(self, video):
        return {
            variant: hashlib.sha256(
                self.client.get(f"v1/videos/{video}/content", params={"variant": variant})
                .raise_for_status()
                .content
            ).hexdigest()
            for variant in ("video", "thumbnail", "spritesheet")
        }

    def until(self, video, *statuses, seconds=120):
        self.wait_until(lambda: self.get(video)["status"] in statuses, seconds=seconds, every=0.05)
        return self.get(video)

    def finish(self, fields=QUICK):
        video = self.start(fields)
        assert self.until(video, "completed", "failed")["status"] == "completed", self.get(video)
        self.finished[video] = self.content(video)
        return video

    def worker(self):
        [worker] = [
            child for child in psutil.Process(self.server.process.pid).children(recursive=True)
            if "kinema.studio.making.worker" in child.cmdline()
        ]  # fmt: skip
        return worker

    def nothing_is_lost(self):
        assert {video: self.content(video) for video in self.finished} == self.finished
        listed = [video["id"] for video in self.client.get("v1/videos", params={"limit": 100}).json()["data"]]
        assert len(listed) == len(set(listed)) and set(self.finished) <= set(listed)

    def end(self):
        self.client.close()
        self.server.stop()


@pytest.fixture(scope="module")
def day(tmp_path_factory, tiny_model, waiting):
    day = Day(tmp_path_factory.mktemp("day") / "studio", tiny_model, waiting)
    day.finish()
    yield day
    day.end()


def test_a_killed_worker_costs_its_video_another_attempt_and_nothing_else(day):
    video = day.start(LONG | {"num_inference_steps": "300"})
    day.until(video, "in_progress")
    day.worker().send_signal(signal.SIGKILL)
    assert day.until(video, "completed", "failed")["status"] == "completed"
    day.nothing_is_lost()


def test_a_killed_server_finds_its_queue_again(day):
    first, second = day.start(LONG | {"num_inference_steps": "300"}), day.start(QUICK)
    day.until(first, "in_progress")
    worker = day.worker()
    day.client.close()
    day.server.kill()
    day.wait_until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    day.begin()
    for video in (first, second):
        assert day.until(video, "completed", "failed")["status"] == "completed"
    day.nothing_is_lost()


def picture(kind, **options):
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(file, kind, **options)
    return file.getvalue()


def broken_files(video):
    return {
        "nothing": b"",
        "noise": os.urandom(50_000),
        "half a picture": picture("PNG")[:60],
        "half a video": video[: len(video) // 2],
        "a video's head on noise": video[:600] + os.urandom(20_000),
        "a page": b"<html><script>alert(1)</script></html>",
        "an address": b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:1/secret.ts\n",
        "a list of files": b"ffconcat version 1.0\nfile /etc/passwd\n",
    }


def test_broken_uploads_are_refused_and_leave_nothing(day):
    video = next(iter(day.finished))
    whole = day.client.get(f"v1/videos/{video}/content").content
    uploads = set((day.folder / "uploads").iterdir())
    for what, content in broken_files(whole).items():
        answer = day.post(QUICK, files={"input_reference": ("film.mp4", content, "video/mp4")})
        error = answer.json()["error"]
        assert answer.status_code == 400 and error["code"] == "input_not_usable", (what, answer.text)
        assert "/" not in error["message"].replace("video/mp4", ""), (what, error)  # no path of this machine
    assert set((day.folder / "uploads").iterdir()) == uploads
    day.nothing_is_lost()
    day.finish()


def can_mount():
    trial = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs -o size=1m tmpfs /mnt"]
    with contextlib.suppress(FileNotFoundError):
        return subprocess.run(trial, capture_output=True, check=False).returncode == 0
    return False


@pytest.mark.skipif(not can_mount(), reason="this user may not mount a small disk of their own")
def test_a_full_disk_fails_a_video_and_keeps_the_others(tmp_path, tiny_model, waiting):
    """The server sees a small disk that is mounted for it alone, and a file in it that eats all room."""
    day = SmallDisk(tmp_path / "studio", tiny_model, waiting)
    try:
        day.finish()
        video = day.start(LONG)
        day.until(video, "in_progress")
        day.fill()
        assert day.client.get("healthz").status_code == 200
        refused = day.post(QUICK)
        assert (refused.status_code, refused.json()["error"]["code"]) == (507, "disk_full"), refused.text
        waiting(lambda: "disk is full" in day.inside('cat "$1"/logs/*.log'))
        day.empty()
        told = day.until(video, "completed", "failed")
        assert told["status"] == "failed" and told["error"]["code"] == "disk_full", told
        day.nothing_is_lost()
        day.finish()
        day.nothing_is_lost()
    finally:
        day.end()


class SmallDisk(Day):
    """A day on a disk of its own, of sixteen megabytes."""

    def begin(self):
        self.folder.mkdir(exist_ok=True)
        script = f'mount -t tmpfs -o size=16m tmpfs "{self.folder}" && exec "$@"'
        self.server = Server(
            self.folder, model=self.model, before=["unshare", "-rm", "sh", "-c", script, "sh"]
        ).wait()
        self.client = httpx.Client(base_url=self.server.url, timeout=30)

    def inside(self, script):
        place = f"/proc/{self.server.process.pid}/root{self.folder}"
        return subprocess.run(
            ["sh", "-c", script, "sh", place], capture_output=True, text=True, check=False
        ).stdout

    def fill(self):
        self.inside('cat /dev/zero > "$1/eaten" 2>/dev/null')

    def empty(self):
        self.inside('rm "$1/eaten"')
