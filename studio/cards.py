"""A storyboard: cards with a text, a length and maybe a picture, and what of them is made.

Its video grows part by part, each a job of its own that goes on where the one before ended, so that what is
finished stays whatever happens later. `boards` keeps storyboards and makes them.
"""

import secrets
from itertools import accumulate
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from .jobs.job import JobError
from .jobs.wish import Media, Text
from .models.model import Model

MOST = 40  # cards


class Card(BaseModel):
    """One card. A picture is what the video shows where the card begins; the id stays when cards are moved."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(default_factory=lambda: secrets.token_hex(4), max_length=20)
    text: Text = ""
    seconds: Annotated[float, Field(gt=0, le=600)] = 2.0
    image: Media | None = None


class Span(BaseModel):
    """A card as it was when its part of the video was made.

    Attributes:
        text, seconds, image: of the card.
        leads_to: the picture of the card after it, which this part ends on.
        frames: of this part; 0 until it is made.
        job: that made it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    seconds: float
    image: str | None = None
    leads_to: str | None = None
    frames: int = 0
    job: str = ""


class Run(BaseModel):
    """What is being made.

    Attributes:
        card: number of the card, from 0.
        alone: only this card; else all from it on.
        at_once: all cards in one go.
        values: of the wish, once it is known; then the rest is, too.
        spans: what it will make, as the cards were then.
        frames: given before it and after it.
        job: that makes it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    card: int
    alone: bool = False
    at_once: bool = False
    values: dict[str, Any] | None = None
    spans: tuple[Span, ...] = ()
    frames: tuple[int, int] = (0, 0)
    job: str | None = None


class Board(BaseModel):
    """A storyboard.

    Attributes:
        id: "board_" and 32 hexadecimal digits.
        owner: see `Job`.
        name: for people.
        cards: in their order.
        width, height: pixels; None: the model's own.
        num_inference_steps: None: the model's own.
        video: id of the job whose video has all `spans`, one after the other.
        spans: the parts of that video; the n-th belongs to the n-th card.
        run: what is being made; None: nothing.
        problem: why the last run stopped early.
        jobs: that were asked for so far; the number names the next one, so that none is asked for twice.
        created_at, changed_at: seconds since 1970.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^board_[0-9a-f]{32}$")
    owner: str = ""
    name: str = Field(default="", max_length=200)
    cards: tuple[Card, ...] = Field(default=(Card(),), min_length=1, max_length=MOST)
    width: int | None = None
    height: int | None = None
    num_inference_steps: int | None = None
    video: str | None = None
    spans: tuple[Span, ...] = ()
    run: Run | None = None
    problem: str = ""
    jobs: int = 0
    created_at: float = 0.0
    changed_at: float = 0.0

    def number(self, card_id: str) -> int | None:
        """The place of a card; None: it is not there (any more)."""
        return next((number for number, card in enumerate(self.cards) if card.id == card_id), None)

    def state(self, number: int) -> str:
        """Of a card: "being made", "waiting", "made", "changed" since it was made, or "not made"."""
        if self.run is not None and (self.run.at_once or self.run.card == number):
            return "being made"
        if self.run is not None and not self.run.alone and number > self.run.card:
            return "waiting"
        if number >= len(self.spans):
            return "not made"
        return "made" if self._fits(number) else "changed"

    @property
    def first_missing(self) -> int | None:
        """The first card that is not made as it stands; None: all are."""
        return next((number for number in range(len(self.cards)) if not self._made(number)), None)

    @property
    def starts(self) -> list[float]:
        """When each card begins, in seconds, and when the last one ends."""
        return [0.0, *accumulate(card.seconds for card in self.cards)]

    def part(self, number: int, fps: float) -> tuple[float, float] | None:
        """(start, end) in seconds of a card's part of the video that is there; None: it has none."""
        if number >= len(self.spans):
            return None
        ends = [0, *accumulate(span.frames for span in self.spans)]
        return ends[number] / fps, ends[number + 1] / fps

    def leads_to(self, number: int) -> str | None:
        """The picture that a card's part ends on."""
        return self.cards[number + 1].image if number + 1 < len(self.cards) else None

    def _made(self, number: int) -> bool:
        return number < len(self.spans) and self._fits(number)

    def _fits(self, number: int) -> bool:
        if number >= len(self.cards):
            return False
        card, span = self.cards[number], self.spans[number]
        return (card.text, card.seconds, card.image, self.leads_to(number)) == (
            span.text, span.seconds, span.image, span.leads_to,
        )  # fmt: skip

    def media(self) -> set[str]:
        """Ids of all that it is made from, and of what it made."""
        named = {card.image for card in self.cards} | {span.image for span in self.spans} | {self.video}
        named |= {span.job for span in self.spans} | {span.leads_to for span in self.spans}
        values = self.run.values if self.run is not None and self.run.values else {}
        named |= {values.get(name) for name in ("video", "other", "image")}
        return {name for name in named if name is not None}


