"""What the storyboard screen shows: the cards on their timeline, what is being made, and the video so far."""

import html
from collections.abc import Mapping
from typing import Any

from ..boards import Boards
from ..cards import Board, at_once, one_by_one, problems
from ..jobs.job import Job, JobError
from ..jobs.wish import Wish
from ..models import estimate as estimates
from ..rest.access import Owner
from .live import LATER, SOON, about, bar, button, seen_job, waiting_for
from .shared import Shared, media_url, preview_url
from .watching import words_of

SIGNS = {"made": "✓", "being made": "▶", "waiting": "◷", "changed": "✎", "not made": "○"}
CARDS_CSS = """
.line {display: flex; gap: 2px; height: 1.6rem; margin: .25rem 0; overflow: hidden}
.line span {min-width: 0; overflow: hidden; text-align: center; font-size: var(--text-sm); line-height: 1.6rem;
  background: var(--neutral-200); color: var(--neutral-900)}
.line .made {background: var(--primary-200)}
.line .here {box-shadow: inset 0 -4px 0 var(--primary-700)}
ol {list-style: none; padding: 0; margin: .5rem 0; display: grid; gap: .4rem;
  grid-template-columns: repeat(auto-fill, minmax(min(11rem, 100%), 1fr))}
li button {width: 100%; height: 100%; text-align: left; overflow-wrap: anywhere}
li button[aria-pressed=true] {outline: 3px solid var(--primary-600); outline-offset: -3px}
li small {display: block}
li em {display: -webkit-box; -webkit-line-clamp: 3; -webkit-box-orient: vertical; overflow: hidden;
  font-style: normal}
"""
MADE_CSS = """
button.main {background: var(--button-primary-background-fill); color: var(--button-primary-text-color)}
button.main:hover {background: var(--button-primary-background-fill-hover)}
.screen {background: var(--neutral-900); border-radius: var(--radius-lg); overflow: hidden; margin: .5rem 0}
.screen video, .screen img, .screen canvas {width: 100%; max-height: 50vh; object-fit: contain; display: block}
.empty {border: 2px dashed var(--border-color-primary); border-radius: var(--radius-lg); padding: 2rem 1rem;
  text-align: center; margin: 0}
h3 {margin: .75rem 0 0; font-size: var(--text-md)}
"""


def found(boards: Boards, owner: Owner, asked: Mapping[str, Any]) -> tuple[Board | None, int]:
    """The storyboard that is asked for, None if there is none, and the card's place, 0 if it is gone."""
    try:
        board = boards.get(str(asked.get("board") or ""), owner.listed)
    except JobError:
        return None, 0
    return board, board.number(str(asked.get("card") or "")) or 0


def draw_cards(board: Board | None, card: int) -> dict[str, Any]:
    """The timeline and the cards."""
    if board is None:
        return {"html": "", "said": "", "again": LATER}
    line, items, starts = "", "", board.starts
    for number, each in enumerate(board.cards):
        state, here = board.state(number), number == card
        classes = f"{'made' if state == 'made' else ''} {'here' if here else ''}".strip()
        line += f'<span class="{classes}" style="flex-grow: {each.seconds:g}">{number + 1}</span>'
        times = f"{round(starts[number], 3):g} to {round(starts[number + 1], 3):g} s"
        words = html.escape(each.text[:160]) or "Nothing yet"
        picture = " · with a picture" if each.image else ""
        items += f"<li data-key='{each.id}'>" + button(
            "card", f"<small>{number + 1} · {times}{picture}</small><em>{words}</em>"
            f"<small>{SIGNS[state]} {state}</small>",
            each.id, f"board-{number}-", aria_pressed=str(here).lower(),
        ) + "</li>"  # fmt: skip
    total = f"{len(board.cards)} card{'s' * (len(board.cards) > 1)}, {starts[-1]:g} seconds in all"
    text = (
        f'<p class="quiet">{total}</p><div class="line" aria-hidden="true">{line}</div>'
        f'<ol aria-label="Cards, in their order">{items}</ol>'
    )
    return {"html": text, "said": "", "again": SOON if board.run else LATER}


def draw_made(shared: Shared, owner: Owner, board: Board | None, card: int) -> dict[str, Any]:
    """What can be made, is being made and is made."""
    if board is None:
        return {"html": waiting_for(shared), "said": "", "again": LATER}
    whole = seen_job(shared, owner, board.video) if board.video else None
    told, text = _running(shared, owner, board) if board.run else _idle(shared, board, card)
    return {"html": text + _video(board, whole, card), "said": told, "again": SOON if board.run else LATER}


