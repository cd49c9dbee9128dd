"""Chains of steps over samples: PyTorch's `torch.utils.data.datapipes`."""

from flambeau._base import missing

__getattr__ = missing(globals(), submodules=("iter", "map"))
__all__ = ["iter", "map"]
