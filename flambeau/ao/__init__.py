"""PyTorch's path to quantisation."""

from flambeau._base import missing

__getattr__ = missing(globals(), submodules=("quantization",))
__all__ = ["quantization"]
