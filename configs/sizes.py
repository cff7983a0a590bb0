"""Denoiser sizes from about 10 M to 14 B parameters: one table, with the clip each is meant for.

`kinema.dit.sizing` computes what a size costs, on torch's meta device, without the memory it would need:

    python -m kinema.dit.sizing        # prints the table with parameters, tokens and operations

A head of 64 channels serves widths below 1536, one of 128 above; depth and width grow together (a width of about
80 to 120 times the depth), as in the models of the field.
"""

from pydantic import Field

from .schema import DiTConfig, Section


class Size(Section):
    """A denoiser, the autoencoder it stands on, its text encoder and its reference clip."""

    dit: DiTConfig
    latent_channels: int = Field(gt=0)
    temporal_stride: int = Field(gt=0)  # pixel frames per latent frame
    spatial_stride: int = Field(gt=0)  # pixels per latent cell side
    text_dim: int = Field(gt=0)  # width of the text encoder
    text_tokens: int = Field(gt=0)
    num_frames: int = Field(gt=0)  # the reference clip, pixels
    height: int = Field(gt=0)
    width: int = Field(gt=0)
    fps: float = Field(gt=0)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Latent frames, rows and columns of the reference clip."""
        frames = 1 + (self.num_frames - 1) // self.temporal_stride
        return frames, self.height // self.spatial_stride, self.width // self.spatial_stride

    @property
    def num_tokens(self) -> int:
        """Tokens of the reference clip."""
        frames, rows, columns = self.latent_shape
        patch_frames, patch_rows, patch_columns = self.dit.patch_size
        return (frames // patch_frames) * (rows // patch_rows) * (columns // patch_columns)


def _size(
    layers: int,
    heads: int,
    head_dim: int,
    vae: tuple[int, int, int],  # latent channels, temporal stride, spatial stride
    text: tuple[int, int],  # width, tokens
    clip: tuple[int, int, int, float],  # frames, height, width, frames/s
) -> Size:
    return Size(
        dit=DiTConfig.model_validate(
            {"num_layers": layers, "num_attention_heads": heads, "attention_head_dim": head_dim}
        ),
        latent_channels=vae[0],
        temporal_stride=vae[1],
        spatial_stride=vae[2],
        text_dim=text[0],
        text_tokens=text[1],
        num_frames=clip[0],
        height=clip[1],
        width=clip[2],
        fps=clip[3],
    )


SIZES: dict[str, Size] = {
    #             layers heads head    VAE           text         reference clip
    "10m": _size(8, 4, 64, (16, 4, 8), (192, 64), (17, 64, 64, 8.0)),
    "35m": _size(12, 6, 64, (16, 4, 8), (384, 64), (33, 128, 128, 8.0)),
    "130m": _size(18, 10, 64, (16, 4, 8), (768, 77), (33, 256, 256, 16.0)),
    "350m": _size(24, 14, 64, (16, 4, 8), (768, 77), (49, 256, 448, 16.0)),
    "1b": _size(24, 12, 128, (16, 4, 8), (2048, 256), (81, 480, 832, 16.0)),
    "2b": _size(28, 16, 128, (32, 4, 16), (2048, 256), (97, 480, 832, 24.0)),
    "5b": _size(32, 24, 128, (48, 4, 16), (4096, 512), (121, 704, 1280, 24.0)),
    "14b": _size(38, 36, 128, (48, 4, 16), (4096, 512), (121, 1088, 1920, 24.0)),
}
