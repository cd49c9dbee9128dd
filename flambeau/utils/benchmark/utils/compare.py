"""PyTorch's path to tables of measurements."""

from flambeau.measure import Colorize, Compare

__all__ = ["Colorize", "Compare"]
