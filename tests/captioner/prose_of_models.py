"""Facts and captions of real videos in the manner of vision-language models. All of it was written by hand.

No model wrote them: they follow what such models make of `captions/prompts`, with the words that they are fond of.
Each caption is true of its facts, so that what grounding refuses here is a false alarm. Each clip also has
falsehoods, (words of the dense caption, what stands in their place), which must be found.

The refusals of `TUNED` were read while the tables of `checks/implied.py` were made, those of `HELD_OUT` were only
counted. One hand wrote all three, so real models are refused more often than either.
"""

from typing import Any, NamedTuple


class Told(NamedTuple):
    facts: dict[str, Any]
    short: str
    medium: str
    dense: str
    false: tuple[tuple[str, str], ...]


def _subject(name: str, *attributes: str, count: int | None = None) -> dict[str, Any]:
    return {"name": name, "count": count, "attributes": list(attributes)}


def _facts(
    subjects: list[dict[str, Any]], actions: list[str], relations: list[str], setting: str, camera: str,
    lighting: str, style: str, *written: str,
) -> dict[str, Any]:  # fmt: skip
    return {
        "subjects": subjects, "actions": actions, "relations": relations, "setting": setting, "camera": camera,
        "lighting": lighting, "style": style, "on_screen_text": list(written),
    }  # fmt: skip


