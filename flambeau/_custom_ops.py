"""PyTorch's older path to ops of the user's own."""

from flambeau._base import missing

__getattr__ = missing(globals())
__all__: list[str] = []
