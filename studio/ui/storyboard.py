"""Storyboards: cards with a text, a length and maybe a picture, made one after another into one video.

What is typed is kept as it is typed, by the server: a closed tab loses nothing, and what is being made goes on.
"""

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ..boards import Boards
from ..cards import Board, Card, at_once, one_by_one, rounded, step_of
from ..jobs.job import JobError
from ..rest.access import Owner
from ..stills import look
from .board_view import CARDS_CSS, MADE_CSS, draw_cards, draw_made, found
from .choosing import taken
from .live import live
from .remembering import build_memory
from .shared import EDIT, Shared, said

QUIET: dict[str, Any] = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}
QUEUED: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": 8}
# Gradio shows errors, and tells the listeners of a State, of queued events only.
FOCUS = "() => { document.querySelector('#board-text textarea')?.focus() }"
NO_PICTURE = "<p>No picture: the card begins where the one before ends.</p>"
LONGEST = 10.0  # seconds that a card is offered


@dataclass(frozen=True)
class _Desk:
    """Who is at which card of which storyboard.

    Attributes:
        owner: who.
        board: which.
        card: its number.
    """

    owner: Owner
    board: Board
    card: int


def build_storyboard(shared: Shared, page: gr.Blocks) -> None:
    """The screen."""
    studio, model = shared.studio, shared.studio.model
    if (why := one_by_one(model)) and at_once(model):
        gr.HTML(f"<p>Storyboards cannot be made with this model: {html.escape(why)}</p>", elem_id="board-off")
        return
    boards: Boards = shared.served.boards
    step = step_of(model)
    sizes = {name: (width, height) for name, width, height in model.aspects}
    kept = build_memory(page, "board", {"board": "", "card": ""})

    def cards_of(shared: Shared, owner: Owner, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        return draw_cards(*found(boards, owner, asked))

    def made_of(shared: Shared, owner: Owner, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        return draw_made(shared, owner, *found(boards, owner, asked))

    with gr.Row(equal_height=False):
        with gr.Column(min_width=300):
            with gr.Row(equal_height=False):
                which = gr.Dropdown([], label="Storyboard", elem_id="board-which", min_width=160)
                new = gr.Button("New storyboard", elem_id="board-new", size="sm", min_width=120)
                forget = gr.Button("Delete it", elem_id="board-forget", size="sm", min_width=90)
            gr.Markdown("## Cards")
            cards = live(shared, cards_of, elem_id="board-cards", css=CARDS_CSS)
            heading = gr.Markdown("## Card 1")
            text = gr.Textbox(
                label="What is seen", lines=3, max_length=4000, elem_id="board-text", interactive=False
            )  # until it is there, so that nothing typed before is lost
            seconds = gr.Slider(
                step, max(LONGEST, 4 * step), rounded(2.0, model), step=step, label="How long it lasts (seconds)",
                elem_id="board-seconds",
            )  # fmt: skip
            picture = gr.HTML(NO_PICTURE, elem_id="board-picture")
            with gr.Row():
                upload = gr.UploadButton(
                    "Begin with a picture", file_types=["image"], elem_id="board-image", size="sm", min_width=120
                )
                without = gr.Button("Take the picture out", elem_id="board-no-image", size="sm", visible=False)
            with gr.Row():
                tools = {
                    name: gr.Button(words, elem_id=f"board-{name}", size="sm", min_width=110)
                    for name, words in (("add", "Add a card after it"), ("earlier", "Move it earlier"),
                                        ("later", "Move it later"), ("remove", "Remove it"))
                }  # fmt: skip
            with gr.Accordion("For all cards", open=False):
                name = gr.Textbox(label="Name of the storyboard", max_length=200, elem_id="board-name")
                shape = gr.Dropdown(
                    list(sizes), value=next(iter(sizes), None), label="Shape", elem_id="board-shape",
                    info="Takes effect when it is made from card 1 on",
                )  # fmt: skip
                steps = gr.Radio(
                    [(f"{word.capitalize()} ({count} steps)", count) for word, count in model.drafts.items()],
                    value=model.steps, label="Quality", elem_id="board-quality",
                )  # fmt: skip
        with gr.Column(min_width=300):
            gr.Markdown("## What comes of it")
            made = live(shared, made_of, elem_id="board-made", css=MADE_CSS)

    form = [text, seconds, name, shape, steps]
    shown = [kept, which, cards, made, heading, picture, without, *form]

    def at_desk(kept: dict[str, Any] | None, request: gr.Request) -> _Desk:
        """The desk that a browser remembers, or else the newest storyboard; everybody has one."""
        owner = shared.owner(request)
        board, card = found(boards, owner, kept or {})
        if board is None:
            board = next(iter(boards.of(owner.listed)), None) or boards.new(owner.name)
        return _Desk(owner, board, card)

    def put(desk: _Desk, change: Callable[[Board], Board], card_id: str = "") -> _Desk:
        """The desk after a change, at a card; what comes late, of a card that is gone, changes nothing."""
        board = boards.change(desk.board.id, desk.owner.listed, change)
        return _Desk(desk.owner, board, board.number(card_id or desk.board.cards[desk.card].id) or 0)

    def saved(
        kept: dict[str, Any] | None, text: str, seconds: float, name: str | None, shape: str | None, steps: int,
        request: gr.Request,
    ) -> _Desk:  # fmt: skip
        """The desk after what stands in the form was written down."""
        desk, size = at_desk(kept, request), sizes.get(shape or "", (None, None))
        size = (None, None) if size == (model.width, model.height) else size
        card_id = (kept or {}).get("card", "")
        if desk.board.id != (kept or {}).get("board"):  # it was deleted meanwhile
            return desk
        wanted = {
            "width": size[0], "height": size[1], "num_inference_steps": None if steps == model.steps else steps,
            "name": (name or "").strip() or desk.board.name,
        }  # fmt: skip

        def write(board: Board) -> Board:
            own = {"text": text or "", "seconds": rounded(seconds, model)}
            cards = tuple(card.model_copy(update=own) if card.id == card_id else card for card in board.cards)
            return board.model_copy(update={**wanted, "cards": cards})

        return desk if write(desk.board) == desk.board else put(desk, write)

    def show(desk: _Desk) -> list[Any]:
        """All of the screen."""
        board, card = desk.board, desk.board.cards[desk.card]
        mine = [(each.name, each.id) for each in boards.of(desk.owner.listed)]
        value = {"board": board.id, "card": card.id, "at": board.changed_at}
        size = board.width or model.width, board.height or model.height
        return [
            {"board": board.id, "card": card.id}, gr.Dropdown(mine, value=board.id), value, value,
            f"## Card {desk.card + 1}", _picture(card), gr.update(visible=card.image is not None),
            gr.Textbox(card.text, interactive=True), card.seconds, board.name,
            next((each for each in sizes if sizes[each] == size), None),
            board.num_inference_steps or model.steps,
        ]  # fmt: skip

    def _picture(card: Card) -> str:
        if card.image is None:
            return NO_PICTURE
        try:
            still = look(studio.shelf.upload(card.image))
        except JobError as error:
            return f"<p>{html.escape(str(error))}</p>"
        return f'<img src="{still.png}" alt="What the card begins with" style="max-height: 9rem; max-width: 100%">'

    def changed(change: Callable[[_Desk], _Desk]) -> Callable[..., list[Any]]:
        """A handler that writes the form down, changes the desk, and shows it."""

        def handler(
            kept: dict[str, Any], text: str, seconds: float, name: str, shape: str | None, steps: int,
            request: gr.Request,
        ) -> list[Any]:  # fmt: skip
            with said():
                return show(change(saved(kept, text, seconds, name, shape, steps, request)))

        return handler

    def fresh(desk: _Desk) -> _Desk:
        return _Desk(desk.owner, boards.new(desk.owner.name), 0)

    def add(desk: _Desk) -> _Desk:
        here = desk.board.cards[desk.card]
        blank = Card(seconds=here.seconds)

        def insert(board: Board) -> Board:
            after = 1 + (board.number(here.id) or 0)
            return board.model_copy(update={"cards": (*board.cards[:after], blank, *board.cards[after:])})

        return put(desk, insert, blank.id)

    def remove(desk: _Desk) -> _Desk:
        here = desk.board.cards[desk.card]
        rest = tuple(card for card in desk.board.cards if card.id != here.id)
        beside = rest[min(desk.card, len(rest) - 1)].id if rest else ""
        return put(
            desk,
            lambda board: board.model_copy(update={"cards": tuple(c for c in board.cards if c.id != here.id)}),
            beside,
        )

    def move(desk: _Desk, by: int) -> _Desk:
        here = desk.board.cards[desk.card]

        def shift(board: Board) -> Board:
            cards = [card for card in board.cards if card.id != here.id]
            cards.insert(max(0, (board.number(here.id) or 0) + by), here)
            return board.model_copy(update={"cards": tuple(cards)})

        return put(desk, shift)

    def pictured(desk: _Desk, image: str | None) -> _Desk:
        here = desk.board.cards[desk.card].id

        def write(board: Board) -> Board:
            cards = (card.model_copy(update={"image": image}) if card.id == here else card for card in board.cards)
            return board.model_copy(update={"cards": tuple(cards)})

        return put(desk, write)

    def written(
        kept: dict[str, Any], text: str, seconds: float, name: str, shape: str | None, steps: int,
        request: gr.Request,
    ) -> list[Any]:  # fmt: skip
        """While it is typed: nothing that has the focus is touched."""
        with said():
            desk = saved(kept, text, seconds, name, shape, steps, request)
            if desk.board.id != (kept or {}).get("board"):
                raise JobError("this storyboard was deleted, on another page maybe; what you type is not kept")
            return show(desk)[1:4]

    def came_back(kept: dict[str, Any] | None, request: gr.Request) -> list[Any]:
        with said():
            return show(at_desk(kept, request))

    def chose(board_id: str | None, kept: dict[str, Any] | None, request: gr.Request) -> list[Any]:
        if board_id == (kept or {}).get("board"):  # a list that only loses the focus says this, too
            return [gr.skip()] * len(shown)
        return came_back({"board": board_id or "", "card": ""}, request)

    def deleted(kept: dict[str, Any], request: gr.Request) -> list[Any]:
        with said():
            desk = at_desk(kept, request)
            boards.delete(desk.board.id, desk.owner.listed)
        return came_back(None, request)

    def picked(
        event: gr.EventData, kept: dict[str, Any], text: str, seconds: float, name: str, shape: str | None,
        steps: int, request: gr.Request,
    ) -> list[Any]:  # fmt: skip
        def change(desk: _Desk) -> _Desk:
            return _Desk(desk.owner, desk.board, desk.board.number(str(event.id)) or 0)

        return changed(change)(kept, text, seconds, name, shape, steps, request)

    def uploaded(
        path: str, kept: dict[str, Any], text: str, seconds: float, name: str, shape: str | None, steps: int,
        request: gr.Request,
    ) -> list[Any]:  # fmt: skip
        image = taken(shared, path, request)
        with said():
            if studio.shelf.upload(image).suffix != ".png":
                raise JobError("this is a video; a card begins with a picture")
        return changed(lambda desk: pictured(desk, image))(kept, text, seconds, name, shape, steps, request)

    def act(
        event: gr.EventData, source: tuple[str, int], kept: dict[str, Any], text: str, seconds: float, name: str,
        shape: str | None, steps: int, request: gr.Request,
    ) -> list[Any]:  # fmt: skip
        what = str(event.act)
        if what == "edit":
            return [(str(event.id), source[1] + 1), gr.Tabs(selected=EDIT), *[gr.skip()] * len(shown)]

        def change(desk: _Desk) -> _Desk:
            board_id, listed = desk.board.id, desk.owner.listed
            if what != "stop":
                desk.owner.may_ask()
            match what:
                case "make":
                    board = boards.make(board_id, listed, desk.board.first_missing or 0)
                case "once":
                    board = boards.make_at_once(board_id, listed)
                case "alone" | "onward":
                    board = boards.make(board_id, listed, desk.card, alone=what == "alone")
                case _:
                    board = boards.stop_making(board_id, listed)
            return _Desk(desk.owner, board, desk.card)

        return [gr.skip(), gr.skip(), *changed(change)(kept, text, seconds, name, shape, steps, request)]

    given = [kept, *form]
    page.load(came_back, kept, shown, **QUEUED)
    which.input(chose, [which, kept], shown, **QUEUED)
    new.click(changed(fresh), given, shown, **QUEUED).then(None, None, None, js=FOCUS)
    forget.click(deleted, kept, shown, **QUEUED)
    cards.act(picked, given, shown, **QUEUED)
    made.act(act, [shared.source, *given], [shared.source, shared.tabs, *shown], **QUEUED)
    upload.upload(uploaded, [upload, *given], shown, **QUEUED)
    without.click(changed(lambda desk: pictured(desk, None)), given, shown, **QUEUED)
    tools["add"].click(changed(add), given, shown, **QUEUED).then(None, None, None, js=FOCUS)
    tools["remove"].click(changed(remove), given, shown, **QUEUED)
    tools["earlier"].click(changed(lambda desk: move(desk, -1)), given, shown, **QUEUED)
    tools["later"].click(changed(lambda desk: move(desk, 1)), given, shown, **QUEUED)
    for event in (text.input, text.blur, seconds.input, name.blur, shape.input, steps.input):
        event(written, given, shown[1:4], trigger_mode="always_last", **QUIET)
