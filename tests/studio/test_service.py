"""What is refused before anything is queued or kept."""

import io
import shutil

import pytest
from PIL import Image

from kinema.captioner.engine.commits import CaptionError
from kinema.studio.jobs.job import JobError, NoJobError
from kinema.studio.models.model import Model
from kinema.studio.service import Limits, Studio

MODEL = Model("m", height=32, width=32, num_frames=9, fps=8.0, steps=2)


@pytest.fixture
def whole(studio):
    return Studio(*studio, MODEL)


@pytest.mark.parametrize(
    "values", [{"num_frames": 4800, "fps": 8.0}, {"seconds": 600}, {"seconds": 20, "fps": 240}]
)
def test_pixels_of_a_video_are_limited(whole, values):
    with pytest.raises(JobError, match="at most 298 of this size"):
        whole.submit({"prompt": "a", "width": 4096, "height": 4096} | values)
    assert whole.submit({"prompt": "a", "width": 64, "height": 64} | values)


def test_the_largest_is_taken(studio):
    whole = Studio(*studio, MODEL, Limits(video_pixels=32 * 32 * 9))
    assert whole.submit({"prompt": "a"}) and whole.submit({"prompt": "a", "num_frames": 9})
    with pytest.raises(JobError, match="at most 9 of this size"):
        whole.submit({"prompt": "a", "num_frames": 10})


@pytest.mark.parametrize("found", [{"unreached": "it was killed"}, CaptionError("no child")])
def test_a_file_that_is_not_looked_into_in_time_is_refused(whole, monkeypatch, found):
    def probe(path):
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(whole.given.prober, "probe", probe)
    with pytest.raises(JobError, match="it could not be looked at in time") as refused:
        whole.upload(io.BytesIO(b"a video"))
    assert refused.value.code == "input_not_usable"
    assert not list((whole.shelf.folder / "uploads").iterdir())


def test_what_is_tried_again_is_asked_for_anew(whole):
    picture = io.BytesIO()
    Image.new("RGB", (32, 32)).save(picture, "PNG")
    picture.seek(0)
    name = whole.upload(picture)
    cards = [{"at": 0, "text": "a"}, {"at": 0.5, "text": "b", "image": name}]
    job = whole.submit({"storyboard": cards}, owner="one")
    whole.store.stop(job.id)
    assert whole.lost(job) == [] and whole.retry(job.id).status == "queued"
    whole.store.stop(job.id)
    with pytest.raises(NoJobError):
        whole.retry(job.id, lambda what: isinstance(what, str))
    shutil.rmtree(whole.shelf.folder / "uploads" / name)
    assert whole.lost(job) == ["the picture of card 2"]
    with pytest.raises(JobError, match=r"the picture of card 2 is not here \(any more\).* give it again"):
        whole.retry(job.id)
    assert whole.store.get(job.id).status == "cancelled"
