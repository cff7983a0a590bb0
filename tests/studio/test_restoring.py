"""Settings restored from jobs and from files: the next video is the same one; strangers' files are survived."""

import io
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kinema import write_video
from kinema.data.video_io import read_video
from kinema.pipeline.command import load
from kinema.pipeline.provenance import KEY, Provenance, read_provenance
from kinema.studio.jobs.claims import claim
from kinema.studio.jobs.job import JobError
from kinema.studio.jobs.wish import read_wish
from kinema.studio.making.make import make
from kinema.studio.models.model import read_model
from kinema.studio.restoring import of_job, of_provenance, read_file

CAR = {"prompt": "a red car drives to the left", "num_inference_steps": 2}


@pytest.fixture(scope="module")
def pipe(tiny_model):
    pipe = load(str(tiny_model), device="cpu", quiet=True)
    pipe.facts = read_model(str(tiny_model))
    return pipe


@pytest.fixture(scope="module")
def model(tiny_model):
    return read_model(str(tiny_model))


def made(store, shelf, pipe, wish):
    job = store.add(wish.get("task", "generate"), wish)
    make(store, shelf, pipe, claim(store, "w"))
    job = store.get(job.id)
    assert job.status == "completed", job.error
    return job


def upload(shelf, digit, colour=(200, 30, 30)):
    name = "upload_" + 32 * digit
    folder = shelf.folder / "uploads" / name
    folder.mkdir()
    Image.new("RGB", (32, 32), colour).save(folder / "picture.png")
    return name


def test_a_file_and_its_job_restore_the_same_video(studio, pipe, model):
    store, shelf = studio
    picture = upload(shelf, "a")
    cards = [{"at": 0, "text": "a red ball"}, {"at": 0.5, "text": "a blue ball", "image": picture}]
    wishes = [
        {"storyboard": cards, "num_inference_steps": 1},
        CAR | {"image": picture, "negative_prompt": "snow", "sampler": "heun"},
        CAR | {"num_frames": 13, "schedule": "stream", "num_inference_steps": 1},
    ]
    for wish in wishes:
        job = made(store, shelf, pipe, wish)
        file = shelf.content(job.id)
        for restored in (of_job(job, lambda name: True), of_provenance(read_file(file), model, lambda name: True)):
            assert restored.notes == () and restored.values["seed"] == job.result["seed"]
            again = made(
                store, shelf, pipe, read_wish(restored.values).model_dump(mode="json", exclude_defaults=True)
            )
            assert np.array_equal(read_video(shelf.content(again.id)).frames, read_video(file).frames)
        lost = of_provenance(read_file(file), model, lambda name: False)
        assert ("upload_" in str(wish)) == bool(lost.notes) and "upload_" not in str(lost.values)
        assert of_job(job, lambda name: False).notes == lost.notes


def test_a_task_is_restored_with_its_media_and_without_them_as_words(studio, pipe, model):
    store, shelf = studio
    first = made(store, shelf, pipe, CAR)
    few = {"num_inference_steps": 1, "prompt": "it drives"}
    wishes = [
        {"task": "extend", "video": first.id, "seconds": 1.0, "direction": "backward"},
        {"task": "connect", "video": first.id, "other": first.id, "seconds": 1.0},
        {"task": "inpaint", "video": first.id, "boxes": {"0": [0.0, 0.0, 0.5, 0.5]}},
    ]
    for wish in wishes:
        job = made(store, shelf, pipe, wish | few)
        how = read_file(shelf.content(job.id))
        for restored in (of_job(job, lambda name: True), of_provenance(how, model, lambda name: True)):
            again = read_wish(restored.values)
            assert restored.notes == () and again.seed == job.result["seed"]
            assert again == read_wish(wish | few | {
                "seed": again.seed, "guidance_scale": again.guidance_scale, "strength": again.strength
            })  # fmt: skip
        for restored in (of_job(job, lambda name: False), of_provenance(how, model, lambda name: False)):
            assert restored.values["prompt"] == "it drives" and f"“{job.task}”" in restored.notes[0]
            assert not {"video", "task", "num_frames", "seconds"} & set(restored.values)


def test_a_job_that_never_ended_gives_what_was_asked(studio):
    store, _ = studio
    job = store.add("generate", CAR | {"seconds": 2.0})
    assert of_job(job, lambda name: True).values == CAR | {"seconds": 2.0}


@pytest.fixture(scope="module")
def provenance(pipe, tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "car.mp4"
    pipe(CAR["prompt"], num_inference_steps=1, generator=3).save(path)
    return read_provenance(path)


def test_what_cannot_be_taken_over_is_said(provenance, model):
    def notes(**changed):
        return " ".join(of_provenance(replace(provenance, **changed), model, lambda name: True).notes)

    assert notes() == ""
    assert "made by the model other," in notes(model="/somewhere/other")
    assert "not drawn from a seed" in notes(seed=None)
    assert "sigmas" in notes(by_hand=("sigmas",))
    assert "The image was a file" in notes(settings={"image": "pictures/cat.png"})
    pictures = {
        "keyframe -1": "video_" + 32 * "1",
        "keyframe 2": f"x/upload_{32 * '2'}/p.png",
        "keyframe 0.5": "cat",
    }
    at = of_provenance(replace(provenance, settings=pictures), model, lambda name: True)
    frames = provenance.num_frames
    assert at.values["keyframes"] == {
        (frames - 1) / provenance.frame_rate: "video_" + 32 * "1", 2 / provenance.frame_rate: "upload_" + 32 * "2",
    }  # fmt: skip


def test_files_that_say_nothing_are_friendly_refusals(tmp_path):
    strangers = tmp_path / "holiday.mp4"
    write_video(strangers, np.zeros((4, 32, 32, 3), np.uint8), 8)
    with pytest.raises(JobError, match="not by Kinema"):
        read_file(strangers)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(strangers.read_bytes()[:300])
    with pytest.raises(JobError, match="cannot be read"):
        read_file(damaged)
    (tmp_path / "words.txt").write_text("words")
    with pytest.raises(JobError, match=r"a \.txt file cannot say"):
        read_file(tmp_path / "words.txt")
    forged = tmp_path / "forged.mp4"
    write_video(forged, np.zeros((4, 32, 32, 3), np.uint8), 8, metadata={KEY: '{"prompt": 3}'})
    with pytest.raises(JobError, match="not by Kinema"):
        read_file(forged)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)


FIELDS = ("prompt", "seed", "width", "num_frames", "frame_rate", "task", "settings", "guidance_scale", "by_hand")


@settings(deadline=None, max_examples=40)
@given(
    st.dictionaries(st.sampled_from((*FIELDS, "model")), ANYTHING),
    st.lists(st.lists(ANYTHING, max_size=4), max_size=3),
)
def test_forged_files_give_settings_or_a_refusal(provenance, model, changed, storyboard):
    values = asdict(provenance) | {"settings": {"storyboard": storyboard, "keyframe x": "cat"}} | changed
    try:
        restored = of_provenance(Provenance(**values), model, lambda name: True)
    except JobError:
        return
    read_wish(restored.values | {"prompt": "a car"})
    io.StringIO().writelines(restored.notes)  # texts
