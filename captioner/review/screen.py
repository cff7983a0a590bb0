"""`kinema caption review DATASET`: watch clips, and edit, accept or reject their captions. `reviews` is its core.

    A  accept      R  reject       E  edit; Ctrl+Enter keeps the edit, Escape leaves it
    J  next        K  previous     U  undo          Space  play or pause

Everything also has a button. Nothing waits to be saved: each action is a file of its own before it is shown.
"""

import argparse
import getpass
import html
import os
import sys
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...data.video_io import VideoError
from ..tables import CAPTION_STATUSES
from .keys import ABOUT_CSS, CAPTIONS_CSS, keys
from .panels import about_html, captions_html
from .previews import Previews
from .reviews import ANY, PROSE, Action, Filter, Reviews

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported

if TYPE_CHECKING:
    import gradio as gr

EVERY = "any"  # of a list of choices: no condition
SECONDS = 5.0  # between looks at what others wrote

CSS = """
footer {visibility: hidden}
.gradio-container {max-width: 84rem !important; margin: auto}
"""


@dataclass
class Session:
    """One open page: where it is, and what it did."""

    wanted: Filter = field(default_factory=Filter)
    queue: list[str] = field(default_factory=list)
    at: int = 0
    done: list[Action] = field(default_factory=list)
    shown: str = ""  # clip whose video is on the page
    reviewer: str = ""  # signs what is said; "": whoever opened the dataset

    @property
    def caption(self) -> str | None:
        """The caption that is looked at."""
        return self.queue[self.at] if self.queue else None


def build_review(reviews: Reviews, previews: Previews) -> "gr.Blocks":
    """The page."""
    import gradio as gr

    title = f"Review {reviews.dataset.name}"
    with gr.Blocks(title=title, delete_cache=(3600, 24 * 3600), analytics_enabled=False) as page:
        build_parts(reviews, previews, page.load)
    return page.queue(api_open=False)


