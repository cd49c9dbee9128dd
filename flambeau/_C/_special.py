"""PyTorch's `torch._C._special`: the ops of `torch.special`."""

from flambeau._base import missing
from flambeau.tensor import function_of as _function_of

__getattr__ = missing(
    globals(), find=lambda name: _function_of("special." + name.removeprefix("special_"))
)
