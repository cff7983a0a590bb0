"""The folded parts of Create: what a video is made from, and what experts set."""

from typing import Any

import gradio as gr

from ..models.model import Model
from .form import KEYFRAMES, NONE, OWN, SAMPLERS, SCHEDULES, STRENGTH, styles


def picture(**options: Any) -> gr.Image:
    """A picture to give. It is not opened here: only a killable process looks into what strangers give."""
    words = "Drop an image file here to upload"  # as its own label for screen readers says
    part = gr.Image(sources=["upload"], type="filepath", buttons=[], placeholder=words, **options)
    part.preprocess = lambda payload: None if payload is None else payload.path
    return part


def note(model: Model, *names: str, told: str | None = None) -> dict[str, Any]:
    """What a control says of an option that the model lacks: it is shown, off, and the reason beside it."""
    why = next((model.off[name] for name in names if name in model.off), None)
    return {"info": told} if why is None else {"info": f"Off: {why}", "interactive": False}


def _label(model: Model, words: str, *names: str) -> dict[str, Any]:
    """The same for what has a label only."""
    off = note(model, *names)["info"]
    return {"label": f"{words}. {off}" if off else words, "interactive": not off}


def build_more(model: Model, parts: dict[str, Any]) -> None:
    """Pictures, a guide, style, and what to avoid."""
    given = styles(model)
    parts["style"] = gr.Dropdown(
        [NONE, *given], value=NONE, label="Style", elem_id="style", interactive=bool(given),
        info="Put after your prompt" if given else "Off: the model knows no words for styles",
    )  # fmt: skip
    parts["negative_prompt"] = gr.Textbox(
        label="What to avoid", lines=1, max_lines=4, max_length=4000, elem_id="negative-prompt",
        **note(model, "negative_prompt"),
    )  # fmt: skip
    parts["image"] = picture(
        **_label(model, "First picture", "image"), height=180, elem_id="image",
    )  # fmt: skip
    with gr.Accordion("Keyframes: pictures at certain seconds", open=False, elem_id="keyframes"):
        for number in KEYFRAMES:
            parts[f"keyframe_{number}"] = picture(
                **_label(model, f"Keyframe {number}", "keyframes"), height=160, elem_id=f"keyframe-{number}",
            )  # fmt: skip
            parts[f"at_{number}"] = gr.Number(
                0, label=f"Keyframe {number} is at second", minimum=0,
                elem_id=f"keyframe-{number}-at",
                **note(model, "keyframes"),
            )  # fmt: skip
    with gr.Accordion("Video guide: make another one of a video", open=False, elem_id="guide-part"):
        parts["guide"] = gr.File(
            **_label(model, "Video", "remix"),
            file_types=["video", ".gif"],
            type="filepath",
            height=120,
            elem_id="guide",
        )
        parts["strength"] = gr.Slider(
            0, 1, STRENGTH, step=0.05, label="How much may change", elem_id="strength",
            **note(model, "remix", told="0 keeps the video, 1 makes a new one"),
        )  # fmt: skip


def build_expert(model: Model, parts: dict[str, Any]) -> None:
    """Numbers; each begins at the model's own."""
    with gr.Row():
        parts["seed"] = gr.Textbox(
            label="Seed",
            placeholder="new each time",
            max_lines=1,
            max_length=20,
            elem_id="seed",
            min_width=120,
        )
        parts["lock"] = gr.Checkbox(
            False, label="Lock the seed", info="Else each video has a new one", elem_id="lock-seed", min_width=120
        )
    parts["steps"] = gr.Slider(
        1, max(100, *model.drafts.values()), model.steps, step=1, label="Steps", elem_id="steps",
        **note(model, "num_inference_steps"),
    )  # fmt: skip
    parts["guidance_scale"] = gr.Slider(
        1, max(15.0, model.guidance_scale), model.guidance_scale, step=0.1, label="Guidance",
        elem_id="guidance-scale",
        **note(model, "guidance_scale", told="How closely it follows the prompt"),
    )  # fmt: skip
    parts["fps"] = gr.Slider(
        1, max(60.0, model.fps), model.fps, step=1, label="Frames a second", elem_id="fps", **note(model, "fps")
    )
    parts["sampler"] = gr.Dropdown(
        list(SAMPLERS), value=OWN, label="Sampler", elem_id="sampler", **note(model, "sampler")
    )
    parts["schedule"] = gr.Dropdown(
        list(SCHEDULES), value=OWN, label="Order of the frames", elem_id="schedule",
        **note(model, "schedule", told="In which order they lose their noise"),
    )  # fmt: skip
