"""Create, the live view and the queue: what they make of wishes and jobs, and the endpoints with names."""

import html
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.data.diorama import VOCABULARY
from kinema.studio.given import mark_of
from kinema.studio.jobs.claims import claim, complete, fail, report
from kinema.studio.jobs.job import JobError
from kinema.studio.jobs.upkeep import Room, Upload
from kinema.studio.jobs.wish import read_wish
from kinema.studio.models.model import Model
from kinema.studio.rest.access import Owner
from kinema.studio.service import Studio
from kinema.studio.ui.form import NAMES, form_values, styles, wish_values

sys.path.insert(0, str(Path(__file__).parent))
from served import serving

MODEL = Model("m", height=64, width=64, num_frames=17, fps=8.0, steps=12, aspects=(("1:1 square", 64, 64),))
UPLOAD, OTHER = "upload_" + "0" * 32, "upload_" + "1" * 32
EVIL = '<script>alert("x")</script>'
WISHES = st.fixed_dictionaries(
    {"prompt": st.sampled_from(["a ball", "a red cube\non sand"])},
    optional={
        "negative_prompt": st.just("night"), "width": st.sampled_from([32, 64]), "height": st.just(48),
        "seconds": st.integers(1, 40).map(lambda number: number / 2), "fps": st.sampled_from([4.0, 8.0, 24.0]),
        "num_inference_steps": st.integers(1, 50), "guidance_scale": st.sampled_from([1.0, 4.0, 7.5]),
        "seed": st.integers(0, 2**63 - 1), "sampler": st.sampled_from(["heun", "unipc"]),
        "schedule": st.sampled_from(["equal", "staircase", "rolling", "stream"]), "image": st.just(UPLOAD),
        "keyframes": st.just({1.5: OTHER}),
        "storyboard": st.just([{"at": 0.0, "text": "day"}, {"at": 1.0, "text": "night", "image": UPLOAD}]),
    },
)  # fmt: skip
TASKS = (
    {"task": "extend", "video": UPLOAD, "seconds": 2.0, "direction": "backward", "prompt": "a ball"},
    {"task": "inpaint", "video": UPLOAD, "mask": OTHER, "prompt": "a ball", "strength": 0.4},
    {"task": "outpaint", "video": UPLOAD, "aspect": "16:9"},
    {"task": "connect", "video": UPLOAD, "other": OTHER, "seed": 3},
)


@given(WISHES | st.sampled_from(TASKS))
def test_a_wish_in_the_form_is_the_same_wish_when_it_is_asked_for_again(values):
    values = dict(values)
    if "width" in values or "height" in values:
        values = {"width": 64, "height": 64} | values
    form = form_values(MODEL, values)
    assert set(form) == set(NAMES)
    again, wish = read_wish(wish_values(MODEL, form, str)), read_wish(values)

    def told(wish):  # what is asked for, whether it is the model's own or said
        own = {"width": 64, "height": 64, "fps": 8.0, "num_inference_steps": 12, "guidance_scale": 4.0}
        said = {name: own.get(name) if value is None else value for name, value in wish.model_dump().items()}
        return said | ({"seconds": None, "num_frames": MODEL.frames(wish)} if wish.task == "generate" else {})

    assert told(again) == told(wish)


@given(st.integers(0, 30).map(lambda number: 1 + 4 * number), st.sampled_from([4.0, 8.0, 24.0]))
def test_frames_are_kept_as_seconds(frames, fps):
    values = {"prompt": "a ball", "num_frames": frames, "fps": fps}
    again = read_wish(wish_values(MODEL, form_values(MODEL, values), str))
    assert MODEL.frames(again) == frames


def test_what_the_form_gives_is_asked_for():
    form = form_values(MODEL, {"prompt": "a ball"})
    form |= {"style": "at night", "keyframe_1": "one.png", "at_1": 1, "lock": True, "seed": " 42 "}
    values = wish_values(MODEL, form, lambda path: UPLOAD)
    assert values == {"prompt": "a ball at night", "keyframes": {1.0: UPLOAD}, "seed": 42}
    guided = wish_values(MODEL, form | {"guide": "a.mp4"}, lambda path: UPLOAD)
    assert (guided["task"], guided["video"], guided["strength"]) == ("remix", UPLOAD, 0.6)
    assert "keyframes" not in wish_values(replace(MODEL, off={"keyframes": "no"}), form, lambda path: UPLOAD)
    with pytest.raises(JobError, match="whole number"):
        wish_values(MODEL, form | {"seed": "-1"}, str)


def test_only_styles_whose_words_the_model_knows_are_offered():
    known = styles(replace(MODEL, vocabulary=tuple(VOCABULARY)))
    assert "at night" in known and "watercolour" not in known
    assert styles(replace(MODEL, vocabulary=("ball",))) == () and "watercolour" in styles(MODEL)


@pytest.fixture
def shared(studio):
    """As much of a page's `Shared` as drawing needs."""
    store, shelf = studio
    workers = SimpleNamespace(problem="", ready=1)
    return SimpleNamespace(studio=Studio(store, shelf, MODEL), served=SimpleNamespace(workers=workers))


def everybody(name=""):
    return Owner(name, not name, lambda: None)


