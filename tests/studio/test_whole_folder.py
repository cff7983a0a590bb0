"""A studio's folder: a copy of it is the studio, and a day of making leaves nothing in it that is not told of."""

import io
import re
import shutil
import sys
import tempfile
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from kinema import write_video
from kinema.pipeline.command import load
from kinema.studio.boards import Boards
from kinema.studio.making import make as making

sys.path.insert(0, str(Path(__file__).parent))
from rest_server import served

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # uvicorn leaves sockets to the collector
BALL = "a red ball rolls to the left"
QUICK = {"prompt": BALL, "num_inference_steps": 1}
ID = "(video|upload)_[0-9a-f]{32}"
# What docs/studio.md says lies there, and what a running server holds besides.
TOLD = (
    r"studio\.db(-wal|-shm)?",
    rf"results/{ID}/(video\.mp4|picture\.png|exact\.mp4|thumbnail\.webp|spritesheet\.webp|job\.json)",
    rf"uploads/{ID}/(picture|video)\.\w+",
    r"boards/[\w.-]+",
    r"logs/[\w.-]+",
)


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def contents(folder):
    return {
        name: (folder / name).read_bytes() for name in files(folder) if name.startswith(("results/", "uploads/"))
    }


def ended(url, video, waiting):
    at = f"{url}/v1/videos/{video}"
    return waiting(lambda: (now := httpx.get(at).json())["status"] not in ("queued", "in_progress") and now)


def test_a_day_leaves_what_is_told_of_and_a_copy_is_the_studio(tmp_path, tiny_model, waiting, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)  # so that it is looked up anew
    picture = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(picture, "PNG")
    film = write_video(tmp_path / "given.mp4", np.full((9, 32, 32, 3), 90, np.uint8), 8).read_bytes()
    pipe, folder = load(str(tiny_model), device="cpu", quiet=True), tmp_path / "studio"
    with served(folder, tiny_model, pipe=pipe) as (url, studio):

        def ask(fields=QUICK, path="", **given):
            answer = httpx.post(f"{url}/v1/videos{path}", data=fields, files=given or None)
            return answer.raise_for_status().json()["id"]

        made = ask()
        still = ask(QUICK | {"num_frames": 1})
        shown = ask(input_reference=("a.png", picture.getvalue()))
        edited = ask(QUICK | {"strength": 0.8}, "/edits", video=("a.mp4", film))
        long = ask(QUICK | {"seconds": 8})  # one that plays while it is made
        for video in (made, still, shown, edited, long):
            now = ended(url, video, waiting)
            assert now["status"] == "completed", now["error"]
        for content in (b"", b"no video", film[: len(film) // 2]):
            refused = httpx.post(f"{url}/v1/videos/edits", data=QUICK, files={"video": ("a.mp4", content)})
            assert refused.status_code == 400
        stopped, kept = (ask(QUICK | {"num_inference_steps": 1000}) for _ in range(2))
        for video, keep in ((stopped, False), (kept, True)):
            waiting(lambda video=video: httpx.get(f"{url}/v1/videos/{video}").json()["progress"])
            assert list((folder / "previews").iterdir())  # it is there while it is wanted
            httpx.post(f"{url}/v1/videos/{video}/cancel", json={"keep": keep})
            assert ended(url, video, waiting)["status"] == ("completed" if keep else "cancelled")

        def break_down(*_):
            raise RuntimeError("it broke in the middle of writing")

        with monkeypatch.context() as broken:
            broken.setattr(making, "write_pictures", break_down)
            failed = ask()
            assert ended(url, failed, waiting)["error"]["code"] == "internal_error"
        studio.store.star(made)
        boards = Boards(studio)
        board = boards.new("", "a story")
        waiting(lambda: not list((folder / "previews").iterdir()), 5)
        before = {video["id"]: video for video in httpx.get(f"{url}/v1/videos?limit=100").json()["data"]}
    assert [name for name in files(temporary) if name != ".ses"] == []  # ONNX Runtime has one .ses
    unknown = [name for name in files(folder) if not any(re.fullmatch(each, name) for each in TOLD)]
    assert unknown == []
    results = {path.name for path in (folder / "results").iterdir()}
    assert results == {made, still, shown, edited, long, kept}

    copy = shutil.copytree(folder, tmp_path / "elsewhere" / "copy")
    shutil.rmtree(folder)
    with served(copy, tiny_model, pipe=pipe) as (url, studio):
        after = {video["id"]: video for video in httpx.get(f"{url}/v1/videos?limit=100").json()["data"]}
        assert after == before and set(before) == {*results, stopped, failed}
        for video in results - {still}:
            assert (
                httpx.get(f"{url}/v1/videos/{video}/content").content
                == (copy / "results" / video / "video.mp4").read_bytes()
            )
        assert Boards(studio).get(board.id, None) == board
        assert studio.store.get(made).starred and not studio.store.get(long).starred
        again = httpx.post(f"{url}/v1/videos/{made}/remix", json=QUICK | {"strength": 0.8}).json()["id"]
        assert ended(url, again, waiting)["status"] == "completed"
