"""The size of the studio's folder, and how long a video will take."""

import io
import os
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from kinema.studio import given as given_files
from kinema.studio.jobs import upkeep
from kinema.studio.jobs.claims import claim, complete, fail
from kinema.studio.jobs.job import JobError, NoJobError
from kinema.studio.jobs.shelf import Shelf
from kinema.studio.jobs.store import JobStore
from kinema.studio.jobs.upkeep import (
    FRESH_SECONDS,
    FRESH_SHARE,
    UNDO_SECONDS,
    UPLOAD_SECONDS,
    clean,
    clean_uploads,
    forget_uploads,
    held_uploads,
    room,
)
from kinema.studio.jobs.wish import read_wish
from kinema.studio.looking import rewrite_picture
from kinema.studio.models.estimate import seconds_for, seconds_until
from kinema.studio.models.model import Model
from kinema.studio.service import Limits, Studio

MODEL = Model("m", height=64, width=64, num_frames=16, fps=8.0, steps=10, streams=False)
RED = io.BytesIO()
Image.new("RGB", (16, 16), "red").save(RED, format="PNG")
PICTURE = RED.getvalue()  # between 50 and 100 bytes


def made(store, shelf, size=1000, **result):
    """A completed job with a file of so many bytes."""
    store.add("generate", {"prompt": "a red car"})
    taken = claim(store, "w")
    with shelf.new_result(taken) as folder:
        (folder / "video.mp4").write_bytes(bytes(size))
    return complete(store, taken, {"making_seconds": 2.0, "width": 64, "height": 64, "num_frames": 16,
                                   "num_inference_steps": 10, "interrupted": False} | result)  # fmt: skip


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.lists(st.tuples(st.integers(1, 3000), st.booleans(), st.booleans()), max_size=6),
    budget=st.integers(0, 9000),
)
def test_only_unstarred_files_go_the_longest_unused_first_and_no_more_than_needed(tmp_path_factory, files, budget):
    shelf = Shelf(tmp_path_factory.mktemp("studio"))
    store = JobStore(shelf.database)
    store.db.execute("PRAGMA synchronous = OFF")
    jobs = [made(store, shelf, size) for size, _, _ in files]
    for job, (_, starred, _) in zip(jobs, files):
        store.star(job.id, starred)
    looked_at = [job.id for job, (_, _, looked) in zip(jobs, files) if looked]
    for name in looked_at:
        store.used(name)
    oldest = [job.id for job in jobs if job.id not in looked_at] + looked_at
    told = room(store, shelf, budget)
    assert told.used == sum(size for size, _, _ in files)
    gone = [job.id for job in clean(store, shelf, budget)]
    assert gone == [job.id for job in told.doomed]
    sizes = {job.id: size for job, (size, _, _) in zip(jobs, files)}
    free = [name for name in oldest if not store.get(name).starred]
    assert gone == free[: len(gone)]
    left = told.used - sum(sizes[name] for name in gone)
    assert left <= budget or len(gone) == len(free)
    assert not gone or left + sizes[gone[-1]] > budget
    for job in jobs:
        now = store.get(job.id)
        assert now.cleaned == (job.id in gone) == (not shelf.result(job.id).exists())
        assert now.status == "completed" and now.request == job.request
    store.close()


def test_what_was_deleted_can_be_brought_back_for_a_while(studio):
    store, shelf = studio
    job = made(store, shelf)
    deleted = store.delete(job.id)
    clean(store, shelf, 10**9, now=deleted.deleted_at + UNDO_SECONDS - 1)
    assert store.undelete(job.id).status == "completed" and shelf.content(job.id).is_file()
    deleted = store.delete(job.id)
    clean(store, shelf, 10**9, now=deleted.deleted_at + UNDO_SECONDS + 1)
    with pytest.raises(NoJobError):
        store.undelete(job.id)
    assert not shelf.result(job.id).exists()


