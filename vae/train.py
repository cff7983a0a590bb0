"""Trains the autoencoder.

    kinema train vae --config cpu --out RUN
    accelerate launch -m kinema.vae.train --config cpu --out RUN

reads clips, and writes the averaged weights with their latent statistics to RUN/vae/final, and original and
reconstruction side by side to RUN/vae/samples. Expect 30 dB and more on held-out Diorama clips.

    kinema train vae --config cpu-96 --from CHECKPOINT --out RUN

goes on with a checkpoint's autoencoder; where the recipe says `vae_loss.decoder_only`, with its decoder alone.
"""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch.utils.data import Dataset

from .. import trainer
from ..configs import Config
from ..configs.schema import VAEConfig
from ..data.files import atomic_path
from ..data.pixels import to_frames, to_pixels
from ..data.sheets import contact_sheet
from .discriminator import PatchDiscriminator3D, discriminator_loss, generator_loss
from .losses import PerceptualDistance, psnr, ssim, vae_loss
from .model import AutoencoderKLKinema
from .preview import CLIPS as PREVIEW_CLIPS
from .preview import CONFIG_KEYS as PREVIEW_KEYS
from .preview import fit_preview

IMAGE_SHARE = 0.125  # of the steps that train on single frames, so that images and first frames are as good
IMAGES_PER_CLIP = 4
STATISTICS_CLIPS = 256  # clips over which the latents' mean and standard deviation are measured
SHEET_CLIPS = 4
OF_LATENTS = ("latents_mean", "latents_std", *PREVIEW_KEYS)  # settings that follow from the latents


def train(config: Config, out: Path, *, start: Path | None = None) -> Path:
    """Train the autoencoder of `config`, or go on with the run in `out`.

    Args:
        config: the recipe.
        out: folder of this stage.
        start: a checkpoint whose autoencoder to begin with; its denoiser must then be trained anew, since latents
            change, unless `vae_loss.decoder_only` keeps them. None: from random weights.

    Returns:
        The folder of the finished component, `out`/final.

    Raises:
        TrainingError: settings that cannot work together, no usable clip, a loss that is not finite, a full disk.
        TrainingPaused: the run was asked to stop; a checkpoint holds all of it.
    """
    from ..pipeline.build import load_part

    frames = clip_frames(config)
    if config.vae_loss.decoder_only and start is None:
        raise trainer.TrainingError(
            "vae_loss.decoder_only trains the decoder of an autoencoder that exists, and none is given; "
            "name its checkpoint with --from, or leave vae_loss.decoder_only out"
        )
    dataset = trainer.open_data(config.data, config.seed, config.data.split)
    heldout = trainer.open_data(config.data, config.seed, "heldout")
    source = None if start is None else load_part(start / "vae")
    run = trainer.start_run(config, "vae", out, trainer.origin_of(start, *filter(None, [source])))

    model = AutoencoderKLKinema(**config.vae.model_dump())
    if source is not None:
        trainer.copy_weights(source, model, VAEConfig.model_fields, f"the autoencoder of {start}")
        if config.vae_loss.decoder_only:
            model.encoder.requires_grad_(False)
            model.register_to_config(**{key: source.config[key] for key in OF_LATENTS})
    perceptual = PerceptualDistance().to(run.accelerator.device)
    if run.train.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    if run.train.compile:
        model.compile_repeated_blocks()
    ddp = run.accelerator.prepare(model)
    optimizers = trainer.make_optimizers(run, ddp)
    critic = critic_optimizers = None
    if config.vae_loss.adversarial:
        critic = run.accelerator.prepare(PatchDiscriminator3D())
        critic_optimizers = trainer.make_optimizers(run, critic)
    ema = trainer.make_ema(run, ddp)
    first = trainer.resume(run, ema)

    for step, batches in trainer.training_steps(run, dataset, collate, first):
        trainer.set_learning_rates(run, [*optimizers, *(critic_optimizers or [])], step)
        images = torch.rand((), generator=generator(config.seed, step)).item() < IMAGE_SHARE
        judged = critic is not None and step >= config.vae_loss.adversarial_start
        values: dict[str, Any] = {}
        for batch in batches:
            with run.accelerator.accumulate(*filter(None, (ddp, critic))):
                pixels, noise = draw(batch, model, frames, images)
                reconstruction, posterior = ddp(pixels, noise=noise, return_dict=False)
                loss, parts = vae_loss(pixels, reconstruction, posterior, config.vae_loss, perceptual)
                if critic is not None and judged:
                    critic.requires_grad_(False)
                    parts["adversarial"] = generator_loss(critic(reconstruction))
                    loss = loss + config.vae_loss.adversarial * parts["adversarial"]
                run.accelerator.backward(loss)
                norm = trainer.clip_and_step(run, optimizers, ddp)
                if critic is not None and critic_optimizers and judged:
                    critic.requires_grad_(True)
                    parts["critic"] = discriminator_loss(critic(pixels), critic(reconstruction.detach()))
                    run.accelerator.backward(parts["critic"])
                    trainer.clip_and_step(run, critic_optimizers, critic)
                values = trainer.add_up(run, values, norm, loss=loss, **parts)
        if ema:
            ema.step(trainer.ema_parameters(ddp))
        trainer.log(run, step, values)
        if trainer.due(run, step, run.train.validate_every):
            with trainer.averaged(ema, ddp):
                validate(run, model, heldout, step)
        if trainer.checkpoint_due(run, step):
            trainer.checkpoint(run, step, ema)

    with trainer.averaged(ema, ddp):
        finished = save(run, model, dataset, measure=not config.vae_loss.decoder_only)
    trainer.finish(run)
    return finished


