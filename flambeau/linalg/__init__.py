"""Linear algebra: PyTorch's `torch.linalg`."""

from flambeau._base import missing
from flambeau.ops import LinAlgError
from flambeau.tensor import public

__getattr__ = missing(globals(), find=public("linalg"))
__all__ = ["LinAlgError"]
