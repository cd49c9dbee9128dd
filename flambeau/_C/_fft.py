"""PyTorch's `torch._C._fft`: the ops of `torch.fft`."""

from flambeau._base import missing
from flambeau.tensor import function_of as _function_of

__getattr__ = missing(globals(), find=lambda name: _function_of("fft." + name.removeprefix("fft_")))
