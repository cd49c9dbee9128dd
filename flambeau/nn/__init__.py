"""Neural networks: modules, functions, initialisers."""

from flambeau._base import missing

from . import functional, init, modules, parallel, parameter, utils
from .modules import *
from .modules import __all__ as _modules
from .modules.linear import factory_kwargs
from .parallel import DataParallel
from .parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter

__all__ = [
    "Buffer",
    "DataParallel",
    "Parameter",
    "UninitializedBuffer",
    "UninitializedParameter",
    "factory_kwargs",
    "functional",
    "init",
    "modules",
    "parallel",
    "parameter",
    "utils",
    *_modules,
]
_LATER = ("_reduction", "attention", "common_types", "grad")
__getattr__ = missing(globals(), submodules=_LATER)
