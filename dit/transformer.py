"""`KinemaTransformer3DModel`: the denoiser.

Shapes used below: B batch, C latent channels, F latent frames, H × W latent rows and columns, L text tokens,
S tokens per frame, N = F · S tokens (in token frames), D model width, K control channels.
"""

import math
from contextlib import nullcontext
from typing import Any, Self

import diffusers
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.loaders.peft import PeftAdapterMixin
from diffusers.models._modeling_parallel import ContextParallelInput, ContextParallelOutput
from diffusers.models.attention import AttentionMixin
from diffusers.models.cache_utils import CacheMixin
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.peft_utils import apply_lora_scale
from einops import rearrange, reduce
from torch import nn

from .blocks import KinemaTransformerBlock, NoiseLevelEmbedding
from .cache import KVCache, block_causal_mask
from .inputs import check_inputs
from .rope import NUM_FRAME_FEATURES, RotaryEmbedding3D, frame_position_features, pairs_per_axis


class KinemaTransformer3DModel(ModelMixin, ConfigMixin, PeftAdapterMixin, CacheMixin, AttentionMixin):
    """A Diffusion Transformer over spacetime patches in which every latent frame has its own noise level.

    It predicts the velocity v = ε - x₀ of x_σ = (1-σ)·x₀ + σ·ε (rectified flow, Liu et al. 2022,
    arXiv:2209.03003). Frames at σ = 0 are known context; equal levels are ordinary diffusion; levels that
    differ are Diffusion Forcing (Chen et al. 2024, arXiv:2407.01392).

    Args:
        in_channels: latent channels, of input and output.
        cross_attention_dim: width of the text embeddings.
        num_layers: transformer blocks.
        num_attention_heads: heads; the model's width is heads · attention_head_dim.
        attention_head_dim: channels per head, even, at least 6.
        patch_size: latent frames, rows and columns per token.
        mlp_ratio: SwiGLU hidden width / model width, rounded up to a multiple of 8.
        control_dim: channels of the per-frame control vector; 0: none.
        sample_height, sample_width, sample_frames, sample_fps: pixels, pixel frames and frames/s that the
            model was trained on: the pipeline's defaults, and what `frame_times=None` assumes.
        sample_temporal_stride: pixel frames per latent frame, for `frame_times=None`.

    Raises:
        ValueError: if a size is not positive or `attention_head_dim` cannot be split over three axes.
    """

    # model_index.json records a component's library from here; see `kinema/__init__.py`.
    __module__ = "kinema"

    _supports_gradient_checkpointing = True
    _repeated_blocks = ["KinemaTransformerBlock"]  # noqa: RUF012
    _no_split_modules = ["KinemaTransformerBlock"]  # noqa: RUF012
    _keep_in_fp32_modules = ["time_embed", "scale_shift_table"]  # noqa: RUF012
    _skip_layerwise_casting_patterns = [  # noqa: RUF012
        "patch_embed",
        "position_embed",
        "text_proj",
        "time_embed",
        "norm",
        "proj_out",
    ]
    # Tokens are (B, F, S, D): devices share out S, so every device has all frames and their noise levels.
    _cp_plan = {  # noqa: RUF012
        "rope": {
            0: ContextParallelInput(split_dim=2, expected_dims=6, split_output=True),
        },
        "transformer_blocks.0": {
            "hidden_states": ContextParallelInput(split_dim=2, expected_dims=4, split_output=False)
        },
        "proj_out": ContextParallelOutput(gather_dim=2, expected_dims=4),
    }

    @register_to_config
    def __init__(
        self,
        in_channels: int = 16,
        cross_attention_dim: int = 192,
        num_layers: int = 8,
        num_attention_heads: int = 6,
        attention_head_dim: int = 48,
        patch_size: tuple[int, int, int] = (1, 2, 2),
        mlp_ratio: float = 3.0,
        control_dim: int = 0,
        sample_height: int = 64,
        sample_width: int = 64,
        sample_frames: int = 17,
        sample_fps: float = 8.0,
        sample_temporal_stride: int = 4,
    ):
        super().__init__()
        counts = {
            "in_channels": in_channels,
            "cross_attention_dim": cross_attention_dim,
            "num_layers": num_layers,
            "num_attention_heads": num_attention_heads,
            "mlp_ratio": mlp_ratio,
            "sample_fps": sample_fps,
            "sample_temporal_stride": sample_temporal_stride,
        }
        for name, value in counts.items():
            if value <= 0:
                raise ValueError(f"{name} is {value}; it needs to be positive")
        if control_dim < 0:
            raise ValueError(f"control_dim is {control_dim}; it needs 0 (no control) or more")
        if len(patch_size) != 3 or min(patch_size) < 1:
            raise ValueError(f"patch_size is {patch_size}; it needs three positive numbers: frames, rows, columns")
        pairs_per_axis(attention_head_dim)

        dim = num_attention_heads * attention_head_dim
        hidden_dim = 8 * math.ceil(dim * mlp_ratio / 8)
        patch_channels = in_channels * math.prod(patch_size)

        self.patch_embed = nn.Linear(patch_channels, dim)
        self.position_embed = nn.Linear(NUM_FRAME_FEATURES, dim, bias=False)
        self.rope = RotaryEmbedding3D(attention_head_dim)
        self.time_embed = NoiseLevelEmbedding(dim, control_dim)
        self.text_norm = nn.LayerNorm(cross_attention_dim, eps=1e-6, elementwise_affine=False)
        self.text_proj = nn.Linear(cross_attention_dim, dim)
        self.null_text = nn.Parameter(torch.zeros(dim))
        self.transformer_blocks = nn.ModuleList(
            [
                KinemaTransformerBlock(dim, num_attention_heads, attention_head_dim, hidden_dim)
                for _ in range(num_layers)
            ]
        )
        self.norm_out = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.scale_shift_table = nn.Parameter(torch.zeros(2 * dim))
        self.proj_out = nn.Linear(dim, patch_channels)
        self.gradient_checkpointing = False
        self._initialize()

    def _initialize(self) -> None:
        """Xavier weights, a quarter of that at the output, and tables as diffusers' transformers draw theirs."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.time_embed.linear_1.weight, std=0.02)
        nn.init.normal_(self.time_embed.linear_2.weight, std=0.02)
        nn.init.normal_(self.null_text, std=0.02)
        self.proj_out.weight.data.mul_(0.25)
        for name, parameter in self.named_parameters():
            if name.endswith("cross_attn.to_out.0.weight"):  # the one branch without a gate
                parameter.data.mul_((2 * len(self.transformer_blocks)) ** -0.5)
        for name, parameter in self.named_parameters():
            if name.endswith("scale_shift_table"):
                nn.init.normal_(parameter, std=self.dim**-0.5)

    def start_from_zero(self) -> Self:
        """Close what training from scratch opens by itself: gates, output, control and place in the frame.

        The first prediction is then 0 everywhere, which trains faster and more steadily (adaLN-Zero, Peebles &
        Xie 2022, arXiv:2212.09748).
        """
        layers = [self.time_embed.modulation, self.time_embed.control, self.position_embed, self.proj_out]
        for layer in filter(None, layers):
            nn.init.zeros_(layer.weight)
        for name, parameter in self.named_parameters():
            if name.endswith("scale_shift_table"):
                nn.init.zeros_(parameter)
        return self

    @property
    def dim(self) -> int:
        """Model width."""
        return self.config["num_attention_heads"] * self.config["attention_head_dim"]

    @apply_lora_scale("attention_kwargs")
    def forward(
        self,
        hidden_states: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        encoder_attention_mask: torch.Tensor | None = None,
        frame_times: torch.Tensor | None = None,
        frame_control: torch.Tensor | None = None,
        frames_per_block: int | None = None,
        window: int | None = None,
        kv_cache: KVCache | None = None,
        attention_kwargs: dict[str, Any] | None = None,
        return_dict: bool = True,
    ) -> Transformer2DModelOutput | tuple[torch.Tensor]:
        """Predict the velocity ε - x₀.

        Args:
            hidden_states: (B, C, F, H, W) normalised latents; any float dtype, the output has the same.
            timestep: 1000 · σ, (B,) for one level per clip or (B, F) for one per latent frame.
            encoder_hidden_states: (B, L, cross_attention_dim) text embeddings.
            encoder_attention_mask: bool, True where a text token counts: (B, L), or (B, F, L) where each
                latent frame has its own span of the text. A learned null token is always visible beside the
                text, so a frame may see no text at all. None: all tokens count.
            frame_times: (B, F) or (1, F) seconds, the middle of what each latent frame covers. None: those of
                `sample_fps` and `sample_temporal_stride`, from 0 or from what the cache already holds.
            frame_control: (B, F, control_dim) control vectors; None: no control.
            frames_per_block: latent frames per block; a block sees itself and earlier ones. None:
                every frame sees every other, or what `kv_cache` says.
            window: blocks seen, the own one included; None: all earlier ones. Needs `frames_per_block`.
            kv_cache: a `KVCache` of the frames before these. It is only read, except inside
                `kv_cache.recording()`.
            attention_kwargs: `{"scale": s}` scales LoRA weights.
            return_dict: return a `Transformer2DModelOutput` instead of a tuple.

        Returns:
            (B, C, F, H, W) as `.sample`, or as the only item of a tuple.

        Raises:
            ValueError: if a shape or an argument does not fit; the message names it and what is needed.
        """
        batch, _, frames, height, width = check_inputs(
            self.config, self.gradient_checkpointing, hidden_states, timestep, encoder_hidden_states,
            encoder_attention_mask, frame_times, frame_control, frames_per_block, window, kv_cache,
        )  # fmt: skip
        patch_frames, patch_rows, patch_columns = self.config["patch_size"]
        token_frames, rows, columns = frames // patch_frames, height // patch_rows, width // patch_columns
        space = rows * columns
        if kv_cache is not None:
            if self.is_cache_enabled:
                raise ValueError(
                    f"kv_cache needs every block to run, and {type(self._cache_config).__name__} leaves some out; "
                    "call disable_cache() first"
                )
            kv_cache.check(batch, rows, columns, len(self.transformer_blocks))
            frames_per_block, window = kv_cache.frames_per_block, kv_cache.window

        # 1. Tokens of spacetime patches, and where they lie in the frame
        x = rearrange(
            hidden_states,
            "b c (f pf) (h ph) (w pw) -> b f (h w) (pf ph pw c)",
            pf=patch_frames,
            ph=patch_rows,
            pw=patch_columns,
        )
        x = self.patch_embed(x.to(self.patch_embed.weight.dtype))  # (B, F, S, D)
        positions = frame_position_features(rows, columns, x.device)
        x = x + self.position_embed(positions.to(self.position_embed.weight.dtype)).to(x.dtype)

        # 2. Rotary positions
        if frame_times is None:
            frame_times = self._default_frame_times(kv_cache, frames, x.device)
        if frame_times.dtype != torch.float64:  # which streams give: after hours, float32 lacks the digits
            frame_times = frame_times.float()
        rotary_emb = self.rope(_per_token_frame(frame_times, patch_frames), rows, columns)
        rotary_emb = rotary_emb.flatten(1, 2)  # (B or 1, N, 1, head_dim / 2, 2)

        # 3. Noise levels, in float32 even under autocast
        timestep = timestep[:, None] if timestep.ndim == 1 else _per_token_frame(timestep.float(), patch_frames)
        if frame_control is not None:
            frame_control = _per_token_frame(frame_control, patch_frames)
        kind = x.device.type
        with torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext():
            temb, modulation = self.time_embed(timestep, frame_control)  # (B, F or 1, D), (B, F or 1, 6, D)

        # 4. Text, behind the null token that is always visible
        text = self.text_proj(self.text_norm(encoder_hidden_states.to(self.text_proj.weight.dtype)))
        text = torch.cat([self.null_text.expand(batch, 1, -1).to(text.dtype), text], dim=1)  # (B, 1 + L, D)
        text_mask = _text_mask(encoder_attention_mask, patch_frames)

        # 5. Which frames see which
        mask = self._attention_mask(token_frames, space, frames_per_block, window, kv_cache, x.device)
        record = kv_cache is not None and kv_cache.is_recording
        keep = None
        if kv_cache is not None and kv_cache.frames_to_keep is not None:
            keep = kv_cache.frames_to_keep // patch_frames * space

        # 6. Blocks
        for index, block in enumerate(self.transformer_blocks):
            layer = None if kv_cache is None else kv_cache.layers[index]
            inputs = (x, text, modulation, rotary_emb, mask, text_mask, layer, record, keep)
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                x = self._gradient_checkpointing_func(block, *inputs)  # pyright: ignore[reportOptionalCall]
            else:
                x = block(*inputs)
        if kv_cache is not None and record:
            kv_cache.advance(batch, frames, rows, columns)

        # 7. Velocity
        shift, scale = (
            (self.scale_shift_table.unflatten(0, (2, -1)) + temb[:, :, None])
            .to(x.dtype)[:, :, :, None]
            .unbind(dim=2)
        )
        x = self.proj_out(torch.addcmul(shift, self.norm_out(x), 1 + scale))
        x = rearrange(
            x,
            "b f (h w) (pf ph pw c) -> b c (f pf) (h ph) (w pw)",
            h=rows,
            pf=patch_frames,
            ph=patch_rows,
            pw=patch_columns,
        ).to(hidden_states.dtype)
        return Transformer2DModelOutput(sample=x) if return_dict else (x,)

    def _default_frame_times(self, kv_cache: KVCache | None, frames: int, device: torch.device) -> torch.Tensor:
        """Mid-times (1, F) in seconds: latent 0 is pixel frame 0, latent f is frames 1 + (f-1)s … fs."""
        first = 0 if kv_cache is None else kv_cache.num_frames
        index = torch.arange(first, first + frames, device=device, dtype=torch.float32)
        middle = index * self.config["sample_temporal_stride"] - (self.config["sample_temporal_stride"] - 1) / 2
        return (middle.clamp(min=0) / self.config["sample_fps"])[None]

    def _attention_mask(
        self,
        token_frames: int,
        space: int,
        frames_per_block: int | None,
        window: int | None,
        kv_cache: KVCache | None,
        device: torch.device,
    ) -> torch.Tensor | None:
        """Bool (1, 1, N, cached + N), True where attention is allowed; None where all tokens see each other."""
        if frames_per_block is None:
            return None
        patch_frames = self.config["patch_size"][0]
        start, cached = (0, 0) if kv_cache is None else (kv_cache.num_frames, kv_cache.num_cached_frames)
        mask = block_causal_mask(
            token_frames,
            frames_per_block // patch_frames,
            window,
            start=start // patch_frames,
            cached=cached // patch_frames,
        )
        if mask is None:
            return None
        if getattr(self, "_parallel_config", None) is not None:
            raise ValueError("block-causal attention does not work under context parallelism; use one device")
        # Four axes: diffusers takes a mask of two for one of keys, (batch, L), wherever N equals the batch.
        return mask.to(device).repeat_interleave(space, dim=0).repeat_interleave(space, dim=1)[None, None]


# diffusers looks classes up by name among its own, as AutoModel does.
setattr(diffusers, KinemaTransformer3DModel.__name__, KinemaTransformer3DModel)


def _per_token_frame(x: torch.Tensor, patch_frames: int) -> torch.Tensor:
    """Mean over the latent frames that one token covers: (B, F, ...) to (B, F / patch_frames, ...)."""
    return x if patch_frames == 1 else reduce(x, "b (f p) ... -> b f ...", "mean", p=patch_frames)


def _text_mask(mask: torch.Tensor | None, patch_frames: int) -> torch.Tensor | None:
    """Bool (B, F or 1, 1 + L): the null token is always visible; a token sees what any of its frames sees."""
    if mask is None:
        return None
    if mask.ndim == 2:
        mask = mask[:, None]
    elif patch_frames > 1:
        mask = reduce(mask, "b (f p) l -> b f l", "any", p=patch_frames)
    return torch.nn.functional.pad(mask, (1, 0), value=True)
