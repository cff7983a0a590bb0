"""Held-out compositions: attribute pairs that training never shows together.

A model that makes them anyway has learnt the attributes, not the clips. `split="train"` contains none of these
pairs; every scene of `split="heldout"` contains at least one.
"""

from .scene import Action, Colour, Floor, Kind, Scene

HELDOUT_COLOURS: frozenset[tuple[Kind, Colour]] = frozenset({
    ("ball", "purple"), ("cube", "orange"), ("cone", "cyan"), ("cylinder", "pink"), ("pyramid", "green"),
    ("star", "blue"), ("heart", "yellow"), ("car", "white"), ("duck", "red"), ("tree", "purple"),
    ("ring", "brown"), ("house", "black"), ("brick", "purple"), ("capsule", "gray"), ("diamond", "orange"),
    ("egg", "cyan"), ("boat", "pink"), ("rocket", "green"), ("snowman", "blue"), ("robot", "yellow"),
    ("mushroom", "gray"), ("airplane", "brown"),
})  # fmt: skip

HELDOUT_MOTIONS: frozenset[tuple[Kind, Action]] = frozenset({
    ("ball", "grow"), ("cube", "bounce"), ("cone", "fall"), ("cylinder", "spin"), ("pyramid", "rise"),
    ("star", "slide"), ("heart", "spin"), ("car", "fall"), ("duck", "bounce"), ("tree", "grow"),
    ("ring", "rise"), ("brick", "spin"), ("capsule", "hop"), ("diamond", "shrink"), ("egg", "swing"),
    ("boat", "grow"), ("rocket", "fall"), ("snowman", "rise"), ("robot", "spin"), ("mushroom", "bounce"),
    ("airplane", "spin"),
})  # fmt: skip

HELDOUT_FLOORS: frozenset[tuple[Kind, Floor]] = frozenset({
    ("ball", "sand"), ("cube", "snow"), ("cone", "wood"), ("cylinder", "grass"), ("heart", "sand"),
    ("car", "wood"), ("duck", "snow"), ("tree", "sand"), ("ring", "checkered"), ("house", "wood"),
    ("egg", "stone"), ("rocket", "sand"), ("robot", "grass"), ("mushroom", "checkered"),
})  # fmt: skip


def heldout_pairs(scene: Scene) -> list[tuple[str, str]]:
    """The held-out pairs in a scene, e.g. [("ball", "purple")]; colours turned to and second motions count too."""
    pairs: list[tuple[str, str]] = []
    for number, thing in enumerate(scene.objects):
        motions = [thing.motion, *(m for m in scene.second_motions[number : number + 1] if m)]
        colours = {thing.colour, *(motion.colour_to for motion in motions)} - {None}
        pairs += sorted((thing.kind, c) for c in colours if (thing.kind, c) in HELDOUT_COLOURS)
        for motion in motions:
            if (thing.kind, motion.action) in HELDOUT_MOTIONS:
                pairs.append((thing.kind, motion.action))
        if (thing.kind, scene.floor) in HELDOUT_FLOORS:
            pairs.append((thing.kind, scene.floor))
    return pairs


def is_heldout(scene: Scene) -> bool:
    """Whether training must not see the scene."""
    return bool(heldout_pairs(scene))
