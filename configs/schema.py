"""The typed configuration: every number of a training run, in one place.

A run is described by one `Config`. Presets are YAML files beside this module; the command line changes
single fields with `key=value` (`train.vae.steps=200`). A model section holds exactly the arguments of that
model's constructor, so `AutoencoderKLKinema(**config.vae.model_dump())` builds it.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

Mapping01 = dict[str, float]


class Section(BaseModel):
    """A frozen group of settings in which a misspelt key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(Section):
    """Which clips are trained on, and their shape."""

    # Or a folder of its clips rendered before, a manifest file, a folder of videos, a dataset of `kinema caption`.
    source: str = "diorama"
    split: Literal["train", "heldout"] = "train"  # Diorama only: "heldout" has only pairs unseen in training
    difficulty: tuple[int, int] = (0, 3)  # Diorama only: lowest and highest level, 0 to 3
    num_clips: int = Field(default=16384, gt=0)  # Diorama only: clips in one epoch
    supersample: int = Field(default=2, ge=1, le=4)  # Diorama only: rays per pixel side
    height: int = Field(default=64, gt=0)  # pixels
    width: int = Field(default=64, gt=0)  # pixels
    num_frames: int = Field(default=17, gt=0)  # frames per clip, 1 + k * temporal_stride
    fps: float = Field(default=8.0, gt=0)  # frames per second
    fps_choices: tuple[float, ...] = ()  # if given, each clip draws its frame rate from these
    # (frames, height, width) shapes in place of those above: folders sort their clips into the nearest, Diorama
    # draws one a clip (a shape named twice is drawn twice as often).
    buckets: tuple[tuple[int, int, int], ...] = ()
    two_events: float = Field(default=0.0, ge=0, le=1)  # Diorama's levels 0, 1: share with two motions in turn
    # Diorama only: how often the denoiser sees a clip in an epoch, a product over what it shows (dit/repeats.py).
    repeats: dict[str, PositiveInt] = {}
    # Share of each caption level. Diorama can also give "typed": as people write prompts, in any order.
    caption_mix: Mapping01 = {"short": 0.4, "medium": 0.4, "dense": 0.2}
    # Share of the draws of a clip with synthetic and original captions that show an original one (data/blend.py).
    original_captions: float = Field(default=0.05, ge=0, le=1)
    out_of_domain: bool = False  # captioned datasets only: also what our captioner wrote of clips it does not know
    num_workers: int = Field(default=0, ge=0)  # loader processes per rank; 0 loads in the training process

    @model_validator(mode="after")
    def _check(self) -> "DataConfig":
        low, high = self.difficulty
        if not 0 <= low <= high <= 3:
            raise ValueError(f"difficulty is {self.difficulty}; it needs 0 <= lowest <= highest <= 3")
        levels = {"short", "medium", "dense"} | ({"typed"} if self.source == "diorama" else set())
        if abs(sum(self.caption_mix.values()) - 1) > 1e-6 or set(self.caption_mix) - levels:
            raise ValueError(
                f"caption_mix is {self.caption_mix}; with data.source={self.source} it needs shares of "
                f"{', '.join(sorted(levels))} that sum to 1"
            )
        return self


class ConditionerConfig(Section):
    """The contrastive captioner (CoCa) whose text tower conditions the denoiser."""

    vocab_size: int = Field(default=2048, gt=300)  # byte-level BPE entries, special tokens included
    context_length: int = Field(default=64, gt=4)  # tokens, start and end included
    width: int = Field(default=192, gt=0)  # text tower and decoder
    num_layers: int = Field(default=4, gt=0)  # text tower
    num_decoder_layers: int = Field(default=2, gt=0)  # multimodal caption decoder
    num_heads: int = Field(default=4, gt=0)
    embed_dim: int = Field(default=192, gt=0)  # joint video-text space
    image_size: int = Field(default=64, gt=0)  # pixels; frames are resized to this square
    patch_size: int = Field(default=8, gt=0)  # pixels
    num_frames: int = Field(default=5, gt=0)  # frames of a clip that the visual side sees, evenly spaced, in order
    vision_width: int = Field(default=192, gt=0)
    vision_layers: int = Field(default=4, gt=0)
    vision_heads: int = Field(default=4, gt=0)
    loss: Literal["infonce", "sigmoid"] = "infonce"
    contrastive_weight: float = Field(default=1.0, ge=0)
    caption_weight: float = Field(default=2.0, ge=0)
    facts_weight: float = Field(
        default=2.0, ge=0
    )  # where clips come with facts; without it shapes are learned late


