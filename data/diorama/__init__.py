"""Diorama: a small world of 3-D scenes with exact descriptions, made on demand from whole numbers.

scene.py     what a scene is, typed                 draws.py       reproducible random draws
sampler.py   which scene each (seed, index) is      simple.py      scenes of levels 0 and 1
stage.py     scenes of levels 2 and 3               sight.py       can the described things be seen?
variety.py   finishes, styles, events of these      directing.py   placing what two objects do, or one in turn
rules.py     compositions held out of training      captions.py    a scene in words, and its facts
solids.py    distance functions of simple solids    shapes.py      what a kind of thing is made of
primitives.py  the twelve simple solids             figures.py     the ten composed things
objects.py   all kinds by name                      motions.py     how things move
halves.py    one motion after another               events.py      what two objects do together
words.py     the words of captions                  cameras.py     how the camera moves
shading.py   sky, skyline, floor                    tracing.py     sphere tracing and shadows
lighting.py  what a ray sees, and the light on it   patterns.py    stripes, spots, checks
finishes.py  how materials answer light             styles.py      finished pictures redrawn
render.py    scenes as pixels and ground truth      dataset.py     clips for training, made on the fly
rendered.py  clips for training, rendered before
"""

from .captions import VOCABULARY, captions, facts, timed_captions, typed_prompt
from .dataset import DioramaDataset
from .render import Rendering, Tracks, render, render_many
from .rules import heldout_pairs, is_heldout
from .sampler import sample_scene
from .scene import Scene

__all__ = [
    "VOCABULARY",
    "DioramaDataset",
    "Rendering",
    "Scene",
    "Tracks",
    "captions",
    "facts",
    "heldout_pairs",
    "is_heldout",
    "render",
    "render_many",
    "sample_scene",
    "timed_captions",
    "typed_prompt",
]
