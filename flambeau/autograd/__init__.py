"""Automatic differentiation: PyTorch's `torch.autograd`."""

from flambeau._base import missing
from flambeau.tensor import Tensor as Variable
from flambeau.tensor import (
    enable_grad,
    engine,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)  # fmt: skip

from . import anomaly_mode, forward_ad, function, functional, grad_mode, graph, variable
from . import gradcheck as _gradcheck

backward, grad = engine.backward, engine.grad
Function, detect_anomaly, set_detect_anomaly = (
    function.Function, anomaly_mode.detect_anomaly, anomaly_mode.set_detect_anomaly
)  # fmt: skip
GradcheckError, gradcheck, gradgradcheck = (
    _gradcheck.GradcheckError,
    _gradcheck.gradcheck,
    _gradcheck.gradgradcheck,
)
__getattr__ = missing(globals())
__all__ = [
    "Function",
    "GradcheckError",
    "Variable",
    "anomaly_mode",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "forward_ad",
    "function",
    "functional",
    "grad",
    "grad_mode",
    "gradcheck",
    "gradgradcheck",
    "graph",
    "inference_mode",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "no_grad",
    "set_detect_anomaly",
    "set_grad_enabled",
    "variable",
]
