"""The Library: what its buttons do, what is shown to whom, and all of it once in a real browser."""

import contextlib
import gc
import io
import json
import re
import shutil
import socket
import sys
import threading
import time
import typing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import uvicorn
from PIL import Image

from kinema import app, write_video
from kinema.pipeline.command import load
from kinema.studio.boards import Boards
from kinema.studio.jobs.claims import claim
from kinema.studio.jobs.job import JobError
from kinema.studio.jobs.shelf import Shelf
from kinema.studio.jobs.store import JobStore
from kinema.studio.making.make import make
from kinema.studio.models.model import read_model
from kinema.studio.rest.access import Access
from kinema.studio.service import Studio
from kinema.studio.serving import Served, Serving
from kinema.studio.ui import cards
from kinema.studio.ui.cards import DELETED, draw_grid
from kinema.studio.ui.library_acts import Visit, model_name
from kinema.studio.ui.one_video import draw_video
from kinema.studio.ui.shared import Shared

pytest.importorskip("axe_playwright_python", reason="pip install 'kinema[test]' brings it")
sys.path.insert(0, str(Path(__file__).parent))
from browsing import CHROMIUM, DESKTOP, browsing, expect, findings, go_to

pytestmark = [
    # Gradio leaves sockets and event loops to the garbage collector,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    # and its queue uses what pandas 3 deprecates.
    pytest.mark.filterwarnings("ignore:.future.no_silent_downcasting"),
    pytest.mark.filterwarnings("ignore:The copy keyword is deprecated"),
]

CAR = {"prompt": "a red car drives", "num_inference_steps": 1}
SLOW = {"prompt": "<b>a blue</b> ball {{value}} ${1+1}", "num_inference_steps": 1, "fps": 4, "num_frames": 9}
LONG = {"prompt": "a green cone", "num_inference_steps": 1, "fps": 12, "num_frames": 13}


KEYS = ("one", "two")


@pytest.fixture(scope="module")
def made(tiny_model, tmp_path_factory):
    """Three videos of the first key's owner, oldest first: (studio, jobs)."""
    shelf, model = Shelf(tmp_path_factory.mktemp("made") / "studio"), read_model(str(tiny_model))
    store = JobStore(shelf.database)
    pipe = load(str(tiny_model), device="cpu", quiet=True)
    jobs = []
    for wish in (CAR, SLOW, LONG):
        job = store.add("generate", wish, owner=Access(KEYS).name_of("one") or "")
        make(store, shelf, pipe, claim(store, "w"))
        jobs.append(store.get(job.id))
        assert jobs[-1].status == "completed", jobs[-1].error
    studio = Studio(store, shelf, model)
    yield studio, jobs
    studio.close()


def served(studio, keys=()):
    """As `open_studio` gives it, with nobody who makes anything."""
    workers: typing.Any = SimpleNamespace(ready=1, problem="")
    return Served(Serving(studio.shelf.folder, keys=keys), studio, workers, Boards(studio), Access(keys))


class Visitor:
    """Somebody at the Library, without a browser."""

    def __init__(self, studio, key=""):
        nothing: typing.Any = None
        self.shared = Shared(served(studio, KEYS if key else ()), *[nothing] * 4)
        headers = {"authorization": f"Bearer {key}", "host": "studio.example"}
        self.request: typing.Any = SimpleNamespace(headers=headers, cookies={}, request=None)
        self.asked, self.video = {"show": "finished", "pages": 1}, {"id": ""}

    @property
    def visit(self):
        return Visit(self.shared, self.request, self.asked, ("", 4), ({}, 7))

    def press(self, act, job):
        changes = self.visit.press(act, job.id)
        self.asked, self.video = changes.get("grid", self.asked), changes.get("video", self.video)
        return changes

    def grid(self, **asked):
        return draw_grid(self.shared, self.shared.owner(self.request), self.asked | asked)

    def one(self):
        return draw_video(self.shared, self.shared.owner(self.request), self.video)["html"]


def shown(grid):
    return re.findall(r'<li data-key="(video_\w+)"', grid["html"])


def test_cards_are_found_by_words_and_stars_newest_first(made):
    studio, (car, slow, long) = made
    somebody = Visitor(studio)
    assert shown(somebody.grid()) == [long.id, slow.id, car.id] and somebody.grid()["said"] == "3 videos"
    assert shown(somebody.grid(words="RED drives")) == [car.id]
    somebody.press("star", slow)
    assert shown(somebody.grid(starred=True)) == [slow.id] and "★ Starred" in somebody.grid(starred=True)["html"]
    somebody.press("unstar", slow)
    assert shown(somebody.grid(starred=True)) == [] and "No video matches" in somebody.grid(starred=True)["html"]
    assert "<b>" not in somebody.grid()["html"] and "&lt;b&gt;a blue&lt;/b&gt; ball" in somebody.grid()["html"]
    for odd in ({"pages": -3}, {"pages": 10**9}, {"show": "<i>"}, {"words": "'\"%_"}):
        assert "<i>" not in somebody.grid(**odd)["html"]


