"""Storyboards made by a real pipeline of a tiny size: part by part, one part anew, and what a kill costs."""

import errno
import io
import os
import threading
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from kinema.data.video_io import read_video
from kinema.pipeline.command import load
from kinema.studio.boards import Boards
from kinema.studio.cards import Card, problems, rounded, step_of
from kinema.studio.given import mark_of
from kinema.studio.jobs.claims import claim, fail
from kinema.studio.jobs.job import JobError, TooOftenError
from kinema.studio.jobs.upkeep import clean_uploads
from kinema.studio.making.make import make
from kinema.studio.models.model import read_model
from kinema.studio.service import Studio

TEXTS = ("a red ball", "a blue cube", "a green cone")


@pytest.fixture(scope="module")
def pipe(tiny_model):
    return load(str(tiny_model), device="cpu", quiet=True)


@pytest.fixture
def boards(studio, tiny_model):
    whole = Studio(*studio, read_model(str(tiny_model)))
    yield Boards(whole)
    whole.close()


def board_of(boards, texts=TEXTS, **card):
    board = boards.new("")
    step = step_of(boards.studio.model)
    cards = tuple(Card(text=text, seconds=step, **card) for text in texts)
    return boards.change(board.id, "", lambda b: b.model_copy(update={"cards": cards, "num_inference_steps": 1}))


def advance(boards, board, pipe=None, rounds=30):
    """What the server's thread does, and a worker beside it."""
    for _ in range(rounds):
        boards._advance(board.id)
        studio = boards.studio
        if pipe is not None and (job := claim(studio.store, "w")) is not None:
            make(studio.store, studio.shelf, pipe, job)
        if boards.get(board.id, "").run is None:
            break
    return boards.get(board.id, "")


def frames_of(boards, board):
    return read_video(boards.studio.source(board.video)).frames


def close(a, b):
    return len(a) == len(b) and (not len(a) or np.abs(a.astype(int) - b.astype(int)).mean() < 3)


def test_every_finished_part_is_a_video_and_one_is_made_anew_between_its_neighbours(boards, pipe):
    board = board_of(boards)
    assert [board.state(n) for n in range(3)] == ["not made"] * 3 and board.first_missing == 0
    boards.make(board.id, "", 0)
    board = advance(boards, board, pipe)
    assert board.problem == "" and [board.state(n) for n in range(3)] == ["made"] * 3
    stride = boards.studio.model.frame_step
    assert [span.frames for span in board.spans] == [1 + stride, stride, stride]
    jobs = [boards.studio.store.get(span.job) for span in board.spans]
    assert [job.task for job in jobs] == ["generate", "extend", "extend"]
    assert [job.result["num_frames"] for job in jobs] == [1 + stride, 1 + 2 * stride, 1 + 3 * stride]
    before = frames_of(boards, board)
    assert close(read_video(boards.studio.source(jobs[1].id)).frames, before[: 1 + 2 * stride])

    for number, task in ((1, "connect"), (0, "extend"), (2, "extend")):
        was = frames_of(boards, board)
        ends = np.cumsum([0, *(span.frames for span in board.spans)])
        boards.make(board.id, "", number, alone=True)
        board = advance(boards, board, pipe)
        assert board.problem == "" and boards.studio.store.get(board.video).task == task
        now = frames_of(boards, board)
        later = np.cumsum([0, *(span.frames for span in board.spans)])
        assert close(now[: later[number]], was[: ends[number]])
        assert close(now[later[number + 1] :], was[ends[number + 1] :])
        assert sum(span.frames for span in board.spans) == len(now)
    assert boards.studio.store.get(board.video).request["prompt"] == TEXTS[2]


def test_from_a_changed_card_on_all_are_made_anew(boards, pipe):
    board = board_of(boards)
    boards.make(board.id, "", 0)
    board = advance(boards, board, pipe)
    first = board.spans[0]
    changed = (board.cards[0], Card(text="a pink star", seconds=board.cards[1].seconds), board.cards[2])
    board = boards.change(board.id, "", lambda b: b.model_copy(update={"cards": changed}))
    assert [board.state(n) for n in range(3)] == ["made", "changed", "made"] and board.first_missing == 1
    boards.make(board.id, "", board.first_missing)
    board = advance(boards, board, pipe)
    assert board.first_missing is None and board.spans[0] == first
    request = boards.studio.store.get(board.spans[1].job).request
    assert request["prompt"] == "a pink star" and request["video"].startswith("upload_")
    assert {request["video"]} <= {path.name for path in (boards.studio.shelf.folder / "uploads").iterdir()}


