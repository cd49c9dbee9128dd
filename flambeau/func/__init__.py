"""Functions of functions: PyTorch's `torch.func`, without vmap."""

from flambeau._base import missing
from flambeau.nn import utils as _utils
from flambeau.tensor import transforms as _made

functional_call = _utils.functional_call.functional_call
grad, grad_and_value, vjp = _made.grad, _made.grad_and_value, _made.vjp
hessian, jacfwd, jacrev, jvp = _made.hessian, _made.jacfwd, _made.jacrev, _made.jvp
__getattr__ = missing(globals())
__all__ = [
    "functional_call",
    "grad",
    "grad_and_value",
    "hessian",
    "jacfwd",
    "jacrev",
    "jvp",
    "vjp",
]