TUNED: dict[str, Told] = {
    "car phone": Told(
        _facts(
            [_subject("man", "grey suit", "tie", "seated", count=1)],
            ["the man talks and gestures with his hand", "scenery passes outside the window"],
            ["the man is in front of a car window"],
            "interior of a moving car", "static", "daylight", "film",
        ),
        "A man in a grey suit talks inside a moving car.",
        "A seated man wearing a grey suit and tie speaks and gestures with his hand while scenery passes by "
        "outside the car window.",
        "A man in a grey suit and tie is sitting inside a moving car. He speaks and gestures with one hand as"
        " the scenery passes outside the window behind him. The scene is lit by daylight, and the camera "
        "remains static.",
        (("grey suit", "brown suit"), ("one hand", "a phone"), ("A man", "A woman"), ("a moving car", "a train")),
    ),
    "bikes": Told(
        _facts(
            [_subject("cyclist", "helmets", "bicycles", count=3), _subject("car", "parked", "white")],
            ["cyclists ride along the street towards the camera"],
            ["cars are parked on the left side"],
            "city street with trees and buildings", "pan right", "sunny, day", "video footage", "STOP",
        ),
        "Three cyclists ride along a city street.",
        "Three cyclists wearing helmets ride their bicycles down a sunny city street past parked white cars.",
        "On a sunny day, three cyclists with helmets pedal toward the camera along a city street. White cars "
        'are parked along the left side, with trees and buildings in the background. A sign reads "STOP". The'
        " camera pans right.",
        (
            ("three cyclists", "four cyclists"), ("White cars", "Red cars"), ("left side", "right side"),
            ("trees and buildings", "trees and a fountain"), ("sunny day", "rainy day"),
            ("pans right", "pans left"),
            ("city street", "street in Paris"),
        ),
    ),
    "rabbit": Told(
        _facts(
            [_subject("rabbit", "large", "grey", "furry", count=1)],
            ["the rabbit yawns", "stretches its arms"],
            ["rabbit stands at the entrance of a burrow"],
            "green meadow with a tree", "zoom in", "morning light", "3D animation",
        ),
        "A large grey rabbit stretches at its burrow.",
        "A large, furry grey rabbit yawns and stretches its arms at the entrance of a burrow in a green meadow.",
        "In the soft morning light, a large grey furry rabbit emerges at the entrance of its burrow beneath a"
        " tree. It yawns and stretches its arms wide. The meadow around it is green. The camera slowly zooms "
        "in. The style is 3D animation.",
        (
            ("grey furry rabbit", "grey furry squirrel"), ("beneath a tree", "beside a stream"),
            ("zooms in", "zooms out"), ("meadow around it is green", "meadow around it is yellow"),
            ("It yawns", "It eats a carrot"), ("morning light", "evening light"),
        ),
    ),
    "kitchen": Told(
        _facts(
            [
                _subject("woman", "long brown hair", "white apron", count=1), _subject("carrot", "orange"),
                _subject("knife", "metal", count=1),
            ],
            ["the woman chops carrots on a wooden cutting board"],
            ["a bowl is to the right of the cutting board"],
            "kitchen with shelves", "static, close-up", "bright indoor lighting", "video",
        ),
        "A woman chops carrots in a kitchen.",
        "A woman with long brown hair and a white apron is chopping orange carrots with a metal knife on a "
        "wooden cutting board in a kitchen.",
        "A woman with long brown hair, dressed in a white apron, stands in a brightly lit kitchen. She holds "
        "a metal knife and slices orange carrots on a wooden cutting board. A bowl sits to the right of the "
        "board. Shelves line the wall in the background. The camera is stationary in a close-up shot.",
        (
            ("white apron", "blue apron"), ("orange carrots", "orange peppers"), ("A bowl", "A glass of wine"),
            ("A woman", "A man"), ("to the right", "to the left"), ("metal knife", "metal spoon"),
        ),
    ),
    "dog on the beach": Told(
        _facts(
            [_subject("dog", "brown", "wet", "red collar", count=1), _subject("ball", "yellow", count=1)],
            ["dog runs along the water's edge from left to right", "dog picks up the ball"],
            ["ocean waves behind the dog"],
            "sandy beach", "pan right, follows the dog", "late afternoon sun", "handheld video",
        ),
        "A brown dog runs along a sandy beach.",
        "A wet brown dog with a red collar sprints along the shoreline and grabs a yellow ball on a sandy beach.",
        "A wet brown dog wearing a red collar dashes along the edge of the water, moving from left to right. "
        "It reaches a yellow ball and picks it up in its mouth. Waves roll onto the sand behind it. The late "
        "afternoon sun casts a warm glow over the beach. The handheld camera pans right to follow the dog.",
        (
            ("red collar", "green collar"), ("a yellow ball", "a yellow frisbee"),
            ("behind it", "behind a surfer"),
            ("late afternoon", "night"), ("from left to right", "from right to left"), ("brown dog", "black dog"),
        ),
    ),
    "street musician": Told(
        _facts(
            [
                _subject("young man", "black jacket", "guitar", count=1),
                _subject("pedestrian", "winter clothing"),
            ],
            ["the man strums the guitar and sings", "pedestrians walk past"],
            ["an open guitar case lies in front of the man"],
            "pedestrian street with shop windows", "static, medium shot", "overcast day", "documentary footage",
            "SALE",
        ),
        "A young man plays guitar on a pedestrian street.",
        "A young man in a black jacket strums a guitar and sings on a shopping street as pedestrians in "
        "winter clothing walk past.",
        "A young man wearing a black jacket performs on a pedestrian street, strumming his guitar and "
        "singing. An open guitar case rests on the ground before him. People dressed in winter clothes pass "
        'by, and shop windows, one with the word "SALE", can be seen in the background. The daylight is soft '
        "and overcast. The camera stays fixed in a medium shot throughout.",
        (
            ("black jacket", "red jacket"), ("his guitar", "his violin"), ("People", "Two police officers"),
            ("winter clothes", "summer clothes"), ("\"SALE\"", "\"OPEN BAR\""), ("overcast", "sunny"),
        ),
    ),
    "basketball": Told(
        _facts(
            [_subject("basketball player", "blue jersey", count=2), _subject("basketball", "orange", count=1)],
            ["one player dribbles the ball", "he jumps and shoots it at the hoop", "the ball goes in"],
            ["the other player guards him"],
            "indoor basketball court", "tilt up", "artificial light", "sports broadcast", "HOME 42 GUEST 38",
        ),
        "A basketball player shoots a basket on an indoor court.",
        "Two basketball players in blue jerseys face off on an indoor court; one dribbles, jumps and shoots "
        "the ball into the hoop.",
        "Two basketball players wearing blue jerseys compete on an indoor court. One of them dribbles the "
        "orange ball quickly, then leaps into the air and throws it toward the hoop while the other tries to "
        "guard him. The ball drops through the net and scores. The court is illuminated by artificial "
        'lighting. The camera tilts upward to follow the shot, and a scoreboard displays "HOME 42 GUEST 38".',
        (
            ("Two basketball", "Five basketball"), ("blue jerseys", "white jerseys"),
            ("tilts upward", "tilts downward"),
            ("indoor court", "outdoor court"), ("GUEST 38", "GUEST 59"), ("The ball drops", "A referee whistles"),
        ),
    ),
    "drone over a river": Told(
        _facts(
            [_subject("river", "winding"), _subject("forest", "dense", "green")],
            ["camera flies forward above the river"],
            ["forest on both sides of the river", "mountains in the distance"],
            "mountain valley", "dolly in, aerial", "golden sunset", "aerial drone footage",
        ),
        "An aerial view of a river winding through a forest at sunset.",
        "A winding river flows through a dense green forest in a mountain valley, seen from above at sunset.",
        "A river winds through a dense green forest in a mountain valley, with tall mountains rising in the "
        "distance. The golden light of the setting sun reflects off the surface of the water and bathes the "
        "treetops in a warm glow. Trees cover both banks. The drone glides smoothly forward high above the "
        "river, giving a sweeping aerial view of the landscape.",
        (
            ("dense green forest", "dense green forest with a village"), ("setting sun", "full moon"),
            ("the water", "the snow"), ("both banks", "both banks with three boats"), ("forward", "left"),
        ),
    ),
    "baby": Told(
        _facts(
            [_subject("baby", "pink dress", count=1), _subject("toy blocks", "colorful")],
            ["baby sits on the floor and stacks blocks", "the tower falls over", "the baby laughs"],
            ["a sofa is behind the baby"],
            "living room with a carpet", "handheld, slight shake", "soft natural light from a window",
            "home video",
        ),
        "A baby stacks toy blocks on the floor.",
        "A baby in a pink dress sits on the carpet of a living room, stacking colorful toy blocks "
        "until they fall.",
        "A baby wearing a pink dress is seated on a carpeted floor in a living room, playing with colorful "
        "toy blocks. The little one carefully places one block on top of another, building a tower. Suddenly "
        "the tower collapses, and the baby giggles. A couch stands behind, and natural light streams in "
        "through a window. The camera is handheld and shakes slightly.",
        (
            ("pink dress", "yellow dress"), ("toy blocks", "toy cars"), ("A couch", "A cat"),
            ("a window", "a window with curtains"), ("a living room", "a garden"), ("a tower", "two towers"),
        ),
    ),
    "traffic at night": Told(
        _facts(
            [_subject("car", "headlights on"), _subject("bus", "double-decker", "red", count=1)],
            ["cars and a bus move along the road", "light trails form"],
            ["tall buildings on both sides of the road"],
            "city center with illuminated skyscrapers", "static, high angle", "night, street lamps, neon signs",
            "time-lapse",
        ),
        "Traffic moves through a city at night.",
        "Cars with their headlights on and a red double-decker bus drive along a road between tall buildings "
        "at night.",
        "In this time-lapse scene, vehicles travel along a road in a city center at night, their headlights "
        "leaving glowing trails of light. A red double-decker bus passes by. Tall illuminated skyscrapers "
        "tower over both sides of the street, and neon signs and street lamps shine brightly in the dark. The"
        " high-angle camera is completely still.",
        (
            ("red double-decker", "green double-decker"), ("at night", "at dawn"), ("passes by", "passes a crowd"),
            ("neon signs", "neon signs of a cinema"), ("A red double-decker bus", "A motorcycle"),
        ),
    ),
    "pottery": Told(
        _facts(
            [_subject("hands", "covered in clay", count=2), _subject("clay bowl", "brown", "wet", count=1)],
            ["hands shape the clay on a spinning pottery wheel"],
            ["the bowl is in the center of the wheel"],
            "pottery workshop", "close-up, static", "dim, from the left", "video",
        ),
        "Hands shape a clay bowl on a pottery wheel.",
        "Two hands covered in clay shape a wet brown bowl on a spinning pottery wheel in a workshop.",
        "A close-up captures two clay-covered hands shaping a wet brown bowl on a pottery wheel. The wheel "
        "rotates steadily as the fingers gently press and mold the clay, and the rim slowly becomes taller. "
        "The workshop is dimly lit from the left. The camera does not move.",
        (
            ("two clay-covered", "four clay-covered"), ("brown bowl", "blue bowl"),
            ("from the left", "from the right"),
            ("The workshop", "The kitchen"), ("the clay, and", "the clay with a knife, and"),
        ),
    ),
    "rocket": Told(
        _facts(
            [_subject("rocket", "white", "tall", count=1), _subject("smoke", "thick", "grey")],
            ["engines ignite", "rocket lifts off and rises", "smoke spreads over the launch pad"],
            ["a launch tower is on the left of the rocket"],
            "launch pad by the sea", "tilt up", "clear blue sky, daylight", "live broadcast", "LIVE", "T+00:00:12",
        ),
        "A white rocket lifts off from a launch pad.",
        "A tall white rocket lifts off from a launch pad by the sea as thick grey smoke spreads around it.",
        "A tall white rocket stands on a launch pad near the ocean with a launch tower to its left. Its "
        "engines ignite with bright flames, and it begins to climb into the clear blue sky. Thick clouds of "
        "gray smoke billow and spread across the pad. The camera tilts up to keep it in frame. The text "
        '"LIVE" and a timer reading "T+00:00:12" appear on screen.',
        (
            ("white rocket", "black rocket"), ("blue sky", "orange sky"), ("to its left", "to its right"),
            ("A tall white rocket", "A SpaceX rocket"), ("tilts up", "tilts down"),
            ("Its engines", "Its seven engines"),
        ),
    ),
}  # fmt: skip

