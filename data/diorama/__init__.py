"""Diorama: a small world of 3-D scenes with exact descriptions, made on demand from whole numbers.

scene.py     what a scene is, typed                 sampler.py   which scene each (seed, index) is
draws.py     reproducible random draws              rules.py     compositions held out of training
solids.py    distance functions of simple solids    objects.py   the kinds of things
motions.py   how things move                        cameras.py   how the camera moves
shading.py   sky, skyline, floor, light             tracing.py   sphere tracing and shadows
render.py    a scene as pixels and ground truth     captions.py  a scene in words
dataset.py   clips for training
"""

from .captions import VOCABULARY, captions, facts
from .dataset import DioramaDataset
from .render import Rendering, Tracks, render
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
    "sample_scene",
]
