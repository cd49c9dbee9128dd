"""Tensors without memory: they are on the device "meta" here, and of no class of their own."""

from flambeau._base import absent as _absent
from flambeau._base import missing as _missing

is_fake = _absent.is_fake
__getattr__ = _missing(globals())
__all__ = ["is_fake"]
