"""What functions and types are called in printed programs: PyTorch's public names, and back.

Where PyTorch's function is a built-in of an inner module, programs print that module
(``torch._C._nn.linear``), so this does, too.
"""

from __future__ import annotations

import builtins
import importlib
import operator
import sys
import types
from collections.abc import Callable
from typing import Any

from flambeau import nn
from flambeau.ops import Op, registry
from flambeau.tensor import PUBLIC, Tensor, function_of

PACKAGE = __name__.partition(".")[0]
FUNCTIONAL = "torch.nn.functional"

# Functions of nn.functional that are built-ins of torch._C._nn; its other built-ins are torch's.
_INNER = frozenset(
    "avg_pool2d avg_pool3d elu_ gelu hardtanh_ leaky_relu_ linear log_sigmoid one_hot "
    "scaled_dot_product_attention softplus softshrink".split()
)
# Functions of torch that PyTorch writes in Python, in torch.functional: the number of parameters
# that are passed on by position, and the defaults of the others, which are passed on by name.
PYTHON_FUNCTIONS: dict[str, tuple[int, dict[str, Any]] | None] = {
    "atleast_1d": None,
    "atleast_2d": None,
    "atleast_3d": None,
    "block_diag": None,
    "broadcast_tensors": None,
    "cartesian_prod": None,
    "cdist": (2, {"p": 2.0, "compute_mode": "use_mm_for_euclid_dist_if_necessary"}),
    "chain_matmul": None,
    "einsum": None,
    "lu": (1, {"pivot": True, "get_infos": False, "out": None}),
    "meshgrid": (1 << 30, {"indexing": None}),
    "norm": (1, {"p": "fro", "dim": None, "keepdim": False, "out": None, "dtype": None}),
    "split": (2, {"dim": 0}),
    "stft": (
        2,
        {
            "hop_length": None,
            "win_length": None,
            "window": None,
            "center": True,
            "pad_mode": "reflect",
            "normalized": False,
            "onesided": None,
            "return_complex": None,
            "align_to_window": None,
        },
    ),
    "tensordot": (2, {"dims": 2, "out": None}),
    "unique": (
        1,
        {"sorted": True, "return_inverse": False, "return_counts": False, "dim": None},
    ),
    "unique_consecutive": (1, {"return_inverse": False, "return_counts": False, "dim": None}),
}
# Functions of torch that are loaded by their first use, and where PyTorch has them.
_LATER = {
    "gru": "torch",
    "lobpcg": "torch._lobpcg",
    "lstm": "torch",
    "pca_lowrank": "torch._lowrank",
    "rnn_relu": "torch",
    "rnn_tanh": "torch",
    "svd_lowrank": "torch._lowrank",
}
# Where the ops of a namespace are, and what their names begin with there.
_HOMES = (
    ("", "torch.", ""),
    ("nn.", "torch._C._nn.", ""),
    ("linalg.", "torch._C._linalg.", "linalg_"),
    ("fft.", "torch._C._fft.", "fft_"),
    ("special.", "torch._C._special.", "special_"),
)
_names: dict[Any, str | None] = {}


def torch() -> types.ModuleType:
    """The package itself, which programs call torch."""
    return sys.modules[PACKAGE]


def python_functions() -> dict[Callable, str]:
    """The public functions written in Python, with their names."""
    found: dict[Callable, str] = {}
    for name, value in PUBLIC.items():
        if isinstance(value, types.FunctionType):
            home = "torch.functional." if name in PYTHON_FUNCTIONS else "torch."
            found[value] = home + name
    found |= {getattr(torch(), name): f"{home}.{name}" for name, home in _LATER.items()}
    for name in nn.functional.__all__:
        value = vars(nn.functional).get(name)
        if isinstance(value, types.FunctionType) and value.__module__ != "torch":
            home = "torch._C._nn" if name in _INNER else FUNCTIONAL
            found[value] = f"{home}.{name}"
    return found


