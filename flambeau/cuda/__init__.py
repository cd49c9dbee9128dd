"""CUDA devices: PyTorch's `torch.cuda`. None is there."""

from flambeau._base import missing
from flambeau.tensor import device_count, is_available, manual_seed_all, synchronize

__all__ = ["device_count", "is_available", "manual_seed_all", "synchronize"]
__getattr__ = missing(globals(), submodules=("amp",))
