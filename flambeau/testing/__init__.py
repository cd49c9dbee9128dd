"""Comparing tensors and making them: PyTorch's `torch.testing`."""

from flambeau._base import missing
from flambeau.tensor import closeness as _made

assert_close, make_tensor = _made.assert_close, _made.make_tensor
__getattr__ = missing(globals())
__all__ = ["assert_close", "make_tensor"]
