"""Subclasses of tensors that PyTorch's compiler uses: what programs ask of them."""

from . import fake_tensor

__all__ = ["fake_tensor"]
