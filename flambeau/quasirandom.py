"""Points that fill a cube evenly: PyTorch's `torch.quasirandom`."""

from flambeau._base import missing
from flambeau.tensor import sobol as _made

SobolEngine = _made.SobolEngine
__getattr__ = missing(globals())
__all__ = ["SobolEngine"]
