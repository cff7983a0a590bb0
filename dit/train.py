"""Trains the denoiser on latents and captions.

    kinema train dit --config cpu --out RUN
    accelerate launch -m kinema.dit.train --config cpu --out RUN

needs RUN/vae/final and RUN/conditioner/final, encodes every clip once into RUN/latents, and writes the averaged
denoiser and the text encoder it learned with to RUN/dit/final, samples of fixed prompts to RUN/dit/samples. The
held-out loss is that of clips whose attribute pairs were never trained on, always with the same noise.

    kinema train dit --from default --out RUN data.source=FOLDER
    kinema train dit --lora rank=16 --from default --out RUN data.source=FOLDER

go on from a checkpoint with clips of a folder: all of its weights, or an adapter of them (lora.py).
"""

import math
import shutil
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.utils import send_to_device
from torch import nn

from .. import trainer
from ..configs import Config
from ..configs.schema import DiTConfig
from ..data.files import atomic_path
from ..data.sheets import contact_sheet
from ..vae.latents import latent_channels, latent_frame_times, temporal_stride
from . import flow
from .clips import collate, heldout_batches, open_latents
from .lora import LoraSettings, add_adapter, check_adapter, save_adapter, told_by_captions
from .rehearsal import rehearse
from .repeats import repeat
from .texts import draw_captions, encode_captions, freeze_unused, learn_words
from .transformer import KinemaTransformer3DModel

# Settings that decide the weights' shapes.
SIZES = [*DiTConfig.model_fields, "in_channels", "cross_attention_dim"]
TEXT_RATE = 0.2  # learning rate of a text encoder that learns along, as a share of the denoiser's


