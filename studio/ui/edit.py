"""Editing a video: a way to do it, its few settings, and one button. The result can be edited again."""

import html
from typing import Any

import gradio as gr

from .. import editing
from ..editing import EDITS, Source
from ..jobs.job import JobError, NoJobError
from ..models.estimate import difference, estimate, frames_of
from .choosing import build_chooser, taken
from .live import about
from .mask import box_of, build_painter, mask_file, painting
from .remembering import build_memory
from .shared import Shared, said
from .watching import build_watching

QUIET: dict[str, Any] = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}
QUEUED: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": 8}
# Gradio shows errors, and tells the listeners of a State, of queued events only.
PAINT, BOX = "Paint it", "A box in numbers"
NOTHING = '<p class="empty">Choose a video below, upload one, or press “Edit this” beside any result.</p>'
NO_SECOND = '<p class="empty">No second video is chosen.</p>'
CSS = """
video, img {width: 100%; max-height: 36vh; object-fit: contain; display: block;
  background: var(--neutral-900); border-radius: var(--radius-lg)}
.empty {border: 2px dashed var(--border-color-primary); border-radius: var(--radius-lg); padding: 2rem 1rem;
  text-align: center; margin: 0}
"""
PROBLEM = ".problem {border-left: .25rem solid #b91c1c; padding: .3rem .6rem; margin: .5rem 0}"


