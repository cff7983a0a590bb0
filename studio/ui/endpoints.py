"""The app's endpoints with names, for `gradio_client`; few, for the REST API has all."""

import asyncio
import uuid
from typing import Any

import gradio as gr
from gradio.events import api

from ..jobs.job import Job, JobError
from ..rest.objects import video_object
from .shared import Shared, media_url

LOOK = 0.2  # seconds between looks at a job that is waited for


def build_endpoints(shared: Shared) -> None:
    """`/generate`, `/status` and `/cancel`."""
    studio = shared.studio

    def told(job: Job) -> dict[str, Any]:
        video = video_object(job, studio)
        return video | ({"url": media_url(job)} if job.status == "completed" else {})

    def mine(video_id: str, request: gr.Request) -> Job:
        job = shared.job(video_id, request)
        if job is None:
            raise gr.Error(f"There is no video {video_id!r}.", print_exception=False)
        return job

    async def generate(
        prompt: str, seconds: float | None = None, width: int | None = None, height: int | None = None,
        num_inference_steps: int | None = None, guidance_scale: float | None = None,
        negative_prompt: str | None = None, seed: int | None = None, request: gr.Request = None,  # type: ignore[assignment]  # gradio gives it
    ) -> dict[str, Any]:  # fmt: skip
        """Make a video, and wait until it has ended. Whoever leaves finds it later: it is made anyway."""
        given = {
            "prompt": prompt, "seconds": seconds, "width": width, "height": height, "seed": seed,
            "num_inference_steps": num_inference_steps, "guidance_scale": guidance_scale,
            "negative_prompt": negative_prompt,
        }  # fmt: skip
        try:
            owner = shared.owner(request)
            owner.may_ask()
            job = await asyncio.to_thread(
                studio.submit, {name: value for name, value in given.items() if value is not None},
                owner=owner.name, sees=owner.sees, request_id=f"req_{uuid.uuid4().hex}",
            )  # fmt: skip
            while not job.ended:
                await asyncio.sleep(LOOK)
                job = await asyncio.to_thread(studio.store.get, job.id)
        except JobError as error:
            raise gr.Error(f"{error.code}: {error}", print_exception=False) from error
        if job.status != "completed":
            raise gr.Error(f"{job.error_code or job.status}: {job.error or job.status}", print_exception=False)
        return told(job)

    def status(video_id: str, request: gr.Request) -> dict[str, Any]:
        """How far a video is, as the REST API's Video object; "url" when it is made."""
        return told(mine(video_id, request))

    def cancel(video_id: str, keep: bool = False, request: gr.Request = None) -> dict[str, Any]:  # type: ignore[assignment]  # gradio gives it
        """Stop a video within its next step; with `keep` the frames stay as they are by then."""
        return told(studio.store.stop(mine(video_id, request).id, "keep" if keep else "discard"))

    api(generate, api_name="generate", concurrency_limit=None)
    api(status, api_name="status", queue=False)
    api(cancel, api_name="cancel", queue=False)
