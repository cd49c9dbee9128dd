"""Libraries behind the ops, as programs ask for them: PyTorch's `torch.backends`."""

from flambeau._base import missing
from flambeau.tensor import cudnn, mkldnn, mps, openmp

__all__ = ["cudnn", "mkldnn", "mps", "openmp"]
__getattr__ = missing(globals())
