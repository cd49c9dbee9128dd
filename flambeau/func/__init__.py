"""Functions of functions: PyTorch's `torch.func`, without vmap."""

from flambeau._base import missing
from flambeau.nn import utils as _utils
from flambeau.tensor import transforms as _made

functional_call = _utils.functional_call.functional_call
grad, grad_and_value, vjp = _made.grad, _made.grad_and_value, _made.vjp
hessian, jacfwd, jacrev, jvp = _made.hessian, _made.jacfwd, _made.jacrev, _made.jvp
linearize = _made.linearize
__getattr__ = missing(
    globals(),
    later=dict.fromkeys(
        ("replace_all_batch_norm_modules_", "stack_module_state"), "flambeau.nn.utils.ensembles"
    ),
)
__all__ = [
    "functional_call",
    "grad",
    "grad_and_value",
    "hessian",
    "jacfwd",
    "jacrev",
    "jvp",
    "linearize",
    "vjp",
]