def test_a_kill_while_something_is_forgotten_leaves_nothing_for_ever(studio, monkeypatch):
    store, shelf = studio
    job, unknown = made(store, shelf), made(store, shelf)
    deleted = store.delete(job.id)
    later = deleted.deleted_at + UNDO_SECONDS + 1

    def killed(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as at_the_worst, pytest.raises(KeyboardInterrupt):
        at_the_worst.setattr(shelf, "remove_result", killed)
        clean(store, shelf, 10**9, now=later)
    with pytest.raises(NoJobError):
        store.undelete(job.id)
    store.purge(unknown.id)  # as if the queue's file came from an older backup than the results
    for name in (f".upload_{32 * 'a'}", f".gone_upload_{32 * 'b'}", f"upload_{32 * 'c'}"):
        (shelf.folder / "uploads" / name).mkdir()
    shelf.sweep()
    assert [path.name for path in (shelf.folder / "results").iterdir()] == [unknown.id]
    assert [path.name for path in (shelf.folder / "uploads").iterdir()] == [f"upload_{32 * 'c'}"]


def test_what_others_are_made_from_stays(studio):
    store, shelf = studio
    source, board, other = (made(store, shelf) for _ in range(3))
    job = store.add("extend", {"video": source.id, "seconds": 1.0})
    assert [job.id for job in room(store, shelf, 0, {board.id}).doomed] == [other.id]
    assert [job.id for job in clean(store, shelf, 0, kept={board.id})] == [other.id]
    store.stop(job.id)
    assert [job.id for job in clean(store, shelf, 0)] == [source.id, board.id]


def test_what_somebody_wants_at_the_last_moment_stays(studio, monkeypatch):
    store, shelf = studio
    starred, source, doomed, back = (made(store, shelf) for _ in range(4))
    deleted = store.delete(back.id)

    def a_little_later(*args):
        found = room(*args)
        store.star(starred.id)
        store.add("extend", {"video": source.id, "seconds": 1.0})
        return found

    purge = store.purge

    def purge_later(job_id, **given):
        store.undelete(job_id)
        return purge(job_id, **given)

    monkeypatch.setattr(upkeep, "room", a_little_later)
    monkeypatch.setattr(store, "purge", purge_later)
    store.star(back.id)
    gone = clean(store, shelf, 0, now=deleted.deleted_at + UNDO_SECONDS + 1)
    assert [job.id for job in gone] == [doomed.id]
    for job in (starred, source, back):
        assert shelf.content(job.id).is_file() and not store.get(job.id).cleaned


def test_what_was_cancelled_while_it_was_written_is_not_kept(studio):
    store, shelf = studio
    job = store.add("generate", {"prompt": "a red car"})
    taken = claim(store, "w")
    with shelf.new_result(taken) as folder:
        (folder / "video.mp4").write_bytes(b"x")
    store.stop(job.id)
    ended = complete(store, taken, {"seed": 7})
    assert (ended.status, ended.result) == ("cancelled", {})
    clean(store, shelf, 10**9)
    assert not shelf.result(job.id).exists()


def test_what_was_given_stays_as_long_as_a_job_is_made_from_it(studio):
    store, shelf = studio
    uploads = shelf.folder / "uploads"
    used, deleted, unused, fresh, half = (uploads / f"upload_{letter * 32}" for letter in "abcde")
    half = half.with_name(f".{half.name}")
    for path in (used, deleted, unused, half):
        path.mkdir()
        (path / "picture.png").write_bytes(b"x")
    job = store.add("extend", {"video": used.name})
    gone = store.add("generate", {"storyboard": [{"at": 0, "text": "", "image": deleted.name}]})
    store.delete(gone.id)
    now = unused.stat().st_mtime
    assert clean_uploads(store, shelf, now + UPLOAD_SECONDS - 1) == 0
    later = now + UPLOAD_SECONDS + 60
    fresh.mkdir()
    os.utime(fresh, (later, later))
    assert clean_uploads(store, shelf, later) == 2
    assert sorted(uploads.iterdir()) == [used, deleted, fresh]
    store.purge(gone.id)
    assert clean_uploads(store, shelf, later) == 1
    store.stop(job.id)
    assert clean_uploads(store, shelf, later) == 0  # it can be tried again


HOW = ("unclaimed", "fresh", "kept", "waits", "made", "starred", "cleaned", "failed", "cancelled", "deleted")


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.lists(st.tuples(st.integers(1, 3000), st.sampled_from(HOW)), max_size=8),
    budget=st.integers(0, 12000),
)
def test_given_files_that_nothing_needs_go_before_results(tmp_path_factory, files, budget):
    shelf = Shelf(tmp_path_factory.mktemp("studio"))
    store = JobStore(shelf.database)
    store.db.execute("PRAGMA synchronous = OFF")
    now, sizes, hows, kept = time.time(), {}, {}, set()
    for number, (size, how) in enumerate(files):
        name = f"upload_{number:032x}"
        sizes[name], hows[name] = size, how
        (shelf.folder / "uploads" / name).mkdir()
        (shelf.folder / "uploads" / name / "video.mp4").write_bytes(bytes(size))
        at = now - (0 if how == "fresh" else FRESH_SECONDS + 100 - number)
        os.utime(shelf.folder / "uploads" / name, (at, at))
        if how == "kept":
            kept.add(name)
        elif how not in ("unclaimed", "fresh"):
            job = store.add("remix", {"prompt": "a", "video": name})
            if how in ("made", "starred", "cleaned", "deleted"):
                complete(store, claim(store, "w"), {})
            elif how == "failed":
                fail(store, claim(store, "w"), "out_of_memory", "there was too little")
            if how == "cleaned":
                store.mark_cleaned(job.id)
            store.star(job.id, how == "starred")
            if how in ("cancelled", "deleted"):
                (store.stop if how == "cancelled" else store.delete)(job.id)
            elif how == "waits":
                store.db.execute("UPDATE jobs SET status = 'in_progress' WHERE id = ?", (job.id,))
    result = made(store, shelf, 1000)
    told = room(store, shelf, budget, kept, now)
    assert told.used == sum(sizes.values()) + 1000
    idle = [name for name in sizes if hows[name] == "unclaimed"]
    idle += [name for name in sizes if hows[name] in ("cleaned", "failed", "cancelled")]
    assert told.lasting == told.used - 1000 - sum(sizes[name] for name in idle)
    gone = clean(store, shelf, budget, now, kept)
    left = {path.name for path in (shelf.folder / "uploads").iterdir()}
    away = [name for name in sizes if name not in left]
    assert [each.id for each in told.uploads] == idle[: len(away)] and set(away) == set(idle[: len(away)])
    assert [job.id for job in gone] == [job.id for job in told.doomed]
    after = told.used - sum(sizes[name] for name in away)
    assert not away or after + told.uploads[-1].size > budget
    fresh = sum(size for name, size in sizes.items() if hows[name] == "fresh")
    assert (told.fresh, told.idle) == (fresh, sum(sizes[name] for name in idle))
    assert bool(gone) == (after - max(0, fresh - int(FRESH_SHARE * budget)) > budget)
    assert not gone or (len(away) == len(idle) and gone[0].id == result.id)


