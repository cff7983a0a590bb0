"""Long videos that play while they are made: what can be seen at any time, how they stop, what they end as."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.data.video_io import read_video
from kinema.pipeline.provenance import read_provenance
from kinema.studio.jobs.claims import claim
from kinema.studio.jobs.wish import read_wish
from kinema.studio.making import growing
from kinema.studio.making import make as making
from kinema.studio.making.growing import GrowingVideo
from kinema.studio.making.loading import load_model
from kinema.studio.making.make import make


@pytest.fixture(scope="module")
def pipe(tiny_model):
    return load_model(str(tiny_model), device="cpu")


@pytest.fixture
def long(pipe):
    """A wish of seven blocks."""
    frames = 1 + 6 * pipe.grid.temporal
    assert frames > 2 * pipe.facts.num_frames
    return {"prompt": "a red ball rolls to the left", "num_frames": frames, "num_inference_steps": 2, "seed": 7}


def playable(path):
    """Frames of a file as it is now; none: it has no head yet."""
    if b"moov" not in path.read_bytes()[:100]:
        return np.zeros((0, 32, 32, 3), np.uint8)
    return read_video(path).frames


def apart(one, other):
    """Mean difference of two clips, each 4 x 4 pixels taken together, as encoders change single ones."""
    small = [clip.reshape(len(clip), 8, 4, 8, 4, 3).mean((2, 4)) for clip in (one, other)]
    return np.abs(small[0] - small[1]).mean()


def made(studio, pipe, wish, watch=lambda store, shelf, job, stage: None, monkeypatch=None):
    """The job of a wish, made; `watch` is called with every report."""
    store, shelf = studio
    job = store.add("generate", wish)
    report = making.report

    def watched(store, job, stage, progress, **more):
        watch(store, shelf, job, stage)
        return report(store, job, stage, progress, **more)

    if monkeypatch is not None:
        monkeypatch.setattr(making, "report", watched)
    make(store, shelf, pipe, claim(store, "w"))
    if monkeypatch is not None:
        monkeypatch.setattr(making, "report", report)
    return store.get(job.id)


def test_what_is_there_can_be_played_and_ends_as_the_result(studio, pipe, long, monkeypatch):
    seen, shares = [], []
    monkeypatch.setattr(growing, "CRF", 1)  # so that it and the result can be compared

    def watch(store, shelf, job, stage):
        shares.append(store.get(job.id).progress)
        path = shelf.growing(job.id)
        if stage.startswith("making it") and len(playable(path)) > (len(seen[-1]) if seen else 0):
            seen.append(playable(path))
            assert shelf.preview(job.id).exists()

    job = made(studio, pipe, long, watch, monkeypatch)
    assert job.status == "completed" and job.result["streamed"], job.error
    assert [len(frames) for frames in seen] == sorted(len(frames) for frames in seen) and len(seen) >= 4
    assert shares == sorted(shares)
    _, shelf = studio
    assert not shelf.growing(job.id).exists()
    final = read_video(shelf.content(job.id)).frames
    assert len(final) == long["num_frames"] == job.result["num_frames"]
    for frames in seen:
        assert apart(frames, final[: len(frames)]) < 3  # two encodings of the same frames
    assert apart(final[1:], final[:-1]) > 6
    how = read_provenance(shelf.content(job.id))
    assert (how.task, how.seed, how.num_frames) == ("stream", 7, long["num_frames"])


def test_what_is_there_is_kept_and_can_be_made_again(studio, pipe, long, monkeypatch):
    def watch(store, shelf, job, stage):
        if stage.endswith("block 4"):
            store.stop(job.id, "keep")

    kept = made(studio, pipe, long, watch, monkeypatch)
    frames = 1 + 2 * pipe.grid.temporal
    assert kept.status == "completed" and kept.result["interrupted"]
    assert kept.result["num_frames"] == frames
    assert kept.result["warnings"][-1] == f"ended after {frames} of {long['num_frames']} frames"
    how = read_provenance(studio[1].content(kept.id))
    assert how.settings["seconds"] == pytest.approx((frames - 1) / how.frame_rate) and how.num_frames == frames
    again = made(studio, pipe, long | {"num_frames": frames, "schedule": "stream"})
    assert again.status == "completed" and not again.result["interrupted"]
    one, two = (read_video(studio[1].content(job.id)).frames for job in (kept, again))
    assert np.array_equal(one, two)


def test_it_is_discarded_within_a_step_and_nothing_kept_is_a_cancel(studio, pipe, long, monkeypatch):
    for how, when in (("discard", "block 3"), ("keep", "denoising")):
        steps = []

        def watch(store, shelf, job, stage, how=how, when=when, steps=steps):
            if stage.endswith(when):
                store.stop(job.id, how)
                steps.append(stage)

        job = made(studio, pipe, long, watch, monkeypatch)
        assert job.status == "cancelled" and len(steps) <= 2
        assert not list((studio[1].folder / "previews").iterdir())


def test_what_only_a_whole_video_can_have_is_made_as_one(pipe, long):
    model = pipe.facts
    assert model.is_streamed(read_wish(long))
    picture = "upload_" + 32 * "a"
    for more in (
        {"schedule": "equal"},
        {"schedule": "rolling"},
        {"keyframes": {1.0: picture}},
        {"sampler": "unipc"},
    ):
        assert not model.is_streamed(read_wish(long | more)), more
    short = {"prompt": "a red ball", "num_frames": model.num_frames}
    assert not model.is_streamed(read_wish(short)) and model.is_streamed(read_wish(short | {"schedule": "stream"}))


def test_a_reader_sees_frames_as_soon_as_they_are_written(tmp_path):
    path = tmp_path / "grows.mp4"
    video = GrowingVideo(path, 32, 32, 8.0)
    rows = np.linspace(0, 255, 32, dtype=np.uint8)[:, None, None]
    for number in range(1, 4):
        video.add(np.broadcast_to(rows, (4, 32, 32, 3)))
        assert len(playable(path)) == 4 * number - 1
    video.close()
    assert len(playable(path)) == 12


def boxes(data):
    """The outermost ones: (kind, all of it)."""
    end = 0
    while end < len(data):
        size, kind = int.from_bytes(data[end : end + 4], "big"), data[end + 4 : end + 8]
        assert size >= 8
        yield kind, data[end : end + size]
        end += size
    assert end == len(data)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.integers(0, 255), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_every_block_ends_a_piece_and_what_fills_it_changes_no_frame(lengths, noise, seed):
    random = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        path, bare = Path(folder) / "grows.mp4", Path(folder) / "bare.mp4"
        video, count = GrowingVideo(path, 32, 32, 8.0), 0
        for length in lengths:
            video.add(random.integers(0, noise + 1, (length, 32, 32, 3), np.uint8))
            count += length
            assert path.stat().st_size % growing.PIECE == 0 or count == 1
            assert len(playable(path)) == (count - 1 if count > 1 else 0)
        video.close()
        found = list(boxes(path.read_bytes()))
        # The head's own place in the file is known to it, and no other's.
        assert [kind for kind, _ in found[:3]] == [b"ftyp", b"moov", b"mdat"]
        bare.write_bytes(b"".join(box for kind, box in found if kind != b"free"))
        assert len(playable(path)) == count
        assert np.array_equal(playable(path), playable(bare))
