"""Jobs made by a real pipeline of a tiny size: what lies on the shelf, what previews show, how one is stopped."""

import errno
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from kinema import write_video
from kinema.data.video_io import probe, read_video, write_video_exactly
from kinema.pipeline.command import load
from kinema.pipeline.provenance import read_provenance
from kinema.studio.jobs.claims import claim
from kinema.studio.jobs.job import JobError
from kinema.studio.jobs.wish import read_wish
from kinema.studio.making import make as making
from kinema.studio.making.make import make, recover


@pytest.fixture(scope="module")
def pipe(tiny_model):
    return load(str(tiny_model), device="cpu", quiet=True)


def made(store, shelf, pipe, wish):
    """The job of a wish, made."""
    job = store.add(wish.get("task", "generate"), wish)
    taken = claim(store, "w")
    assert taken.id == job.id
    make(store, shelf, pipe, taken)
    return store.get(job.id)


CAR = {"prompt": "a red car drives to the left", "num_inference_steps": 2, "seed": 7}


def test_a_result_is_whole_and_says_how_it_was_made(studio, pipe):
    store, shelf = studio
    job = made(store, shelf, pipe, CAR)
    assert job.status == "completed", job.error
    folder = shelf.result(job.id)
    assert sorted(path.name for path in folder.iterdir()) == [
        "job.json", "spritesheet.webp", "thumbnail.webp", "video.mp4"
    ]  # fmt: skip
    video = read_video(shelf.content(job.id))
    how = read_provenance(shelf.content(job.id))
    assert (how.prompt, how.seed, how.num_inference_steps, how.by_hand) == (CAR["prompt"], 7, 2, ())
    assert len(video.frames) == job.result["num_frames"] == how.num_frames
    assert json.loads((folder / "job.json").read_text())["result"] == job.result
    with Image.open(shelf.content(job.id, "thumbnail")) as picture:
        assert max(picture.size) <= 320
    assert job.result["bytes"] > 1000 and shelf.size(job.id) > job.result["bytes"]
    assert not shelf.preview(job.id).exists()
    with pytest.raises(JobError, match="there is no variant"):
        shelf.content(job.id, "../../studio.db")


def test_the_same_seed_makes_the_same_file_and_none_draws_one(studio, pipe):
    store, shelf = studio
    one, two = (made(store, shelf, pipe, CAR) for _ in range(2))
    assert shelf.content(one.id).read_bytes() == shelf.content(two.id).read_bytes()
    free = CAR | {"seed": None}
    seeds = {made(store, shelf, pipe, free).result["seed"] for _ in range(3)}
    assert len(seeds) == 3


def test_results_feed_the_next_job_and_uploads_too(studio, pipe):
    store, shelf = studio
    first = made(store, shelf, pipe, CAR)
    rate = first.result["fps"]
    longer = made(store, shelf, pipe, {
        "task": "extend", "video": first.id, "seconds": pipe.grid.temporal / rate, "num_inference_steps": 1,
    })  # fmt: skip
    assert longer.status == "completed", longer.error
    assert longer.result["num_frames"] == first.result["num_frames"] + pipe.grid.temporal
    upload = "upload_" + 32 * "a"
    frames = np.full((first.result["num_frames"], 32, 32, 3), 90, np.uint8)
    write_video(shelf.folder / "uploads" / upload / "video.mp4", frames, rate)
    wish = {"task": "remix", "prompt": "a blue ball", "video": upload, "strength": 0.5, "num_inference_steps": 2}
    remixed = made(store, shelf, pipe, wish)
    assert remixed.status == "completed", remixed.error
    missing = made(store, shelf, pipe, {"task": "remix", "video": "upload_" + 32 * "b"})
    assert (missing.status, missing.error_code) == ("failed", "input_not_usable")
    assert missing.error == f"the video (upload_{32 * 'b'}) is not here any more; give it again"


@pytest.mark.parametrize("task", ["remix", "inpaint", "outpaint", "blend"])
def test_a_video_of_any_length_can_be_edited_and_what_is_left_out_is_said(studio, pipe, task):
    store, shelf = studio
    size, rate, step = (pipe.config["default_height"],) * 2, pipe.config["default_frame_rate"], pipe.grid.temporal
    names = ["upload_" + 32 * digit for digit in "ab"]
    for name, frames in zip(names, (2 * step + 2, 3 * step + 1)):  # as connecting makes them, or anybody's own
        write_video(shelf.folder / "uploads" / name / "video.mp4", np.full((frames, *size, 3), 90, np.uint8), rate)
    needs = {
        "inpaint": {"boxes": {0.0: (0, 0, 0.5, 0.5)}},
        "outpaint": {"aspect": "16:9"},
        "blend": {"other": names[1]},
    }
    wish = {"task": task, "prompt": "a ball", "video": names[0], "num_inference_steps": 1} | needs.get(task, {})
    job = made(store, shelf, pipe, wish)
    assert job.status == "completed", job.error
    assert job.result["num_frames"] == 2 * step + 1 == read_provenance(shelf.content(job.id)).num_frames
    assert any(f"only the first {2 * step + 1} frames were taken" in told for told in job.result["warnings"])