def test_a_file_that_is_given_again_at_the_last_moment_stays(studio, monkeypatch):
    store, shelf = studio
    names = [f"upload_{letter * 32}" for letter in "abc"]
    for name in names:
        (shelf.folder / "uploads" / name).mkdir()
        (shelf.folder / "uploads" / name / "picture.png").write_bytes(b"x")
        os.utime(shelf.folder / "uploads" / name, (1000, 1000))
    seen = {each.id: each.seen for each in held_uploads(shelf)}
    os.utime(shelf.folder / "uploads" / names[0])
    store.add("remix", {"prompt": "a", "video": names[1]})
    assert forget_uploads(store, shelf, seen) == [names[2]]
    assert {path.name for path in (shelf.folder / "uploads").iterdir()} == set(names[:2])


def test_there_is_room_for_a_file_or_it_is_said_why_not(studio):
    store, shelf = studio
    whole = Studio(store, shelf, MODEL)
    starred = made(store, shelf, 5000)
    store.star(starred.id)
    whole.given.looked(room(store, shelf, 5050))
    with pytest.raises(JobError, match=r"no room for this file .* stars away") as full:
        whole.upload(io.BytesIO(PICTURE))
    assert full.value.code == "disk_full" and not held_uploads(shelf)
    store.star(starred.id, False)  # it can be made room for
    whole.given.looked(room(store, shelf, 400))
    name = whole.upload(io.BytesIO(PICTURE))
    assert name == whole.upload(io.BytesIO(PICTURE))  # what is there takes no more
    with pytest.raises(JobError, match="no room"):
        whole.upload(io.BytesIO(PICTURE), "somebody else")
    assert [each.id for each in held_uploads(shelf)] == [name]
    whole.given.close()


