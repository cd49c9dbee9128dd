"""PyTorch's path to the timer."""

from flambeau.measure import Timer

__all__ = ["Timer"]
