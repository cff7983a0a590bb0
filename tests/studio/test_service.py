"""What is refused before anything is queued or kept."""

import io

import pytest

from kinema.captioner.engine.commits import CaptionError
from kinema.studio.jobs.job import JobError
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
