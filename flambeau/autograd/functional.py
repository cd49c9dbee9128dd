"""Jacobians, Hessians and products with them: PyTorch's `torch.autograd.functional`."""

from flambeau._base import missing
from flambeau.tensor import functional as _made

hessian = _made.hessian
hvp = _made.hvp
jacobian = _made.jacobian
jvp = _made.jvp
vhp = _made.vhp
vjp = _made.vjp
__getattr__ = missing(globals())
__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]
