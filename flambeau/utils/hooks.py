"""PyTorch's path to the handles of hooks."""

from flambeau._base import RemovableHandle

__all__ = ["RemovableHandle"]
