"""Keeps storyboards and makes them, a job after another, whether or not a page is open.

A storyboard is a file of the studio's folder, written anew with every change, so that a restart goes on where the
server ended. A job's values are written down before it is asked for, and its idempotency key with them: a server
that is killed in between asks for the same job again and gets the one that is there.
"""

import contextlib
import logging
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

from pydantic import ValidationError

from ..data.files import atomic_path
from .cards import MOST, Board, Card, Run, problems, rounded, span_of, taken_in, wish_at_once, wish_of_card
from .given import new_upload_id
from .jobs.job import Job, JobError, QueueFullError, TooOftenError
from .service import Studio

LOOK = 0.25  # seconds between looks at what is being made
KEEP_EVERY = 600.0  # seconds between marks on the uploads that storyboards need, so that they are not cleaned away
STILL = "Nothing that was finished is lost; make what is missing when you like."

logger = logging.getLogger(__name__)


class Boards:
    """The storyboards of a studio. Handlers of pages and the thread that makes them may call it at once.

    Args:
        studio: that makes the videos.
        may_ask: counts a video that an owner asks for, or raises a TooOftenError. Whoever begins to make something
            counts its first video, and hears at once if it is too many; the others wait until they may be asked
            for.
    """

    def __init__(self, studio: Studio, may_ask: Callable[[str], object] = lambda owner: None) -> None:
        self.studio, self.may_ask = studio, may_ask
        self._counted: dict[str, int] = {}  # the number of the last job of a storyboard that was counted
        self.folder = studio.shelf.folder / "boards"
        self.folder.mkdir(exist_ok=True)
        self._lock = threading.RLock()
        self._boards = {board.id: board for path in self.folder.glob("board_*.json") if (board := _read(path))}
        self._keep()  # before anything is cleaned
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_after, name="storyboards", daemon=True)

    def start(self) -> None:
        """Go on with what an earlier server was making."""
        self._thread.start()

    def stop(self) -> None:
        """End; what is being made goes on when the next server starts."""
        self._ended.set()
        self._thread.join()

    def of(self, owner: str | None) -> list[Board]:
        """Somebody's storyboards, the newest first; None: everybody's."""
        boards = [board for board in self._boards.copy().values() if owner in (None, board.owner)]
        return sorted(boards, key=lambda board: (-board.created_at, board.id))

    def get(self, board_id: str, owner: str | None) -> Board:
        """
        Args:
            owner: who asks; None: who sees all.

        Raises:
            JobError: there is none, or it is somebody else's.
        """
        board = self._boards.get(board_id)
        if board is None or owner not in (None, board.owner):
            raise JobError("there is no such storyboard; it may have been deleted", "not_found")
        return board

    def new(self, owner: str, name: str = "") -> Board:
        """An empty storyboard."""
        now = time.time()
        name = name or f"Storyboard {1 + len(self.of(owner))}"
        card = Card(seconds=rounded(2.0, self.studio.model))
        board = Board(id=f"board_{secrets.token_hex(16)}", owner=owner, name=name, created_at=now, cards=(card,))
        return self._put(board)

    def change(self, board_id: str, owner: str | None, change: Callable[[Board], Board]) -> Board:
        """Change a storyboard.

        Raises:
            JobError: as `get`, or it would be no storyboard.
        """
        with self._lock:
            board = change(self.get(board_id, owner))
            if not 1 <= len(board.cards) <= MOST:
                raise JobError(f"a storyboard has at least one card and at most {MOST}")
            try:
                return self._put(Board.model_validate(board.model_dump()))
            except ValidationError as error:
                told = error.errors(include_url=False)[0]
                raise JobError(f"the storyboard cannot be so: {told['msg']}, not {told['input']!r:.80}") from None

    def delete(self, board_id: str, owner: str | None) -> None:
        """Forget a storyboard, and stop what is being made; its finished videos stay.

        Raises:
            JobError: as `get`.
        """
        with self._lock:
            board = self.get(board_id, owner)
            if board.run is not None and board.run.job is not None:
                self.studio.store.stop(board.run.job)
            del self._boards[board_id]
            self._counted.pop(board_id, None)
            (self.folder / f"{board_id}.json").unlink(missing_ok=True)

    def make(self, board_id: str, owner: str | None, card: int, *, alone: bool = False) -> Board:
        """Make a card, and all after it unless it is made alone. A card whose predecessors are not made waits for
        them: they are made first.

        Raises:
            JobError: it is being made already, or its cards cannot be made as they are.
        """

        def begin(board: Board) -> Board:
            first = min(card, len(board.spans), len(board.cards) - 1)
            return board.model_copy(update={"run": Run(card=first, alone=alone and first == card), "problem": ""})

        return self._begin(board_id, owner, begin)

    def make_at_once(self, board_id: str, owner: str | None) -> Board:
        """Make all cards in one go.

        Raises:
            JobError: as `make`.
        """
        return self._begin(
            board_id, owner,
            lambda board: board.model_copy(update={"run": Run(card=0, at_once=True), "problem": ""}),
        )  # fmt: skip

    def stop_making(self, board_id: str, owner: str | None) -> Board:
        """Stop what is being made, and keep what is finished.

        Raises:
            JobError: as `get`.
        """

        def end(board: Board) -> Board:
            if board.run is not None and board.run.job is not None:
                self.studio.store.stop(board.run.job)
            return board.model_copy(update={"run": None, "problem": f"It was stopped. {STILL}"})

        return self.change(board_id, owner, end)

    def media(self) -> set[str]:
        """Ids of all uploads and jobs that storyboards need."""
        return {name for board in self.of(None) for name in board.media()}

    def _begin(self, board_id: str, owner: str | None, begin: Callable[[Board], Board]) -> Board:
        def checked(board: Board) -> Board:
            if board.run is not None:
                raise JobError("this storyboard is being made already; stop that first")
            if told := problems(board, self.studio.model, self.studio.limits.video_seconds):
                raise JobError(" ".join(told))
            self._counted[board.id] = board.jobs + 1
            return begin(board)

        return self.change(board_id, owner, checked)

    def _put(self, board: Board) -> Board:
        with self._lock:
            board = board.model_copy(update={"changed_at": time.time()})
            with atomic_path(self.folder / f"{board.id}.json") as path:
                path.write_text(board.model_dump_json(indent=1), encoding="utf-8")
            self._boards[board.id] = board
            return board

    def _look_after(self) -> None:
        kept_at = time.monotonic()
        while not self._ended.wait(LOOK):
            if time.monotonic() - kept_at > KEEP_EVERY:
                self._keep()
                kept_at = time.monotonic()
            for board in self.of(None):
                try:
                    if board.run is not None:
                        self._advance(board.id)
                except Exception:  # the others go on
                    logger.exception("%s is left as it is", board.id)
        self.studio.store.close()

    def _keep(self) -> None:
        """Mark the uploads that storyboards need as used: see `clean_uploads`."""
        for name in self.media():
            if name.startswith("upload_"):
                with contextlib.suppress(OSError):
                    os.utime(self.studio.shelf.folder / "uploads" / name)

    def _advance(self, board_id: str) -> None:
        """Take the next step of what is being made, if there is one to take."""
        try:
            board = self._boards.get(board_id)
            if board is None or board.run is None:
                return
            parts = self._parts(board)  # takes a while: nobody waits for it at the lock
            with self._lock:
                now = self._boards.get(board_id)
                if now is None or (now.run, now.spans, now.video) != (board.run, board.spans, board.video):
                    return  # the next round looks at it as it is then
                if (after := self._stepped(now, *parts)) is not now:
                    self._put(after)
        except (QueueFullError, TooOftenError):
            return  # there will be room, and time
        except JobError as error:
            self._fail(board_id, f"{str(error)[:1].upper()}{str(error)[1:]}.")
        except Exception:  # a full disk, say; what is finished stays, and the page says that it stopped
            logger.exception("%s cannot go on", board_id)
            self._fail(board_id, "Something nobody expected went wrong; the server's log has it.")

    def _stepped(self, board: Board, before: str | None, after: str | None) -> Board:
        run = board.run
        assert run is not None
        if run.values is None:
            if run.card >= len(board.cards):  # it was taken away meanwhile
                return board.model_copy(update={"run": None})
            return self._prepared(board, before, after)
        if run.job is None:
            if self._counted.get(board.id) != board.jobs:
                self.may_ask(board.owner)
                self._counted[board.id] = board.jobs
            job = self.studio.submit(
                run.values, owner=board.owner, sees=lambda what: _may_use(board, what),
                parent=board.video if any(run.frames) else None,
                idempotency_key=f"{board.id} {board.jobs}",
            )  # fmt: skip
            asked = run.model_copy(update={"job": job.id})
            return board.model_copy(update={"run": asked})
        job = self.studio.store.get(run.job)
        if not job.ended:
            return board
        if job.status != "completed":
            why = f"It failed: {job.error}" if job.status == "failed" else "It was cancelled"
            return board.model_copy(update={"run": None, "problem": f"Card {run.card + 1}: {why}. {STILL}"})
        board = taken_in(board, job.id, job.result["num_frames"], self.studio.model)
        if job.result.get("interrupted"):
            return board.model_copy(update={"run": None, "problem": f"It was stopped early. {STILL}"})
        return board

    def _prepared(self, board: Board, before: str | None, after: str | None) -> Board:
        """The run with the values of its job, made from the `_parts` around it."""
        run = board.run
        assert run is not None
        if run.at_once:
            spans = tuple(span_of(board, number) for number in range(len(board.cards)))
            ready = run.model_copy(update={"values": wish_at_once(board), "spans": spans})
            return board.model_copy(update={"run": ready, "jobs": board.jobs + 1})
        if told := problems(board, self.studio.model, self.studio.limits.video_seconds):
            raise JobError(" ".join(told).rstrip("."))
        ready = run.model_copy(
            update={
                "values": wish_of_card(board, run.card, before, after),
                "spans": (span_of(board, run.card),),
                "frames": _frames_around(board, run)[:2],
            }
        )
        return board.model_copy(update={"run": ready, "jobs": board.jobs + 1})

    def _parts(self, board: Board) -> tuple[str | None, str | None]:
        """Ids of what is before and after the card that is to be made, cut out of the video that is there."""
        run = board.run
        if run is None or run.values is not None or run.at_once or run.card >= len(board.cards):
            return None, None
        head, tail, whole = _frames_around(board, run)
        before = after = None
        if head:
            before = board.video if head == whole else self._cut(board, 0, head)
        if tail:
            after = self._cut(board, whole - tail, whole)
        return before, after

    def _cut(self, board: Board, start: int, stop: int) -> str:
        """The id of some frames of a storyboard's video, as a file of their own."""
        from ..data.video_io import read_video, write_video_exactly

        assert board.video is not None
        video = read_video(self.studio.source(board.video))
        upload_id = new_upload_id(board.owner)
        folder = self.studio.shelf.folder / "uploads" / f".{upload_id}"
        folder.mkdir()
        try:
            write_video_exactly(folder / "video.mp4", video.frames[start:stop], video.fps)
            folder.rename(folder.with_name(upload_id))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return upload_id

    def _fail(self, board_id: str, why: str) -> None:
        with self._lock:
            if (board := self._boards.get(board_id)) is None:
                return
            board = board.model_copy(update={"run": None, "problem": f"{why} {STILL}"})
            self._boards[board_id] = board  # first: a full disk takes no file, and the page says why all the same
            try:
                self._put(board)
            except OSError:
                logger.exception("%s cannot be written", board_id)


def _frames_around(board: Board, run: Run) -> tuple[int, int, int]:
    """Frames of a storyboard's video that are before and after what is to be made, and all of them."""
    ends = [0, *accumulate(span.frames for span in board.spans)]
    tail = ends[-1] - ends[run.card + 1] if run.alone and run.card < len(board.spans) else 0
    return ends[run.card], tail, ends[-1]


def _may_use(board: Board, what: Job | str) -> bool:
    """Given files are used as they are: only who may change the storyboard could put them there."""
    return isinstance(what, str) or what.owner == board.owner


def _read(path: Path) -> Board | None:
    try:
        return Board.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        logger.exception("%s cannot be read and is left out", path)
        return None