def test_a_picture_is_what_the_video_shows_where_its_card_begins(boards, pipe):
    picture = io.BytesIO()
    size = boards.studio.model.width, boards.studio.model.height
    Image.new("RGB", size, "white").save(picture, "PNG")
    picture.seek(0)
    image = boards.studio.upload(picture)
    board = board_of(boards)
    cards = (board.cards[0], board.cards[1].model_copy(update={"image": image}),
             board.cards[2].model_copy(update={"image": image}))  # fmt: skip
    board = boards.change(board.id, "", lambda b: b.model_copy(update={"cards": cards}))
    boards.make(board.id, "", 0)
    board = advance(boards, board, pipe)
    assert board.problem == "" and board.first_missing is None
    requests = [boards.studio.store.get(span.job).request for span in board.spans]
    assert requests[0]["keyframes"] and requests[1]["task"] == "connect" and requests[1]["other"] == image
    frames = frames_of(boards, board)
    assert (frames[board.spans[0].frames + board.spans[1].frames - 1] > 250).all()
    cards = (*board.cards[:2], board.cards[2].model_copy(update={"image": None}))
    board = boards.change(board.id, "", lambda b: b.model_copy(update={"cards": cards}))
    assert board.state(1) == "changed"  # it ends on a picture that is not there any more
    boards.make(board.id, "", 1, alone=True)
    assert "make it from here on" in advance(boards, board, pipe).problem


def test_the_pictures_of_cards_are_not_cleaned_away(boards):
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    picture.seek(0)
    shelf, image = boards.studio.shelf, boards.studio.upload(picture)
    picture.seek(0)
    other = boards.studio.upload(picture)
    board_of(boards, TEXTS[:1], image=image)
    for name in (image, other):
        os.utime(shelf.folder / "uploads" / name, (0, 0))
    Boards(boards.studio)  # a server that starts after a long time
    clean_uploads(boards.studio.store, shelf)
    assert [path.name for path in (shelf.folder / "uploads").iterdir()] == [image]


def test_in_one_go_is_one_video_and_its_parts_are_known(boards, pipe):
    board = board_of(boards)
    boards.make_at_once(board.id, "")
    with pytest.raises(JobError, match="being made already"):
        boards.make(board.id, "", 0)
    assert {board.state(0) for board in [boards.get(board.id, "")]} == {"being made"}
    board = advance(boards, board, pipe)
    stride = boards.studio.model.frame_step
    assert board.problem == "" and [span.frames for span in board.spans] == [1 + stride, stride, stride]
    assert len({span.job for span in board.spans}) == 1
    assert len(boards.studio.store.get(board.video).request["storyboard"]) == 3


def test_what_fails_or_is_stopped_keeps_what_is_finished_and_goes_on_there(boards, pipe):
    board = board_of(boards)
    boards.make(board.id, "", 0)
    store = boards.studio.store
    boards._advance(board.id)
    boards._advance(board.id)
    make(store, boards.studio.shelf, pipe, claim(store, "w"))
    for _ in range(3):
        boards._advance(board.id)
    fail(store, claim(store, "w"), "out_of_memory", "too little memory")
    boards._advance(board.id)
    board = boards.get(board.id, "")
    assert "Card 2" in board.problem and "too little memory" in board.problem and "lost" in board.problem
    assert [board.state(n) for n in range(3)] == ["made", "not made", "not made"]
    boards.make(board.id, "", 2)  # what it stands on is made first
    for _ in range(2):
        boards._advance(board.id)
    assert boards.stop_making(board.id, "").run is None
    assert store.waiting() == []
    boards.make(board.id, "", board.first_missing)
    board = advance(boards, board, pipe)
    assert board.first_missing is None and board.problem == ""


def test_a_killed_server_asks_for_the_same_job_and_not_twice(boards, pipe):
    board = board_of(boards, TEXTS[:1])
    boards.make(board.id, "", 0)
    boards._advance(board.id)  # its values are written down
    path = boards.folder / f"{board.id}.json"
    written = path.read_text()
    boards._advance(board.id)  # it is asked for, and that is written down
    path.write_text(written)  # as if the server had been killed before
    again = Boards(boards.studio)
    assert again.get(board.id, "").run.job is None
    board = advance(again, board, pipe)
    assert board.first_missing is None and len(boards.studio.store.page()) == 1


def test_every_video_of_a_storyboard_counts_for_its_owner(boards, pipe):
    limits, asked = [None, TooOftenError(2, 30.0), None, None], []

    def may_ask(owner):
        asked.append(owner)
        if error := limits.pop(0):
            raise error

    boards.may_ask = may_ask
    board = board_of(boards)
    boards.make(board.id, "", 0)
    board = advance(boards, board, pipe, rounds=8)
    assert asked == ["", ""]  # the first one is counted where it is begun
    board = advance(boards, board, pipe)
    assert board.run is None and board.problem == "" and len(board.spans) == 3
    assert asked == ["", "", ""]
    full = boards.studio.limits
    boards.studio.limits = replace(full, waiting=0)
    boards.make_at_once(board.id, "")
    assert advance(boards, board, rounds=3).run.job is None and asked == ["", "", ""]
    boards.studio.limits = full
    board = advance(boards, board, pipe)
    assert board.run is None and asked == ["", "", ""]


