"""Estimates: what fits is told before, what is nearest to a wish fits, and what runs out says what to try."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.studio.jobs.claims import claim, complete
from kinema.studio.jobs.wish import read_wish
from kinema.studio.making.loading import load_model
from kinema.studio.making.make import make
from kinema.studio.models import estimate as estimates
from kinema.studio.models.estimate import bytes_taken, difference, estimate, nearest_that_fits, seconds_until
from kinema.studio.models.memory import Memory, Meter, free, told
from kinema.studio.models.model import read_model
from kinema.studio.service import Studio

MODEL = read_model()
STEP = MODEL.multiple
sides = st.integers(1, 40).map(lambda number: number * STEP)
lengths = st.integers(0, 60).map(lambda number: 1 + number * MODEL.frame_step)


def wish(width, height, frames, in_seconds=False):
    long = {"seconds": (frames - 1) / MODEL.fps} if in_seconds and frames > 1 else {"num_frames": frames}
    return read_wish({"prompt": "a red ball", "width": width, "height": height} | long)


def area(made):
    width, height = MODEL.size(made)
    return width * height


@given(sides, sides, lengths, st.booleans(), st.floats(0.01, 1.2))
@settings(max_examples=100, deadline=None)
def test_the_nearest_fits_is_smaller_and_can_be_made(width, height, frames, in_seconds, share):
    asked = wish(width, height, frames, in_seconds)
    room = share * bytes_taken(MODEL, asked, 4)

    def fits(each):
        return bytes_taken(MODEL, each, 4) <= room

    nearest = nearest_that_fits(MODEL, asked, fits)
    if nearest is None:
        assert not fits(wish(STEP, STEP, min(frames, 1 + MODEL.frame_step)))
        return
    assert fits(nearest)
    assert area(nearest) <= area(asked) and MODEL.frames(nearest) <= MODEL.frames(asked)
    assert all(side % STEP == 0 for side in MODEL.size(nearest)) and MODEL.frames(nearest) % MODEL.frame_step == 1
    assert (nearest == asked) == fits(asked)
    read_wish(nearest.model_dump(mode="json", exclude_defaults=True))
    longer = wish(*MODEL.size(nearest), MODEL.frames(nearest) + MODEL.frame_step)
    if MODEL.frames(nearest) < MODEL.frames(asked):
        assert not fits(longer)  # of this size it is the longest


@given(sides, sides, lengths, st.integers(0, 3), st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_more_takes_more(width, height, frames, larger, longer):
    small, large = (
        wish(width, height, frames),
        wish(width + larger * STEP, height, frames + longer * MODEL.frame_step),
    )
    assert bytes_taken(MODEL, small, 4) <= bytes_taken(MODEL, large, 4)


def test_one_change_is_better_than_two_and_time_goes_before_the_picture():
    asked = wish(256, 256, 65)
    most = 0.6 * bytes_taken(MODEL, asked, 4)
    nearest = nearest_that_fits(MODEL, asked, lambda each: bytes_taken(MODEL, each, 4) <= most)
    assert MODEL.size(nearest) != MODEL.size(asked) or MODEL.frames(nearest) < 65
    assert (MODEL.size(nearest) != MODEL.size(asked)) + (MODEL.frames(nearest) != 65) == 1
    assert " instead of " in difference(MODEL, asked, nearest) and " and " not in difference(MODEL, asked, nearest)


def test_an_estimate_tells_what_is_known_and_offers_what_fits(studio, monkeypatch):
    store, shelf = studio
    served = Studio(store, shelf, MODEL)
    asked = wish(512, 512, 33)
    unknown = estimate(served, asked)
    assert unknown.fits and unknown.room is None and unknown.seconds is None and unknown.bytes > 1e9
    monkeypatch.setattr(estimates, "told", lambda folder: [Memory(10**9, 13 * 10**8, 4)])
    known = estimate(served, asked)
    assert not known.fits and known.room == 13 * 10**8 < known.bytes
    assert estimate(served, known.nearest).fits
    assert known.why.startswith(f"it takes about {known.bytes / 1e9:.1f} GB, and 1.3 GB are free; ")
    assert " instead of " in known.why and known.why.endswith(" fits")
    assert estimate(served, wish(64, 64, 17)).fits
    served.close()


def test_what_was_made_here_corrects_the_reckoning(studio, monkeypatch):
    store, shelf = studio
    served, asked = Studio(store, shelf, MODEL), wish(512, 512, 33)
    monkeypatch.setattr(estimates, "told", lambda folder: [Memory(10**9, 10**11, 4)])
    before = estimate(served, asked).bytes - 10**9
    job = store.add("generate", asked.model_dump(mode="json", exclude_defaults=True))
    result = {
        "width": 512, "height": 512, "num_frames": 33, "num_inference_steps": 12, "making_seconds": 3.0,
        "memory": {"base": 10**9, "peak": 10**9 + int(3 * before), "room": 10**11, "value": 4},
    }  # fmt: skip
    complete(store, claim(store, "w"), result)
    after = estimate(served, asked)
    assert store.get(job.id).status == "completed" and after.seconds == pytest.approx(3.0)
    assert 3 * before < after.bytes - 10**9 < 4 * before
    served.close()


def test_a_job_that_runs_out_of_memory_says_what_to_try(studio, tiny_model):
    store, shelf = studio
    pipe = load_model(str(tiny_model), device="cpu")
    meter = Meter(pipe)
    meter.tell(shelf.folder / "logs", "0-abc")
    (known,) = told(shelf.folder / "logs")
    assert known.base <= known.room <= free() + 2 * meter.taken()

    def made(**more):
        store.add("generate", {"prompt": "a red ball", "num_inference_steps": 1} | more)
        job = claim(store, "w")
        make(store, shelf, pipe, job, meter=meter)
        return store.get(job.id)

    meter.most = meter.taken() + 150_000_000
    failed = made(width=1024, height=1024)
    assert (failed.status, failed.error_code) == ("failed", "out_of_memory"), failed.error
    assert failed.error.startswith("the device ran out of memory; try ") and " instead of " in failed.error
    after = made()
    assert after.status == "completed", after.error
    memory = after.result["memory"]
    assert memory["room"] <= meter.most and memory["base"] > 10**8 and memory["peak"] > 10**8


def test_rows_of_an_older_kinema_do_not_break_an_estimate(studio, monkeypatch):
    store, shelf = studio
    result = {
        "width": 64, "height": 64, "num_frames": 17, "num_inference_steps": 12, "making_seconds": 3.0,
        "memory": {"base": 1, "peak": 2, "room": 10**11, "value": 4},
    }  # fmt: skip
    for request, more in (({"gone": 1}, result), ({"prompt": "x"}, {})):
        store.add("generate", request)
        complete(store, claim(store, "w"), more)
    served, asked = Studio(store, shelf, MODEL), wish(64, 64, 17)
    assert estimate(served, asked).seconds == pytest.approx(3.0 * (asked.num_inference_steps or MODEL.steps) / 12)
    store.add("generate", {"gone": 1})
    job = store.add("generate", {"prompt": "x", "width": 64, "height": 64, "num_frames": 17})
    pages, page = [], store.page
    monkeypatch.setattr(store, "page", lambda **given: pages.append(1) or page(**given))
    for _ in range(3):
        assert seconds_until(store, MODEL, 1, job.id) == pytest.approx(3.0 * MODEL.steps / 12)
    assert not pages  # what is known is reckoned once
    served.close()
