"""One generator per video, so that a video is the same whatever batch it is made in."""

from collections.abc import Sequence
from numbers import Integral

import torch

Seeds = int | torch.Generator | Sequence[int] | Sequence[torch.Generator] | None


def per_video_generators(seeds: Seeds, count: int) -> list[torch.Generator]:
    """A generator for each of `count` videos.

    Args:
        seeds: an int s gives video i the seed s + i; a sequence has one int or generator per video; one generator
            serves the videos in turn; None draws seeds from torch's global generator.

    Raises:
        ValueError: a sequence of another length.
    """
    if isinstance(seeds, torch.Generator):
        return [seeds] * count
    if seeds is None:
        seeds = torch.randint(2**31, (count,)).tolist()
    elif isinstance(seeds, int | Integral):  # numpy's whole numbers, too
        seeds = [int(seeds) + number for number in range(count)]
    if len(seeds) != count:
        raise ValueError(
            f"generator has {len(seeds)} entries for {count} videos; give one per video (prompts times "
            "num_videos_per_prompt), or a single seed"
        )
    return [s if isinstance(s, torch.Generator) else torch.Generator().manual_seed(int(s)) for s in seeds]


def known_seeds(generators: Sequence[torch.Generator]) -> list[int | None]:
    """Each generator's seed, or None where the seed alone does not tell the noise.

    That is so if numbers were drawn from it already, if it serves several videos, and for a generator of another
    device than the CPU, whose numbers are others.
    """

    def seed(generator: torch.Generator) -> int | None:
        if generator.device.type != "cpu":
            return None
        fresh = torch.Generator(generator.device).manual_seed(generator.initial_seed())
        is_fresh = torch.equal(fresh.get_state(), generator.get_state())
        shared = sum(other is generator for other in generators) > 1
        return generator.initial_seed() if is_fresh and not shared else None

    return [seed(generator) for generator in generators]


def draw_noise(generators: Sequence[torch.Generator], shape: Sequence[int]) -> torch.Tensor:
    """Standard normal (B, *shape) float32 on the CPU, each video from its own generator, on that one's device."""
    return torch.stack([torch.randn(tuple(shape), generator=g, device=g.device).cpu() for g in generators])