class VAEConfig(Section):
    """Arguments of `AutoencoderKLKinema`."""

    latent_channels: int = Field(default=16, gt=0)
    patch_size: int = Field(default=4, gt=0)  # pixels folded into channels before the first convolution
    block_channels: tuple[int, ...] = (96, 192)  # one level each; every level after the first halves space
    layers_per_block: int = Field(default=2, gt=0)  # residual blocks a level
    temporal_stride: int = Field(default=4, gt=0)  # power of two: pixel frames per latent frame
    # spatial stride = patch_size * 2 ** (len(block_channels) - 1)

    @property
    def spatial_stride(self) -> int:
        """Pixels per latent cell side."""
        return self.patch_size * 2 ** (len(self.block_channels) - 1)


class VAELossConfig(Section):
    """Weights of the autoencoder's losses."""

    reconstruction: float = 1.0  # L1 in pixel space
    kl: float = 1e-6
    perceptual: float = 0.1  # download-free perceptual distance
    adversarial: float = 0.0  # 3-D patch discriminator; 0 builds none
    adversarial_start: int = 1000  # steps before the discriminator counts
    crop_frames: int | None = None  # train on this many frames of each clip; None: all
    decoder_only: bool = False  # leave the encoder and its latents as they are: their denoiser stays valid


class DiTConfig(Section):
    """Arguments of `KinemaTransformer3DModel`, besides the widths its VAE and text encoder decide."""

    num_layers: int = Field(default=8, gt=0)
    num_attention_heads: int = Field(default=6, gt=0)
    attention_head_dim: int = Field(default=48, gt=0)  # a multiple of 2
    patch_size: tuple[int, int, int] = (1, 2, 2)  # latent frames, rows, columns per token
    mlp_ratio: float = Field(default=3.0, gt=0)  # SwiGLU hidden / model width, rounded up to a multiple of 8
    control_dim: int = Field(default=0, ge=0)  # per-frame control vector; 0: none


class FlowConfig(Section):
    """Noise levels of a training clip, and what else is drawn per sample."""

    plans: Mapping01 = {  # shares of the noise plans; they sum to 1
        "equal": 0.5,  # one level for all frames
        "independent": 0.24,  # a level per frame (Diffusion Forcing)
        "prefix": 0.08,  # first frames clean: image to video, extension
        "scattered": 0.03,  # some frames clean
        # Clean frames encoded as the pipeline encodes them (vae/context.py), not as part of the whole clip:
        "suffix": 0.05,  # last frames clean: extension backwards
        "both_ends": 0.05,  # first and last frames clean: connection, loop
        "keyframes": 0.05,  # single frames clean, each a still that fills its latent
    }
    logit_mean: float = 0.0  # of the logit-normal noise level
    logit_std: float = Field(default=1.0, gt=0)
    shift: float = Field(default=1.0, gt=0)  # resolution-dependent shift; 1: none
    caption_dropout: float = Field(default=0.1, ge=0, le=1)  # for classifier-free guidance
    block_causal: float = Field(default=0.3, ge=0, le=1)  # share of batches under the block-causal mask
    frames_per_block: int = Field(default=1, gt=0)  # latent frames per causal block
    # Share of the block-causal batches that lack the clip's beginning, as a streaming window does. The first
    # latent frame is an image's and unlike the others, so a model that always saw it would miss it.
    mid_clip: float = Field(default=0.4, ge=0, le=1)
    timed_captions: float = Field(
        default=0.5, ge=0, le=1
    )  # share of clips that have them trained on a text a span
    image_fraction: float = Field(default=0.1, ge=0, le=1)  # share of batches of single frames
    image_warmup: float = Field(default=0.15, ge=0, le=1)  # first share of the steps that sees only single frames

    @model_validator(mode="after")
    def _check(self) -> "FlowConfig":
        known = {"equal", "independent", "prefix", "suffix", "both_ends", "scattered", "keyframes"}
        if abs(sum(self.plans.values()) - 1) > 1e-6 or set(self.plans) - known:
            raise ValueError(f"plans is {self.plans}; it needs shares of {sorted(known)} that sum to 1")
        return self


class JudgeConfig(Section):
    """The exam's pixel judge (`kinema train judge`): its clips and its network."""

    num_clips: int = Field(default=12000, gt=0)  # rendered once into the run's folder, about 0.3 MB each
    heldout_clips: int = Field(default=300, gt=0)  # only looked at
    channels: tuple[int, int, int] = (40, 64, 96)  # width at strides 2, 4 and 8
    depths: tuple[int, int, int] = (2, 2, 2)  # blocks at strides 2, 4 and 8


