"""PyTorch's path to the search for eigenpairs."""

from flambeau._base import missing
from flambeau.tensor import lobpcg as _made

lobpcg = _made.lobpcg
__getattr__ = missing(globals())
__all__ = ["lobpcg"]
