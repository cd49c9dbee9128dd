"""What a call of a user's function depends on: the Python function behind it, and its arguments."""

from __future__ import annotations

import types
from typing import Any

from flambeau._base import annotations as marks
from flambeau.nn import Module, modules
from flambeau.ops import overrides
from flambeau.tensor import Tensor

from .guard import PLAIN, exactly, is_record
from .state import is_foreign


def body_of(called: Any) -> tuple[Any, tuple]:
    """The Python function that runs when something is called, and the arguments before the given
    ones; (None, ()) where that is not known.
    """
    if isinstance(called, Module):
        if type(called).__call__ is not Module.__call__:
            return None, ()
        called = called.forward
    if isinstance(called, types.MethodType):
        inner, given = called.__func__, (called.__self__,)
        return (inner, given) if isinstance(inner, types.FunctionType) else (None, ())
    return (called, ()) if isinstance(called, types.FunctionType) else (None, ())


def is_hooked(module: Module) -> bool:
    """Whether calling a module does more than its `forward`."""
    inside = module.__dict__
    own = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return bool(modules.module_hooks.call_hooks) or any(inside[name] for name in own)


def is_unit(function: types.FunctionType, given: tuple) -> bool:
    """Whether a function that is called is compiled by itself: an optimizer's step, and what the
    user wrote, but for what is made anew with each run.
    """
    if function.__code__ in marks.disabled or function.__code__.co_flags & 0x2A0:
        return False
    if given and hasattr(given[0], "param_groups"):
        return function.__name__ == "step"
    return function.__closure__ is None and not is_foreign(function.__globals__)


def key_of(value, tensors, objects, places):
    """What a program depends on in its arguments; tensors, and objects known by their identity, are
    collected, and in `places` the number of the first tensor on each memory.
    """
    kind = value.__class__
    if kind is Tensor or kind in overrides.plain:
        tensors.append(value)
        wanted, has = value._node is not None, value._grad is not None
        number = places.setdefault(id(value._storage), len(tensors) - 1)
        if tensors[number] is not value:
            number = _beside(tensors, number, value)
        return kind, value.layout, wanted, has, number
    if kind is tuple:
        return kind, tuple([key_of(v, tensors, objects, places) for v in value])
    if kind is list:
        same = places.setdefault(-id(value), len(places))  # others are at positive places
        return kind, same, tuple([key_of(v, tensors, objects, places) for v in value])
    if kind is dict:
        return _named_key(kind, value, value, tensors, objects, places)
    if isinstance(value, PLAIN):
        return kind, exactly(value)
    if isinstance(value, tuple) and hasattr(kind, "_fields"):
        return kind, tuple([key_of(v, tensors, objects, places) for v in value])
    if is_record(value):
        return _named_key(kind, value, value.__dict__, tensors, objects, places)
    if isinstance(value, Tensor):
        raise TypeError(f"an argument is a {kind.__name__}, a class that takes over ops")
    objects.append(value)
    return kind, id(value)


def _named_key(kind, value, inside, tensors, objects, places) -> Any:
    """The key of a value with named parts; the same one twice is not two equal ones."""
    same = places.setdefault(-id(value), len(places))
    parts = tuple([key_of(v, tensors, objects, places) for v in inside.values()])
    return kind, same, tuple(inside), parts


def _beside(tensors, number, tensor) -> Any:
    """How a tensor lies in the memory of argument `number`, and which argument it is as well."""
    same = next(k for k, t in enumerate(tensors) if t is tensor)
    return number, tensor._offset - tensors[number]._offset, same


def name_of(function: Any) -> str:
    """What a function, or a module, is called."""
    return getattr(function, "__qualname__", type(function).__name__)


__all__ = ["body_of", "is_hooked", "is_unit", "key_of", "name_of"]
