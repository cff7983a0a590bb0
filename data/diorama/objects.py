"""Every kind of thing there is, by name."""

from .figures import FIGURES
from .primitives import PRIMITIVES
from .scene import Kind
from .shapes import Shape

SHAPES: dict[Kind, Shape] = {**PRIMITIVES, **FIGURES}