HELD_OUT: dict[str, Told] = {
    "horse rider": Told(
        _facts(
            [
                _subject("horse", "dark brown", count=1),
                _subject("girl", "riding helmet", "beige trousers", count=1),
            ],
            ["the girl rides the horse at a trot", "the horse jumps over a bar"],
            ["wooden fence behind them"],
            "outdoor riding arena with sand", "pan left", "bright daylight", "amateur video",
        ),
        "A girl rides a horse over a jump.",
        "A girl in a riding helmet and beige trousers trots on a dark brown horse and jumps over a bar in a "
        "sandy arena.",
        "A girl wearing a riding helmet and beige pants sits on a dark brown horse as it trots across a sandy"
        " arena. The animal approaches a bar, gathers speed and leaps over it cleanly. A wooden fence runs "
        "along the back of the arena. The scene takes place outdoors under bright daylight. The camera pans "
        "to the left, tracking the rider.",
        (
            ("brown horse", "white horse"), ("A girl", "A boy"), ("A wooden fence", "A brick wall"),
            ("to the left", "to the right"), ("a bar", "two bars"), ("tracking the rider", "tracking the judges"),
        ),
    ),
    "market": Told(
        _facts(
            [_subject("vendor", "elderly", "straw hat", count=1), _subject("fruit", "mangoes", "bananas")],
            ["vendor arranges fruit on a stall", "hands a bag to a customer"],
            ["customer stands opposite the vendor"],
            "crowded outdoor market with umbrellas", "handheld", "shade, daytime", "travel video",
        ),
        "An elderly vendor sells fruit at an outdoor market.",
        "An elderly vendor in a straw hat arranges mangoes and bananas on a stall and hands a bag to a customer.",
        "At a crowded outdoor market, an elderly vendor with a straw hat tends to a stall filled with mangoes"
        " and bananas. The vendor neatly arranges the fruit, then passes a bag to a customer standing on the "
        "other side. Umbrellas provide shade overhead. The busy atmosphere is captured with a handheld camera"
        " in the daytime.",
        (
            ("mangoes and", "apples and"), ("a bag", "money"), ("straw hat", "purple hat"),
            ("a customer", "three customers"), ("Umbrellas", "Lanterns"), ("outdoor market", "market in Bangkok"),
        ),
    ),
    "surfer": Told(
        _facts(
            [_subject("surfer", "black wetsuit", count=1), _subject("surfboard", "white", count=1)],
            ["surfer rides a wave from right to left", "surfer falls into the water"],
            [],
            "open sea with large waves", "zoom in", "hazy, soft light", "sports footage",
        ),
        "A surfer rides a large wave.",
        "A surfer in a black wetsuit rides a large wave on a white surfboard and then falls into the water.",
        "A surfer dressed in a black wetsuit glides along the face of a large wave on a white surfboard, "
        "moving from right to left. White foam breaks around the board. The surfer loses balance and tumbles "
        "into the water with a splash. The light is hazy and soft, and the camera gradually zooms in on the "
        "action.",
        (
            ("white surfboard", "red surfboard"), ("from right to left", "from left to right"),
            ("into the water", "onto a jet ski"), ("A surfer", "Two surfers"), ("zooms in", "zooms out"),
        ),
    ),
    "lecture": Told(
        _facts(
            [_subject("woman", "glasses", "dark blazer", count=1), _subject("audience", "seated")],
            ["woman speaks and points at a slide", "audience members take notes"],
            ["projector screen behind the woman"],
            "lecture hall", "static, wide shot", "fluorescent light", "recording", "Neural Networks",
        ),
        "A woman gives a lecture in a hall.",
        "A woman with glasses and a dark blazer speaks and points at a slide while a seated audience takes notes.",
        "A woman wearing glasses and a dark blazer stands at the front of a lecture hall, addressing a seated"
        ' audience. She points to a slide titled "Neural Networks" projected on the screen behind her. '
        "Several people in the audience write notes. The hall is evenly lit by fluorescent lights. The wide "
        "shot is filmed from a fixed position.",
        (
            ("A woman", "A man"), ("dark blazer", "green blazer"), ("write notes", "eat pizza"),
            ("Several people", "Twelve people"), ("\"Neural Networks\"", "\"Quantum Physics\""),
        ),
    ),
    "snow": Told(
        _facts(
            [_subject("skier", "red jacket", "goggles", count=2)],
            ["skiers ski down the slope, making turns", "snow sprays up"],
            ["pine trees along the slope", "one skier is ahead of the other"],
            "snowy mountain slope", "follows the skiers", "sunny, clear sky", "action camera footage",
        ),
        "Two skiers ski down a snowy mountain slope.",
        "Two skiers in red jackets and goggles ski down a snowy slope lined with pine trees, making turns.",
        "Two skiers wearing red jackets and goggles carve turns down a snow-covered mountain slope. One leads"
        " while the other follows close behind, and their skis kick up sprays of powder. Pine trees line the "
        "run, and the sky above is clear and sunny. The camera moves with them, keeping both in view as they "
        "descend rapidly.",
        (
            ("red jackets", "blue jackets"), ("Two skiers", "Three skiers"), ("Pine trees", "Chairlifts"),
            ("clear and sunny", "dark and cloudy"), ("with them", "past a cabin"),
        ),
    ),
    "cat and laptop": Told(
        _facts(
            [_subject("cat", "orange", "striped", count=1), _subject("laptop", "silver", "open", count=1)],
            ["cat walks across the keyboard", "cat lies down on the keyboard"],
            ["a mug is to the left of the laptop"],
            "desk near a window", "static, high angle", "warm lamp light, evening", "smartphone video",
        ),
        "An orange cat lies down on a laptop.",
        "A striped orange cat walks across the keyboard of an open silver laptop on a desk and lies down.",
        "An orange tabby cat with stripes strolls over the keyboard of an open silver laptop on a desk. It "
        "curls up and settles down on the keys. A mug stands to the left of the computer, and a window is "
        "visible nearby. The warm glow of a lamp lights the desk in the evening. The view is from a high "
        "angle, and the camera stays still.",
        (
            ("orange tabby", "black tabby"), ("A mug", "A plant"), ("to the left", "to the right"),
            ("silver laptop", "gold laptop"), ("in the evening", "in the morning"), ("cat", "kitten and a puppy"),
        ),
    ),
}  # fmt: skip