def test_a_thread_makes_them_and_stops(boards, pipe, wait_until):
    board = board_of(boards, TEXTS[:1])
    boards.make(board.id, "", 0)
    boards.start()
    job = wait_until(lambda: claim(boards.studio.store, "w"))
    make(boards.studio.store, boards.studio.shelf, pipe, job)
    wait_until(lambda: boards.get(board.id, "").run is None)
    boards.stop()
    assert boards.get(board.id, "").video == job.id and boards.media() == {job.id}


def test_a_full_disk_stops_one_storyboard_and_not_their_thread(boards, pipe, monkeypatch, wait_until):
    board, other = board_of(boards, TEXTS[:1]), board_of(boards, TEXTS[:1])
    boards.make(board.id, "", 0)
    advance, put, full = boards._advance, boards._put, threading.Event()
    full.set()

    def put_if_there_is_room(board):
        if full.is_set():
            raise OSError(errno.ENOSPC, "No space left on device")
        return put(board)

    def advance_or_fail(board_id):
        advance(board_id)
        if full.is_set():
            raise RuntimeError("what else may happen")

    monkeypatch.setattr(boards, "_put", put_if_there_is_room)
    monkeypatch.setattr(boards, "_advance", advance_or_fail)
    boards.start()
    wait_until(lambda: boards.get(board.id, "").run is None)
    assert "Nothing that was finished is lost" in boards.get(board.id, "").problem
    full.clear()
    boards.make(other.id, "", 0)
    wait_until(lambda: boards.get(other.id, "").run.job)
    boards.stop()


def test_a_page_changes_or_stops_a_storyboard_while_a_part_is_cut(boards, pipe, monkeypatch):
    board = board_of(boards)
    boards.make(board.id, "", 0)
    board = advance(boards, board, pipe)
    cut, todo = boards._cut, []

    def cut_slowly(*args):
        page = threading.Thread(target=todo.pop(), daemon=True)
        page.start()
        page.join(20)
        assert not page.is_alive()
        return cut(*args)

    monkeypatch.setattr(boards, "_cut", cut_slowly)

    def rename():
        boards.change(board.id, "", lambda b: b.model_copy(update={"name": "another"}))

    todo.append(rename)
    boards.make(board.id, "", 1)
    boards._advance(board.id)
    now = boards.get(board.id, "")
    assert now.name == "another" and now.run.values["video"].startswith("upload_") and now.problem == ""
    boards.stop_making(board.id, "")

    todo.append(lambda: boards.stop_making(board.id, ""))
    boards.make(board.id, "", 1)
    boards._advance(board.id)
    assert boards.get(board.id, "").run is None and "stopped" in boards.get(board.id, "").problem


def test_a_storyboard_is_its_owners_and_says_what_is_wrong(boards):
    board = boards.new("one")
    assert boards.of("two") == [] and boards.of(None) == [board]
    with pytest.raises(JobError, match="no such storyboard"):
        boards.get(board.id, "two")
    with pytest.raises(JobError, match="Card 1 says nothing yet"):
        boards.make(board.id, "one", 0)
    with pytest.raises(JobError, match="at most"):
        boards.change(board.id, "one", lambda b: b.model_copy(update={"cards": (Card(text="x"),) * 41}))
    with pytest.raises(JobError, match="cannot be so"):
        boards.change(board.id, "one", lambda b: b.model_copy(update={"name": "x" * 201}))
    long = board.model_copy(update={"cards": (Card(text="x", seconds=600),) * 2})
    assert "1200 seconds" in problems(long, boards.studio.model, 600)[0]
    assert rounded(0.01, boards.studio.model) == step_of(boards.studio.model)
    (boards.folder / "board_broken.json").write_text("{")
    assert Boards(boards.studio).of(None) == [board]
    boards.delete(board.id, "one")
    assert Boards(boards.studio).of(None) == []


def test_what_is_cut_out_for_a_storyboard_is_its_owners(boards, pipe):
    board = boards.new("one")
    job = boards.studio.submit({"prompt": TEXTS[0], "num_inference_steps": 1}, owner="one")
    make(boards.studio.store, boards.studio.shelf, pipe, claim(boards.studio.store, "w"))
    cut = boards._cut(board.model_copy(update={"video": job.id}), 0, 1)
    assert cut.startswith(mark_of("one")) and boards.studio.shelf.upload(cut).is_file()
