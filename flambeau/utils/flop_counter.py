"""Counts of floating-point operations: PyTorch's `torch.utils.flop_counter`."""

from flambeau._base import missing
from flambeau.measure import FlopCounterMode, register_flop_formula

__getattr__ = missing(globals())
__all__ = ["FlopCounterMode", "register_flop_formula"]