def test_nobody_sees_or_touches_what_is_another_keys(made):
    studio, (car, *_) = made
    mine, theirs = Visitor(studio, "one"), Visitor(studio, "two")
    assert len(shown(mine.grid())) == 3 and shown(theirs.grid()) == []
    for act in ("open", "star", "delete", "restore", "edit", "again"):
        with pytest.raises(JobError, match="somebody else's"):
            theirs.press(act, car)
    arrived = theirs.visit.arrive(car.id)
    theirs.video = arrived["video"]
    assert "somebody else" in theirs.one() and CAR["prompt"] not in theirs.one()
    mine.press("delete", car)
    with pytest.raises(JobError, match="cannot be brought back"):
        theirs.press("undelete", car)
    assert shown(theirs.grid(show=DELETED)) == []
    mine.press("undelete", car)
    assert "Not here" in str(draw_video(mine.shared, mine.shared.owner(mine.request), {"id": "<script>"}))


def test_a_video_tells_all_that_is_known_of_it(made):
    studio, (_, slow, _) = made
    child = studio.submit({"task": "extend", "video": slow.id, "seconds": 1}, parent=slow.id)
    somebody = Visitor(studio)
    changes = somebody.press("open", slow)
    told = somebody.one()
    facts = ["9 frames, 4 a second", f"<dd>{slow.result['seed']}</dd>", slow.result["fingerprint"]]
    facts += [
        "✓ how it was made",
        "not signed (C2PA)",
        "Made from it",
        f'data-id="{child.id}"',
        f"?video={slow.id}",
    ]
    for fact in facts:
        assert fact in told, fact
    assert "kinema generate" in changes["cli"].value and "studio.example/v1/videos" in changes["curl"].value
    assert f"generator={slow.result['seed']}" in changes["python"].value
    somebody.press("open", child)
    assert "Extended from" in somebody.one() and f'data-id="{slow.id}"' in somebody.one()
    studio.store.stop(child.id)
    studio.store.purge(child.id)


def test_settings_go_to_create_and_videos_to_edit(made, tmp_path):
    studio, (car, *_) = made
    somebody = Visitor(studio)
    values, number = somebody.press("restore", car)["settings"]
    assert (values["seed"], values["prompt"], number) == (car.result["seed"], CAR["prompt"], 8)
    assert somebody.visit.restore_file(studio.shelf.content(car.id))["settings"] == (values, 8)
    assert somebody.press("edit", car)["source"] == (car.id, 5)


def test_what_is_deleted_comes_back_within_its_hour(made, monkeypatch):
    studio, (car, *_) = made
    somebody = Visitor(studio)
    somebody.press("open", car)
    somebody.press("delete", car)
    assert somebody.video["id"] == "" and car.id not in shown(somebody.grid())
    assert "Undo" in somebody.grid()["html"] and shown(somebody.grid(show=DELETED)) == [car.id]
    assert "1 deleted video is kept" in Visitor(studio).grid()["html"]  # after a reload
    monkeypatch.setattr(cards, "UNDO_SECONDS", 0)
    assert shown(somebody.grid(show=DELETED)) == [] and "Undo" not in somebody.grid()["html"]
    monkeypatch.undo()
    somebody.press("undelete", car)
    assert somebody.video["id"] == car.id and car.id in shown(somebody.grid())
    assert studio.content(car.id).is_file()


def test_what_was_cleaned_away_is_asked_for_again_with_its_seed(made):
    studio, (car, *_) = made
    studio.store.mark_cleaned(car.id)
    somebody = Visitor(studio)
    try:
        assert "Cleaned away" in somebody.grid()["html"]
        somebody.press("open", car)
        assert "Make it again" in somebody.one() and "<video" not in somebody.one()
        queued = studio.store.get(somebody.press("again", car)["followed"])
        assert queued.request == {**CAR, "seed": car.result["seed"]} and queued.status == "queued"
        studio.store.stop(queued.id)
        assert shown(somebody.grid(show="failed")) == [queued.id]
        assert somebody.press("again", queued)["followed"] == queued.id  # the same one, tried again
        studio.store.stop(queued.id)
        studio.store.purge(queued.id)
    finally:
        with studio.store.change() as db:
            db.execute("UPDATE jobs SET cleaned = 0")


