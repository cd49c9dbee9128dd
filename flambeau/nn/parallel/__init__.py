"""Several devices at once: PyTorch's `torch.nn.parallel`."""

from flambeau._base import missing

from .data_parallel import DataParallel

__all__ = ["DataParallel"]
__getattr__ = missing(globals())
