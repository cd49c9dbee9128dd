"""Special functions: PyTorch's `torch.special`."""

from flambeau._base import missing
from flambeau.tensor import public

__getattr__ = missing(globals(), find=public("special"))
