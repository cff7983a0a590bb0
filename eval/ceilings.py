"""How often the pixel measures are right on true clips of random scenes: what docs/eval.md states.

    python -m kinema.eval.ceilings --seed 9002 --level 0 --clips 400     # about a minute on one CPU core

The thresholds of `pixels` and `foreground` were set on seed 9001 alone; state figures of another seed.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from .foreground import find_object
from .pixels import measure

DIRECTIONS = {
    "fall": "down",
    "rise": "up",
    "stand": "none",
    "spin": "none",
}  # others: the scene's own, if it has one


def expected(facts: dict) -> dict[str, str]:
    """The words that a right measurement finds in a scene with these facts (`kinema.data.diorama.facts`)."""
    words = {
        "object": "yes",
        "colour": facts["colour"],
        "moving": "still" if facts["motion"] == "stand" else "moving",
        "direction": DIRECTIONS.get(facts["motion"], facts["direction"]),
        "time": facts["time_of_day"],
        "floor": facts["floor"],
    }
    return {name: word for name, word in words.items() if word}


def main(argv: Sequence[str] | None = None) -> None:
    """Render, measure and print the share of right answers, and every wrong one."""
    from ..data.diorama import facts, render, sample_scene

    parser = argparse.ArgumentParser(
        prog="python -m kinema.eval.ceilings", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--seed", type=int, default=9002)
    parser.add_argument(
        "--level", type=int, default=0, help="difficulty, 0 or 1 (the measures need a still camera)"
    )
    parser.add_argument("--clips", type=int, default=400)
    parser.add_argument("--size", type=int, default=64, help="pixels, both sides")
    parser.add_argument("--frames", type=int, default=17, help="over two seconds")
    args = parser.parse_args(argv)

    right: dict[str, list[bool]] = defaultdict(list)
    overlaps = []
    for index in tqdm(range(args.clips), unit="clip"):
        scene = sample_scene(args.seed, index, difficulty=(args.level, args.level))
        clip = render(
            scene, height=args.size, width=args.size, num_frames=args.frames, fps=args.frames / 2, supersample=2
        )
        frames, true = clip.frames.numpy(), clip.object_ids.numpy() > 0
        measured = measure(frames).words
        found = find_object(frames).mask
        overlaps.append((found & true).sum() / (found | true).sum())
        for name, word in expected(facts(scene)).items():
            right[name].append(measured[name] == word)
            if measured[name] != word:
                thing = scene.objects[0]
                tqdm.write(
                    f"{index}: {name} {word}, measured {measured[name]} ({thing.colour} {thing.kind} "
                    f"{thing.motion.action}, {scene.floor}, {scene.background}, {scene.time_of_day})",
                    file=sys.stdout,
                )
    for name, answers in right.items():
        sys.stdout.write(f"{name:10} {100 * np.mean(answers):5.1f} % of {len(answers)}\n")
    sys.stdout.write(f"overlap of the object's region with the true one: {100 * np.mean(overlaps):.1f} %\n")


if __name__ == "__main__":
    main()
