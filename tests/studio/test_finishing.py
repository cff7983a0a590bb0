"""What results are marked and signed with, read from the exported files."""

import argparse
import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kinema.data.video_io import read_video, write_video
from kinema.pipeline.provenance import read_provenance
from kinema.studio.jobs.claims import claim
from kinema.studio.making import make as making
from kinema.studio.making.finishing import (
    PLAIN,
    Finish,
    FinishError,
    applied_to,
    is_kinema,
)
from kinema.studio.making.loading import load_model
from kinema.studio.making.make import make
from kinema.studio.making.marking import SMALLEST, check_mark, draw_mark, has_mark
from kinema.studio.making.signing import INSTALL, Certificate, read_signature, sign
from kinema.studio.making.workers import Workers, worker_command
from kinema.studio.options import add_finish_options, finish_of, finish_words

from .certificates import make_certificate

c2pa = pytest.importorskip("c2pa", reason="pip install 'kinema[c2pa]' brings it")

CAR = {"prompt": "a red car drives to the left", "num_inference_steps": 1, "seed": 7}
SIGNED = "signed by Test Studio (Test Studio 1)"


@pytest.fixture(scope="module")
def pipe(tiny_model):
    return load_model(str(tiny_model), device="cpu")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("certificate"))


def made(store, shelf, pipe, wish, finish):
    job = store.add(wish.get("task", "generate"), wish)
    make(store, shelf, pipe, claim(store, "w"), finish)
    done = store.get(job.id)
    assert done.status == "completed", done.error
    return done


def manifest_of(path):
    """The active manifest, read by C2PA's own reader."""
    with c2pa.Reader(str(path)) as reader:
        told = json.loads(reader.json())
        return told["manifests"][told["active_manifest"]], reader.get_validation_state()