def clip_frames(config: Config) -> int | None:
    """Frames of each clip that are trained on at a time, vae_loss.crop_frames; None: all."""
    crop, stride = config.vae_loss.crop_frames, config.vae.temporal_stride
    shortest = min((frames for frames, _, _ in config.data.buckets), default=config.data.num_frames)
    if crop is not None and (not 0 < crop <= shortest or (crop - 1) % stride):
        raise trainer.TrainingError(
            f"vae_loss.crop_frames is {crop}; it needs 1 + k * {stride} frames (vae.temporal_stride), at most the "
            f"{shortest} of the shortest clip (data.num_frames or data.buckets); change it or leave it out"
        )
    return crop


def collate(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Clip items of one shape as a batch: uint8 "pixel_values" (B, 3, T, H, W)."""
    return {"pixel_values": torch.stack([item["pixel_values"] for item in items])}


def generator(seed: int, step: int) -> torch.Generator:
    """What all ranks draw alike at one step."""
    return torch.Generator().manual_seed(trainer.sample_seed(seed, step, -2))


def draw(
    batch: dict[str, Any], model: AutoencoderKLKinema, frames: int | None, images: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """What one batch trains on, drawn from each sample's own seed.

    Args:
        batch: uint8 "pixel_values" (B, 3, T, H, W) and "sample_seed" (B,).
        frames: length of the random crop in time; None: the whole clip.
        images: give single frames instead, `IMAGES_PER_CLIP` a clip.

    Returns:
        Pixels (B', 3, T', H, W) in [-1, 1], and normal noise of the latents' shape for the posterior's sample.
    """
    clips, parts, noises = batch["pixel_values"], [], []
    stride, cell = model.temporal_compression_ratio, model.spatial_compression_ratio
    for clip, seed in zip(clips, batch["sample_seed"].tolist()):
        own = torch.Generator().manual_seed(seed)
        if images:
            chosen = torch.randint(clip.shape[1], (IMAGES_PER_CLIP,), generator=own)
            part = rearrange(clip[:, chosen.to(clip.device)], "c b h w -> b c 1 h w")
        else:
            length = clip.shape[1] if frames is None else frames
            start = int(torch.randint(clip.shape[1] - length + 1, (), generator=own))
            part = clip[None, :, start : start + length]
        count, _, length, height, width = part.shape
        shape = (count, model.config["latent_channels"], 1 + (length - 1) // stride, height // cell, width // cell)
        parts.append(part)
        noises.append(torch.randn(shape, generator=own))
    return to_pixels(torch.cat(parts)), torch.cat(noises).to(clips.device)


@torch.no_grad()
def validate(run: trainer.Run, model: AutoencoderKLKinema, heldout: Dataset, step: int) -> None:
    """Log PSNR and SSIM of held-out clips and images, and draw some beside their reconstructions."""
    if run.is_main:
        model.eval()
        scores: dict[str, list[torch.Tensor]] = {"psnr": [], "ssim": [], "image_psnr": []}
        rows = []
        for item in _first(heldout, run.train.validation_clips):
            pixels = to_pixels(item["pixel_values"][None]).to(run.accelerator.device)
            with run.accelerator.autocast():
                clip = model(pixels).sample.float()
                image = model(pixels[:, :, -1:]).sample.float()
            scores["psnr"].append(psnr(clip, pixels))
            scores["ssim"].append(ssim(clip, pixels))
            scores["image_psnr"].append(psnr(image, pixels[:, :, -1:]))
            if len(rows) < 2 * SHEET_CLIPS:
                rows.append((f"{item['id']}: original", to_frames(pixels[0])))
                rows.append((f"reconstruction, {scores['psnr'][-1].item():.1f} dB", to_frames(clip[0])))
        model.train()
        trainer.log_row(run, step, {f"heldout_{name}": float(torch.cat(v).mean()) for name, v in scores.items()})
        with atomic_path(run.directory / "samples" / f"step-{step + 1:08d}.png") as path:
            contact_sheet(rows).save(path)
    run.accelerator.wait_for_everyone()


@torch.no_grad()
def latent_statistics(
    model: AutoencoderKLKinema, clips: Iterable[dict[str, Any]], device: torch.device | str
) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each latent channel over clips (of the posteriors' means)."""
    count, total, squares = 0, 0.0, 0.0
    for item in clips:
        pixels = to_pixels(item["pixel_values"][None]).to(device)
        posterior = model.encode(pixels, return_dict=False)[0]
        z = rearrange(posterior.mode().cpu().double(), "b c f h w -> c (b f h w)")
        count, total, squares = count + z.shape[1], total + z.sum(1), squares + z.square().sum(1)
    mean = torch.as_tensor(total / count)
    std = torch.as_tensor(squares / count - mean.square()).clamp(min=1e-12).sqrt()
    return mean.tolist(), std.tolist()


def save(run: trainer.Run, model: AutoencoderKLKinema, dataset: Dataset, *, measure: bool = True) -> Path:
    """Measure the latents, fit their preview and write the component to RUN/vae/final, whole or not at all.

    Without `measure` the latents are those of a trained autoencoder, and the configuration holds their numbers.
    """
    final, partial = run.directory / "final", run.directory / "final.partial"
    if run.is_main:
        model.eval()
        if measure:
            clips = min(STATISTICS_CLIPS, run.train.steps * run.train.batch_size)
            mean, std = latent_statistics(model, _first(dataset, clips), run.accelerator.device)
            model.register_to_config(latents_mean=mean, latents_std=std)
            some = (clip["pixel_values"][None] for clip in _first(dataset, min(PREVIEW_CLIPS, clips)))
            fit_preview(model, (to_pixels(frames).to(run.accelerator.device) for frames in some))
        shutil.rmtree(partial, ignore_errors=True)
        model.save_pretrained(partial, max_shard_size=trainer.SHARD_SIZE)
        shutil.rmtree(final, ignore_errors=True)
        partial.replace(final)
    run.accelerator.wait_for_everyone()
    return final


def _first(dataset: Any, count: int) -> Iterable[dict[str, Any]]:
    return (dataset[index] for index in range(min(count, len(dataset))))


if __name__ == "__main__":
    trainer.main("vae", train)
