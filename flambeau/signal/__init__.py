"""Signals: PyTorch's `torch.signal`."""

from flambeau._base import missing

from . import windows

__getattr__ = missing(globals())
__all__ = ["windows"]
