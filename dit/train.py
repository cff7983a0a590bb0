"""Trains the denoiser on latents and captions.

    kinema train dit --config cpu --out RUN
    accelerate launch -m kinema.dit.train --config cpu --out RUN

needs RUN/vae/final and RUN/conditioner/final, encodes every clip once into RUN/latents, and writes the averaged
denoiser and the text encoder it learned with to RUN/dit/final, samples of fixed prompts to RUN/dit/samples. The
held-out loss is that of clips whose attribute pairs were never trained on, always with the same noise.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from .. import trainer
from ..configs import Config
from ..data.files import atomic_path
from ..data.pixels import to_pixels
from ..data.sheets import contact_sheet
from ..vae.cache import LatentCacheError, LatentDataset, cache_latents
from ..vae.latents import encode_latents, latent_channels, latent_frame_times, temporal_stride
from . import flow
from .transformer import KinemaTransformer3DModel

TEXT_RATE = 0.2  # learning rate of a text encoder that learns along, as a share of the denoiser's
IN_MEMORY_BYTES = 2**30  # latents up to this size are read once; larger caches are read clip by clip
NOISE_PER_CLIP = 4  # noise plans per held-out clip, so that the loss does not hang on a few draws


def train(
    config: Config,
    out: Path,
    *,
    vae: Path | None = None,
    text_encoder: Path | None = None,
    latents: Path | None = None,
) -> Path:
    """Train the denoiser of `config`, or go on with the run in `out`.

    Args:
        config: the recipe.
        out: folder of this stage.
        vae: a finished autoencoder; None: vae/final beside `out`.
        text_encoder: a finished conditioner; None: conditioner/final/text_encoder beside `out`.
        latents: where encoded clips are kept; None: latents beside `out`.

    Returns:
        `out`/final, which holds transformer/ and text_encoder/.

    Raises:
        TrainingError: a missing part, no usable clip, clips that do not fit, a loss that is not finite,
            a full disk.
        TrainingPaused: the run was asked to stop; a checkpoint holds all of it.
    """
    out = Path(out)
    vae_model = load_finished(vae or out.parent / "vae" / "final", "vae")
    text = load_finished(text_encoder or out.parent / "conditioner" / "final" / "text_encoder", "conditioner")
    clips = trainer.open_data(config.data, config.seed, config.data.split)
    heldout_clips = trainer.open_data(config.data, config.seed, "heldout")
    run = trainer.start_run(config, "dit", out)
    device, learns_text = run.accelerator.device, run.train.train_text_encoder
    vae_model, text = vae_model.to(device), text.to(device)
    # First of all, since encoding clips draws from the generator that the weights are drawn from.
    model = build_transformer(config, vae_model, text)
    dataset = open_latents(run, clips, vae_model, latents or out.parent / "latents")
    stride = temporal_stride(vae_model)
    if run.train.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    if run.train.compile:
        model.compile_repeated_blocks()
    ddp = run.accelerator.prepare(model)
    trained, rates, encode = [ddp], [1.0], text
    if learns_text:
        freeze_unused(text)
        encode = run.accelerator.prepare(text)  # without dropout, whose draws a resumed run would not repeat
        trained, rates = [ddp, encode], [1.0, TEXT_RATE]
    optimizers = trainer.make_optimizers(run, *trained, rates=rates)
    ema = trainer.make_ema(run, *trained)
    first = trainer.resume(run, ema)
    with run.accelerator.autocast():  # as the training clips are encoded
        heldout = heldout_batches(config, heldout_clips, vae_model)

    for step, batches in trainer.training_steps(run, dataset, collate, first):
        trainer.set_learning_rates(run, optimizers, step)
        kind = flow.draw_batch_kind(config.seed, step, run.train.steps, config.flow)
        values: dict[str, Any] = {}
        for batch in batches:
            with run.accelerator.accumulate(*trained):
                captions = draw_captions(batch, config)
                with torch.set_grad_enabled(learns_text):
                    states, mask = encode_captions(encode, text, captions)
                loss = denoising_loss(ddp, batch, states, mask, kind, config, stride)
                run.accelerator.backward(loss)
                norm = trainer.clip_and_step(run, optimizers, *trained)
                values = trainer.add_up(run, values, norm, **{"loss": loss, f"loss_{name_of(kind)}": loss})
        if ema:
            ema.step(trainer.ema_parameters(*trained))
        trainer.log(run, step, values)
        if trainer.due(run, step, run.train.validate_every):
            with trainer.averaged(ema, *trained):
                validate(run, ddp, encode, text, heldout, stride, step)
                draw_samples(run, vae_model, text, model, step)
        if trainer.checkpoint_due(run, step):
            trainer.checkpoint(run, step, ema)

    with trainer.averaged(ema, *trained):
        finished = save(run, model, text)
    trainer.finish(run)
    return finished


def load_finished(folder: Path, stage: str) -> Any:
    """A finished part of the recipe, frozen and in evaluation mode."""
    from ..pipeline.build import load_part
    from ..pipeline.checkpoint import CheckpointError

    try:
        return load_part(folder).eval().requires_grad_(False)
    except CheckpointError as error:
        raise trainer.TrainingError(
            f"the denoiser needs a finished {stage} and {error}. Train it first, with the same --out: "
            f"kinema train {stage} --out RUN"
        ) from error


def build_transformer(config: Config, vae: Any, text: Any) -> KinemaTransformer3DModel:
    """A new denoiser, closed at zero, that fits its autoencoder, its text encoder and its clips."""
    transformer = KinemaTransformer3DModel(
        **config.dit.model_dump(),
        in_channels=latent_channels(vae),
        cross_attention_dim=text.hidden_size,
        sample_height=config.data.height,
        sample_width=config.data.width,
        sample_frames=config.data.num_frames,
        sample_fps=config.data.fps,
        sample_temporal_stride=temporal_stride(vae),
    )
    return transformer.start_from_zero()


# ---------------------------------------------------------------------------------------------- data


def open_latents(run: trainer.Run, clips: Any, vae: Any, folder: Path) -> Dataset:
    """The clips as latents, encoded into `folder` unless they are there already."""
    data = run.config.data
    try:
        with run.accelerator.autocast():
            whole = cache_latents(
                vae, clips, folder, data=data, num_workers=data.num_workers, stop=lambda: trainer.time_is_up(run)
            )
        if not whole:
            raise trainer.TrainingPaused(f"paused while encoding clips into {folder}; the same command goes on")
        stored = LatentDataset(folder, vae=vae, data=data)
    except LatentCacheError as error:
        raise trainer.TrainingError(str(error)) from error
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    return InMemory(stored) if size <= IN_MEMORY_BYTES else stored


class InMemory(Dataset):
    """All items of a dataset of latents, read once; latents stay in half precision until they are used."""

    def __init__(self, dataset: LatentDataset) -> None:
        self.items = [dataset[index] for index in range(len(dataset))]
        self.bucket_of = dataset.bucket_of
        for item in self.items:
            item["latents"] = item["latents"].half()

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.items[index] | {"latents": self.items[index]["latents"].float()}


def collate(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Latent items as a batch: "latents" (B, C, F, h, w), "fps" (B,), "captions" (a list of dicts)."""
    return {
        "latents": torch.stack([item["latents"] for item in items]),
        "fps": torch.tensor([item["fps"] for item in items]),
        "captions": [item["captions"] for item in items],
    }


