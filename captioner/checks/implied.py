"""What facts say without having the word: who rides pedals, and where a light is stated things are lit by it.

Words of the manner in which captions are written pass as well: how something stands, appears or is filmed. None of
these tables lets a thing, a colour, a number, a direction or a name pass that the facts do not have.
"""

import re
from collections.abc import Mapping
from typing import Any


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _table(text: str) -> tuple[tuple[frozenset[str], frozenset[str]], ...]:
    lines = (line.partition(":") for line in text.strip().splitlines())
    return tuple((_set(told), _set(follows)) for told, _, follows in lines)


# How prose is written, whatever the facts: verbs of place, of appearing, of beginning and ending, and what they
# have beside them. Verbs of particular deeds (eat, cook, fight, rise, fall) are no such words.
PROSE_WORDS = _set(
    """emerge appear reveal disappear vanish unfold occur happen capture captured depict film filmed record focus
    sit rest lie hang lean face line stretch extend span spread cover fill surround border overlook dominate
    frame hold carry touch press reach approach near head pass travel proceed advance lead follow join meet gather
    leave form turn become get try attempt prepare ready manage perform engage interact play act work tend handle
    bring put set settle wait pause stop finish end complete repeat return maintain provide offer add blend mix
    contrast streams streaming sway drift linger
    wide broad soft gentle smooth steady calm quiet busy lively vibrant neat tidy careful slight faint subtle clear
    distinct blurred blurry sharp high low close distant deep evenly natural typical simple casual sudden brief
    main central outer upper lower opposite overhead beyond ahead backward sideways apart straight
    atmosphere ambience environment surface landscape scenery terrain effect sense air action activity process
    position posture pose pace progress sequence line edge rim tip base length height
    width size amount halfway"""
)
# Where the field is filled.
LIGHT_WORDS = _set(
    """light lit lighting illuminate illuminated illumination soft warm cool bright brighten shine shining glow
    glowing gleam shimmer sparkle reflect reflection cast bathe bathed streams streaming shadow shade ambient
    natural artificial diffuse diffused highlight contrast backlit backlight exposure tone hue"""
)
CAMERA_WORDS = _set(
    """shot angle lens wide close closeup up tight framing view viewpoint perspective footage film filmed tripod
    position level eye mid establishing handheld"""
)
MOVING_CAMERA_WORDS = _set("glide sweep sweeping sweeps smooth track follow keep movement")
WRITING_WORDS = _set(
    """sign banner label logo board scoreboard screen display overlay title subtitle caption timer clock number
    letter word print printed inscription text onscreen graphic"""
)
STYLE_WORDS = _set("style look rendered render quality")