def test_every_result_plays_everywhere_and_the_next_one_begins_with_its_exact_frames(studio, pipe):
    store, shelf = studio
    size = pipe.config["default_height"], pipe.config["default_width"]
    given = np.random.default_rng(0).choice(np.array([[255, 0, 0], [0, 0, 255]], np.uint8), (9, *size))
    upload = "upload_" + 32 * "a"
    rate = pipe.config["default_frame_rate"]
    write_video_exactly(shelf.folder / "uploads" / upload / "video.mp4", given, rate)
    source, extra = upload, pipe.grid.temporal
    for times in (1, 2):  # what is lost in one edit would be missing in the next
        longer = made(store, shelf, pipe, {
            "task": "extend", "video": source, "seconds": extra / rate, "num_inference_steps": 1,
        })  # fmt: skip
        assert longer.status == "completed", longer.error
        seen, next_ = probe(shelf.content(longer.id)), probe(shelf.source(longer.id))
        assert (seen.pixel_format, next_.pixel_format) == ("yuv420p", "yuv444p")
        assert read_provenance(shelf.source(longer.id)).seed == read_provenance(shelf.content(longer.id)).seed
        kept = read_video(shelf.source(longer.id)).frames
        assert len(kept) == len(given) + times * extra == seen.frames
        off = np.square(kept[: len(given)].astype(np.float64) - given).mean(axis=(1, 2, 3))
        assert (10 * np.log10(255**2 / off)).min() > 45 - 3 * (times - 1)
        source = longer.id
    assert shelf.source(made(store, shelf, pipe, CAR).id).name == "video.mp4"


def test_previews_and_progress_come_with_every_step(studio, pipe, monkeypatch):
    store, shelf = studio
    monkeypatch.setattr(making, "PREVIEW_EVERY", 0.0)
    seen, report = [], making.report

    def watched(store, job, stage, progress, **more):
        frames = 0
        if shelf.preview(job.id).exists():
            with Image.open(shelf.preview(job.id)) as picture:
                frames = getattr(picture, "n_frames", 1)
        seen.append((stage, progress, more["preview"], frames))
        return report(store, job, stage, progress, **more)

    monkeypatch.setattr(making, "report", watched)
    job = made(store, shelf, pipe, CAR | {"num_inference_steps": 4})
    stages, shares, previews, frames = zip(*seen)
    assert stages == ("reading the prompt", *["denoising"] * 3, "decoding", "writing")
    assert list(shares) == sorted(shares) and shares[-1] < 1
    assert previews == (0, 1, 2, 3, 4, 4) and frames[0] == 0 and min(frames[1:]) > 1
    assert job.preview == 4


@pytest.mark.parametrize("how", ["discard", "keep"])
def test_a_job_stops_within_a_step(studio, pipe, monkeypatch, how):
    store, shelf = studio
    steps, report = [], making.report

    def asked_to_stop(store, job, stage, progress, **more):
        steps.append(stage)
        if steps.count("denoising") == 2:
            store.stop(job.id, how)
        return report(store, job, stage, progress, **more)

    monkeypatch.setattr(making, "report", asked_to_stop)
    job = made(store, shelf, pipe, CAR | {"num_inference_steps": 30})
    assert steps.count("denoising") == 2
    if how == "discard":
        assert job.status == "cancelled" and not shelf.result(job.id).exists()
    else:
        assert job.status == "completed" and job.result["interrupted"]
        assert read_provenance(shelf.content(job.id)).interrupted_after == 2
    monkeypatch.undo()
    after = made(store, shelf, pipe, CAR)
    assert after.status == "completed" and not after.result["interrupted"]


def test_what_goes_wrong_has_a_code_and_a_next_step(studio, pipe, monkeypatch):
    store, shelf = studio
    wrong = made(store, shelf, pipe, CAR | {"width": 33})
    assert (wrong.status, wrong.error_code) == ("failed", "invalid_request") and "33" in wrong.error
    monkeypatch.setattr(making, "write_pictures", _full)
    full = made(store, shelf, pipe, CAR)
    assert (full.status, full.error_code) == ("failed", "disk_full") and "make room" in full.error
    assert not list((shelf.folder / "results").iterdir())
    monkeypatch.setattr(making, "write_pictures", lambda *_: 1 / 0)
    odd = made(store, shelf, pipe, CAR)
    assert (odd.status, odd.error_code) == ("failed", "internal_error") and "division" not in odd.error


def _full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def _killed(*_):
    raise KeyboardInterrupt


def test_a_result_on_the_shelf_is_complete_when_the_disk_was_full_for_a_moment(studio, pipe, monkeypatch):
    store, shelf = studio
    complete, calls = making.complete, []

    def full_once(*given):
        calls.append(given)
        return _full() if len(calls) == 1 else complete(*given)

    monkeypatch.setattr(making, "complete", full_once)
    job = made(store, shelf, pipe, CAR)
    assert (len(calls), job.status, job.result["seed"]) == (2, "completed", 7), job.error