def public_name(function: Any) -> str | None:
    """The name under which a function of flambeau is public in PyTorch; None if it is not ours."""
    try:
        return _names[function]
    except KeyError:
        pass
    except TypeError:  # not hashable
        return None
    name = _names[function] = _find_name(function)
    return name


def _find_name(function: Any) -> str | None:
    if function is Tensor:
        return "torch.Tensor"
    module, name = getattr(function, "__module__", None) or "", getattr(function, "__name__", "")
    if module == "torch":
        return _name_of_op(function, name)
    if module != PACKAGE and not module.startswith(PACKAGE + "."):
        return None
    python = python_functions()
    if function in python:
        return python[function]
    if getattr(torch(), name, None) is function:
        return f"torch.{name}"
    if isinstance(function, type) and getattr(nn, name, None) is function:
        return f"torch.nn.{name}"
    return f"torch{module.removeprefix(PACKAGE)}.{getattr(function, '__qualname__', name)}"


def ops_of(function: Any) -> list[Any]:
    """The ops whose door a function is, one for each overload; none for other functions."""
    if getattr(function, "__module__", None) != "torch":
        return []
    names = (prefix + function.__name__ for prefix, _, _ in _HOMES)
    name = next((name for name in names if function_of(name) is function), "")
    return registry.get(name) or registry.get(name.removesuffix("_"), [])


def _name_of_op(function: Any, name: str) -> str | None:
    for prefix, home, start in _HOMES:
        found = function_of(prefix + name)
        if found is function or (not prefix and getattr(torch(), name, None) is function):
            if prefix == "nn." and name not in _INNER and hasattr(torch(), name):
                home = "torch."
            elif home == "torch." and name in PYTHON_FUNCTIONS:
                home = "torch.functional."
            return home + start + name
    return _name_of_custom(function)


def _name_of_custom(function: Any) -> str | None:
    """The name of an op that the user declared."""
    op = getattr(function, "op", None)
    if not isinstance(op, Op):
        return None
    return f"torch.ops.{op.namespace}.{op.name}.{op.overload or 'default'}"


def qualified_name(target: Any) -> str:
    """The dotted name of a function or class as programs print it."""
    name = public_name(target)
    if name is not None:
        return name
    own = getattr(target, "__name__", None) or type(target).__name__
    if getattr(builtins, own, None) is target:
        return own
    if isinstance(target, types.MethodDescriptorType | types.WrapperDescriptorType):
        return f"{target.__objclass__.__module__}.{target.__objclass__.__name__}.{own}"
    module = _home_of(target, own)
    return f"{module}.{'_lambda_' if own == '<lambda>' else own}"


def _home_of(target: Any, name: str) -> str:
    module = getattr(target, "__module__", None)
    if module is not None:
        return module
    for candidate in (operator, importlib.import_module("math")):
        if getattr(candidate, name, None) is target:
            return candidate.__name__
    raise RuntimeError(f"cannot find module for {target}")


def shown_target(target: Any) -> str:
    """A node's target as `print(graph)` shows it."""
    if isinstance(target, str):
        return target
    name = qualified_name(target)
    if "." not in name:
        return f"builtins.{name}"
    return "operator." + name.removeprefix("_operator.") if name.startswith("_operator.") else name


def type_text(kind: Any) -> str:
    """A type annotation as programs print it."""
    if isinstance(kind, type) and not hasattr(kind, "__origin__"):
        if kind.__module__ == "builtins":
            return kind.__qualname__
        return public_name(kind) or f"{kind.__module__}.{kind.__qualname__}"
    if kind is ...:
        return "..."
    if isinstance(kind, types.FunctionType):
        return kind.__name__
    return repr(kind).replace(f"{Tensor.__module__}.Tensor", "torch.Tensor")


def resolve(name: str) -> Any:
    """What a dotted name stands for; ``torch`` is flambeau. ImportError where there is none."""
    first, _, rest = name.partition(".")
    if not rest:
        return getattr(builtins, first)
    parts = [PACKAGE if first == "torch" else first, *rest.split(".")]
    for end in range(len(parts) - 1, 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            value = getattr(value, part)
        return value
    raise ImportError(f"there is no {name}")