def build_parts(
    reviews: Reviews,
    previews: Previews,
    opened: Callable[..., Any],
    prefix: str = "",
    who: Callable[["gr.Request"], str] = lambda request: "",
) -> None:
    """The screen, on a page that is being built; its keys are `keys(prefix)`.

    Args:
        reviews, previews: of the dataset.
        opened: the event at which it shows its first clip, such as `page.load` or a tab's `select`.
        prefix: of the ids on the page; with one, its filter is folded: it is not alone there.
        who: the name to sign with, of whoever looks; "": the one that `reviews` has.
    """
    import gradio as gr

    def look(session: Session, told: str = "") -> list[Any]:
        """All outputs for where the session is."""
        name = session.caption
        if name is None:
            session.shown = ""
            nothing = "No caption passes the filter."
            return [
                session,
                None,
                "",
                nothing,
                gr.Textbox("", label="Caption", interactive=False),
                told,
                *numbers(session),
            ]
        row, now = reviews.captions[name], reviews.now(name)
        clip = reviews.clips[row["clip_id"]]
        video: Any = gr.skip()
        if session.shown != clip["clip_id"]:
            session.shown = clip["clip_id"]
            try:
                video = str(previews.file(clip))
            except (VideoError, OSError, KeyError, tarfile.TarError) as error:
                video, told = None, f"{told} The clip cannot be shown: {error}".strip()
        box = gr.Textbox(now.text, label=f"{row['level']} caption", interactive=True)
        return [
            session,
            video,
            about_html(reviews, clip),
            captions_html(reviews, name),
            box,
            told,
            *numbers(session),
        ]

    def numbers(session: Session) -> list[Any]:
        """Where the session is, and how many captions the buttons for many would change."""
        queued, said, count = len(session.queue), reviews.counts(), len(all_of(session))
        place = f"{session.at + 1} of {queued}" if queued else "0 of 0"
        people = f"{said['accepted']} accepted · {said['edited']} edited · {said['rejected']} rejected"
        me = html.escape(session.reviewer or reviews.reviewer)
        return [
            f"**{place}** · all captions: {people} · {said['']} unreviewed · you are *{me}*",
            gr.Button(f"Accept all {count}", interactive=bool(count)),
            gr.Button(f"Reject all {count}", interactive=bool(count)),
            gr.Button(interactive=bool(session.done)),
        ]

    def all_of(session: Session) -> list[str]:
        """What the buttons for many change: not what was reviewed since, if only the unreviewed are wanted."""
        if not session.wanted.unreviewed:
            return session.queue
        return [name for name in session.queue if reviews.now(name).verdict is None]

    def open_page(session: Session, request: gr.Request) -> list[Any]:
        reviews.refresh()
        here, session.reviewer = session.caption, who(request)
        session.queue, session.shown = reviews.queue(session.wanted), ""
        session.at = session.queue.index(here) if here in session.queue else 0
        return look(session)

    def choose(
        session: Session, level: str, status: str, backend: str, below: float | None, contains: str,
        unreviewed: bool, kept: bool,
    ) -> list[Any]:  # fmt: skip
        reviews.refresh()
        here = session.caption
        level, status, backend = (ANY if each == EVERY else each for each in (level, status, backend))
        session.wanted = Filter(level, status, backend, below or None, contains or ANY, unreviewed, kept)
        session.queue = reviews.queue(session.wanted)
        session.at = session.queue.index(here) if here in session.queue else 0
        return look(session)

    def go(step: int) -> Any:
        def move(session: Session) -> list[Any]:
            reviews.refresh()
            last = len(session.queue) - 1
            told = "This is the last one." if session.at + step > last else "This is the first one."
            moved = 0 <= session.at + step <= last
            session.at = session.at + step if moved else session.at
            return look(session, "" if moved else told)

        return move

    def say_of(session: Session, names: list[str], verdict: Any, text: str | None = None) -> Action:
        return reviews.say(names, verdict, text, by=session.reviewer)

    def judge(verdict: Any) -> Any:
        def say(session: Session, text: str) -> list[Any]:
            name = session.caption
            if name is None:
                return look(session)
            now = reviews.now(name)
            try:
                if verdict == "edited" and text.strip() == now.text.strip():
                    return look(session, "Nothing was changed.")
                if verdict == "accepted" and text.strip() and text.strip() != now.text.strip():
                    done = say_of(session, [name], "edited", text)  # what is on the screen is what is accepted
                else:
                    done = say_of(session, [name], verdict, text)
            except ValueError as error:
                raise gr.Error(str(error), duration=10, print_exception=False) from error
            session.done.append(done)
            told = f"{done.verdict}: {reviews.captions[name]['level']} caption of {session.shown[:8]}".capitalize()
            if session.at + 1 < len(session.queue):
                session.at += 1
            else:
                told += ". This is the last one."
            return look(session, told)

        return say

    def judge_all(verdict: Any) -> Any:
        def say(session: Session) -> list[Any]:
            reviews.refresh()
            wanted = all_of(session)
            if not wanted:
                return look(session, "There is nothing left to review here.")
            done = say_of(session, wanted, verdict)
            session.done.append(done)
            return look(session, f"{verdict.capitalize()} {len(done.before)} captions. Undo takes it back.")

        return say

    def undo(session: Session) -> list[Any]:
        if not session.done:
            return look(session, "There is nothing to undo.")
        action = session.done.pop()
        done, left = reviews.undo(action, by=session.reviewer)
        first = next(iter(action.before))
        if first in session.queue:
            session.at = session.queue.index(first)
        told = f"Took back {len(done.before)}." if done else "Nothing was taken back."
        return look(
            session, told + (f" {left} were reviewed again since, and are left as they are." if left else "")
        )

    def news(session: Session) -> list[Any]:
        """What others wrote in the meantime; the text that someone may be editing is left alone."""
        if not reviews.refresh() or session.caption is None:
            return [gr.skip()] * 5
        return [captions_html(reviews, session.caption), *numbers(session)]

    session = gr.State(Session())
    with gr.Accordion("Filter", open=not prefix, elem_id=f"{prefix}filter"):
        with gr.Row():
            level = gr.Dropdown(
                [EVERY, *(each for each in PROSE if each in reviews.choices("level"))],
                value=EVERY,
                label="Level",
            )
            there = set(reviews.choices("status"))
            status = gr.Dropdown(
                [EVERY, *(each for each in CAPTION_STATUSES if each in there)], value=EVERY, label="Status"
            )
            backend = gr.Dropdown([EVERY, *reviews.choices("backend")], value=EVERY, label="Backend")
            below = gr.Number(None, label="Score below (empty or 0: any)", step=0.05)
            contains = gr.Textbox(label="Text contains", elem_id=f"{prefix}contains", max_length=200)
            with gr.Column(min_width=140):
                unreviewed = gr.Checkbox(False, label="Unreviewed only", elem_id=f"{prefix}unreviewed")
                kept = gr.Checkbox(True, label="Kept clips only")
        with gr.Row():
            accept_all = gr.Button("Accept all", elem_id=f"{prefix}accept-all", size="sm")
            reject_all = gr.Button("Reject all", elem_id=f"{prefix}reject-all", size="sm")
    where = gr.Markdown(elem_id=f"{prefix}where")
    with gr.Row(equal_height=False):
        with gr.Column(scale=5):
            clip = gr.Video(
                label="Clip", elem_id=f"{prefix}clip", autoplay=True, loop=True, height=360, interactive=False
            )
            about = gr.HTML(css_template=ABOUT_CSS, elem_id=f"{prefix}about")
        with gr.Column(scale=6):
            captions = gr.HTML(css_template=CAPTIONS_CSS, elem_id=f"{prefix}captions")
            text = gr.Textbox(label="Caption", lines=3, elem_id=f"{prefix}text", max_length=5000)
            with gr.Row():
                accept = gr.Button("Accept (A)", elem_id=f"{prefix}accept", variant="primary", min_width=100)
                reject = gr.Button("Reject (R)", elem_id=f"{prefix}reject", min_width=100)
                keep = gr.Button("Keep edit (Ctrl+Enter)", elem_id=f"{prefix}keep", min_width=100)
            with gr.Row():
                previous = gr.Button("Previous (K)", elem_id=f"{prefix}previous", min_width=100)
                following = gr.Button("Next (J)", elem_id=f"{prefix}next", min_width=100)
                take_back = gr.Button("Undo (U)", elem_id=f"{prefix}undo", interactive=False, min_width=100)
            told = gr.Markdown(elem_id=f"{prefix}told")
            gr.Markdown(
                "Keys: A accept · R reject · E edit · J next · K previous · U undo · Space plays and pauses"
            )
    counted = [where, accept_all, reject_all, take_back]
    everything = [session, clip, about, captions, text, told, *counted]
    conditions = [level, status, backend, below, contains, unreviewed, kept]
    how = {"api_visibility": "private", "show_progress": "hidden", "queue": True}
    opened(open_page, [session], everything, **how)
    for condition in conditions:
        condition.change(choose, [session, *conditions], everything, **how)
    for button, verdict in ((accept, "accepted"), (reject, "rejected"), (keep, "edited")):
        button.click(judge(verdict), [session, text], everything, **how)
    for button, step in ((following, 1), (previous, -1)):
        button.click(go(step), [session], everything, **how)
    for button, verdict in ((accept_all, "accepted"), (reject_all, "rejected")):
        button.click(judge_all(verdict), [session], everything, **how)
    take_back.click(undo, [session], everything, **how)
    gr.Timer(SECONDS).tick(news, [session], [captions, *counted], **how)


