"""Several devices at once: PyTorch's `torch.nn.parallel`."""

from flambeau._base import missing

from .data_parallel import DataParallel
from .scatter_gather import gather, scatter

__all__ = ["DataParallel", "gather", "scatter"]
__getattr__ = missing(globals())
