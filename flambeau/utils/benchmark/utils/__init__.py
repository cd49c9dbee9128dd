"""PyTorch's paths to the parts of `torch.utils.benchmark`."""

from flambeau._base import missing

__getattr__ = missing(globals(), submodules=("common", "compare", "timer"))
__all__ = ["common", "compare", "timer"]