def test_an_old_result_is_not_taken_for_one_of_a_new_attempt(studio, pipe):
    store, shelf = studio
    job = store.add("generate", CAR | {"width": 33})
    shelf.result(job.id).mkdir()
    shelf.write_about(shelf.result(job.id), job, {"seed": 1})
    make(store, shelf, pipe, claim(store, "w"))
    assert store.get(job.id).status == "failed"


def test_people_are_told_ids_and_no_paths(studio, pipe):
    store, shelf = studio
    upload, folder = "upload_" + 32 * "a", shelf.folder
    (folder / "uploads" / upload).mkdir()
    (folder / "uploads" / upload / "video.mp4").write_bytes(b"none")
    failed = made(store, shelf, pipe, {"task": "remix", "video": upload})
    assert upload in failed.error and "/" not in failed.error, failed.error
    video = "video_" + 32 * "b"
    told = {
        f"{folder}/results/{video}/video.mp4: no frame": f"{video}: no frame",
        f"'{folder}/results/.{video}.12/video.mp4' and {folder}/uploads/{upload}/a.png": f"'{video}' and {upload}",
        f"no room in {folder}": "no room in ",
        f"{folder}/studio.db: locked": "studio.db: locked",
        f"{folder}-2/x and /elsewhere{folder}": f"{folder}-2/x and /elsewhere{folder}",
    }
    assert {message: making.without_paths(message, folder) for message in told} == told
    assert made(store, shelf, pipe, CAR).result["model"] == Path(pipe.config._name_or_path).name


def test_what_is_given_to_the_page_belongs_to_who_gave_it(tmp_path):
    from kinema.studio.ui.choosing import taken

    given, got = tmp_path / "a.png", []
    given.write_bytes(b"picture")
    studio = SimpleNamespace(upload=lambda file, owner="": got.append(owner))
    taken(SimpleNamespace(studio=studio, owner=lambda request: SimpleNamespace(name="ann")), str(given), None)
    assert got == ["ann"] and not given.exists()


def test_a_part_of_the_page_can_be_asked_with_anything(monkeypatch):
    from kinema.studio.ui import live

    monkeypatch.setattr(live.gr, "HTML", lambda *given, **more: SimpleNamespace(**more))
    shared, asked = SimpleNamespace(owner=lambda request: None), []
    part = live.live(shared, lambda shared, owner, given: asked.append(given) or {"html": ""}, elem_id="a")
    (look,) = part.server_functions
    assert [look(each, None)["html"] for each in ([1], "x", None)] == ["", "", ""] and asked == [{}, {}, {}]


def test_a_result_that_was_finished_before_its_worker_died_is_kept(studio, pipe, monkeypatch):
    store, shelf = studio
    monkeypatch.setattr(making, "complete", _killed)
    job = store.add("generate", CAR)
    taken = claim(store, "w")
    with pytest.raises(KeyboardInterrupt):
        make(store, shelf, pipe, taken)
    monkeypatch.undo()
    assert store.get(job.id).status == "in_progress"
    recover(store, shelf, taken)
    assert store.get(job.id).status == "completed" and store.get(job.id).result["seed"] == 7


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("sampler", ["euler", "heun", "unipc", "dpm++"])
def test_other_samplers_make_other_videos_of_a_seed_and_are_given_back(studio, pipe, sampler):
    store, shelf = studio
    own, plain = pipe.scheduler, made(store, shelf, pipe, CAR | {"num_inference_steps": 3})
    job = made(store, shelf, pipe, CAR | {"num_inference_steps": 3, "sampler": sampler})
    assert job.status == "completed" and pipe.scheduler is own, job.error
    how = read_provenance(shelf.content(job.id))
    assert ("another scheduler" in how.by_hand) == (sampler != "euler")
    same = np.array_equal(*(read_video(shelf.content(each.id)).frames for each in (plain, job)))
    assert same == (sampler == "euler")


@pytest.mark.parametrize(
    "values, told",
    [
        ({"prompt": "  "}, "prompt is empty"),
        ({"prompt": "x", "colour": 1}, "colour: Extra inputs"),
        ({"prompt": "x", "fps": -1}, "fps: Input should be greater than 0, not -1"),
        ({"prompt": "x", "image": "../../etc/passwd"}, "image: String should match"),
        ({"task": "extend", "video": "video_" + 32 * "a"}, "extend needs seconds"),
        ({"task": "inpaint", "video": "video_" + 32 * "a"}, "a mask or boxes"),
        ({"prompt": "x", "seconds": 1, "num_frames": 9}, "both say how long"),
        ({"prompt": "x", "aspect": "9:16", "strength": 0.5}, "generate takes no aspect and no strength"),
        (
            {"task": "remix", "video": "video_" + 32 * "a", "keyframes": {0.0: "upload_" + 32 * "a"}},
            "no keyframes",
        ),
    ],
)
def test_a_wish_that_cannot_be_says_what_is_wrong(values, told):
    with pytest.raises(JobError, match=told):
        read_wish(values)
