"""flambeau: deep learning with PyTorch's API, in Python, compiled by LLVM while it runs.

``import flambeau as torch`` is the one-line switch. The names are PyTorch's; ops are listed by
their declarations and appear here on first use.
"""

import math as _math
import sys as _sys

from flambeau._base import VERSION as _VERSION
from flambeau._base import missing as _missing
from flambeau.ops import registry as _registry
from flambeau.tensor import (
    PUBLIC as _PUBLIC,
)
from flambeau.tensor import (
    Size,
    Tensor,
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)  # fmt: skip
from flambeau.tensor import of_torch as _of_torch
from flambeau.types import DTYPES as _dtypes
from flambeau.types import Device as device
from flambeau.types import DType as dtype
from flambeau.types import can_cast, complex32
from flambeau.types import promote as promote_types

__version__ = _VERSION

for _dtype in _dtypes:
    globals()[_dtype.name] = _dtype
    for _alias in _dtype.aliases:
        globals()[_alias] = _dtype
int, float, bool = (next(d for d in _dtypes if d.name == n) for n in ("int32", "float32", "bool"))
globals().update(_PUBLIC)
torch = _sys.modules[__name__]  # PyTorch's package has its own name in it, too
inf, nan, pi, e = _math.inf, _math.nan, _math.pi, _math.e


# Names whose packages are imported on first use, so that `import flambeau` stays quick.
_LATER = {
    "AcceleratorError": "tensor.accelerator",
    "Future": "futures",
    "GradScaler": "amp",
    "OutOfMemoryError": "tensor.accelerator",
    "compile": "graph",
    "cond": "fx.control",
    "gru": "nn.functions.rnn",
    "load": "files",
    "lobpcg": "_lobpcg",
    "lstm": "nn.functions.rnn",
    "pca_lowrank": "_lowrank",
    "rnn_relu": "nn.functions.rnn",
    "rnn_tanh": "nn.functions.rnn",
    "save": "files",
    "svd_lowrank": "_lowrank",
    "to_dlpack": "utils.dlpack",
    "while_loop": "fx.control",
}
_SUBMODULES = (
    "_C",
    "__config__",
    "_dynamo",
    "_lobpcg",
    "_lowrank",
    "_subclasses",
    "_tensor",
    "_utils",
    "accelerator",
    "amp",
    "ao",
    "autograd",
    "backends",
    "cpu",
    "cuda",
    "distributed",
    "distributions",
    "fft",
    "func",
    "functional",
    "futures",
    "fx",
    "hub",
    "jit",
    "library",
    "linalg",
    "mps",
    "multiprocessing",
    "nn",
    "onnx",
    "optim",
    "overrides",
    "quasirandom",
    "random",
    "return_types",
    "serialization",
    "signal",
    "special",
    "storage",
    "testing",
    "torch_version",
    "utils",
    "version",
    "xpu",
)
__getattr__ = _missing(
    globals(),
    submodules=_SUBMODULES,
    find=_of_torch,
    more=_registry,
    later=_LATER,
)

__all__ = [
    "Size",
    "Tensor",
    "can_cast",
    "complex32",
    "device",
    "dtype",
    "enable_grad",
    "inference_mode",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "no_grad",
    "promote_types",
    "set_grad_enabled",
    *_PUBLIC,
]