def test_every_state_is_told_in_words_and_nothing_that_users_wrote_is_markup(shared):
    pytest.importorskip("gradio")
    from kinema.studio.ui.queue import draw_queue
    from kinema.studio.ui.watching import draw_job

    store, owner, seen = shared.studio.store, everybody(), {}
    disk = Room(95, 100, ())

    def look(job):
        drawn = draw_job(shared, owner, store.get(job.id)), draw_queue(shared, owner, disk)
        for each in drawn:
            assert "<script" not in each["html"] and html.escape(EVIL[:8]) in drawn[0]["html"]
        seen[store.get(job.id).status] = drawn[0]["said"]
        return drawn[0]

    jobs = [store.add("generate", {"prompt": EVIL}) for _ in range(4)]
    assert look(jobs[0])["said"] == "Next in the queue."
    assert draw_job(shared, owner, jobs[2])["said"] == "Waiting: 2 before it."
    running = claim(store, "w")
    assert running is not None
    report(store, running, "denoising", 0.25, seconds_left=30, preview=1)
    early = look(running)
    report(store, running, "denoising", 0.5, seconds_left=20, preview=2)
    late = look(running)
    assert (
        early["said"] == late["said"] and 'aria-valuenow="50"' in late["html"]
    )  # percents are seen, not announced
    assert "about 20 s left" in late["html"] and "preview?number=2" in late["html"]
    fail(store, running, "internal_error", EVIL)
    look(running)
    made = claim(store, "w")
    assert made is not None
    result = {"seed": 5, "width": 64, "height": 64, "num_frames": 17, "fps": 8.0, "seconds": 2.125, "model": EVIL,
              "warnings": [EVIL], "making_seconds": 2.0, "num_inference_steps": 12,
              "applied": {"provenance": True, "mark": EVIL, "c2pa": None, "problems": [EVIL]}}  # fmt: skip
    complete(store, made, result)
    shown = look(made)["html"]
    assert "64 × 64" in shown and "Seed" in shown and "prompt, seed, model and versions are in the file" in shown
    store.mark_cleaned(made.id)
    assert "deleted to make room" in look(made)["said"] and "<video" not in look(made)["html"]
    store.stop(jobs[2].id)
    look(jobs[2])
    assert set(seen) == {"queued", "in_progress", "failed", "completed", "cancelled"}
    assert len(set(seen.values())) == 5 and all(seen.values())
    doomed = draw_queue(shared, owner, Room(120, 100, (store.get(made.id),)))
    assert "Within a minute" in doomed["html"]
    ours = Upload(mark_of("") + 24 * "0", 10, 0)
    given = draw_queue(shared, owner, Room(120, 100, (), (ours, ours)))
    assert "Within a minute 2 given files are deleted that no video is made from" in given["html"]
    somebody = Owner("somebody", False, lambda: None)
    assert "Within a minute" not in draw_queue(shared, somebody, Room(120, 100, (), (ours,)))["html"]


def test_nobody_overtakes_anybody_elses_video(shared):
    pytest.importorskip("gradio")
    from kinema.studio.ui.queue import move

    store = shared.studio.store
    names = [("a", "1"), ("b", "1"), ("a", "2"), ("b", "2"), ("a", "3")]
    jobs = {owner + text: store.add("generate", {"prompt": text}, owner=owner) for owner, text in names}

    def order():
        return [job.owner + job.request["prompt"] for job in store.waiting()]

    move(shared, everybody("a"), jobs["a3"], "up")
    assert order() == ["a1", "b1", "a3", "a2", "b2"]
    move(shared, everybody("a"), jobs["a1"], "down")
    assert order() == ["b1", "a3", "a1", "a2", "b2"]
    move(shared, everybody("b"), jobs["b2"], "front")
    assert order() == ["b2", "b1", "a3", "a1", "a2"]
    move(shared, everybody("a"), jobs["a2"], "down")
    move(shared, everybody("a"), jobs["a3"], "up")
    assert order() == ["b2", "b1", "a3", "a1", "a2"]
    store.stop(jobs["a1"].id)
    with pytest.raises(JobError, match="only what still waits"):
        move(shared, everybody("a"), jobs["a1"], "up")


def test_the_endpoints_are_few_and_do_what_they_say(tmp_path, tiny_model):
    client_of = pytest.importorskip("gradio_client").Client
    with serving(tmp_path / "studio", model=tiny_model, env={"KINEMA_API_KEY": "secret"}) as server:
        client = client_of(
            server.url, headers={"Authorization": "Bearer secret"}, verbose=False, download_files=False,
            analytics_enabled=False,
        )  # fmt: skip
        assert set(client.view_api(return_format="dict", print_info=False)["named_endpoints"]) == {
            "/generate", "/status", "/cancel"
        }  # fmt: skip
        made = client.predict("a red ball", num_inference_steps=2, seed=7, api_name="/generate")
        assert (made["status"], made["seed"], made["num_inference_steps"]) == ("completed", 7, 2)
        assert client.predict(made["id"], api_name="/status") == made
        film = httpx.get(server.url + made["url"], headers={"Authorization": "Bearer secret"})
        assert film.status_code == 200 and film.headers["content-type"] == "video/mp4"
        waiting = client.submit("a red ball", num_inference_steps=1000, api_name="/generate")
        found = []
        while not found:
            listed = httpx.get(server.url + "v1/videos", headers={"Authorization": "Bearer secret"})
            found = [each["id"] for each in listed.json()["data"] if each["status"] == "in_progress"]
        client.predict(found[0], False, api_name="/cancel")
        with pytest.raises(Exception, match="cancelled"):
            waiting.result(timeout=60)
        for wrong in ("video_" + "0" * 32, "../../etc/passwd"):
            with pytest.raises(Exception, match="There is no video"):
                client.predict(wrong, api_name="/status")
        with pytest.raises(Exception, match="describe a video first"):
            client.predict(" ", api_name="/generate")
