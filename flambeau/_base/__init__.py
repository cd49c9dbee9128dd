"""The ground everything else stands on: knobs, errors, and which line of the user called this."""

from .caller import is_ours, user_line
from .errors import explain
from .handle import RemovableHandle
from .knobs import DECLARATIONS, Knobs, knobs
from .lazy import numpy
from .memo import Memo
from .names import PACKAGE, missing, nearest, public_module, public_name
from .version import TORCH_VERSION, VERSION, TorchVersion

__all__ = [
    "DECLARATIONS",
    "Knobs",
    "Memo",
    "PACKAGE",
    "RemovableHandle",
    "TORCH_VERSION",
    "TorchVersion",
    "VERSION",
    "explain",
    "is_ours",
    "knobs",
    "missing",
    "nearest",
    "public_module",
    "numpy",
    "public_name",
    "user_line",
]
