"""Create: a prompt and one button; all else is folded away until it is wanted."""

import html
import re
from pathlib import Path
from typing import Any

import gradio as gr

from . import estimating
from .create_parts import build_expert, build_more, note
from .endpoints import build_endpoints
from .form import NAMES, carried_words, form_values, quality_of, size_key, usual_seconds, wish_values
from .improving import build_improving
from .live import CSS
from .shared import Shared, said
from .watching import build_watching

WITHOUT_FILES = dict.fromkeys(("image", "guide", "keyframe_1", "keyframe_2"))  # kept only when it is asked for
WEIGH = ("aspect", "seconds", "steps", "guidance_scale", "fps", "schedule", "sampler", "carried")
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
WORD = re.compile(r"[^\W\d_]+$")  # at the end: it is still being typed
TO_PROMPT = "() => { document.querySelector('#prompt textarea')?.focus(); }"
TO_VIEW = """() => {  // on a narrow page the view is below the form; it needs a moment to have its height
  const view = document.querySelector('#watching');
  if (view.getBoundingClientRect().top > innerHeight / 2) setTimeout(() => view.scrollIntoView(), 700);
}"""
PRESS = """
element.addEventListener('click', event => {
  const button = event.target.closest('[data-word], [data-text]');
  if (button) trigger('swap', {...button.dataset});
});
"""
KEEP = """
function remember() {  // what was typed outlives the page
  const field = document.querySelector('#prompt textarea');
  if (!field) return setTimeout(remember, 50);
  const keep = () => localStorage.setItem('kinema-prompt', field.value);
  const kept = localStorage.getItem('kinema-prompt');
  if (kept && !field.value) {
    field.value = kept;
    field.dispatchEvent(new Event('input', {bubbles: true}));
  }
  field.addEventListener('input', keep);
  addEventListener('pagehide', keep);
}
remember();
"""