# On the left what the facts say, all of it; on the right what is then said too.
IMPLIED = _table(
    """
    bicycle: bike ride pedal rider cyclist cycle
    cyclist: bike bicycle ride pedal rider wheel cycle
    bike: ride pedal rider cyclist cycle wheel
    ride: rider
    motorcycle: motorbike rider
    motorbike: motorcycle rider
    horse: rider hoof mane
    skier: ski skis slope descend carve
    ski: skis descend carve skier
    snowboard: snowboarder board descend carve
    surf: surfer board wave
    surfer: surf board surfboard balance
    surfboard: board
    skateboard: board skate skater
    swim: swimmer water stroke
    snow: snowy covered powder
    wave: roll break crash foam splash surf
    water: surface splash ripple
    river: flow water bank
    stream: flow water bank
    lake: water shore
    sea: water shore horizon
    ocean: water shore horizon
    waterfall: water flow cascade
    forest: tree treetop wooded
    woods: tree treetop wooded
    woodland: tree treetop wooded
    tree: branch leaf trunk
    flower: petal stem bloom
    mountain: peak ridge
    valley: slope
    sunset: sun set setting
    sunrise: sun
    dawn: sun
    sunny: sun sunlight sunlit daylight day
    sun: sunlight sunlit sunny
    daylight: day sunlight
    overcast: cloud cloudy gray
    cloudy: cloud overcast
    night: dark darkness
    dim: dark
    rain: rainy wet raindrop
    car: traffic vehicle wheel
    bus: traffic vehicle
    truck: traffic vehicle
    road: lane traffic
    car move: drive
    bus move: drive
    car drive: driver
    train: rail track
    move: travel go
    headlight: beam
    walk: step stroll stride walker
    run: dash race rush runner sprint
    jump: leap land clear hop
    fall: collapse topple tumble drop
    lift: climb ascend
    rocket: launch
    ignite: flame fire
    launch: lift rocket
    smoke: cloud billow plume
    fire: flame burn
    chop: cut slice dice
    cut: chop slice dice
    slice: cut chop
    cook: pan prepare food chef
    pick: grab lift take
    hand: give finger palm arm
    finger: hand
    give: hand pass receive
    vendor: sell seller customer
    sell: vendor seller customer
    buy: customer
    guitar: play strum guitarist musician instrument music
    piano: play pianist musician instrument music key
    violin: play violinist musician instrument music bow
    sing: singer song perform
    dance: dancer
    speak: talk address speaker speech
    talk: speak address speaker conversation
    lecture: speaker speak
    present: presenter presentation
    audience: crowd people listen attendee
    write: writing
    note: write
    projector: project projected
    laptop: computer screen key
    computer: screen
    keyboard: key
    phone: screen
    laugh: giggle smile
    giggle: laugh
    cry: tear
    baby: infant child toddler little
    child: kid little
    stack: build place tower pile
    build: stack place
    rock: stone boulder
    clay: mold mould pottery
    shape: mold mould form
    pottery: potter clay
    basketball: ball basket hoop net court game
    hoop: basket net rim
    shoot: throw score aim
    soccer: ball football game pitch goal kick
    tennis: ball racket court game
    player: play compete game
    kick: foot
    guard: defend defender block
    stripe: tabby striped
    rabbit: bunny
    dog: canine paw tail
    cat: feline paw tail
    bird: wing feather
    fly: flight flying soar glide
    drone: aerial above
    aerial: above overhead bird drone
    building: tower facade
    skyscraper: building tower
    house: building
    city: urban
    street: urban pavement sidewalk
    shop: storefront shopping
    market: stall vendor
    umbrella: shade
    kitchen: indoors indoor room
    room: indoors indoor
    indoor: room
    window: glass
    carpet: floor carpeted
    suit: formal dressed
    braid: hair
    beard: bearded
    glass: glasses
    wetsuit: suit
    helmet: helmeted
    animation: animated
    """
)
# What whoever has a body moves; not what it looks like.
BODIES = _set(
    """person man woman boy girl child baby player dancer runner rider singer worker people figure dog cat horse
    rabbit bird animal bear monkey"""
)
BODY_WORDS = _set("body head face mouth eye arm hand finger leg foot shoulder back hip knee")


_STILL = _set("static fixed still stationary tripod shot close up wide medium long angle high low eye level a the")
_BRIGHT = _set("bright brighten")


def implied(stated: Mapping[str, Any], words: set[str]) -> frozenset[str]:
    """Words that follow from facts.

    Args:
        stated: the facts by field.
        words: theirs, with their stems.
    """
    found = {word for told, follows in IMPLIED if told <= words for word in follows}
    camera = set(re.findall("[a-z]+", str(stated.get("camera") or "").lower()))
    fields = {
        "lighting": LIGHT_WORDS,
        "camera": CAMERA_WORDS,
        "on_screen_text": WRITING_WORDS,
        "style": STYLE_WORDS,
    }
    for name, follows in fields.items():
        found |= follows if stated.get(name) else set()
    found |= MOVING_CAMERA_WORDS if camera - _STILL else set()
    found |= BODY_WORDS if words & BODIES else set()
    return frozenset(found - _BRIGHT if "dim" in words else found)
