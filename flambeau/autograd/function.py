"""Ops of the user's own: PyTorch's `torch.autograd.function`."""

from flambeau._base import missing
from flambeau.tensor import function as _made

Function = _made.Function
FunctionCtx = _made.FunctionCtx
InplaceFunction = _made.InplaceFunction
once_differentiable = _made.once_differentiable
__getattr__ = missing(globals())
__all__ = ["Function", "FunctionCtx", "InplaceFunction", "once_differentiable"]
