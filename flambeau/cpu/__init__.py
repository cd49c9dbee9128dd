"""The CPU as a device: PyTorch's `torch.cpu`."""

from flambeau._base import missing

__getattr__ = missing(globals(), submodules=("amp",))
__all__ = ["amp"]