class TrainConfig(Section):
    """One training loop. A step is one optimizer update over batch_size * accumulation * ranks clips."""

    steps: int = Field(default=1000, gt=0)
    batch_size: int = Field(default=16, gt=0)  # clips per rank per forward
    gradient_accumulation_steps: int = Field(default=1, gt=0)
    mixed_precision: Literal["no", "bf16"] = "no"  # compute type; master weights stay fp32
    gradient_checkpointing: bool = False
    compile: bool = False  # torch.compile of the repeated blocks
    optimizer: Literal["adamw", "muon"] = "adamw"  # "muon": Muon on 2-D hidden weights, AdamW on the rest
    learning_rate: float = Field(default=1e-3, gt=0)  # AdamW
    muon_learning_rate: float = Field(default=0.015, gt=0)  # Muon, in AdamW's scale
    betas: tuple[float, float] = (0.9, 0.95)  # AdamW
    weight_decay: float = Field(default=0.01, ge=0)
    warmup_steps: int = Field(default=100, ge=0)
    schedule: Literal["constant", "cosine", "linear"] = "cosine"  # after warm-up, down to final_lr_share
    final_lr_share: float = Field(default=0.05, ge=0, le=1)
    max_grad_norm: float = Field(default=1.0, gt=0)
    ema_decay: float = Field(default=0.998, ge=0, lt=1)  # 0: no averaging
    log_every: int = Field(default=10, gt=0)  # steps
    validate_every: int = Field(default=250, gt=0)  # steps between validation losses and samples
    checkpoint_every: int = Field(default=250, gt=0)  # steps
    keep_checkpoints: int = Field(default=2, gt=0)
    validation_clips: int = Field(default=16, gt=0)
    train_text_encoder: bool = False  # denoiser only: the text tower learns along


class TrainSections(Section):
    """The three training loops of the recipe, and the exam's judge."""

    conditioner: TrainConfig = TrainConfig()
    vae: TrainConfig = TrainConfig()
    dit: TrainConfig = TrainConfig()
    judge: TrainConfig = TrainConfig()


class SampleConfig(Section):
    """How the trained model samples by default."""

    num_inference_steps: int = Field(default=12, gt=0)
    guidance_scale: float = Field(default=4.0, ge=0)
    guidance: Literal["cfg", "zero-star", "apg"] = "cfg"
    guidance_interval: tuple[float, float] = (0.0, 1.0)  # noise levels, lowest and highest, at which it acts
    stream_window: int | None = Field(default=None, gt=0)  # latent frames that a stream's block sees, with its own
    context_noise: float | None = Field(default=None, ge=0, le=1)  # noise level at which it sees finished blocks
    prompts: tuple[str, ...] = (
        "a red ball rolls to the left",
        "a blue cube bounces on green grass",
        "a yellow car drives to the right on snow",
        "a green duck stands still on sand at night",
    )

    @model_validator(mode="after")
    def _check(self) -> "SampleConfig":
        low, high = self.guidance_interval
        if not 0 <= low <= high <= 1:
            raise ValueError(f"guidance_interval is {low} to {high}; it needs 0 <= lowest <= highest <= 1")
        return self


class Config(Section):
    """A whole recipe: data, three models, three training loops, sampling."""

    name: str = "unnamed"
    seed: int = 0
    legs: list[str] = []  # recipes, by name or path, with which a speedrun trains its denoiser further, in turn
    data: DataConfig = DataConfig()
    conditioner: ConditionerConfig = ConditionerConfig()
    vae: VAEConfig = VAEConfig()
    vae_loss: VAELossConfig = VAELossConfig()
    dit: DiTConfig = DiTConfig()
    flow: FlowConfig = FlowConfig()
    judge: JudgeConfig = JudgeConfig()
    train: TrainSections = TrainSections()
    sample: SampleConfig = SampleConfig()

    @model_validator(mode="after")
    def _check_strides(self) -> "Config":
        vae, data, patch = self.vae, self.data, self.dit.patch_size
        frames = [data.num_frames, *(bucket[0] for bucket in data.buckets)]
        sides = [data.height, data.width, *(side for bucket in data.buckets for side in bucket[1:])]
        for count in frames:
            latent_frames, rest = divmod(count - 1, vae.temporal_stride)
            if rest or (latent_frames + 1) % patch[0]:
                raise ValueError(
                    f"a clip has {count} frames; with vae.temporal_stride={vae.temporal_stride} and "
                    f"dit.patch_size[0]={patch[0]} it needs 1 + k * {vae.temporal_stride} frames whose k + 1 is "
                    f"a multiple of {patch[0]}; change data.num_frames or data.buckets"
                )
        if patch[0] > 1 and (self.flow.image_warmup or self.flow.image_fraction):
            raise ValueError(
                f"dit.patch_size[0] is {patch[0]}, and an image is one latent frame; it needs "
                "flow.image_warmup=0 and flow.image_fraction=0"
            )
        if self.flow.block_causal and self.flow.frames_per_block % patch[0]:
            raise ValueError(
                f"flow.frames_per_block is {self.flow.frames_per_block}; it needs a multiple of "
                f"dit.patch_size[0] = {patch[0]} (or flow.block_causal=0)"
            )
        for side, token in ((s, vae.spatial_stride * max(patch[1:])) for s in sides):
            if side % token:
                raise ValueError(
                    f"a clip side is {side} pixels; it needs a multiple of {token} "
                    f"(VAE stride {vae.spatial_stride} times dit.patch_size {patch[1:]}); "
                    "change data.height, data.width or data.buckets"
                )
        return self