def test_an_estimate_comes_from_what_was_made_here(studio):
    store, shelf = studio
    wish = read_wish({"prompt": "x"})
    assert seconds_for(store, MODEL, wish) is None
    for seconds in (2.0, 2.0, 50.0):  # one of them beside something else
        made(store, shelf, making_seconds=seconds)
    made(store, shelf, making_seconds=0.1, interrupted=True)
    assert seconds_for(store, MODEL, wish) == pytest.approx(2.0)
    assert seconds_for(store, MODEL, read_wish({"prompt": "x", "width": 128, "num_inference_steps": 5})) == (
        pytest.approx(2.0)
    )
    assert seconds_for(store, MODEL, read_wish({"prompt": "x", "seconds": 4})) == pytest.approx(4.0)
    assert seconds_for(store, MODEL, read_wish({"task": "loop", "prompt": "x"})) is None
    first, second = (store.add("generate", {"prompt": "x"}) for _ in range(2))
    assert seconds_until(store, MODEL, 1, first.id) == pytest.approx(2.0)
    assert seconds_until(store, MODEL, 1, second.id) == pytest.approx(4.0)
    assert seconds_until(store, MODEL, 2, second.id) == pytest.approx(3.0)


def test_strange_files_in_the_folder_harm_nothing(studio):
    store, shelf = studio
    whole, uploads = Studio(store, shelf, MODEL), shelf.folder / "uploads"
    (uploads / ".DS_Store").write_bytes(b"x")
    (uploads / "upload_notes.txt").write_bytes(b"x")
    (uploads / "holiday").mkdir()
    name = whole.upload(io.BytesIO(PICTURE))
    for strange in (".DS_Store", "._a"):
        (uploads / name / strange).write_bytes(b"x")
    whole.given.looked(room(store, shelf, 10**9))
    clean(store, shelf, 0, now=time.time() + FRESH_SECONDS / 2)
    assert shelf.upload(name).name == "picture.png" and [each.id for each in held_uploads(shelf)] == [name]
    assert clean_uploads(store, shelf, time.time() + UPLOAD_SECONDS + 60) == 1
    assert sorted(path.name for path in uploads.iterdir()) == [".DS_Store", "holiday", "upload_notes.txt"]
    whole.given.close()


def test_what_is_given_again_while_it_is_counted_is_not_cleaned_away(studio, monkeypatch):
    store, shelf = studio
    names = [f"upload_{letter * 32}" for letter in "ab"]
    for name in names:
        (shelf.folder / "uploads" / name).mkdir()
        (shelf.folder / "uploads" / name / "picture.png").write_bytes(b"x")
        os.utime(shelf.folder / "uploads" / name, (1000, 1000))

    def a_little_later(*args):
        found = room(*args)
        assert [each.id for each in found.uploads] == names
        os.utime(shelf.folder / "uploads" / names[0])
        return found

    monkeypatch.setattr(upkeep, "room", a_little_later)
    clean(store, shelf, 0)
    assert [path.name for path in (shelf.folder / "uploads").iterdir()] == names[:1]


