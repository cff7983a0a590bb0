"""Which scenes there are: a scene for every (seed, index), by difficulty.

Levels: 0, one large object of a simple kind on a plain floor, still camera, day, sunset or night;
1, one large or medium object of more kinds and motions, with skylines and all times of day, still camera;
2, every kind, motion and floor, all sizes, up to two objects in relation, some camera moves;
3, up to four objects, rows, several things happening, mostly a moving camera, styles.
Levels 2 and 3 also have materials and patterns, motions in turn and events between two objects (see `variety`).
"""

from .draws import Draws
from .rules import is_heldout
from .scene import Scene, Split
from .sight import in_sight
from .simple import draw_simple
from .variety import draw_simple_turns, draw_varied


def sample_scene(
    seed: int, index: int, *, split: Split = "train", difficulty: tuple[int, int] = (0, 3), two_events: float = 0.0
) -> Scene:
    """The scene numbered `index` of the corpus `seed`: the same whenever and wherever it is asked for.

    The level is drawn evenly from `difficulty`, both ends included. Of the scenes of levels 0 and 1, which have
    one motion each, the share `two_events` shows two in turn, with timed captions; levels 2 and 3 have their own.
    """
    low, high = difficulty
    if not 0 <= low <= high <= 3:
        raise ValueError(f"difficulty is {difficulty}; it needs 0 <= lowest <= highest <= 3")
    if split not in ("train", "heldout"):
        raise ValueError(f"split is {split!r}; it is 'train' or 'heldout'")
    level = Draws("level", seed, index, split).integer(low, high)
    in_turn = level < 2 and Draws("turns", seed, index, split, level).chance(two_events)
    for attempt in range(10_000):
        draws = Draws("scene", seed, index, split, level, attempt)
        scene = (draw_varied if level >= 2 else draw_simple)(draws, seed, index, split, level)
        scene = draw_simple_turns(draws, scene) if in_turn else scene
        if is_heldout(scene) == (split == "heldout") and ((level < 2 and not in_turn) or in_sight(scene)):
            return scene
    raise RuntimeError(f"no {split} scene of level {level} found for seed {seed}, index {index}")