def build_edit(shared: Shared, page: gr.Blocks) -> None:
    """The screen."""
    model, offered = shared.studio.model, editing.offered(shared.studio.model)
    if not offered:
        gr.HTML(_lacking(shared), elem_id="edit-off")
        return
    first = next(iter(offered))
    kept = build_memory(page, "edited", "")
    other, nothing, smaller = gr.State(""), gr.State({}), gr.State({})
    with gr.Row(equal_height=False):
        with gr.Column(min_width=300):
            gr.Markdown("## What to edit")
            shown = gr.HTML(NOTHING, css_template=CSS, elem_id="edit-source")
            with gr.Accordion("Choose a video", open=True, elem_id="edit-choose") as choose:
                picker, upload = build_chooser(shared, "edit-")
            gr.Markdown("## What to do")
            task = gr.Radio(
                [(edit.words, name) for name, edit in offered.items()], value=first, label="Way to edit",
                elem_id="edit-task",
            )  # fmt: skip
            does = gr.HTML(_about(first), elem_id="edit-about")
            gr.HTML(_lacking(shared), elem_id="edit-off", visible=bool(editing.lacking(model)))
            with gr.Column(visible="other" in offered[first].needs) as other_part:
                other_shown = gr.HTML(NO_SECOND, css_template=CSS, elem_id="edit-other")
                other_picker, other_upload = build_chooser(shared, "edit-other-")
            seconds = gr.Slider(
                model.frame_step / model.fps, min(model.max_seconds, 20.0), 1.0, step=model.frame_step / model.fps,
                label="Seconds that are added", elem_id="edit-seconds", visible="seconds" in offered[first].needs,
            )  # fmt: skip
            strength = gr.Slider(
                0, 1, editing.FREE, step=0.05, label="Freedom", elem_id="edit-strength",
                info="0 keeps the video as it is, 1 leaves nothing of it",
                visible="strength" in offered[first].needs,
            )  # fmt: skip
            aspect = gr.Dropdown(
                list(editing.ASPECTS), value="16:9", label="New shape (width to height)", elem_id="edit-aspect",
                visible="aspect" in offered[first].needs,
            )  # fmt: skip
            with gr.Column(visible="mask" in offered[first].needs) as mask_part:
                way = gr.Radio(
                    [PAINT, BOX], value=PAINT, label="How to mark what changes", elem_id="edit-mask-way"
                )
                at = gr.Slider(0, 1, 0, step=0.1, label="Frame to mark on (seconds)", elem_id="edit-mask-at")
                painter, mask = build_painter("edit-mask")
                with gr.Row(visible=False) as box_part:
                    box = [
                        gr.Number(value, label=f"{name} (%)", minimum=0, maximum=100, min_width=110,
                                  elem_id=f"edit-box-{name.lower()}")
                        for name, value in (("Left", 25), ("Top", 25), ("Right", 75), ("Bottom", 75))
                    ]  # fmt: skip
            prompt = gr.Textbox(
                label="Prompt", lines=2, elem_id="edit-prompt", info="What is seen in what is made"
            )
            with gr.Accordion("More", open=False):
                steps = gr.Radio(
                    [(f"{name.capitalize()} ({count} steps)", count) for name, count in model.drafts.items()],
                    value=model.steps, label="Quality", elem_id="edit-quality",
                )  # fmt: skip
                seed = gr.Number(None, label="Seed (empty: a new one each time)", precision=0, minimum=0,
                                 elem_id="edit-seed")  # fmt: skip
            comes_to = gr.HTML(css_template=PROBLEM, elem_id="edit-estimate")
            fit = gr.Button("", elem_id="edit-fit", visible=False)
            make = gr.Button("Make it", variant="primary", elem_id="edit-make")
        with gr.Column(min_width=300):
            gr.Markdown("## What comes of it")
            build_watching(shared, page, "edit-")

    def source_of(source_id: str, request: gr.Request) -> Source | None:
        """None: there is none (any more)."""
        try:
            if source_id.startswith("video_"):
                job = shared.job(source_id, request)
                return None if job is None else editing.source_of(shared.studio, job)
            if not source_id or not shared.owner(request).sees(source_id):
                return None
            return editing.source_of_upload(shared.studio, source_id)
        except NoJobError:
            return None

    def show(source_id: str, request: gr.Request) -> list[Any]:
        """All that depends on the source."""
        with said():
            source = source_of(source_id, request)
            if source is None:
                return ["", NOTHING, {"chosen": ""}, gr.Accordion(open=True), *[gr.skip()] * 5, {}]
            still = editing.frame_of(shared.studio, source, 0.0)
        step, shapes = editing.step(model, source), editing.aspects(source)
        last = max(step, round((source.seconds or 0.0) - 1 / (source.fps or model.fps), 2))
        return [
            source.id,
            _player(source, "edit-player"),
            {"chosen": source.id},
            gr.Accordion(open=False),
            source.prompt,
            gr.Slider(minimum=step, step=step, value=editing.fitting(1.0, model, source),
                      info=f"In steps of {step:.3g} s"),
            gr.Dropdown(choices=shapes, value=shapes[0]),
            gr.Slider(maximum=last, value=0, visible=source.fps is not None),
            "",
            painting(still.png, source.width, source.height),
        ]  # fmt: skip

    parts = [kept, shown, picker, choose, prompt, seconds, aspect, at, mask, painter]

    def handed(source: tuple[str, int], request: gr.Request) -> list[Any]:
        return show(source[0], request)

    def picked(event: gr.EventData, request: gr.Request) -> list[Any]:
        return show(str(event.id), request)

    def uploaded(path: str, request: gr.Request) -> list[Any]:
        return show(taken(shared, path, request), request)

    def came_back(kept_id: str, request: gr.Request) -> list[Any]:
        try:
            return show(kept_id, request)
        except gr.Error:  # what was edited last cannot be read any more
            return show("", request)

    def second(source_id: str, request: gr.Request) -> list[Any]:
        with said():
            source = source_of(source_id, request)
        if source is None:
            raise gr.Error("This video was deleted.", print_exception=False)
        return [source.id, _player(source, "edit-other-player"), {"chosen": source.id}]

    def second_picked(event: gr.EventData, request: gr.Request) -> list[Any]:
        return second(str(event.id), request)

    def second_uploaded(path: str, request: gr.Request) -> list[Any]:
        return second(taken(shared, path, request), request)

    def chosen(name: str) -> list[Any]:
        needs = EDITS[name].needs
        return [_about(name), *(gr.update(visible=each in needs)
                                for each in ("other", "seconds", "strength", "aspect", "mask"))]  # fmt: skip

    def mark(
        way: str, at: float, kept_id: str, left: Any, top: Any, right: Any, bottom: Any, request: gr.Request
    ) -> list[Any]:
        """The frame that is painted on, or the box on it."""
        with said():
            source = source_of(kept_id, request)
            if source is None:
                return [gr.skip(), gr.update(visible=way == BOX)]
            still = editing.frame_of(shared.studio, source, float(at or 0.0))
        corners = None
        if way == BOX:
            try:
                corners = box_of(*(float(side or 0) for side in (left, top, right, bottom)))
            except JobError:  # while it is typed; asking for the video says what is wrong
                corners = (0.0, 0.0, 0.0, 0.0)
        return [painting(still.png, source.width, source.height, corners), gr.update(visible=way == BOX)]

    def told(name: str, kept_id: str, seconds: float, steps: int, request: gr.Request) -> list[Any]:
        with said():
            source = source_of(kept_id, request)
            if source is None:
                return ["", gr.update(visible=False), {}]
            wish = editing.sized(name, model, source, {"seconds": seconds, "steps": steps})
            found = estimate(shared.studio, wish)
        words = [f"{frames_of(model, wish)} frames of {source.width} × {source.height}, {steps} steps"]
        words.append(f"{about(found.seconds)} here" if found.seconds is not None else "the first of its kind here")
        text = f"<p>{' · '.join(words)}</p>"
        if found.fits:
            return [text, gr.update(visible=False), {}]
        text += f'<p class="problem">✕ It will not fit: {html.escape(found.why)}.</p>'
        if found.nearest is None:
            return [text, gr.update(visible=False), {}]
        instead = f"Make it with {difference(model, wish, found.nearest)}"
        return [text, gr.update(value=instead, visible=True), editing.smaller(found.nearest)]

    def ask(
        name: str, kept_id: str, other_id: str, text: str, seconds: float, strength: float, aspect: str,
        steps: int, seed: int | None, way: str, mask: str, left: Any, top: Any, right: Any, bottom: Any,
        smaller: dict[str, Any], request: gr.Request,
    ) -> str:  # fmt: skip
        with said():
            source = source_of(kept_id, request)
            if source is None:
                raise JobError("choose a video first")
            given: dict[str, Any] = {
                "prompt": text, "seconds": seconds, "strength": strength, "other": other_id, "aspect": aspect,
                "seed": seed, "steps": None if steps == model.steps else steps,
            }  # fmt: skip
            if "mask" in EDITS[name].needs:
                if way == BOX:
                    given["boxes"] = {0.0: box_of(*(float(side or 0) for side in (left, top, right, bottom)))}
                else:
                    given["mask"] = shared.studio.upload(mask_file(mask), shared.owner(request).name)
            values = editing.values_of(name, model, source, given) | smaller
        parent = source.id if source.id.startswith("video_") else None
        return shared.submit(values, request, parent=parent).id

    sized, estimated = [task, kept, seconds, steps], [comes_to, fit, smaller]
    for event, handler, given in (
        (shared.source.change, handed, shared.source),
        (picker.act, picked, None),
        (upload.upload, uploaded, upload),
        (page.load, came_back, kept),
    ):
        event(handler, given, parts, **QUEUED).then(told, sized, estimated, **QUIET)
    others = [other, other_shown, other_picker]
    other_picker.act(second_picked, None, others, **QUEUED)
    other_upload.upload(second_uploaded, other_upload, others, **QUEUED)
    task.change(chosen, task, [does, other_part, seconds, strength, aspect, mask_part], **QUIET)
    gr.on([task.change, seconds.change, steps.change], told, sized, estimated, **QUIET)
    gr.on(
        [way.change, at.change, *(side.change for side in box)], mark, [way, at, kept, *box], [painter, box_part],
        **QUIET,
    )  # fmt: skip
    asked = [task, kept, other, prompt, seconds, strength, aspect, steps, seed, way, mask, *box]
    make.click(ask, [*asked, nothing], shared.followed, **QUEUED)
    fit.click(ask, [*asked, smaller], shared.followed, **QUEUED)


def _player(source: Source, elem_id: str) -> str:
    name = html.escape(source.prompt[:100] or "The uploaded file")
    if source.fps is None:
        screen = f'<img id="{elem_id}" src="{source.url}" alt="{name}">'
    else:
        screen = (
            f'<video id="{elem_id}" src="{source.url}" poster="{source.poster}" controls loop muted playsinline '
            f'preload="metadata" aria-label="{name}"></video>'
        )
    return f"{screen}<p><strong>{name}</strong><br>{source.words}</p>"


def _about(name: str) -> str:
    return f"<p>{EDITS[name].about}</p>"


def _lacking(shared: Shared) -> str:
    lines = "".join(
        f'<li aria-disabled="true"><s>{html.escape(words)}</s>: {html.escape(why)}</li>'
        for words, why in editing.lacking(shared.studio.model)
    )
    return f"<div><p>Not with this model:</p><ul>{lines}</ul></div>" if lines else ""