def test_what_is_given_anew_while_it_would_be_brought_back_is_kept_once(studio, monkeypatch):
    store, shelf = studio
    path, rename = shelf.folder / "uploads" / f"upload_{32 * 'a'}", Path.rename
    path.mkdir()
    (path / "picture.png").write_bytes(b"old")

    def given_anew(self, target):
        moved = rename(self, target)
        if self == path:
            path.mkdir()
            (path / "picture.png").write_bytes(b"new")
        return moved

    monkeypatch.setattr(Path, "rename", given_anew)
    assert forget_uploads(store, shelf, {path.name: 1}) == []  # it was given again since that time
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert (path / "picture.png").read_bytes() == b"new"


def test_what_two_give_at_once_stays_if_one_of_them_is_refused(studio, monkeypatch):
    store, shelf = studio
    whole, first = Studio(store, shelf, MODEL), {}

    def meanwhile(*args):
        monkeypatch.undo()
        whole.upload(io.BytesIO(PICTURE), fresh=first)
        rewrite_picture(*args)

    monkeypatch.setattr(given_files, "rewrite_picture", meanwhile)
    second = {}
    name = whole.upload(io.BytesIO(PICTURE), fresh=second)
    assert list(first) == [name] and second == {}
    whole.given.undo(first)
    assert shelf.upload(name).is_file()
    whole.given.close()


def test_files_that_nothing_is_made_from_flush_no_more_than_their_share_of_the_results(studio):
    store, shelf = studio
    whole = Studio(store, shelf, MODEL)
    results, budget, given = [made(store, shelf, 1000) for _ in range(4)], 4000, []
    assert FRESH_SHARE * budget == 1000 and len(PICTURE) <= 100
    with pytest.raises(JobError, match="no results go for more than") as full:
        for number in range(100):
            whole.given.looked(room(store, shelf, budget))
            given.append(whole.upload(io.BytesIO(PICTURE), f"key {number}"))
    assert full.value.code == "disk_full" and len(given) >= 10
    assert [job.id for job in clean(store, shelf, budget)] == [results[0].id]
    for number in range(30):  # as if they had come while there was room
        whole.given.looked(room(store, shelf, 10**9))
        whole.upload(io.BytesIO(PICTURE), f"another {number}")
    assert clean(store, shelf, budget) == []
    whole.given.close()


@pytest.mark.parametrize("way", ["stop", "delete", "fail"])
def test_files_of_what_was_cancelled_or_deleted_count_as_made_into_nothing(studio, way):
    store, shelf = studio
    whole = Studio(store, shelf, MODEL, Limits(unclaimed_bytes=150))
    other = io.BytesIO()
    Image.new("RGB", (16, 16), "blue").save(other, format="PNG")
    name = whole.upload(io.BytesIO(PICTURE), "one")
    job = whole.submit({"prompt": "a", "image": name}, owner="one")
    if way == "fail":
        fail(store, claim(store, "w"), "out_of_memory", "there was too little")
        assert whole.upload(io.BytesIO(other.getvalue()), "one")  # it is to be tried again
        store.delete(job.id)
        shutil.rmtree(shelf.folder / "uploads" / whole.upload(io.BytesIO(other.getvalue()), "one"))
    else:
        (store.stop if way == "stop" else store.delete)(job.id)
    with pytest.raises(JobError, match="delete those that were cancelled") as full:
        whole.upload(io.BytesIO(other.getvalue()), "one")
    assert full.value.code == "uploads_full"
    whole.given.close()