def _running(shared: Shared, owner: Owner, board: Board) -> tuple[str, str]:
    run = board.run
    assert run is not None
    job = seen_job(shared, owner, run.job) if run.job else None
    what = "All cards" if run.at_once else f"Card {run.card + 1}"
    stage = words_of(job.stage) if job is not None and job.status == "in_progress" else "In the queue"
    told = f"{what}: {stage[:1].lower()}{stage[1:]}"
    left = about(job.seconds_left) if job is not None else ""
    text = f"<p>▶ <strong>{html.escape(told)}</strong>{f' · {left} left' if left else ''}</p>"
    text += bar(job.progress if job is not None else 0.0, stage)
    if job is not None and job.preview and not job.ended:
        screen = (
            f'<div data-key="picture" data-picture="{preview_url(job)}" data-alt="Preview, still rough"></div>'
        )
        text += f'<div class="screen" data-key="screen" data-still="no">{screen}</div>'
    stop = (
        '<div class="row" data-key="stop">'
        + button("stop", "Stop; keep what is finished", "", "board-")
        + "</div>"
    )
    return f"{told}.", waiting_for(shared) + text + stop


def _idle(shared: Shared, board: Board, card: int) -> tuple[str, str]:
    model, missing = shared.studio.model, board.first_missing
    told = board.problem or ("All cards are made." if missing is None else "")
    text = waiting_for(shared)
    if board.problem:
        text += f'<p class="problem">✕ <strong>{html.escape(board.problem)}</strong></p>'
    elif missing is None:
        text += "<p>✓ <strong>All cards are made.</strong></p>"
    wrong = problems(board, model, shared.studio.limits.video_seconds)
    text += "".join(f'<p class="note">{html.escape(each)}</p>' for each in wrong)
    chained, whole = one_by_one(model), at_once(model)
    buttons = []
    if missing is not None and not chained:
        words = "Make all cards" if not board.spans else f"Make what is missing, from card {missing + 1} on"
        buttons.append(button("make", words, "", "board-", **{"class": "main"}))
    if not whole and len(board.cards) > 1:
        again = " again" if board.spans else ""
        buttons.append(button("once", f"Make all{again} in one go", "", "board-"))
    if card < len(board.spans) and not chained:
        fits = "this card only; it fits between its neighbours" if "connect" not in model.off else ""
        if fits or card + 1 == len(board.spans):
            buttons.append(
                button("alone", f"Make card {card + 1} again: {fits or 'this card only'}", "", "board-")
            )
        if card + 1 < len(board.cards):
            buttons.append(button("onward", f"Make again from card {card + 1} on", "", "board-"))
    text += f'<div class="row" data-key="make">{"".join(buttons)}</div>'
    for name, why in (("Card by card", chained), ("In one go", whole)):
        text += f'<p class="quiet">{name}: not with this model: {html.escape(why)}</p>' if why else ""
    return told, text + _estimate(shared, board)


def _estimate(shared: Shared, board: Board) -> str:
    missing = board.first_missing
    if missing is None:
        return ""
    seconds = board.starts[-1] - board.starts[missing]
    wish = Wish(
        prompt="x", seconds=seconds, width=board.width, height=board.height,
        num_inference_steps=board.num_inference_steps,
    )  # fmt: skip
    took = about(estimates.seconds_for(shared.studio.store, shared.studio.model, wish))
    return f'<p class="quiet">{seconds:g} seconds are still to be made{f": {took} here" if took else ""}.</p>'


def _video(board: Board, whole: Job | None, card: int) -> str:
    if whole is None:
        gone = "It was deleted; make the cards again." if board.video else ""
        return f'<p class="empty">{gone or "The video grows here, card by card."} Every finished part is kept.</p>'
    if whole.cleaned:
        return '<p class="note">Its files were deleted to make room; make it again from card 1 on.</p>'
    url, fps = media_url(whole), whole.result["fps"]
    text = (
        f"<h3>So far: {len(board.spans)} of {len(board.cards)} cards, {whole.result['seconds']:g} s</h3>"
        f'<div class="screen" data-key="whole"><video data-key="{whole.id} whole" id="board-player" src="{url}" '
        f'poster="{media_url(whole, "thumbnail")}" '
        'controls loop muted playsinline preload="metadata" aria-label="The video of all cards made so far">'
        "</video></div>"
        + '<div class="row" data-key="then">'
        + button("edit", "Edit this", whole.id, "board-")
        + f'<a class="button" id="board-download" href="{url}" download="kinema-storyboard.mp4">Download</a></div>'
    )
    if part := board.part(card, fps):
        start, end = part
        text += (
            f"<h3>Card {card + 1} in it: {round(start, 3):g} to {round(end, 3):g} s</h3>"
            f'<div class="screen" data-key="part"><video data-key="{whole.id} {start:g}" id="board-part" '
            f'src="{url}#t={start:.3f},{end:.3f}" controls muted playsinline preload="metadata" '
            f'aria-label="The part of card {card + 1}"></video></div>'
        )
    return text
