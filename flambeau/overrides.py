"""Classes and modes that take over functions: PyTorch's `torch.overrides`."""

from flambeau._base import missing
from flambeau.tensor import overrides as _made

_NAMES = (
    "BaseTorchFunctionMode",
    "TorchFunctionMode",
    "get_default_nowrap_functions",
    "get_overridable_functions",
    "handle_torch_function",
    "has_torch_function",
    "has_torch_function_unary",
    "has_torch_function_variadic",
    "is_tensor_like",
    "is_tensor_method_or_property",
    "resolve_name",
    "wrap_torch_function",
)
for _name in _NAMES:
    globals()[_name] = getattr(_made, _name)
__getattr__ = missing(globals())
__all__ = list(_NAMES)
