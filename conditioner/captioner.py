"""The contrastive captioner (CoCa, Yu et al. 2022): one model that conditions, scores and captions.

The text tower and the caption decoder are open_clip's; the visual side is one of `vision`, which see several
frames in order. `python -m kinema.conditioner.train` trains it.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from open_clip.transformer import MultimodalTransformer
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from .decoding import decode
from .encoding import Padding, TextTokens, attach_tokenizer, check_prompts, tokenize
from .open_clip_text import OpenCLIPConditioner, build_text_tower
from .saving import SavedWithTokenizer
from .tokenizer import END_ID, LEVEL_IDS, PAD_ID, START_ID
from .vision import ConvolutionalTower, VideoTower, init_blocks, select_frames

Level = Literal["short", "medium", "dense", "facts"]


class CaptionerOutput(NamedTuple):
    """What the losses take. Features have length 1."""

    video_features: torch.Tensor  # (B, E)
    text_features: torch.Tensor  # (B, E)
    logits: torch.Tensor  # (B, L - 1, V), prediction i is of token i + 1
    fact_logits: torch.Tensor | None  # (R, L' - 1, V), likewise of the facts
    logit_scale: torch.Tensor  # scalar, the inverse temperature
    logit_bias: torch.Tensor | None  # scalar of the sigmoid loss


class ContrastiveCaptioner(SavedWithTokenizer, ConfigMixin):
    """CoCa over clips. The arguments are the fields of `ConditionerConfig`, and:

    Args:
        caption_tokens: visual tokens that the decoder reads; of the tower of patches.
        vision: the visual side, "patches" (`vision.VideoTower`) or "convolutional" (`vision.ConvolutionalTower`,
            which has no use for vision_layers and vision_heads).
        vocabulary: every word of the training captions, lower case; None if any word may be known.
        tokenizer: what `train_tokenizer` gives; saved and loaded with the weights.
    """

    __module__ = "kinema"  # diffusers finds the class by this name
    ignore_for_config = ["tokenizer"]  # noqa: RUF012
    _supports_gradient_checkpointing = True
    _repeated_blocks = ["CustomResidualAttentionBlock"]  # noqa: RUF012

    @register_to_config
    def __init__(
        self,
        vocab_size: int = 2048,
        context_length: int = 64,
        width: int = 128,
        num_layers: int = 4,
        num_decoder_layers: int = 2,
        num_heads: int = 4,
        embed_dim: int = 128,
        image_size: int = 64,
        patch_size: int = 16,
        num_frames: int = 5,
        vision_width: int = 128,
        vision_layers: int = 4,
        vision_heads: int = 4,
        loss: str = "infonce",
        contrastive_weight: float = 1.0,
        caption_weight: float = 2.0,
        facts_weight: float = 2.0,
        caption_tokens: int = 64,
        vocabulary: list[str] | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        vision: Literal["patches", "convolutional"] = "patches",
    ) -> None:
        super().__init__()
        for name, heads, of in (("num_heads", num_heads, width), ("vision_heads", vision_heads, vision_width)):
            if of % heads:
                raise ValueError(f"{name} is {heads}; it needs to divide the width {of}")
        if embed_dim % num_heads:
            raise ValueError(f"embed_dim is {embed_dim}; it needs to be a multiple of num_heads {num_heads}")
        self.text = build_text_tower(embed_dim, self._text_cfg)
        sizes: dict[str, int] = {
            "image_size": image_size,
            "patch_size": patch_size,
            "width": vision_width,
            "output_width": width,
            "embed_dim": embed_dim,
        }
        self.visual: VideoTower | ConvolutionalTower
        if vision == "convolutional":
            self.visual = ConvolutionalTower(**sizes)
        else:
            self.visual = VideoTower(
                **sizes,
                layers=vision_layers,
                heads=vision_heads,
                output_heads=num_heads,
                caption_tokens=caption_tokens,
            )
        self.text_decoder = MultimodalTransformer(
            width, num_decoder_layers, num_heads, context_length, output_dim=vocab_size
        )
        init_blocks(self.text_decoder)
        # open_clip leaves this one uninitialised.
        nn.init.normal_(self.text_decoder.text_projection, std=width**-0.5)
        sigmoid = loss == "sigmoid"
        # First values of Radford et al. (2021) and Zhai et al. (2023), as logarithms.
        self.logit_scale = nn.Parameter(torch.tensor(10.0 if sigmoid else 1 / 0.07).log())
        self.logit_bias = nn.Parameter(torch.tensor(-10.0)) if sigmoid else None
        self.tokenizer = attach_tokenizer(tokenizer)

    @property
    def pad_id(self) -> int:
        """The token behind the end of shorter captions."""
        return PAD_ID

    @property
    def _text_cfg(self) -> dict[str, Any]:
        """The text tower as open_clip describes one. Features of the end token stand for the text."""
        config = self.config
        return {
            "vocab_size": config["vocab_size"],
            "context_length": config["context_length"],
            "width": config["width"],
            "heads": config["num_heads"],
            "layers": config["num_layers"],
            "pool_type": "eos",
            "eos_id": END_ID,
            "pad_id": PAD_ID,
        }

    def forward(
        self,
        pixel_values: torch.Tensor,
        times: torch.Tensor,
        input_ids: torch.Tensor,
        fact_ids: torch.Tensor | None = None,
        fact_rows: torch.Tensor | None = None,
    ) -> CaptionerOutput:
        """Features and next-token logits of clips and their captions.

        Args:
            pixel_values: (B, 3, K, S, S) in [-1, 1] and
            times: (B, K) in seconds, both from `select_frames`.
            input_ids: (B, L), padded on the right.
            fact_ids: (R, L'), facts of clips, to be predicted too.
            fact_rows: (R,), of which clips of the batch; None: of all.
        """
        video, tokens = self.visual(pixel_values, times)  # (B, E), (B, Q, D)
        pooled, states = self.text(input_ids)  # (B, E), (B, L, D)
        logits = self.text_decoder(tokens, states[:, :-1])  # (B, L - 1, V)
        fact_logits = None
        if fact_ids is not None:
            fact_states = self.text(fact_ids)[1]  # (R, L', D)
            seen = tokens if fact_rows is None else tokens[fact_rows]  # (R, Q, D)
            fact_logits = self.text_decoder(seen, fact_states[:, :-1])  # (R, L' - 1, V)
        return CaptionerOutput(
            F.normalize(video, dim=-1),
            F.normalize(pooled, dim=-1),
            logits,
            fact_logits,
            self.logit_scale.clamp(max=4.6052).exp(),  # 100 at most, as in CLIP
            self.logit_bias,
        )

    def tokenize(
        self, captions: Sequence[str], levels: Sequence[Level | None] | None = None, padding: Padding = "longest"
    ) -> TextTokens:
        """Token ids, mask and cut-off texts of captions, on the module's device.

        Args:
            levels: for each caption the level whose token replaces <start>, or None to keep <start>.
        """
        tokens = tokenize(
            self.tokenizer,
            check_prompts(captions),
            self.config["context_length"],
            pad_id=PAD_ID,
            padding=padding,
            device=self.device,
        )
        if levels is not None:
            first = [START_ID if level is None else LEVEL_IDS[level] for level in levels]
            tokens.input_ids[:, 0] = torch.tensor(first, device=self.device)
        return tokens

    @torch.no_grad()
    def encode_video(self, frames: torch.Tensor, fps: float | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Unit features (B, E) and caption tokens (B, Q, D) of clips (B, 3, T, H, W), uint8 or in [-1, 1]."""
        pixels, times = select_frames(
            frames.to(self.device), fps, self.config["num_frames"], self.config["image_size"]
        )
        video, tokens = self.visual(pixels.to(self.dtype), times)
        return F.normalize(video.float(), dim=-1), tokens

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
        """Unit features (N, E) of texts."""
        pooled, _ = self.text(self.tokenize(texts).input_ids)
        return F.normalize(pooled.float(), dim=-1)

    def similarity(self, frames: torch.Tensor, texts: Sequence[str], fps: float | torch.Tensor) -> torch.Tensor:
        """Cosine similarity (B, N) of clips (B, 3, T, H, W), uint8 or in [-1, 1], and N texts."""
        return self.encode_video(frames, fps)[0] @ self.encode_text(texts).T

    @torch.no_grad()
    def caption(
        self,
        frames: torch.Tensor,
        fps: float | torch.Tensor,
        level: Level | None = "dense",
        top_p: float | None = None,
        generator: torch.Generator | None = None,
    ) -> list[str]:
        """A caption for each clip.

        Args:
            frames: (B, 3, T, H, W), uint8 in [0, 255] or float in [-1, 1].
            fps: frames per second, one number or one for each clip (B,).
            level: "short", "medium", "dense", or "facts" (attributes without a sentence); None leaves it open.
            top_p: nucleus sampling; None is greedy.
        """
        _, tokens = self.encode_video(frames, fps)
        return self.caption_tokens(tokens, level, top_p, generator)

    @torch.no_grad()
    def caption_tokens(
        self,
        tokens: torch.Tensor,
        level: Level | None = "dense",
        top_p: float | None = None,
        generator: torch.Generator | None = None,
    ) -> list[str]:
        """A caption for each clip from its caption tokens (B, Q, D), which `encode_video` gives."""
        if level is not None and level not in LEVEL_IDS:
            raise ValueError(f"level is {level!r}; it needs to be one of {sorted(LEVEL_IDS)}, or None")
        if self.tokenizer is None:
            raise ValueError("this captioner has no tokenizer; load it with from_pretrained")
        first = START_ID if level is None else LEVEL_IDS[level]
        unused = range(len(self.tokenizer), self.config["vocab_size"])  # a small corpus does not fill the table

        def next_logits(ids: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
            states = self.text(ids)[1]  # (R, L, D)
            return self.text_decoder(tokens[rows], states)[:, -1]  # (R, V)

        ids = decode(
            next_logits,
            torch.full((len(tokens),), first, dtype=torch.int64, device=tokens.device),
            end_id=END_ID,
            pad_id=PAD_ID,
            max_length=self.config["context_length"],
            banned_ids=[START_ID, *LEVEL_IDS.values(), *unused],
            top_p=top_p,
            generator=generator,
        )
        return [str(self.tokenizer.decode(row, skip_special_tokens=True)).strip() for row in ids.tolist()]

    def text_conditioner(self) -> OpenCLIPConditioner:
        """A copy of the text tower, with its tokenizer, as the component that conditions the denoiser."""
        conditioner = OpenCLIPConditioner(
            embed_dim=self.config["embed_dim"],
            text_cfg=self._text_cfg,
            pad_id=PAD_ID,
            vocabulary=self.config["vocabulary"],
            tokenizer=self.tokenizer,
        )
        conditioner.tower.load_state_dict(self.text.state_dict())
        conditioner.tower.to(self.device, self.dtype)
        return conditioner.eval()

    def enable_gradient_checkpointing(self, gradient_checkpointing_func: Any = None) -> None:
        """Recompute the visual blocks in the backward pass, where nearly all activations are."""
        self.visual.gradient_checkpointing = True

    def disable_gradient_checkpointing(self) -> None:
        """Keep all activations."""
        self.visual.gradient_checkpointing = False