def test_it_is_said_which_file_is_gone_that_a_video_was_made_from(made):
    studio, (car, *_) = made
    picture = io.BytesIO()
    Image.new("RGB", (32, 32)).save(picture, "PNG")
    picture.seek(0)
    name = studio.upload(picture)
    job, somebody = studio.submit({**CAR, "image": name}), Visitor(studio)
    with studio.store.change() as db:
        db.execute("UPDATE jobs SET status = 'completed', cleaned = 1, result = ? WHERE id = ?",
                   (json.dumps(dict(car.result)), job.id))  # fmt: skip
    try:
        somebody.press("open", job)
        assert "it is the same video" in somebody.one()
        shutil.rmtree(studio.shelf.folder / "uploads" / name)
        assert "it is the same video" not in somebody.one()
        assert "the first frame is not here any more" in somebody.one()
        for status in ("failed", "cancelled"):
            with studio.store.change() as db:
                db.execute("UPDATE jobs SET status = ?, cleaned = 0 WHERE id = ?", (status, job.id))
            assert "the first frame is not here any more" in somebody.one()
            with pytest.raises(JobError, match="the first frame is not here"):
                somebody.press("again", job)
            assert studio.store.get(job.id).status == status
    finally:
        studio.store.purge(job.id)


def test_folders_are_told_on_their_own_machine_only(tmp_path):
    assert model_name(Serving(), "kinema") == (None, True)
    assert model_name(Serving(model="some/wan"), "wan") == ("some/wan", True)
    here = Serving(model=str(tmp_path))
    assert model_name(here, "tiny") == (str(tmp_path), True)
    assert model_name(replace(here, keys=["k"]), "tiny") == ("tiny", False)
    assert model_name(replace(here, host="0.0.0.0", public=True), "tiny") == ("tiny", False)


@contextlib.contextmanager
def page_of(studio):
    """The pages on a port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(
        uvicorn.Config(app.build_app(served(studio)), port=port, log_level="error", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.should_exit = True
        thread.join()
        gc.collect()  # while warnings of what Gradio leaves are let pass


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian: apt install chromium)")
def test_a_person_at_the_library(made, tmp_path):
    studio, (car, slow, _) = made
    with page_of(studio) as url, browsing() as browser:
        page = browser.new_context(viewport=DESKTOP).new_page()
        page.goto(f"{url}?video={car.id}")  # a link to a clip
        library = page.locator("#library")
        heading = library.get_by_role("heading", name=CAR["prompt"])
        expect(heading).to_be_focused()

        # two in step, by keyboard alone: 8 frames a second, and 4
        beside = library.get_by_role("button", name="Side by side with the chosen one: <b>a blue")
        beside.focus()
        page.keyboard.press("Enter")
        expect(page.locator("#library-compare h3")).to_be_focused()
        place = page.locator("#compare-place")
        times = "[...document.querySelectorAll('#library-compare video')].map(video => video.currentTime)"
        page.wait_for_function(
            "[...document.querySelectorAll('#library-compare video')].every(v => v.readyState > 1)"
        )
        frames = car.result["num_frames"]
        page.locator("#compare-forward").focus()
        for _ in range(3):
            page.keyboard.press("Enter")
        expect(place).to_have_text(f"0.38 s · frame 4 of {frames} and 2 of 9")
        assert page.evaluate(times) == pytest.approx([3.5 / 8, 1.5 / 4], abs=1e-3)
        page.keyboard.press("ArrowLeft")
        expect(place).to_have_text(f"0.25 s · frame 3 of {frames} and 2 of 9")
        page.keyboard.press("End")
        expect(place).to_contain_text(f"frame {frames} of {frames} and 9 of 9")
        page.keyboard.press("Home")
        page.locator("#compare-play").press("Enter")
        page.wait_for_function(f"() => {{ const [a, b] = {times}; return a > .3 && Math.abs(a - b) < .3 }}")
        assert findings(page) == []
        page.locator("#compare-close").press("Enter")
        expect(page.locator("#library-compare video")).to_have_count(0)

        # delete, and undo: the focus is there already
        library.locator("#library-delete").press("Enter")
        undo = page.locator("#library-undo-undelete")
        expect(undo).to_be_focused()
        expect(library.get_by_role("img", name=CAR["prompt"])).to_have_count(0)
        page.keyboard.press("Enter")
        expect(library.get_by_role("img", name=CAR["prompt"])).to_be_visible()
        expect(heading).to_be_focused()

        # a stranger's file, and one of ours
        stranger = tmp_path / "holiday.mp4"
        write_video(stranger, np.zeros((4, 32, 32, 3), np.uint8), 8)
        drop = page.locator("#restore input[type=file]")
        drop.set_input_files(str(stranger))
        expect(page.locator("#library-told")).to_contain_text("is not by Kinema")
        drop.set_input_files(str(studio.shelf.content(slow.id)))
        expect(page.locator("#prompt textarea")).to_have_value(SLOW["prompt"])
        go_to(page, "Library")
        page.locator("#library-search textarea, #library-search input").first.fill("GREEN")
        expect(library.locator("#library-grid li")).to_have_count(1)
