"""Everything in docs/rest.md that can be run is run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from kinema.pipeline.command import load
from kinema.studio.rest.errors import OTHERS, STATUS
from kinema.studio.rest.requests import PATIENCE, SLOWEST
from kinema.studio.service import Limits
from kinema.studio.serving import Serving
from kinema.studio.webhooks import event_of, read_secret, signed

sys.path.insert(0, str(Path(__file__).parent))
from rest_server import served

pytest.importorskip("openai", reason="pip install 'kinema[test]' brings it")
pytestmark = [
    pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
TEXT = (Path(__file__).parents[2] / "docs" / "rest.md").read_text(encoding="utf-8")
SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


def blocks(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def test_what_is_shown_runs(tmp_path, tiny_model, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KINEMA_WEBHOOK_SECRET", SECRET)
    pipe = load(str(tiny_model), device="cpu", quiet=True)
    with served(tmp_path / "s", tiny_model, pipe=pipe) as (url, studio):
        here = {}
        for block in blocks("python"):
            exec(compile(block.replace("http://127.0.0.1:7860", url), "docs/rest.md", "exec"), here)
        assert (tmp_path / "ball.mp4").stat().st_size and here["longer"].id
        job = studio.store.get(here["video"].id)
        event = event_of(job)
        body = httpx.Request("POST", url, json=event).content
        headers = signed(read_secret(SECRET), event["id"], body.decode(), int(job.finished_at))
        assert here["take"](body, headers) == f"video.completed {job.id}"
        if shutil.which("curl") is None:
            pytest.skip("there is no curl")
        asking, following = blocks("sh")
        curl(asking, url)
        job, *others = studio.store.page(limit=100)
        for other in others:  # they need not be made for this
            studio.store.stop(other.id)
        curl(following, url, ID=job.id)
        assert (tmp_path / "cube.mp4").read_bytes()[4:8] == b"ftyp"
        assert (tmp_path / "sheet.webp").read_bytes()[8:12] == b"WEBP"


def curl(script, url, **variables):
    script = "set -e\n" + script.replace("curl ", "curl -sS --fail-with-body ").replace(
        "http://127.0.0.1:7860", url
    )
    done = subprocess.run(["bash", "-c", script], env=os.environ | variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_codes_and_limits_are_told():
    assert {*STATUS, *OTHERS} <= set(re.findall(r"`([a-z_]+)`", TEXT))
    limits = Limits()
    for told in (f"| {limits.waiting} |", f"| {limits.waiting_each} |", f"| {limits.video_seconds:g} s",
                 f"{limits.upload_bytes / 1e6:g} MB, {limits.upload_seconds:g} s, 4096 x 2304",
                 f"| {limits.unclaimed_bytes / 1e6:g} MB |", f"| {Serving.budget / 1e9:g} GB |",
                 f"| {PATIENCE:g} s, and 1 s more for every {SLOWEST / 1e3:g} kB |"):  # fmt: skip
        assert told in TEXT
    assert limits.upload_pixels == 4096 * 2304
    assert "1920 x 1088 in 2400 frames" in TEXT and limits.video_pixels == 1920 * 1088 * 2400
