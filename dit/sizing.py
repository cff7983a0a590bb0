"""What a model costs before it is built: parameters, tokens, operations and memory.

    python -m kinema.dit.sizing                      # every size of kinema.configs.sizes
    kinema train dit --config cpu --dry-run          # one configuration, all three stages

Models are built on torch's meta device, where tensors have shapes and no data, and run once: matrix products are
counted as they happen, and so is what autograd keeps for the backward pass.
"""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ..configs import Config
from ..configs.schema import DiTConfig, TrainConfig
from ..configs.sizes import SIZES, Size
from .transformer import KinemaTransformer3DModel


class Cost(NamedTuple):
    """What one model costs at one input shape."""

    parameters: int
    tokens: int  # of one sample; 0 where the word has no meaning
    forward_flops: int  # operations of one forward of one sample (a multiply-add is two)
    activation_bytes: int  # kept for the backward pass, one sample

    @property
    def train_flops(self) -> int:
        """Operations of a forward and its backward: three times a forward."""
        return 3 * self.forward_flops


def dit_cost(
    dit: DiTConfig,
    *,
    in_channels: int,
    text_dim: int,
    text_tokens: int,
    latent_shape: tuple[int, int, int],
    dtype: torch.dtype = torch.bfloat16,
) -> Cost:
    """The cost of a denoiser on one clip of `latent_shape` (frames, rows, columns)."""
    with torch.device("meta"):
        model = KinemaTransformer3DModel(**dit.model_dump(), in_channels=in_channels, cross_attention_dim=text_dim)
        inputs = {
            "hidden_states": torch.empty(1, in_channels, *latent_shape),
            "timestep": torch.empty(1, latent_shape[0]),
            "encoder_hidden_states": torch.empty(1, text_tokens, text_dim),
            "frame_times": torch.empty(1, latent_shape[0]),
        }
    tokens = 1
    for size, patch in zip(latent_shape, dit.patch_size):
        tokens *= size // patch
    _cast(model, dtype)
    return measure(model, lambda: model(**inputs).sample, tokens)


def size_cost(size: Size) -> Cost:
    """The cost of one entry of the size table on its reference clip."""
    return dit_cost(
        size.dit,
        in_channels=size.latent_channels,
        text_dim=size.text_dim,
        text_tokens=size.text_tokens,
        latent_shape=size.latent_shape,
    )


