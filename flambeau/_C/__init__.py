"""PyTorch's inner modules, as far as printed programs name them."""

from flambeau._base import missing

__getattr__ = missing(globals(), submodules=("_fft", "_linalg", "_nn", "_special"))
__all__ = ["_fft", "_linalg", "_nn", "_special"]
