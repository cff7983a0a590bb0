"""Lets diffusers load this checkpoint; it needs Kinema to be installed."""

from kinema import KinemaPipeline  # noqa: F401