def launch_options(dataset: Path, previews: Path) -> dict[str, Any]:
    """Look, keys and limits of the page; nothing is fetched from elsewhere."""
    from gradio.themes import Base, colors

    theme = Base(
        primary_hue=colors.amber, neutral_hue=colors.stone,
        font=("system-ui", "sans-serif"), font_mono=("ui-monospace", "monospace"),
    ).set(
        button_primary_background_fill="*primary_700", button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
    )  # fmt: skip
    return {
        "theme": theme,
        "css": CSS,
        "js": keys(),
        "show_error": True,
        "ssr_mode": False,
        "allowed_paths": [str(dataset / "media"), str(previews)],
    }


def command(args: argparse.Namespace) -> None:
    """`kinema caption review`: serve the screen until interrupted.

    Raises:
        CaptionError: the dataset is not published.
    """
    reviews = Reviews(args.dataset, args.reviewer or getpass.getuser())
    with tempfile.TemporaryDirectory(prefix="kinema-review-") as folder:
        previews = Previews(args.dataset.resolve(), Path(folder).resolve())
        page = build_review(reviews, previews)
        _, url, _ = page.launch(
            server_name="127.0.0.1",
            server_port=args.port,
            prevent_thread_lock=True,
            quiet=True,
            **launch_options(args.dataset.resolve(), Path(folder).resolve()),
        )
        counts = reviews.counts()
        sys.stdout.write(
            f"reviewing {args.dataset} as {reviews.reviewer}: {sum(counts.values())} captions, "
            f"{counts['']} unreviewed\n{url} (Ctrl+C ends it; all that was done is kept)\n"
        )
        sys.stdout.flush()
        try:
            page.block_thread()
        except KeyboardInterrupt:
            pass
        finally:
            page.close(verbose=False)
