"""The known word that is nearest to one a model never saw: by meaning where a table says so, else by spelling."""

import re
from collections.abc import Collection
from difflib import SequenceMatcher
from functools import cache

ALIKE = 0.8  # of the letters, for a word to be taken for another one with a slip
SHORTEST = 4  # letters: shorter words are too often another word's neighbours

# "words that people use": "known words that stand in, the first that a model has". With none, a word is left out:
# it is a common one, and no slip of what it is spelled like.
_MEANINGS = {
    # things
    "dog puppy cat kitten bird chicken goose hen penguin animal pet rabbit horse cow pig sheep fox bear": "duck",
    "man woman person boy girl child people human soldier knight astronaut": "robot snowman duck",
    "truck bus van taxi jeep lorry automobile vehicle bike bicycle motorcycle train tractor racecar": "car",
    "ship yacht canoe ferry vessel": "boat sailboat car", "boat sailboat": "boat sailboat car",
    "jet aircraft plane airplane helicopter drone": "airplane plane car",
    "rocket spaceship shuttle missile": "rocket cone", "robot android": "robot snowman duck",
    "snowman": "snowman ball", "house home building hut castle tower cabin church": "house box cube",
    "oak pine palm forest woods plant bush": "tree", "flower rose tulip": "star heart",
    "football soccer basketball orb globe marble balloon bubble planet moon apple pearl": "ball sphere",
    "crate package block dice die chest": "box cube", "brick": "brick box cube",
    "barrel tube pipe can drum pole column": "cylinder", "cone funnel": "cone", "tent": "pyramid cone",
    "donut doughnut hoop wheel tire circle ring": "ring ball", "love": "heart",
    "jewel crystal ruby emerald gem diamond": "diamond gem star", "pill tablet capsule": "capsule pill cylinder",
    "egg": "egg ball", "toadstool mushroom": "mushroom tree",
    # colours
    "crimson scarlet maroon ruby-red cherry reddish": "red", "amber tangerine": "orange",
    "golden gold blond lemon yellowish": "yellow", "lime olive jade greenish mint": "green",
    "turquoise teal aqua": "cyan blue", "navy azure indigo cobalt bluish": "blue",
    "violet magenta lavender lilac mauve": "purple pink", "salmon fuchsia": "pink", "tan beige chocolate": "brown",
    "ebony": "black", "ivory cream pale": "white", "silver": "gray grey",
    # sizes and finishes
    "huge giant enormous massive gigantic": "large big", "small little tiny mini miniature": "small little tiny",
    "polished glass shining glittering": "shiny glossy", "steel iron chrome": "metallic metal",
    "luminous neon": "glowing", "stripy": "striped", "polka": "dotted spotted",
    # what they do
    "run runs strolls marches trots gallops jogs wanders": "walks waddles moves",
    "running strolling marching trotting galloping jogging wandering": "walking waddling moving",
    "goes travels crosses races speeds cruises": "moves drives slides", "swims": "sails moves slides",
    "going traveling travelling crossing racing speeding": "moving driving sliding",
    "swimming": "sailing moving sliding", "sails": "sails moves slides", "sailing": "sailing moving sliding",
    "glides skates skids drifts": "slides moves", "gliding skating skidding drifting": "sliding moving",
    "flies soars hovers": "flies rises", "flying soaring hovering": "flying rising",
    "jumps hops leaps skips": "hops jumps bounces", "jumping hopping leaping skipping": "hopping jumping bouncing",
    "tumbles plunges collapses lands": "falls", "tumbling plunging collapsing landing": "falling",
    "climbs ascends lifts": "rises", "climbing ascending lifting": "rising", "whirls twirls revolves": "spins",
    "whirling twirling revolving": "spinning", "expands swells inflates": "grows",
    "expanding swelling inflating": "growing", "shrinks": "shrinks", "sits waits stays sleeps stops": "rests",
    "sitting waiting staying sleeping": "resting", "dances": "spins bounces", "dancing": "spinning bouncing",
    "rapidly swiftly speedily": "quickly fast", "slow gently calmly": "slowly", "backwards leftwards": "left",
    "rightwards forwards": "right", "upwards upward skyward": "up", "downwards downward": "down",
    # where and when
    "lawn meadow field park garden pasture": "grass", "beach desert dune dunes shore": "sand",
    "ice winter frost": "snow", "parquet timber planks plank": "wooden", "ground street highway": "road floor",
    "road": "road", "pavement concrete stone asphalt": "stone concrete", "tiles": "tiles",
    "sea lake ocean river pond pool water": "water", "midnight nighttime dark darkness moonlight": "night",
    "dusk twilight sundown": "sunset evening", "sunrise daybreak morning dawn": "dawn morning",
    "noon midday afternoon daytime sunshine sunlight": "daylight day", "bright": "sunny",
    "town skyscrapers buildings": "city", "hill": "hills", "mountain peak peaks": "mountains",
    "onto upon across through": "on", "over above": "over on", "beneath below": "under", "pans tilts": "turns",
    "with by beside near behind chases follows meets circles passes beyond around": "and",
    "1 one": "a", "2": "two", "3": "three", "4": "four", "zooms": "moves", "drawing": "sketch", "comic": "cartoon",
    # common words that are no slips of known ones
    "and of for as its their his her my your our some many very really so too also while when where which "
    "who this these those two three four five toward towards away back front top side next "
    "show shows showing light lights read bed look looks movie video clip film picture image photo scene scenes "
    "shot style realistic beautiful cute nice pretty great cool epic cinematic detailed quality high hd 4k please "
    "make makes create want generate like little old new "
    "start starts starting stay sing sings wall walls glass horses plain plane sight might right-hand fight "
    "there's it's are was be being been has have had do did done can will would should": "",
}  # fmt: skip


def nearest_word(word: str, vocabulary: Collection[str], common: Collection[str] = ()) -> str | None:
    """What stands in for an unknown word; None: nothing is near.

    Args:
        word: in small letters.
        vocabulary: the known words.
        common: correct words that are no slips, known or not.
    """
    if (found := _by_meaning(word, vocabulary)) is not None:
        return found or None
    if word in common or len(word) < SHORTEST:
        return None
    near = [(_alike(word, each), each) for each in sorted(vocabulary) if each[0] == word[0] and len(each) > 2]
    likeness, best = max(near, default=(0.0, ""))
    return best if likeness >= ALIKE else None


def _by_meaning(word: str, vocabulary: Collection[str]) -> str | None:
    """ "": the table knows it, and the model nothing of the kind; None: the table does not know it."""
    table = _table()
    singular = word.removesuffix("s")
    if word in table:
        return next((each for each in table[word] if each in vocabulary), "")
    if singular in table and singular != word:
        found = next((each for each in table[singular] if each in vocabulary), "")
        plural = f"{found}es" if found.endswith("x") else f"{found}s"
        return plural if found and plural in vocabulary else found
    return None


def _alike(word: str, other: str) -> float:
    """Share of the letters that are alike; two that changed places are."""
    if sorted(word) == sorted(other):
        return 0.99
    return SequenceMatcher(None, word, other, autojunk=False).ratio()


@cache
def _table() -> dict[str, tuple[str, ...]]:
    table: dict[str, tuple[str, ...]] = {}
    for words, near in _MEANINGS.items():
        for word in re.split(r"\s+", words.strip()):
            table.setdefault(word, tuple(near.split()))
    return table
