"""Comparing tensors and making them: PyTorch's `torch.testing`."""

from flambeau._base import missing
from flambeau.tensor import closeness as _made

assert_allclose, assert_close = _made.assert_allclose, _made.assert_close
make_tensor = _made.make_tensor
__getattr__ = missing(globals())
__all__ = ["assert_allclose", "assert_close", "make_tensor"]
