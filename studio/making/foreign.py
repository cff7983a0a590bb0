"""Other diffusers pipelines (Wan, LTX, CogVideoX …), made to work as a worker's `KinemaPipeline` does."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps

from ..jobs.job import JobError
from ..jobs.wish import Wish
from ..models.foreign_model import LENGTHS, RATES, Call, read_call
from ..models.model import Model, read_model

if TYPE_CHECKING:
    from ...pipeline.output import KinemaPipelineOutput

logger = logging.getLogger(__name__)


def load_foreign(model: str, device: str | None = None, dtype: str | None = None) -> "ForeignPipeline":
    """A pipeline on a device.

    Args:
        model: folder or hub id.
        device, dtype: as of `kinema.pipeline.command.load`.

    Raises:
        CheckpointError: it is of no pipeline that can be served.
    """
    facts = read_model(model)
    call = read_call(facts.kind)
    import torch
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline
    from diffusers.utils import logging as diffusers_logging

    from ...pipeline.command import best_device

    diffusers_logging.disable_progress_bar()
    device = device or best_device()
    dtype = dtype or ("float32" if device == "cpu" else "bfloat16")
    path = Path(model).expanduser()
    pipe = DiffusionPipeline.from_pretrained(str(path) if path.is_dir() else model, dtype=getattr(torch, dtype))
    pipe.to(device)
    pipe.set_progress_bar_config(disable=True)
    return ForeignPipeline(pipe, facts, call)


class ForeignPipeline:
    """What `making` needs of a pipeline: `run`, `vae`, `num_timesteps`, and `_interrupt` to stop after the step.

    Args:
        pipe: of diffusers.
        model: its facts.
        call: its `__call__`.
    """

    def __init__(self, pipe: Any, model: Model, call: Call) -> None:
        self.pipe, self.facts, self.call = pipe, model, call
        self._before: Any = None  # latents before the step under way
        self._done = 0

    @property
    def vae(self) -> Any:
        """Its autoencoder."""
        return self.pipe.vae

    @property
    def num_timesteps(self) -> int:
        """Steps of the call."""
        return self.pipe.num_timesteps

    @property
    def _interrupt(self) -> bool:
        return self.pipe._interrupt

    @_interrupt.setter
    def _interrupt(self, value: bool) -> None:
        self.pipe._interrupt = value

    def run(
        self, wish: Wish, find: Callable[[str], Path], seed: int, *, callback_on_step_end: Callable[..., dict],
        callback_on_step_end_tensor_inputs: Any = (),
    ) -> "KinemaPipelineOutput":  # fmt: skip
        """Make a wish, as `run_wish` does.

        Raises:
            JobError: it asks for what this pipeline cannot do.
            ValueError: a size that it cannot make.
        """
        import torch

        from ...pipeline.output import KinemaPipelineOutput

        self.facts.check(wish)
        width, height, frames, rate, warnings = self.shape(wish, find)
        given: dict[str | None, Any] = {
            "prompt": wish.prompt, "negative_prompt": wish.negative_prompt, "width": width, "height": height,
            "num_inference_steps": wish.num_inference_steps, "guidance_scale": wish.guidance_scale,
            self.call.named(*LENGTHS): frames, self.call.named(*RATES): rate,
            "image": self._picture(wish, find, width, height, warnings),
            "generator": torch.Generator("cpu").manual_seed(seed), "output_type": "np",
        }  # fmt: skip
        arguments = {name: given[name] for name in self.call.arguments if given.get(name) is not None}
        self._before, self._done = None, 0

        def on_step(pipe: Any, index: int, timestep: Any, tensors: dict) -> dict:
            callback_on_step_end(self, index, timestep, {})
            self._done = index + 1
            return self._heeded(index, tensors.get("latents"))

        seen = ["latents"] if "latents" in getattr(self.pipe, "_callback_tensor_inputs", ()) else []
        with torch.no_grad():
            output = self.pipe(
                **arguments, callback_on_step_end=on_step, callback_on_step_end_tensor_inputs=seen
            )  # fmt: skip
        video = _pixels(output.frames[0])
        interrupted = bool(getattr(self.pipe, "_interrupt", False)) and self._done < self.num_timesteps
        if interrupted:
            warnings.append(f"interrupted after {self._done} of {self.num_timesteps} steps")
        if len(video) != frames:
            warnings.append(f"{frames} frames were asked for, and {self.facts.kind} made {len(video)}")
        if getattr(output, "audio", None) is not None:
            warnings.append("the sound that was made with it is left out")
        for warning in warnings:
            logger.warning(warning)
        made = self._provenance(wish, seed, video, rate, interrupted)
        return KinemaPipelineOutput(
            frames=video[None], frame_rate=rate, provenance=[made],
            warnings=warnings, output_type="np", exact=False, interrupted=interrupted,
        )  # fmt: skip

    def shape(self, wish: Wish, find: Callable[[str], Path]) -> tuple[int, int, int, float, list[str]]:
        """Width, height, frames and rate that a wish comes to, and what was changed for it.

        Raises:
            ValueError: a width or height off the grid; the message gives the nearest.
        """
        model, warnings = self.facts, []
        width, height = model.size(wish)
        if wish.image is not None and wish.width is None and wish.height is None:
            with Image.open(find(wish.image)) as picture:
                ratio = picture.width / picture.height
            _, width, height = min(model.aspects, key=lambda each: abs(np.log(each[1] / each[2] / ratio)))
        for name, side in (("width", width), ("height", height)):
            if side % model.multiple:
                below = side // model.multiple * model.multiple
                near = f"{below} or {below + model.multiple} do" if below else f"{model.multiple} is the least"
                raise ValueError(f"{name} {side} does not fit; {near} (multiples of {model.multiple})")
        rate = wish.fps or model.fps
        asked = model.frames(wish)
        frames = 1 + model.frame_step * max(0, int((asked - 1) / model.frame_step + 0.5))
        if frames != asked:
            warnings.append(f"{asked} frames do not fit; it makes {frames} (1 + a multiple of {model.frame_step})")
        return width, height, frames, rate, warnings

    def _picture(
        self, wish: Wish, find: Callable[[str], Path], width: int, height: int, warnings: list[str]
    ) -> Image.Image | None:
        if wish.image is None:
            return None
        path = find(wish.image)
        if path.suffix != ".png":
            raise JobError(f"{wish.image} is a video; the first picture of this model has to be a picture")
        picture = Image.open(path).convert("RGB")
        if picture.size == (width, height):
            return picture
        warnings.append(f"the picture was brought from {picture.width} x {picture.height} to {width} x {height}")
        match wish.fit:
            case "contain":
                return ImageOps.pad(picture, (width, height))
            case "stretch":
                return picture.resize((width, height))
        return ImageOps.fit(picture, (width, height))

    def _heeded(self, index: int, latents: Any) -> dict:
        """What the pipeline goes on with: if it was told to stop, what the video would become from there.

        Of a flow, x_σ = (1 - σ) x0 + σ ε, the last step's velocity v leads from x straight to x - σ v.
        """
        if latents is None:
            return {}
        before, self._before = self._before, latents
        if not getattr(self.pipe, "_interrupt", False) or before is None:
            return {}
        scheduler = self.pipe.scheduler
        sigmas = getattr(scheduler, "sigmas", None)
        is_flow = "FlowMatch" in type(scheduler).__name__ or scheduler.config.get("use_flow_sigmas")
        if not is_flow or sigmas is None or len(sigmas) != self.num_timesteps + 1:
            return {}
        step = float(sigmas[index + 1] - sigmas[index])
        return {"latents": latents - float(sigmas[index + 1]) / step * (latents - before)} if step else {}

    def _provenance(self, wish: Wish, seed: int, video: np.ndarray, rate: float, interrupted: bool) -> Any:
        import diffusers
        import torch

        from kinema import __version__

        from ...pipeline.provenance import Provenance, device_name, fingerprint

        modules = [part for part in self.pipe.components.values() if isinstance(part, torch.nn.Module)]
        device, main = self.pipe._execution_device, getattr(self.pipe, "transformer", None) or self.pipe.unet
        return Provenance(
            prompt=wish.prompt, negative_prompt=wish.negative_prompt or "", seed=seed, height=video.shape[1],
            width=video.shape[2], num_frames=len(video), frame_rate=rate,
            num_inference_steps=wish.num_inference_steps or self.facts.steps,
            guidance_scale=wish.guidance_scale or self.facts.guidance_scale, guidance="cfg",
            guidance_interval=(0.0, 1.0), scheduler=type(self.pipe.scheduler).__name__, model=self.facts.name,
            fingerprint=fingerprint(modules), dtype=str(main.dtype).removeprefix("torch."), device=str(device),
            device_name=device_name(device), threads=torch.get_num_threads(),
            matmul_precision=torch.get_float32_matmul_precision(), batch_size=1, batch_index=0, by_hand=(),
            kinema=__version__, torch=torch.__version__, diffusers=diffusers.__version__, task=self.facts.kind,
            settings={"image": wish.image} if wish.image else {},
            interrupted_after=self._done if interrupted else None,
        )  # fmt: skip


def _pixels(frames: Any) -> np.ndarray:
    """Frames (T, H, W, 3) in [0, 1] of whatever a pipeline calls frames."""
    if hasattr(frames, "detach"):  # a tensor (T, 3, H, W)
        frames = frames.detach().float().movedim(1, -1).cpu().numpy()
    array = np.stack([np.asarray(frame) for frame in frames])
    return np.clip(array / 255 if array.dtype == np.uint8 else array, 0, 1).astype(np.float32)
