"""Names that programs take from PyTorch's native module `torch._C`, and its inner modules."""

from flambeau._base import absent as _absent
from flambeau._base import missing
from flambeau.runtime import Generator
from flambeau.tensor import Size
from flambeau.tensor import Tensor as TensorBase
from flambeau.tensor import overrides as _overrides
from flambeau.types import Device as device
from flambeau.types import DType as dtype

DisableTorchFunction = _overrides.DisableTorchFunction
DisableTorchFunctionSubclass = _overrides.DisableTorchFunctionSubclass
_disabled_torch_function_impl = _overrides.disabled_torch_function
_log_api_usage_once = _absent.log_usage
_get_tracing_state = _absent.tracing_state
__getattr__ = missing(
    globals(),
    submodules=("_fft", "_linalg", "_nn", "_special"),
    later=dict.fromkeys(("DispatchKey", "DispatchKeySet"), "flambeau.custom"),
)
__all__ = [
    "DisableTorchFunction",
    "DisableTorchFunctionSubclass",
    "Generator",
    "Size",
    "TensorBase",
    "device",
    "dtype",
]