def train(
    config: Config,
    out: Path,
    *,
    vae: Path | None = None,
    text_encoder: Path | None = None,
    latents: Path | None = None,
    start: Path | None = None,
    lora: LoraSettings | None = None,
) -> Path:
    """Train the denoiser of `config`, or go on with the run in `out`.

    Args:
        config: the recipe.
        out: folder of this stage.
        vae: a finished autoencoder; None: vae/final beside `out`.
        text_encoder: a finished conditioner; None: conditioner/final/text_encoder beside `out`.
        latents: where encoded clips are kept; None: latents beside `out`.
        start: a whole checkpoint to go on from, with its autoencoder, text encoder and denoiser; None: from random
            weights, with the parts beside `out`.
        lora: train an adapter of this shape only, and leave the weights of `start` as they are.

    Returns:
        `out`/final, which holds transformer/ and text_encoder/; of an adapter, pytorch_lora_weights.safetensors.

    Raises:
        TrainingError: a missing part, no usable clip, clips that do not fit, a loss that is not finite,
            a full disk.
        TrainingPaused: the run was asked to stop; a checkpoint holds all of it.
    """
    out = Path(out)
    beside = {"vae": out.parent / "vae" / "final", "text": out.parent / "conditioner" / "final" / "text_encoder"}
    if start is not None:
        beside = {"vae": start / "vae", "text": start / "text_encoder"}
    vae_model = load_finished(vae or beside["vae"], "vae")
    text = load_finished(text_encoder or beside["text"], "conditioner")
    clips = trainer.open_data(config.data, config.seed, config.data.split)
    heldout_clips = trainer.open_data(config.data, config.seed, "heldout")
    source = None if start is None else load_finished(start / "transformer", "dit")
    if lora is not None:
        check_adapter(config, start)
        config = told_by_captions(config, clips)
    origin = trainer.origin_of(start, *filter(None, [source]), vae_model, text, lora=lora and lora.text)
    run = trainer.start_run(config, "dit", out, origin)
    device, learns_text = run.accelerator.device, run.train.train_text_encoder
    vae_model, text = vae_model.to(device), text.to(device)
    # First of all, since encoding clips draws from the generator that the weights are drawn from.
    model = build_transformer(config, vae_model, text)
    if source is not None:
        trainer.copy_weights(source, model, SIZES, f"the denoiser of {start}")
    if lora is not None:
        add_adapter(run, model, lora)
    dataset = open_latents(run, clips, vae_model, latents or out.parent / "latents")
    if config.data.source == "diorama":
        dataset = repeat(dataset, clips, config.data.repeats)
    if lora is not None and start is not None:
        dataset = rehearse(run, dataset, start, vae_model, out.parent / "latents-rehearsed", lora.rehearse)
    stride = temporal_stride(vae_model)
    if run.train.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    if run.train.compile:
        model.compile_repeated_blocks()
    ddp = run.accelerator.prepare(model)
    trained, rates, encode = [ddp], [1.0], text
    if learns_text:
        freeze_unused(text)
        learn_words(text, config, clips)
        encode = run.accelerator.prepare(text)  # without dropout, whose draws a resumed run would not repeat
        trained, rates = [ddp, encode], [1.0, TEXT_RATE]
    optimizers = trainer.make_optimizers(run, *trained, rates=rates)
    ema = trainer.make_ema(run, *trained)
    first = trainer.resume(run, ema)
    drawn = trainer.Drawn(run, first)
    with run.accelerator.autocast():  # as the training clips are encoded
        heldout = heldout_batches(config, heldout_clips, vae_model)
    if start is not None and first == 0:  # what it made before
        draw_samples(run, vae_model, text, model, -1)

    for step, batches in trainer.training_steps(run, dataset, collate, first):
        trainer.set_learning_rates(run, optimizers, step)
        kind = flow.draw_batch_kind(config.seed, step, run.train.steps, config.flow)
        values: dict[str, Any] = {}
        for batch in batches:
            with run.accelerator.accumulate(*trained):
                told, frames = draw_captions(batch, config), batch["latents"].shape[2]
                drawn.add(step, batch["ids"], [spans[0].level for spans in told])
                with torch.set_grad_enabled(learns_text):
                    states, mask = encode_captions(encode, text, told, frames, stride)
                loss = denoising_loss(ddp, batch, states, mask, kind, config, stride)
                run.accelerator.backward(loss)
                norm = trainer.clip_and_step(run, optimizers, *trained)
                values = trainer.add_up(run, values, norm, **{"loss": loss, f"loss_{name_of(kind)}": loss})
        if ema:
            ema.step(trainer.ema_parameters(*trained))
        trainer.log(run, step, values | drawn.shares())
        if trainer.due(run, step, run.train.validate_every):
            with trainer.averaged(ema, *trained):
                validate(run, ddp, encode, text, heldout, stride, step)
                draw_samples(run, vae_model, text, model, step)
        if trainer.checkpoint_due(run, step):
            drawn.save()
            trainer.checkpoint(run, step, ema)

    with trainer.averaged(ema, *trained):
        if lora is None:
            finished = save(run, model, text)
        else:
            finished = save_adapter(run, model, clips, text)
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
    times = latent_frame_times(latents.shape[2], batch["fps"], stride).to(latents.device)  # (B, F)
    skipped = math.ceil(kind.skipped * (latents.shape[2] - 2)) if latents.shape[2] > 2 else 0
    shown = slice(0, 1) if kind.images else slice(skipped, None)
    parts = None if kind.images or skipped else batch.get("parts")
    latents = latents[:, :, shown]  # (B, C, F, h, w)
    if encoder_attention_mask.ndim == 3:
        encoder_attention_mask = encoder_attention_mask[:, shown]
    frames_per_block = config.flow.frames_per_block if kind.block_causal else None
    plan = flow.draw_plan(seeds, latents.shape[2], config.flow, frames_per_block or 1, parts)
    sigmas, loss_mask = plan.sigmas.to(latents.device), plan.loss_mask.to(latents.device)  # (B, F)
    inputs = latents
    for name, number in (("suffix", flow.SUFFIX), ("stills", flow.STILL)):
        if parts and bool((plan.context == number).any()):
            encoded_so = (plan.context == number).to(latents.device)[:, None, :, None, None]
            inputs = torch.where(encoded_so, batch[name], inputs)
    noise = flow.draw_noise(seeds, latents.shape[1:]).to(latents.device)
    prediction = model(
        flow.add_noise(inputs, noise, sigmas),
        1000 * sigmas,
        encoder_hidden_states,
        encoder_attention_mask=encoder_attention_mask,
        frame_times=times[:, shown],
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
        for held in heldout:
            batch = cast(dict[str, Any], send_to_device(held, run.accelerator.device))
            told, frames = draw_captions(batch, run.config, dropout=False), batch["latents"].shape[2]
            states, mask = encode_captions(encode, text, told, frames, stride)
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