@torch.no_grad()
def heldout_batches(config: Config, clips: Any, vae: Any) -> list[dict[str, Any]]:
    """The fixed clips and seeds of the held-out loss, one batch per clip and noise draw."""
    batches = []
    for index in range(min(config.train.dit.validation_clips, len(clips))):
        item = clips[index]
        pixels = to_pixels(item["pixel_values"][None]).to(vae.device)
        seeds = [trainer.sample_seed(config.seed, -3, index * NOISE_PER_CLIP + i) for i in range(NOISE_PER_CLIP)]
        batches.append(
            {
                "latents": encode_latents(vae, pixels).expand(NOISE_PER_CLIP, -1, -1, -1, -1),
                "fps": torch.full((NOISE_PER_CLIP,), float(item["fps"])),
                "captions": [item["captions"]] * NOISE_PER_CLIP,
                "sample_seed": torch.tensor(seeds),
            }
        )
    return batches


# ---------------------------------------------------------------------------------------------- text


def draw_captions(batch: dict[str, Any], config: Config, dropout: bool = True) -> list[str]:
    """One caption a clip, some of them dropped for classifier-free guidance: the empty prompt stands for none."""
    seeds = batch["sample_seed"].tolist()
    dropped = flow.draw_caption_dropout(seeds, config.flow.caption_dropout if dropout else 0.0)
    return [
        "" if drop else flow.draw_caption(captions, config.data.caption_mix, seed)
        for captions, seed, drop in zip(batch["captions"], seeds, dropped)
    ]


