"""PyTorch's `torch._C._linalg`: the ops of `torch.linalg`."""

from flambeau._base import missing
from flambeau.tensor import function_of as _function_of

__getattr__ = missing(
    globals(), find=lambda name: _function_of("linalg." + name.removeprefix("linalg_"))
)
