"""Marks for TorchScript's compiler on functions and values: as long as Python runs them, they mean
nothing.
"""

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
    "script_if_tracing",
    "unused",
]


def is_scripting() -> bool:
    """Whether this code runs in TorchScript: no."""
    return False


def is_tracing() -> bool:
    """Whether a trace for TorchScript is being taken: no."""
    return False


def is_compiling() -> bool:
    """Whether the code is being read by a compiler rather than run: no, programs are captured while
    they run.
    """
    return False


is_dynamo_compiling = is_exporting = is_compiling


disabled: set[Any] = set()  # the code of functions that are never part of a program


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """Decorator, with or without arguments: a function that a compiler leaves to Python."""
    if fn is None:
        return disable
    disabled.add(getattr(fn, "__code__", None))
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
