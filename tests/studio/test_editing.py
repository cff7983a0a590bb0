"""What the Edit screen asks for, and what it does not take."""

import base64
import io
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from kinema import write_video
from kinema.studio import editing
from kinema.studio.editing import EDITS, Source
from kinema.studio.jobs.job import JobError
from kinema.studio.jobs.wish import read_wish
from kinema.studio.models.model import Model
from kinema.studio.stills import look
from kinema.studio.ui.mask import HEAD, box_of, mask_file

MODEL = Model("m", 64, 64, 17, 8.0, 12, frame_step=4)
CLIP = Source("video_" + "0" * 32, "", "a red ball", 64, 64, 8.0, 2.125)


@pytest.mark.parametrize("name", EDITS)
def test_every_way_to_edit_is_a_whole_wish(name):
    other = "upload_" + "1" * 32
    given = {"prompt": "a blue cube", "seconds": 1.2, "strength": 0.5, "other": other, "aspect": "16:9",
             "boxes": {0.0: box_of(10, 10, 50, 50)}, "seed": 3, "steps": None}  # fmt: skip
    values = editing.values_of(name, MODEL, CLIP, given)
    wish = read_wish(values)
    assert (wish.task, wish.prompt, wish.seed, wish.video) == (EDITS[name].task, "a blue cube", 3, CLIP.id)
    assert ("seconds" in values) == ("seconds" in EDITS[name].needs) and wish.seconds in (None, 1.0)
    assert (wish.other == other) == ("other" in EDITS[name].needs)
    assert (wish.strength == 0.5) == ("strength" in EDITS[name].needs)
    told = editing.sized(name, MODEL, CLIP, {"seconds": 1.2})
    assert (told.width, told.seconds, told.num_frames) == (64, wish.seconds, None if wish.seconds else 17)
    assert read_wish(values | editing.smaller(told)).width == 64


def test_new_frames_come_in_whole_groups_at_the_rate_that_is_worked_at():
    assert editing.fitting(1.2, MODEL, CLIP) == 1.0 and editing.fitting(0.01, MODEL, CLIP) == 0.5
    assert editing.rate(MODEL, replace(CLIP, fps=10.0)) == 10.0
    assert editing.rate(MODEL, replace(CLIP, fps=30.0)) == 8.0  # too far from the model's own
    assert editing.rate(MODEL, replace(CLIP, fps=None)) == 8.0
    assert "1:1" not in editing.aspects(CLIP) and "16:9" in editing.aspects(CLIP)


def test_what_a_model_lacks_is_not_offered_and_has_its_reason():
    model = replace(MODEL, off={"extend": "it makes whole clips only", "image": "no pictures"})
    assert "after" not in editing.offered(model) and "before" not in editing.offered(model)
    assert editing.lacking(model) == [("Extend →", "it makes whole clips only"),
                                      ("← Extend", "it makes whole clips only")]  # fmt: skip
    with pytest.raises(JobError, match="second video"):
        editing.values_of("blend", MODEL, CLIP, {})


def test_masks_are_looked_at_before_they_are_taken():
    picture = io.BytesIO()
    Image.new("RGB", (8, 8), "white").save(picture, "PNG")
    address = HEAD + base64.b64encode(picture.getvalue()).decode()
    assert mask_file(address).read() == picture.getvalue()
    for wrong, said in (
        ("", "paint over"),
        ("data:text/html,x", "cannot be read"),
        (HEAD + "?", "cannot be read"),
    ):
        with pytest.raises(JobError, match=said):
            mask_file(wrong)
    assert box_of(0, 25, 100, 75) == (0, 0.25, 1, 0.75)
    with pytest.raises(JobError, match="begin before it ends"):
        box_of(50, 0, 50, 100)


def test_a_frame_is_seen_through_a_child_process(tmp_path, monkeypatch):
    frames = np.zeros((9, 16, 32, 3), np.uint8)
    frames[4:] = 255
    path = write_video(tmp_path / "video.mp4", frames, 8.0)
    for at, bright in ((0.0, False), (0.55, True), (99.0, True)):
        still = look(path, at)
        assert (still.width, still.height, still.fps) == (32, 16, 8.0) and still.seconds == pytest.approx(9 / 8)
        assert still.at == pytest.approx(min(int(at * 8 + 1e-6), 8) / 8)
        png = Image.open(io.BytesIO(base64.b64decode(still.png.removeprefix(HEAD))))
        assert (np.asarray(png).mean() > 128) == bright
    Image.new("RGB", (8, 4)).save(tmp_path / "picture.png")
    still = look(tmp_path / "picture.png", 3.0)
    assert (still.width, still.height, still.fps, still.seconds) == (8, 4, None, None)
    (tmp_path / "broken.mp4").write_bytes(b"no video" * 99)
    with pytest.raises(JobError, match="cannot be shown") as error:
        look(tmp_path / "broken.mp4")
    assert str(tmp_path) not in str(error.value)
    monkeypatch.setattr(subprocess, "run", _too_slow)
    with pytest.raises(JobError, match="too long"):
        look(path, 0.25)


def _too_slow(*given, **more):
    raise subprocess.TimeoutExpired("look", 1)