@settings(deadline=None, max_examples=40)
@given(
    st.integers(8, 400), st.integers(8, 700), st.sampled_from(["AI", "Made with AI", "Made with Kinema at home"])
)
def test_a_mark_is_a_label_in_the_corner_and_stands_as_it_is_when_drawn_again(height, width, text):
    before = np.random.default_rng(0).integers(90, 160, (2, height, width, 3), dtype=np.uint8)
    frames = before.copy()
    said = draw_mark(frames, text)
    changed = (frames != before).any((0, 3))
    if said is None:
        assert not changed.any() and min(height, width) < 5 * SMALLEST
        return
    assert said == text or (said.endswith("…") and text.startswith(said[:-1]))
    rows, columns = (np.flatnonzero(changed.any(axis)) for axis in (1, 0))
    assert rows[0] >= height // 2 - 1 and height - 1 - rows[-1] <= min(height, width) // 64
    assert width - 1 - columns[-1] <= min(height, width) // 64
    label = frames[0][rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(int)
    assert label.max() - label.min() > 150, "too little contrast to be read"
    assert has_mark(frames[0], text) and not has_mark(before[0], text)
    again = frames.copy()
    assert draw_mark(again, text) == said and (again == frames).all()


def test_a_mark_the_font_cannot_write_is_refused_with_its_letters():
    check_mark("(c) Me & Co. 2026, made with AI!")
    with pytest.raises(ValueError, match=r"'日'.*the font lacks"):
        check_mark("by 日")
    with pytest.raises(FinishError, match="it needs 1 to 60"):
        Finish(" ").check()


def test_a_result_shows_what_it_is_said_to_show(studio, pipe, certificate):
    store, shelf = studio
    finish = Finish("AI", certificate)
    finish.check()
    job = made(store, shelf, pipe, CAR, finish)
    assert job.result["applied"] == {"provenance": True, "mark": "AI", "c2pa": SIGNED, "problems": []}
    path = shelf.content(job.id)
    frames = read_video(path).frames
    assert len(frames) == job.result["num_frames"] and all(has_mark(frame, "AI") for frame in frames)
    assert read_provenance(path).prompt == CAR["prompt"]
    manifest, state = manifest_of(path)
    (agent,), assertions = (
        manifest["claim_generator_info"],
        {each["label"]: each for each in manifest["assertions"]},
    )
    first, second = assertions["c2pa.actions.v2"]["data"]["actions"]
    assert state == "Valid" and agent["name"] == "Kinema" and agent["version"]
    assert first["action"] == "c2pa.created" and first["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert second["action"] == "c2pa.edited" and second["description"].endswith("AI")
    assert CAR["prompt"] not in json.dumps(manifest)
    with Image.open(shelf.content(job.id, "thumbnail")) as picture:
        assert has_mark(np.asarray(picture.convert("RGB")), "AI")
    for before, after in ((b"a red car", b"a big car"), (b'"seed": 7', b'"seed": 8')):
        changed = path.with_name("changed.mp4")
        changed.write_bytes(path.read_bytes().replace(before, after, 1))
        assert is_kinema(changed) and read_signature(changed) is None


def test_previews_are_marked_at_the_size_they_are_shown(studio):
    _, shelf = studio
    job_id = f"video_{32 * 'a'}"
    shelf.write_preview(job_id, np.full((3, 8, 8, 3), 130, np.uint8), Finish("Made with AI").draw)
    with Image.open(shelf.preview(job_id)) as preview:
        for number in range(preview.n_frames):
            preview.seek(number)
            assert has_mark(np.asarray(preview.convert("RGB")), "Made with AI")


def test_what_plays_while_it_is_made_is_marked_too(studio, pipe, monkeypatch):
    store, shelf = studio
    seen, report = [], making.report

    def watched(store, job, stage, progress, **more):
        if stage == "writing":
            seen.extend(read_video(shelf.growing(job.id)).frames)
        return report(store, job, stage, progress, **more)

    monkeypatch.setattr(making, "report", watched)
    job = made(store, shelf, pipe, CAR | {"num_frames": 1 + 6 * pipe.grid.temporal}, Finish("AI"))
    assert job.result["streamed"] and job.result["applied"]["mark"] == "AI"
    frames = read_video(shelf.content(job.id)).frames
    assert len(seen) == len(frames) > 0 and all(has_mark(each, "AI") for each in [*seen, *frames])


def test_what_was_made_of_given_files_says_so_and_names_no_path(studio, pipe, certificate):
    store, shelf = studio
    first = made(store, shelf, pipe, CAR, PLAIN)
    assert first.result["applied"] == {"provenance": True, "mark": None, "c2pa": None, "problems": []}
    remix = {"task": "remix", "prompt": "a ball", "video": first.id, "strength": 0.5, "num_inference_steps": 1}
    path = shelf.content(made(store, shelf, pipe, remix, Finish(certificate=certificate)).id)
    actions = {each["label"]: each["data"] for each in manifest_of(path)[0]["assertions"]}["c2pa.actions.v2"]
    assert actions["actions"][0]["digitalSourceType"].endswith("/compositeWithTrainedAlgorithmicMedia")
    assert read_provenance(path).settings["video"] == first.id
    assert read_provenance(path).model == "tiny"
    for place in (shelf.folder, pipe.config["_name_or_path"]):
        assert str(place).encode() not in path.read_bytes()
    picture = made(store, shelf, pipe, CAR | {"num_frames": 1}, Finish("AI", certificate))
    assert shelf.content(picture.id).suffix == ".png" and is_kinema(shelf.content(picture.id))
    assert picture.result["applied"]["mark"] == "AI" and picture.result["applied"]["c2pa"] == SIGNED


def test_what_is_not_in_a_file_is_not_claimed(tmp_path, certificate):
    frames = np.full((3, 64, 64, 3), 120, np.uint8)
    path = write_video(tmp_path / "video.mp4", frames, 8)
    finish = Finish("AI", certificate)
    assert applied_to(path, finish) == {"provenance": False, "mark": None, "c2pa": None}
    sign(path, certificate)
    assert applied_to(path, finish)["c2pa"] == SIGNED
    finish.draw(frames)
    write_video(path, frames, 8)
    assert applied_to(path, finish) == {"provenance": False, "mark": "AI", "c2pa": None}
    assert [each.name for each in tmp_path.iterdir()] == ["video.mp4"]


def test_a_result_that_cannot_be_signed_is_kept_and_says_so(studio, pipe, tmp_path):
    store, shelf = studio
    certificate = make_certificate(tmp_path / "gone")
    certificate.key.unlink()
    job = made(store, shelf, pipe, CAR, Finish("Made with Kinema for everybody", certificate))
    assert is_kinema(shelf.content(job.id))
    applied = job.result["applied"]
    unsigned, cut = applied["problems"]
    assert applied["c2pa"] is None and "could not be signed" in unsigned
    assert applied["mark"].endswith("…") and applied["mark"] in cut


@pytest.mark.parametrize("wrong", ["expired", "usage", "key", "form"])
def test_a_certificate_that_cannot_sign_is_found_before_anything_is_made(tmp_path, wrong):
    with pytest.raises(FinishError, match=r"chain\.pem with .*key\.pem cannot sign: .*PKCS #8"):
        Finish(certificate=make_certificate(tmp_path, wrong)).check()


def test_files_that_are_no_certificate_are_named(tmp_path, certificate):
    with pytest.raises(FinishError, match=r"none\.pem cannot be read"):
        Finish(certificate=Certificate(tmp_path / "none.pem", certificate.key)).check()
    with pytest.raises(FinishError, match=r"127\.0\.0\.1:9/tsa did not stamp the time"):
        Finish(certificate=Certificate(certificate.chain, certificate.key, "http://127.0.0.1:9/tsa")).check()
    with pytest.raises(FinishError, match=r"key\.pem holds no PEM certificate"):
        Finish(certificate=Certificate(certificate.key, certificate.key)).check()


def test_a_missing_library_says_how_to_install_it(certificate, monkeypatch):
    def without(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(FinishError) as told:
        Finish(certificate=certificate).check()
    assert INSTALL in str(told.value)


def test_the_arguments_of_a_worker_say_the_same(certificate):
    parser = argparse.ArgumentParser()
    add_finish_options(parser)
    timed = Certificate(certificate.chain, certificate.key, "http://127.0.0.1:9/tsa")
    for finish in (PLAIN, Finish("--AI"), Finish("Made with AI", certificate), Finish(None, timed)):
        assert finish_of(parser.parse_args(finish_words(finish))) == finish
    with pytest.raises(FinishError, match="needs both"):
        finish_of(parser.parse_args(["--c2pa-key", "key.pem"]))


def test_a_worker_finds_a_model_and_a_certificate_wherever_it_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    finish = Finish(certificate=Certificate(Path("c.pem"), Path("k.pem")))
    words = worker_command(tmp_path / "studio", "model", finish=finish)
    assert str(tmp_path / "model") in words and f"--c2pa-key={tmp_path / 'k.pem'}" in words
    assert "owner/model" in worker_command(tmp_path / "studio", "owner/model")


def test_a_worker_says_what_is_wrong_before_it_loads_a_model(studio, tmp_path, wait_until):
    store, shelf = studio
    finish = Finish(certificate=make_certificate(tmp_path / "old", "expired"))
    workers = Workers(store, shelf, [worker_command(shelf.folder, str(tmp_path / "no model"), finish=finish)])
    workers.start()
    try:
        assert "cannot sign" in wait_until(lambda: workers.problem)
    finally:
        workers.stop()