def build_create(shared: Shared, page: gr.Blocks) -> None:
    """The form, and beside it the live view of what it asked for."""
    model = shared.studio.model
    editing, smaller = gr.State(""), gr.State({})
    parts: dict[str, Any] = {"carried": gr.State({})}
    with gr.Row(equal_height=False):
        with gr.Column(min_width=300, scale=1):
            banner = gr.HTML(visible=False, elem_id="editing")
            stop_editing = gr.Button("Leave it as it is", size="sm", visible=False, elem_id="stop-editing")
            parts["prompt"] = gr.Textbox(
                label="Describe your video", lines=1, max_lines=8, max_length=4000, elem_id="prompt",
                placeholder=model.examples[0] if model.examples else "", autofocus=True,
                info="Enter makes it, Shift+Enter begins a new line",
            )  # fmt: skip
            unknown = _part("unknown-words", script=PRESS + KEEP)
            examples = _part("examples", _examples(model.examples)) if model.examples else None
            with gr.Row():
                parts["aspect"] = gr.Dropdown(
                    [(f"{name} ({each[0]} × {each[1]})", size_key(*each)) for name, *each in model.aspects],
                    value=size_key(model.width, model.height), label="Shape", elem_id="aspect", min_width=200,
                )  # fmt: skip
                step = model.frame_step / model.fps
                parts["seconds"] = gr.Slider(
                    0, max(model.max_seconds, usual_seconds(model)), usual_seconds(model),
                    step=round(step, 3), label="Seconds", elem_id="seconds", min_width=140,
                    **note(model, "seconds", told="0 makes a picture"),
                )  # fmt: skip
            parts["quality"] = gr.Radio(
                [(f"{name} ({steps} steps)", name) for name, steps in model.drafts.items()], value="standard",
                label="Quality", elem_id="quality",
            )  # fmt: skip
            estimate = _part("estimate")
            fit = gr.Button("", size="sm", visible=False, elem_id="fit")
            generate = gr.Button("Generate", variant="primary", elem_id="generate")
            with gr.Accordion("More: pictures, style, what to avoid", open=False, elem_id="more"):
                carried_note = gr.HTML(visible=False, elem_id="carried")
                drop = gr.Button("Go on without them", size="sm", visible=False, elem_id="drop-carried")
                build_improving(shared, parts["prompt"])
                build_more(model, parts)
                with gr.Accordion("Expert: seed, steps, guidance", open=False, elem_id="expert"):
                    build_expert(model, parts)
        with gr.Column(min_width=300, scale=1):
            view = build_watching(shared, page, lock=True)
    form = [parts[name] for name in NAMES]

    def submit(*given: Any, request: gr.Request) -> list[Any]:
        *values, job_id = given
        owner = shared.owner(request)

        def take(path: str) -> str:
            with Path(path).open("rb") as file:
                return shared.studio.upload(file, owner.name)

        with said():
            wish = wish_values(model, dict(zip(NAMES, values, strict=True)), take)
            if job_id:
                followed = shared.studio.edit(job_id, wish, owner.sees).id
                gr.Info("Changed; it keeps its place in the queue.")
            else:
                followed = shared.submit(wish, request).id
        return [followed, *_mode("")]

    def submit_form(request: gr.Request, *given: Any) -> list[Any]:
        return submit(*given, request=request)

    mode = [editing, banner, stop_editing, generate]
    asked = gr.on(
        [generate.click, parts["prompt"].submit], submit_form, [*form, editing], [shared.followed, *mode],
        show_progress="minimal", show_progress_on=generate, concurrency_limit=8, trigger_mode="once",
        api_visibility="private",
    )  # fmt: skip
    asked.success(None, js=TO_VIEW, api_visibility="private")
    stop_editing.click(lambda: _mode(""), None, mode, **QUIET)

    def estimated(*values: Any) -> list[Any]:
        given: dict[str, Any] = {**dict(zip(NAMES, values, strict=True)), **WITHOUT_FILES}
        given["prompt"] = given["prompt"] or "anything"
        given["seed"] = ""
        text, fits, other = estimating.line(shared, wish_values(model, given, str))
        words = f"Use what fits: {other}" if fits else ""
        return [f'<div role="status" aria-live="polite">{text}</div>', fits, gr.Button(words, visible=bool(fits))]

    weigh = [parts[name] for name in WEIGH]
    gr.on(
        [page.load, *(part.change for part in weigh)], estimated, form, [estimate, smaller, fit],
        trigger_mode="always_last", **QUIET,
    )  # fmt: skip

    def fill(values: dict[str, Any]) -> list[Any]:
        found = form_values(model, values)
        sizes = [key for _, key in parts["aspect"].choices]
        if found["aspect"] not in sizes:
            own = (found["aspect"].replace("x", " × "), found["aspect"])
            found["aspect"] = gr.Dropdown(choices=[*parts["aspect"].choices, own], value=own[1])
        return [found[name] for name in NAMES]

    def apply(fits: dict[str, Any], *values: Any) -> list[Any]:
        given: dict[str, Any] = {**dict(zip(NAMES, values, strict=True)), **WITHOUT_FILES}
        given["seed"] = ""
        kept = wish_values(model, given, str)
        kept = {name: value for name, value in kept.items() if name not in ("seconds", "num_frames")}
        found = dict(zip(NAMES, fill(kept | fits), strict=True))
        return [found[name] if name in ("aspect", "seconds", "steps", "quality") else gr.skip() for name in NAMES]

    fit.click(apply, [smaller, *form], form, **QUIET)

    def take_over(handed: tuple[dict[str, Any], int]) -> list[Any]:
        values = dict(handed[0])
        job_id = values.pop("job", "")
        return [*fill(values), *_mode(job_id)]

    shared.settings.change(take_over, shared.settings, [*form, *mode], **QUIET).then(
        None, js=TO_PROMPT, api_visibility="private"
    )

    def show_carried(carried: dict[str, Any]) -> list[Any]:
        words = carried_words(carried or {})
        return [gr.HTML(f"<p>Taken over with the settings: {html.escape(words)}.</p>", visible=bool(words)),
                gr.Button(visible=bool(words))]  # fmt: skip

    parts["carried"].change(show_carried, parts["carried"], [carried_note, drop], **QUIET)
    drop.click(lambda: {}, None, parts["carried"], **QUIET)

    parts["quality"].input(lambda name: model.drafts[name], parts["quality"], parts["steps"], **QUIET)
    parts["steps"].input(lambda steps: quality_of(model, steps), parts["steps"], parts["quality"], **QUIET)

    def look_at(prompt: str) -> str:
        return _unknown(model.unknown(WORD.sub("", prompt or "")))

    parts["prompt"].change(look_at, parts["prompt"], unknown, trigger_mode="always_last", **QUIET)
    parts["prompt"].blur(lambda prompt: _unknown(model.unknown(prompt or "")), parts["prompt"], unknown, **QUIET)

    def swap(event: gr.EventData, prompt: str) -> str:
        if "text" in event._data:
            return event.text
        return re.sub(rf"\b{re.escape(event.word)}\b", lambda match: event.by, prompt, flags=re.IGNORECASE)

    for part in (unknown, examples) if examples is not None else (unknown,):
        part.swap(swap, parts["prompt"], parts["prompt"], **QUIET).then(
            None, js=TO_PROMPT, api_visibility="private"
        )

    def lock(event: gr.EventData) -> list[Any]:
        gr.Info(f"Seed {event.value} is locked: the next video uses it.")
        return [event.value, True]

    view.lock(lock, None, [parts["seed"], parts["lock"]], **QUIET)
    build_endpoints(shared)


def _part(elem_id: str, text: str = "", script: str = PRESS) -> gr.HTML:
    return gr.HTML(text, elem_id=elem_id, js_on_load=script, css_template=CSS, apply_default_css=False)


def _mode(job_id: str) -> list[Any]:
    """(editing, banner, stop_editing, generate) while a waiting job is edited, or while none is."""
    on = bool(job_id)
    return [
        job_id, gr.HTML('<p role="status">✎ You change a video that waits in the queue.</p>', visible=on),
        gr.Button(visible=on), gr.Button("Save the change" if on else "Generate"),
    ]  # fmt: skip


def _examples(prompts: tuple[str, ...]) -> str:
    buttons = "".join(
        f'<button type="button" data-text="{html.escape(each)}">{html.escape(each)}</button>'
        for each in prompts[:6]
    )
    return (
        '<details><summary class="quiet">Examples that this model makes well</summary>'
        f'<div class="row">{buttons}</div></details>'
    )


def _unknown(words: dict[str, list[str]]) -> str:
    """Words that the model never saw, each with the nearest that it knows to put in its place."""
    rows = []
    for word, known in words.items():
        buttons = "".join(
            f'<button type="button" data-word="{html.escape(word)}" data-by="{html.escape(each)}" '
            f'aria-label="Replace {html.escape(word)} by {html.escape(each)}">{html.escape(each)}</button>'
            for each in known
        )
        nearest = f"Nearest: {buttons}" if buttons else "Nothing near it is known."
        rows.append(f'<div class="row">⚠ The model never saw “{html.escape(word)}”. {nearest}</div>')
    return f'<div role="status" aria-live="polite">{"".join(rows)}</div>'
