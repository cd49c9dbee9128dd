"""Discrete Fourier transforms: PyTorch's `torch.fft`."""

from flambeau._base import missing
from flambeau.tensor import public

__getattr__ = missing(globals(), find=public("fft"))
