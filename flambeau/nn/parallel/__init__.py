"""Several devices at once: PyTorch's `torch.nn.parallel`."""

from flambeau._base import missing

from .data_parallel import DataParallel
from .distributed import DistributedDataParallel
from .scatter_gather import gather, scatter

__all__ = ["DataParallel", "DistributedDataParallel", "gather", "scatter"]
__getattr__ = missing(globals())
