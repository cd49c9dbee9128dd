"""Automatic differentiation: PyTorch's `torch.autograd`."""

from flambeau._base import missing
from flambeau.tensor import (
    enable_grad, inference_mode, is_grad_enabled, is_inference_mode_enabled, no_grad, set_grad_enabled,
)  # fmt: skip
from flambeau.tensor import engine as _engine

backward, grad = _engine.backward, _engine.grad
__getattr__ = missing(globals())
__all__ = [
    "backward", "enable_grad", "grad", "inference_mode", "is_grad_enabled", "is_inference_mode_enabled", "no_grad",
    "set_grad_enabled",
]
