"""Signatures of what nodes call, and arguments brought to them."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from typing import Any, NamedTuple

from flambeau.tensor import Tensor

from .names import ops_of

__all__ = [
    "ArgsKwargsPair",
    "check_for_mutable_operation",
    "create_type_hint",
    "get_signature",
    "get_signature_for_torch_op",
    "normalize_function",
    "normalize_module",
    "returned_type",
    "type_matches",
]


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


def get_signature_for_torch_op(op: Callable, return_schemas: bool = False) -> Any:
    """The signature of one of flambeau's functions, which is for all overloads, in a list; None
    for other functions. With `return_schemas`, a pair of that and the list of its schemas.
    """
    schemas = [each.schema for each in ops_of(op)] or None
    signatures = schemas and [inspect.signature(op)]
    return (signatures, schemas) if return_schemas else signatures


# What the results of a schema are in Python.
_RETURNED = {"Tensor": Tensor, "bool": bool, "int": int, "float": float, "Tensor[]": list[Tensor]}


def returned_type(target: Callable) -> Any:
    """The type of a function's result, by its schemas or its annotations; None where none says it,
    or each something else.
    """
    texts = {each.schema.text.rpartition("->")[2].strip() for each in ops_of(target)}
    if not texts:
        try:
            return typing.get_type_hints(target).get("return")
        except (NameError, TypeError):  # names for type checkers only, or no function
            return None
    text = texts.pop()
    if texts:
        return None
    parts = [part.split("(")[0].split(" ")[0] for part in text.strip("()").split(", ")]
    if not text.startswith("("):
        return _RETURNED.get(parts[0])
    return tuple[tuple(_RETURNED.get(part, Any) for part in parts)]  # type: ignore[misc]


def create_type_hint(x: Any) -> Any:
    """The type of a list or tuple of types, by what all of them have in common; else `x`."""
    if not isinstance(x, list | tuple):
        return x
    kinds = set(x)
    if not kinds:
        inner: Any = Any
    elif len(kinds) == 1:
        inner = kinds.pop()
    else:
        base = next((k for k in kinds if all(issubclass(each, k) for each in kinds)), None)
        inner = Any if base is None else base
    return list[inner] if isinstance(x, list) else tuple[inner, ...]  # type: ignore[valid-type]


def type_matches(signature_type: Any, argument_type: Any) -> bool:
    """Whether a value of one type may be passed where a signature says another."""
    if signature_type is Any or signature_type is argument_type:
        return True
    origin, inner = typing.get_origin(signature_type), typing.get_args(signature_type)
    if origin is typing.Union or origin is types.UnionType:
        return any(type_matches(each, argument_type) for each in inner)
    if origin is list and inner:
        of = typing.get_args(argument_type)
        listed = typing.get_origin(argument_type) in (list, tuple)
        return (inner == (int,) and argument_type is int) or (
            listed and all(type_matches(inner[0], each) for each in of if each is not ...)
        )
    number = signature_type is float and argument_type is int
    plain = isinstance(signature_type, type) and isinstance(argument_type, type)
    return number or (plain and issubclass(argument_type, signature_type))


def check_for_mutable_operation(
    target: Callable, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """NotImplementedError where a call of one of flambeau's functions writes to an argument."""
    found = ops_of(target)
    name = getattr(target, "__name__", "")
    if not found or (kwargs.get("out") is None and not name.endswith("_")):
        return
    schema = found[0].schema.text.replace(f"::{found[0].name}(", f"::{name}(", 1)
    raise NotImplementedError(
        f"Tried to trace mutable operation {schema}. FX only supports functional code, so "
        "operations that mutate operands in-place (e.g. via `out` arguments) are not supported"
    )


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
