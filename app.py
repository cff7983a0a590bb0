"""The demo: type a prompt, watch the clip. `kinema serve`, or `python app.py`.

Text to video on the packaged checkpoint (or `--model`), one clip at a time, in a queue.
"""

import argparse
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported

if TYPE_CHECKING:
    import gradio as gr

logger = logging.getLogger(__name__)

EXAMPLES = (
    "a red car drives to the left on snow at night",
    "a yellow duck waddles to the right on green grass",
    "a blue ball bounces on a wooden floor",
    "a green cube spins on sand at sunset",
)
LONGEST_PROMPT = 1000  # characters
CSS = "footer {visibility: hidden} .gradio-container {max-width: 64rem !important; margin: auto}"


def build_app(pipe: Any) -> "gr.Blocks":
    """The page, over a loaded `KinemaPipeline`."""
    import gradio as gr

    own = pipe.config
    fps, step = own["default_frame_rate"], pipe.grid.temporal * pipe.grid.patch[0] / own["default_frame_rate"]
    seconds = (own["default_num_frames"] - 1) / fps
    folder = tempfile.TemporaryDirectory(prefix="kinema-")  # lives as long as the page; gradio serves copies

    def generate(
        prompt: str,
        seed: float | None,
        steps: float,
        guidance: float,
        seconds: float,
        progress: Any = gr.Progress(),  # noqa: B008 - gradio finds the bar by this default
    ) -> tuple[str, str]:
        if not prompt or not prompt.strip():
            raise gr.Error("Describe a video first, for example: " + EXAMPLES[0], duration=10)

        def on_step_end(pipe: Any, index: int, timestep: Any, tensors: dict) -> dict:
            progress((index + 1, pipe.num_timesteps), desc="Denoising", unit="steps")
            return tensors

        progress(0, desc="Reading the prompt")
        try:
            output = pipe(
                prompt.strip(),
                num_frames=pipe.grid.nearest_frames(1 + seconds * fps),
                num_inference_steps=int(steps),
                guidance_scale=float(guidance),
                generator=None if seed is None else int(seed),
                callback_on_step_end=on_step_end,
            )
            for old in Path(folder.name).iterdir():
                old.unlink()
            [path] = output.save(Path(folder.name) / f"kinema-{output.provenance[0].seed}.mp4")
        except Exception as error:
            raise gr.Error(explain(error), duration=30, print_exception=False) from error
        return str(path), notice(output)

    with gr.Blocks(title="Kinema", delete_cache=(3600, 24 * 3600), analytics_enabled=False) as page:
        gr.Markdown("# Kinema\nText to video, trained from scratch. Type what should happen, and watch it.")
        with gr.Row(equal_height=False):
            with gr.Column(scale=5):
                prompt = gr.Textbox(
                    label="Prompt", placeholder=EXAMPLES[0], lines=3, max_length=LONGEST_PROMPT, autofocus=True
                )
                button = gr.Button("Generate", variant="primary", size="lg")
                gr.Examples([[example] for example in EXAMPLES], inputs=[prompt], label="Try one of these")
                with gr.Accordion("Settings", open=False):
                    seed = gr.Number(None, label="Seed", info="Empty: a new one each time", precision=0, minimum=0)
                    length = gr.Slider(step, 2 * seconds, seconds, step=step, label="Seconds")
                    steps = gr.Slider(1, 50, own["default_num_inference_steps"], step=1, label="Steps")
                    guidance = gr.Slider(
                        1, 12, own["default_guidance_scale"], step=0.5, label="Guidance",
                        info="How closely to follow the prompt; 1 switches it off",
                    )  # fmt: skip
            with gr.Column(scale=6):
                clip = gr.Video(label="Clip", autoplay=True, loop=True, height=420, interactive=False)
                note = gr.Markdown(label="Note", elem_id="note")
        gr.on(
            [button.click, prompt.submit],
            generate,
            inputs=[prompt, seed, steps, guidance, length],
            outputs=[clip, note],
            api_name="generate",
            show_progress_on=clip,
            concurrency_limit=1,
        )
    return page.queue(max_size=32, api_open=False)


def explain(error: Exception) -> str:
    """What the page says of an error; what nobody could have expected goes to the log."""
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        return "The device ran out of memory. Ask for fewer seconds, or close other programs on it."
    if isinstance(error, ValueError):
        return str(error)
    logger.exception("generation failed", exc_info=error)
    return f"Generation failed ({type(error).__name__}). The terminal where Kinema runs says more."


def notice(output: Any) -> str:
    """One line on what was made, and a line a warning."""
    made = output.provenance[0]
    size = f"{made.num_frames} frames at {made.frame_rate:g} a second · {made.width} × {made.height}"
    warnings = (f"⚠ {warning[0].upper()}{warning[1:]}." for warning in output.warnings)
    return "\n\n".join([f"Seed {made.seed} · {size}", *warnings])


def launch_options() -> dict[str, Any]:
    """Look and limits of the page; fonts are the system's, so that nothing is fetched from elsewhere."""
    from gradio.themes import Base, colors

    theme = Base(
        primary_hue=colors.amber,
        neutral_hue=colors.stone,
        font=("system-ui", "sans-serif"),
        font_mono=("ui-monospace", "monospace"),
    ).set(  # dark enough under white text
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
    )
    return {"theme": theme, "css": CSS, "show_error": True, "max_file_size": "1mb", "ssr_mode": False}


def serve(args: argparse.Namespace) -> None:
    """Load the model and serve the page until interrupted."""
    from kinema.pipeline.command import load

    pipe = load(args.model, quiet=True)
    build_app(pipe).launch(server_name=args.host, server_port=args.port, **launch_options())


def main(argv: Sequence[str] | None = None) -> None:
    """`python app.py`."""
    parser = argparse.ArgumentParser(description="Open Kinema's demo in a browser.")
    parser.add_argument("--model", default=None, help="folder or hub id (default: the packaged checkpoint)")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7860)
    serve(parser.parse_args(argv))


if __name__ == "__main__":
    main()
