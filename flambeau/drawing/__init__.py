"""Drawings of programs: boxes and arrows in layers, as SVG."""

from .layers import Box, Layout
from .svg import Arrow, Kind, Shape, figure

__all__ = ["Arrow", "Box", "Kind", "Layout", "Shape", "figure"]
