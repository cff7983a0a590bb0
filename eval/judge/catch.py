"""What the pixel judge must catch: true clips tampered with, each way moving its own attributes and no others.

    python -m kinema.eval.judge.catch --clips 210        # a few minutes on one core; docs/exam.md has the table

Prints, for the clean probes, the share read right on true clips (the judge's ceilings) and after each tampering.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from ...data.diorama import Scene, render
from ...data.diorama.scene import COLOURS
from ..answers import answer
from ..questions import ATTRIBUTES, ExamPrompt, load_prompts
from ..staging import stage
from .pixel import PixelJudge

SHAPE: dict[str, Any] = {"height": 64, "width": 64, "num_frames": 17, "fps": 8.0}
TOLERANCE = 0.06  # the most by which tampering may move what it does not touch

# What each tampering must bring down; what else it may, because the change is real there too. All else must stay.
TOUCHES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "colours exchanged": (("colour",), ()),
    "played backwards": (
        ("direction",),
        ("motion", "camera", "colour"),
    ),  # a thing that turns green turned from it
    "frozen": (("motion", "direction", "camera"), ("speed",)),
    "frames shuffled": (("motion", "direction", "camera"), ("speed", "colour")),
    "another count": (("count",), ()),
    "another scene": (("object", "colour", "motion", "direction", "camera", "count"), ()),
}


def true_clip(prompt: ExamPrompt, seed: int) -> np.ndarray:
    """The true clip of a prompt, uint8 (T, H, W, 3)."""
    return _filmed(stage(prompt, seed))


def tampered(way: str, prompt: ExamPrompt, other: ExamPrompt, seed: int, clip: np.ndarray) -> np.ndarray | None:
    """A prompt's true clip with one thing wrong; None where that cannot be done to it.

    Args:
        way: a key of `TOUCHES`.
        prompt: what the clip shows.
        other: another prompt of the list.
        seed: of the staging.
        clip: the true clip.
    """
    if way == "colours exchanged":
        scene = stage(prompt, seed)
        things = tuple(thing.model_copy(update={"colour": _another(thing.colour)}) for thing in scene.objects)
        return _filmed(scene.model_copy(update={"objects": things}))
    if way == "played backwards":
        return clip[::-1].copy()
    if way == "frozen":
        return np.repeat(clip[len(clip) // 2 :][:1], len(clip), axis=0)
    if way == "frames shuffled":
        return clip[np.random.default_rng(seed).permutation(len(clip))]
    if way == "another count":
        thing = prompt.objects[0]
        if len(prompt.objects) > 1 or thing.count is None:
            return None
        counted = thing.model_copy(update={"count": thing.count % 4 + 1})
        return _filmed(stage(prompt.model_copy(update={"objects": (counted,)}), seed))
    return true_clip(other, seed)


def _filmed(scene: Scene) -> np.ndarray:
    return render(scene, **SHAPE, supersample=2).frames.numpy()


def _another(colour: str) -> str:
    return COLOURS[(COLOURS.index(colour) + 4) % len(COLOURS)]  # type: ignore[arg-type]


def catch(
    judge: PixelJudge,
    prompts: Sequence[ExamPrompt],
    ways: Sequence[str] = tuple(TOUCHES),
    *,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, dict[str, tuple[int, float]]]:
    """Share of prompts read as asked: "true" or a way of tampering, to attribute, to (n, share)."""
    right: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for number, prompt in enumerate(tqdm(prompts, unit="prompt", disable=not progress)):
        clip = true_clip(prompt, seed)
        other = prompts[(number + len(prompts) // 2) % len(prompts)]
        made: dict[str, Callable[[], np.ndarray | None]] = {"true": lambda clip=clip: clip}
        for way in ways:
            made[way] = lambda way=way, clip=clip, prompt=prompt, other=other: tampered(
                way, prompt, other, seed, clip
            )
        for way, make in made.items():
            frames = make()
            if frames is not None:
                for name, good in answer(judge.read(frames, SHAPE["fps"]), prompt).items():
                    right[way][name].append(good)
    return {
        way: {name: (len(found), float(np.mean(found))) for name, found in names.items()}
        for way, names in right.items()
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m kinema.eval.judge.catch", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--clips", type=int, default=None, help="probes to take (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the stagings")
    parser.add_argument("--list", default="probe")
    args = parser.parse_args(argv)
    found = catch(PixelJudge.from_pretrained(), load_prompts(args.list, args.clips), seed=args.seed, progress=True)
    names = [name for name in ATTRIBUTES if name in found["true"]]
    sys.stdout.write(f"{'':20}" + "".join(f"{name:>12}" for name in names) + "\n")
    for way, marks in found.items():
        cells = [f"{100 * marks[name][1]:.1f} ({marks[name][0]})" if name in marks else "-" for name in names]
        sys.stdout.write(f"{way:20}" + "".join(f"{cell:>12}" for cell in cells) + "\n")


if __name__ == "__main__":
    main()