def measure(model: nn.Module, forward: Callable[[], Any], tokens: int = 0) -> Cost:
    """Run `forward` of a meta-device model once, counting operations and what autograd keeps.

    The meta device has no fused attention, so its score matrices (tokens × tokens) are passed over: a GPU's kernel
    keeps none.
    """
    parameters = {p.untyped_storage()._cdata: p.numel() for p in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        is_scores = tensor.ndim > 2 and tensor.shape[-2:] == (tokens, tokens)
        if storage._cdata not in parameters and not is_scores:
            kept[storage._cdata] = storage  # held, so that no other tensor gets its address
        return tensor

    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        forward()
    return Cost(
        parameters=sum(parameters.values()),
        tokens=tokens,
        forward_flops=counter.get_total_flops(),
        activation_bytes=sum(storage.nbytes() for storage in kept.values()),
    )


# ---------------------------------------------------------------------------------------------- a configuration


def describe(config: Config) -> str:
    """A text: parameters, tokens, operations and memory of each stage's training step."""
    costs = {
        "conditioner": (_conditioner_cost(config), config.train.conditioner),
        "vae": (_vae_cost(config), config.train.vae),
        "dit": (_config_dit_cost(config), config.train.dit),
    }
    data = config.data
    lines = [
        f"{config.name}: clips of {data.num_frames} frames, {data.height} × {data.width}, {data.fps:g} frames/s",
        "",
        f"{'stage':12} {'parameters':>11} {'tokens':>7} {'clips/step':>10} {'FLOPs/step':>11} {'steps':>8} "
        f"{'FLOPs in all':>12} {'memory':>9}",
    ]
    for stage, (cost, train) in costs.items():
        clips = train.batch_size * train.gradient_accumulation_steps
        per_step = cost.train_flops * clips
        lines.append(
            f"{stage:12} {number(cost.parameters):>11} {cost.tokens or '':>7} {clips:>10} {number(per_step):>11} "
            f"{train.steps:>8} {number(per_step * train.steps):>12} {number(_memory(cost, train)) + 'B':>9}"
        )
    lines += [
        "",
        "Per rank. Memory: weights, gradients, AdamW's moments and the average in fp32, and what one micro-batch",
        "keeps for its backward pass (without gradient checkpointing); not counted: losses with models of their",
        "own, workspaces.",
    ]
    return "\n".join(lines)


def _memory(cost: Cost, train: TrainConfig) -> int:
    states = 4 + (1 if train.ema_decay else 0)  # weights, gradients, two moments, the average
    return 4 * states * cost.parameters + train.batch_size * cost.activation_bytes


def _cast(model: Any, to: TrainConfig | torch.dtype) -> Any:
    # ModelMixin.to warns of layers that should stay in float32; nothing is computed here.
    return nn.Module.to(model, to if isinstance(to, torch.dtype) else _dtype(to))


def _dtype(train: TrainConfig) -> torch.dtype:
    return {"no": torch.float32, "bf16": torch.bfloat16}[train.mixed_precision]


def _config_dit_cost(config: Config) -> Cost:
    data, vae = config.data, config.vae
    frames = 1 + (data.num_frames - 1) // vae.temporal_stride
    return dit_cost(
        config.dit,
        in_channels=vae.latent_channels,
        text_dim=config.conditioner.width,
        text_tokens=config.conditioner.context_length,
        latent_shape=(frames, data.height // vae.spatial_stride, data.width // vae.spatial_stride),
        dtype=_dtype(config.train.dit),
    )


def _vae_cost(config: Config) -> Cost:
    from ..vae.model import AutoencoderKLKinema

    frames = config.vae_loss.crop_frames or config.data.num_frames
    with torch.device("meta"):
        model = _cast(AutoencoderKLKinema(**config.vae.model_dump()), config.train.vae)
        pixels = torch.empty(1, 3, frames, config.data.height, config.data.width, dtype=model.dtype)
    return measure(model, lambda: model(pixels))


def _conditioner_cost(config: Config) -> Cost:
    from ..conditioner.captioner import ContrastiveCaptioner

    sizes = config.conditioner
    with torch.device("meta"):
        model = _cast(ContrastiveCaptioner(**sizes.model_dump()), config.train.conditioner)
        pixels = torch.empty(1, 3, sizes.num_frames, sizes.image_size, sizes.image_size, dtype=model.dtype)
        times = torch.empty(1, sizes.num_frames)
        text = torch.zeros(1, sizes.context_length, dtype=torch.long)
    tokens = sizes.num_frames * (sizes.image_size // sizes.patch_size) ** 2
    return measure(model, lambda: model(pixels, times, text), tokens)


def number(value: float) -> str:
    """Three digits with a metric prefix: 12.1 M."""
    for limit, unit in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value:.3g} "


def table() -> str:
    """The size table with what each entry costs."""
    lines = [f"{'size':>5} {'parameters':>11} {'tokens':>7} {'forward':>9} {'train step':>10}   reference clip"]
    for name, size in SIZES.items():
        cost = size_cost(size)
        lines.append(
            f"{name:>5} {number(cost.parameters):>11} {cost.tokens:>7} {number(cost.forward_flops):>9} "
            f"{number(cost.train_flops):>10}   {size.num_frames} frames, {size.height} × {size.width}, "
            f"{size.fps:g} frames/s"
        )
    return "\n".join([*lines, "", "forward and train step: operations for one clip"])


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
