"""The fixed prompts, what each asks for, and the true scene of each.

The list is prompts.txt beside this module; its head explains the columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..data.diorama import Scene

PROMPTS = Path(__file__).with_name("prompts.txt")
TRUTH_SEED = 7_300_001  # a corpus of its own: no training run uses it
STILL = ("stand",)


@dataclass(frozen=True)
class ExamPrompt:
    """A prompt and its facts; "" is not asked."""

    text: str
    object: str
    colour: str
    motion: str  # Diorama's action
    direction: str  # left, right, up, down, towards, away or none
    floor: str = ""
    time: str = ""

    @property
    def asked(self) -> dict[str, str]:
        """Attribute to asked word, of the attributes that the pixel measures can answer."""
        words = {
            "object": "yes",
            "colour": self.colour,
            "moving": "still" if self.motion in STILL else "moving",
            "direction": self.direction,
            "time": self.time,
            "floor": self.floor,
        }
        return {name: word for name, word in words.items() if word}


def load_prompts(path: str | Path = PROMPTS, count: int | None = None) -> list[ExamPrompt]:
    """Read a list of prompts.

    Args:
        path: a file in the format that prompts.txt explains.
        count: only the first so many; None: all.

    Raises:
        ValueError: a line with another number of columns, or fewer prompts than asked for.
    """
    prompts = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) != 7:
            raise ValueError(
                f"{path}, line {number} has {len(cells)} columns; it needs 7: "
                "prompt | object | colour | motion | direction | floor | time"
            )
        prompts.append(ExamPrompt(*("" if cell == "-" else cell for cell in cells)))
    if count is not None and not 2 <= count <= len(prompts):
        raise ValueError(f"{count} prompts were asked for; {path} has {len(prompts)}, and chance needs at least 2")
    return prompts[:count]


def true_scenes(prompts: Sequence[ExamPrompt], *, seed: int = TRUTH_SEED) -> list["Scene"]:
    """A Diorama scene that does what each prompt says, the same every time.

    Object, action and direction decide how a scene is staged (size, place, speed), so they come from the first
    sampled scenes that have them; colour, floor and time of day are then set as asked. The scenes are of level 0:
    one large object, a still camera.

    Raises:
        ValueError: a prompt asks for what no scene of level 0 has.
    """
    from ..data.diorama import sample_scene

    found: dict[int, Scene] = {}
    for index in range(5_000):
        scene = sample_scene(seed, index, difficulty=(0, 0))
        thing = scene.objects[0]
        # Each scene serves one prompt, so that two clips never share their staging.
        number = next(islice((n for n, p in enumerate(prompts) if n not in found and _stages(scene, p)), 1), None)
        if number is not None:
            prompt = prompts[number]
            thing = thing.model_copy(update={"colour": prompt.colour or thing.colour})
            changes: dict = {"objects": (thing,)}
            changes |= {"floor": prompt.floor} if prompt.floor else {}
            changes |= {"time_of_day": prompt.time} if prompt.time else {}
            found[number] = scene.model_copy(update=changes)
        if len(found) == len(prompts):
            return [found[number] for number in range(len(prompts))]
    missing = [prompt.text for number, prompt in enumerate(prompts) if number not in found]
    raise ValueError(f"no simple Diorama scene does what these prompts ask: {missing}; give their true clips")


def _stages(scene: "Scene", prompt: ExamPrompt) -> bool:
    thing = scene.objects[0]
    if (thing.kind, thing.motion.action) != (prompt.object, prompt.motion):
        return False
    return thing.motion.direction == prompt.direction or thing.motion.direction not in ("left", "right")