def step_of(model: Model) -> float:
    """Seconds by which the lengths of a model's videos grow."""
    return model.frame_step / model.fps


def rounded(seconds: float, model: Model) -> float:
    """The nearest length that a card can have."""
    step = step_of(model)
    return round(max(1, round(seconds / step)) * step, 6)


def problems(board: Board, model: Model, most: float) -> list[str]:
    """What keeps a storyboard from being made, for people.

    Args:
        most: seconds of a video.
    """
    told = []
    for number, card in enumerate(board.cards):
        if not card.text.strip() and not (number == 0 and card.image):
            told.append(f"Card {number + 1} says nothing yet: describe what is seen.")
    if board.starts[-1] > most:
        told.append(f"The cards last {board.starts[-1]:g} seconds, and at most {most:g} are made here.")
    if len(board.cards) > 1 and "image" in model.off and any(card.image for card in board.cards):
        told.append(f"Take the pictures out: {model.off['image']}.")
    return told


def one_by_one(model: Model) -> str:
    """Why a model cannot make cards one by one; "": it can."""
    return model.off.get("extend", "")


def at_once(model: Model) -> str:
    """Why a model cannot make all cards in one go; "": it can."""
    return model.off.get("storyboard", "")


def wish_at_once(board: Board) -> dict[str, Any]:
    """Values of a wish for all cards in one video."""
    cards = [
        {"at": start, "text": card.text} | ({"image": card.image} if card.image else {})
        for start, card in zip(board.starts, board.cards)
    ]
    return {"storyboard": cards, "seconds": board.starts[-1], **_size(board), **_steps(board)}


def wish_of_card(board: Board, number: int, before: str | None, after: str | None) -> dict[str, Any]:
    """Values of a wish for one card's part of the video.

    Args:
        number: of the card.
        before, after: ids of what the part continues and leads to; None: nothing is there.

    Raises:
        JobError: it cannot be made so.
    """
    card, leads_to = board.cards[number], board.leads_to(number)
    text = {"prompt": card.text, "seconds": card.seconds, **_steps(board)}
    if after is not None:
        span = board.spans[number]
        if leads_to != span.leads_to:
            raise JobError(
                f"card {number + 2} has another picture now, so card {number + 1} cannot lead to the part that is "
                "there; make it from here on"
            )
        if before is None:
            return {"task": "extend", "video": after, "direction": "backward", **text}
        return {"task": "connect", "video": before, "other": after, **text}
    if before is None:
        pictures: dict[str, Any] = {"image": card.image} if card.image else {}
        pictures |= {"keyframes": {card.seconds: leads_to}} if leads_to else {}
        return {**text, **pictures, **_size(board)}
    if leads_to is not None:
        return {"task": "connect", "video": before, "other": leads_to, **text}
    return {"task": "extend", "video": before, **text}


def span_of(board: Board, number: int) -> Span:
    """What will be made of a card as it is now."""
    card = board.cards[number]
    return Span(text=card.text, seconds=card.seconds, image=card.image, leads_to=board.leads_to(number))


def taken_in(board: Board, job_id: str, frames: int, model: Model) -> Board:
    """A storyboard whose run's job is completed: its video is the storyboard's now.

    Args:
        frames: of that video.
    """
    run = board.run
    assert run is not None
    if run.at_once:  # whole groups of frames a card, and the first frame of all besides
        lengths = [round(span.seconds / step_of(model)) * model.frame_step for span in run.spans]
        lengths = [1 + lengths[0], *lengths[1:]]
        lengths[-1] += frames - sum(lengths)
        before, after = (), ()
    else:
        lengths = [frames - sum(run.frames)]
        before, after = board.spans[: run.card], board.spans[run.card + 1 :] if run.alone else ()
    made = [span.model_copy(update={"frames": n, "job": job_id}) for span, n in zip(run.spans, lengths)]
    following = run.card + 1
    goes_on = not run.alone and not run.at_once and following < len(board.cards)
    return board.model_copy(
        update={
            "video": job_id,
            "spans": (*before, *made, *after),
            "run": Run(card=following) if goes_on else None,
        }
    )


def _size(board: Board) -> dict[str, Any]:
    return {} if board.width is None else {"width": board.width, "height": board.height}


def _steps(board: Board) -> dict[str, Any]:
    return {} if board.num_inference_steps is None else {"num_inference_steps": board.num_inference_steps}
