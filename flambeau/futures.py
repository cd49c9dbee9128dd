"""Values that come later: PyTorch's `torch.futures`."""

from flambeau._base import missing
from flambeau.processes import Future, collect_all, wait_all

__getattr__ = missing(globals())
__all__ = ["Future", "collect_all", "wait_all"]
