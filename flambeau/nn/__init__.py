"""Neural networks: modules, functions, initialisers."""

from flambeau.nn import functional, init, modules, parameter, utils
from flambeau.nn.modules import *  # noqa: F403
from flambeau.nn.modules import __all__ as _modules
from flambeau.nn.parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter

__all__ = [
    "Buffer",
    "Parameter",
    "UninitializedBuffer",
    "UninitializedParameter",
    "functional",
    "init",
    "modules",
    "parameter",
    "utils",
    *_modules,
]
