"""Signatures of what nodes call, and arguments brought to them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["ArgsKwargsPair", "get_signature", "normalize_function", "normalize_module"]


class ArgsKwargsPair(NamedTuple):
    """Arguments of a call."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def get_signature(target: Callable) -> inspect.Signature | None:
    """The signature of a function or module; None for built-ins that have none."""
    try:
        return inspect.signature(target)
    except (TypeError, ValueError):
        return None


def _hidden(target: Callable, parameter: inspect.Parameter, given: dict[str, Any]) -> bool:
    """Whether a door has the parameter besides those of its schema: NumPy's names, and `out`."""
    if getattr(target, "__module__", None) != "torch" or parameter.name in given:
        return False
    return parameter.name in ("axis", "keepdims", "out")


def normalize_function(
    target: Callable,
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None = None,
    arg_types: tuple[Any, ...] | None = None,
    kwarg_types: dict[str, Any] | None = None,
    normalize_to_only_use_kwargs: bool = False,
) -> ArgsKwargsPair | None:
    """The arguments with defaults filled in, positional ones by name where that is asked for.

    None where `target` has no signature or does not take such arguments. The types are accepted
    and mean nothing: a function has one signature here.
    """
    signature = get_signature(target)
    if signature is None:
        return None
    kwargs = kwargs or {}
    parameters = [p for p in signature.parameters.values() if not _hidden(target, p, kwargs)]
    try:
        bound = signature.replace(parameters=parameters).bind(*args, **kwargs)
    except TypeError:
        return None
    bound.apply_defaults()
    if not normalize_to_only_use_kwargs:
        return ArgsKwargsPair(bound.args, bound.kwargs)
    named: dict[str, Any] = {}
    for parameter in parameters:
        value = bound.arguments[parameter.name]
        unnamed = parameter.kind is inspect.Parameter.VAR_POSITIONAL and value
        if unnamed or parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            return None
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            named.update(value)
        elif parameter.kind is not inspect.Parameter.VAR_POSITIONAL:
            named[parameter.name] = value
    return ArgsKwargsPair((), named)


def normalize_module(
    root: Any,
    target: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None = None,
    normalize_to_only_use_kwargs: bool = False,
) -> ArgsKwargsPair | None:
    """As `normalize_function`, for the module at the path `target` of `root`."""
    try:
        module = root.get_submodule(target)
    except AttributeError as error:
        raise RuntimeError(
            f"Tried to normalize arguments for module target {target} but root did not have that "
            "target!"
        ) from error
    return normalize_function(
        module.forward,
        args,
        kwargs,
        normalize_to_only_use_kwargs=normalize_to_only_use_kwargs,
    )
