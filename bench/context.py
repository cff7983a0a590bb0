"""What encoding a suffix without its past costs: the error after k repeated groups, and that of stills.

    python bench/context.py --out bench/results/context.json      # the packaged autoencoder on held-out Diorama

The last frames of a clip are encoded once in their place, with the clip's true past, and once as the pipeline
does: after their first frame and k repeated groups of it, which are dropped (`kinema.vae.context`). Reported are
the mean squared error between the two latents, frame by frame, and the PSNR of the decoded clip over the suffix
and over its first group. Takes half a minute on a core.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from kinema.data.diorama import DioramaDataset
from kinema.data.pixels import to_pixels
from kinema.pipeline.build import load_part
from kinema.pipeline.checkpoint import find_checkpoint
from kinema.vae.context import encode_still, encode_suffix
from kinema.vae.latents import decode_latents, encode_latents, temporal_stride

REPEATS = range(5)


def psnr(decoded: torch.Tensor, pixels: torch.Tensor) -> float:
    """Mean over clips of the PSNR in dB; (B, 3, T, H, W) in [-1, 1]."""
    error = ((decoded - pixels) / 2).square().mean(dim=(1, 2, 3, 4))
    return round(float(-10 * error.log10().mean()), 2)


@torch.no_grad()
def measure(vae: Any, pixels: torch.Tensor) -> dict[str, Any]:
    """The errors of a batch of clips (B, 3, T, H, W) whose suffix begins in the middle."""
    stride = temporal_stride(vae)
    whole = encode_latents(vae, pixels)
    start = whole.shape[2] // 2
    first = 1 + (start - 1) * stride
    group, rest = slice(first, first + stride), slice(first, None)
    decoded = decode_latents(vae, whole)
    rows = [{"past": "true", "suffix_psnr": psnr(decoded[:, :, rest], pixels[:, :, rest])}]
    rows[0]["first_group_psnr"] = psnr(decoded[:, :, group], pixels[:, :, group])
    for repeats in REPEATS:
        suffix = encode_suffix(vae, pixels[:, :, rest], repeats)
        errors = (suffix - whole[:, :, start:]).square().mean(dim=(0, 1, 3, 4))
        decoded = decode_latents(vae, torch.cat([whole[:, :, :start], suffix], dim=2))
        rows.append(
            {
                "past": f"k = {repeats}",
                "latent_mse": [round(float(error), 5) for error in errors[:3]],
                "suffix_psnr": psnr(decoded[:, :, rest], pixels[:, :, rest]),
                "first_group_psnr": psnr(decoded[:, :, group], pixels[:, :, group]),
            }
        )
    picture = pixels[:, :, first + stride // 2 :][:, :, :1]
    still = torch.cat([whole[:, :, :start], encode_still(vae, picture), whole[:, :, start + 1 :]], dim=2)
    shown = decode_latents(vae, still)[:, :, group]
    stills = {
        "image_psnr": psnr(decode_latents(vae, encode_latents(vae, picture)), picture),
        "still_psnr": psnr(shown, picture.expand_as(shown)),
        "still_psnr_by_frame": [psnr(frame, picture) for frame in shown.split(1, dim=2)],
    }
    return {"suffix": rows, "stills": stills}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None, help="a checkpoint (default: the packaged one)")
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--frames", type=int, default=33)
    parser.add_argument("--out", type=Path, default=Path("context.json"))
    args = parser.parse_args()
    vae = load_part(find_checkpoint(args.model) / "vae").eval()
    clips = DioramaDataset(
        seed=77, split="heldout", difficulty=(0, 0), num_clips=args.clips, num_frames=args.frames
    )
    pixels = torch.cat([to_pixels(clips[index]["pixel_values"][None]) for index in range(args.clips)])
    report = {"clips": args.clips, "frames": args.frames, "torch": torch.__version__} | measure(vae, pixels)
    args.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
