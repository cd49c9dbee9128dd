"""Tensors and what surrounds them."""

from flambeau import ops, runtime
from flambeau.ops import modes

from . import inplace
from .autograd import engine, grad_mode
from .methods import door_of, function_of, inplace_of, install
from .tensor import Size, Tensor


def _fit(grad, layout):
    """Brings a gradient to the layout of an input: sums what was broadcast, drops what promotion added."""
    if grad.layout.shape != layout.shape:
        grad = grad.sum_to_size(layout.shape)
    if grad.layout.dtype is not layout.dtype:
        if layout.dtype.kind == "f" and grad.layout.dtype.kind == "c":
            grad = grad.real
        grad = grad.to(layout.dtype)
    return grad


def _note(node):
    node.line = None


runtime.bind(Tensor, modes.grad_enabled)
ops.bind_doors(Tensor, {"write_back": inplace.write_back, "write_out": inplace.write_out})
ops.bind_tape(_fit, _note)
install()

from .autograd import (  # noqa: E402  (the class must be bound first)
    enable_grad, inference_mode, is_grad_enabled, is_inference_mode_enabled, no_grad, set_grad_enabled,
)  # fmt: skip

__all__ = [
    "Size", "Tensor", "door_of", "enable_grad", "engine", "function_of", "grad_mode", "inference_mode", "inplace_of",
    "is_grad_enabled", "is_inference_mode_enabled", "no_grad", "set_grad_enabled",
]
