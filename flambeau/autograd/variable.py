"""PyTorch's former name of `Tensor`."""

from flambeau.tensor import Tensor as Variable

__all__ = ["Variable"]
