"""PyTorch's path to `Tensor`."""

from flambeau.tensor import Tensor

__all__ = ["Tensor"]
