"""Marks for TorchScript's compiler on functions and values: as long as Python runs them, they mean
nothing.
"""

import threading
from typing import Any, Final

__all__ = [
    "Final",
    "ScriptFunction",
    "ScriptModule",
    "annotate",
    "export",
    "ignore",
    "is_scripting",
    "is_tracing",
    "script",
    "script_if_tracing",
    "script_method",
    "unused",
]


def is_scripting() -> bool:
    """Whether this code runs in TorchScript: no."""
    return False


def is_tracing() -> bool:
    """Whether a trace for TorchScript is being taken: no."""
    return False


def is_exporting() -> bool:
    """Whether a program is being exported: no."""
    return False


compiling: set[int] = set()  # threads in which a program is being captured


def is_compiling() -> bool:
    """Whether what runs now becomes part of a program that runs in its place later."""
    return bool(compiling) and threading.get_ident() in compiling


is_dynamo_compiling = is_compiling


disabled: set[Any] = set()  # the code of functions that are never part of a program


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """Decorator, with or without arguments: a function that a compiler leaves to Python."""
    if fn is None:
        return disable
    code = getattr(getattr(fn, "forward", fn), "__code__", None)
    if code is not None:
        disabled.add(code)
    return fn


@disable
def graph_break(msg: str = "") -> None:
    """Ends a part of a program here: what follows is captured as another."""


def unchanged(fn: Any) -> Any:
    """Decorator that changes nothing: what it promises, captures find out."""
    return fn


def annotate(the_type: Any, the_value: Any) -> Any:
    """`the_value`, said to be of `the_type`."""
    return the_value


def export(fn: Any) -> Any:
    """Decorator: a method that is compiled with its module."""
    return fn


def unused(fn: Any) -> Any:
    """Decorator: a function that compiled code does not call."""
    return fn


def script(
    obj: Any,
    optimize: Any = None,
    _frames_up: int = 0,
    _rcb: Any = None,
    example_inputs: Any = None,
) -> Any:
    """`obj` itself, function or module: Python runs it, as PyTorch does under ``PYTORCH_JIT=0``."""
    return obj


def script_method(fn: Any) -> Any:
    """Decorator: a method that is compiled with its module."""
    return fn


def script_if_tracing(fn: Any) -> Any:
    """Decorator: a function that a trace compiles."""
    return fn


def ignore(drop: Any = False, **options: Any) -> Any:
    """Decorator, with or without arguments: a function that compiled code leaves to Python."""
    return drop if callable(drop) else lambda fn: fn


class ScriptModule:
    """Modules that TorchScript compiled: there are none."""


class ScriptFunction:
    """Functions that TorchScript compiled: there are none."""