def encode_captions(encode: Any, text: Any, captions: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token features (B, L, D) and mask (B, L); `encode` is `text` as Accelerate prepared it, if it learns."""
    tokens = text.tokenize(captions)
    encoding = encode(tokens.input_ids, tokens.attention_mask)
    return encoding.encoder_hidden_states, encoding.attention_mask


def freeze_unused(text: Any) -> None:
    """Let those weights learn that the token features depend on (not, say, those of the pooled features)."""
    text.requires_grad_(True)
    tokens = text.tokenize(["a"])
    text(tokens.input_ids, tokens.attention_mask).encoder_hidden_states.sum().backward()
    for parameter in text.parameters():
        parameter.requires_grad_(parameter.grad is not None)
        parameter.grad = None


# ---------------------------------------------------------------------------------------------- loss


def denoising_loss(
    model: nn.Module,
    batch: dict[str, Any],
    encoder_hidden_states: torch.Tensor,
    encoder_attention_mask: torch.Tensor,
    kind: flow.BatchKind,
    config: Config,
    stride: int,
) -> torch.Tensor:
    """The flow loss of one batch. All that is random follows from the samples' seeds and the batch's kind."""
    latents, seeds = batch["latents"], batch["sample_seed"].tolist()
    latents = latents[:, :, :1] if kind.images else latents  # (B, C, F, h, w)
    frames_per_block = config.flow.frames_per_block if kind.block_causal else None
    plan = flow.draw_plan(seeds, latents.shape[2], config.flow, frames_per_block or 1)
    sigmas, loss_mask = plan.sigmas.to(latents.device), plan.loss_mask.to(latents.device)  # (B, F)
    noise = flow.draw_noise(seeds, latents.shape[1:]).to(latents.device)
    prediction = model(
        flow.add_noise(latents, noise, sigmas),
        1000 * sigmas,
        encoder_hidden_states,
        encoder_attention_mask=encoder_attention_mask,
        frame_times=latent_frame_times(latents.shape[2], batch["fps"], stride).to(latents.device),
        frames_per_block=frames_per_block,
        return_dict=False,
    )[0]
    return flow.flow_loss(prediction, flow.velocity(latents, noise), loss_mask)


def name_of(kind: flow.BatchKind) -> str:
    """How the logs call a batch: image, causal or video."""
    return "image" if kind.images else "causal" if kind.block_causal else "video"


# ---------------------------------------------------------------------------------------------- reports


@torch.no_grad()
def validate(
    run: trainer.Run,
    model: nn.Module,
    encode: Any,
    text: Any,
    heldout: list[dict[str, Any]],
    stride: int,
    step: int,
) -> None:
    """Log the loss of held-out clips, bidirectional and block-causal, with the same noise every time."""
    model.eval()
    row = {}
    for block_causal in (False, True):
        kind, losses = flow.BatchKind(images=False, block_causal=block_causal), []
        for batch in heldout:
            states, mask = encode_captions(encode, text, draw_captions(batch, run.config, dropout=False))
            batch = batch | {"latents": batch["latents"].to(run.accelerator.device)}
            losses.append(denoising_loss(model, batch, states, mask, kind, run.config, stride))
        if losses:
            row[f"heldout_loss_{name_of(kind)}"] = float(torch.stack(losses).mean())
    model.train()
    if row:
        trainer.log_row(run, step, row)


@torch.no_grad()
def draw_samples(run: trainer.Run, vae: Any, text: Any, model: KinemaTransformer3DModel, step: int) -> None:
    """Generate the configured prompts, always from the same noise, and draw them as a contact sheet."""
    if run.is_main and run.config.sample.prompts:
        from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

        from ..pipeline.pipeline import KinemaPipeline

        prompts, text_learns = list(run.config.sample.prompts), text.training
        model.eval()
        text.eval()
        pipe = KinemaPipeline(vae, text, model, FlowMatchEulerDiscreteScheduler(shift=run.config.flow.shift))
        pipe.set_progress_bar_config(disable=True)
        made: Any = pipe(
            prompts,
            num_inference_steps=run.config.sample.num_inference_steps,
            guidance_scale=run.config.sample.guidance_scale,
            generator=list(range(len(prompts))),
        )
        model.train()
        text.train(text_learns)
        with atomic_path(run.directory / "samples" / f"step-{step + 1:08d}.png") as path:
            contact_sheet(list(zip(prompts, made.videos()))).save(path)
    run.accelerator.wait_for_everyone()


def save(run: trainer.Run, model: KinemaTransformer3DModel, text: Any) -> Path:
    """Write the finished parts to RUN/dit/final, whole or not at all."""
    final, partial = run.directory / "final", run.directory / "final.partial"
    if run.is_main:
        shutil.rmtree(partial, ignore_errors=True)
        model.save_pretrained(partial / "transformer", max_shard_size=trainer.SHARD_SIZE)
        text.save_pretrained(partial / "text_encoder", max_shard_size=trainer.SHARD_SIZE)
        shutil.rmtree(final, ignore_errors=True)
        partial.replace(final)
    run.accelerator.wait_for_everyone()
    return final


if __name__ == "__main__":
    trainer.main("dit", train)
