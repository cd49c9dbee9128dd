"""The schema of a function, from its annotations: PyTorch's `torch.library.infer_schema`."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from flambeau.tensor import Tensor
from flambeau.types import Device, DType

_NAMES = {
    Tensor: "Tensor",
    int: "SymInt",
    float: "float",
    bool: "bool",
    str: "str",
    DType: "ScalarType",
    Device: "Device",
    int | float | bool: "Scalar",
}
_LISTS = (list, Sequence, tuple)


def infer_schema(
    prototype_function: Callable[..., Any],
    /,
    *,
    mutates_args: str | Iterable[str],
    op_name: str | None = None,
    tags: Any = (),
) -> str:
    """The schema, without namespace, of a function all of whose parameters are annotated.

    Types are Tensor, int, float, bool, str, dtype, device, a union of the numbers, lists of these,
    and each of them or None; results are one tensor, list or number, a tuple of them, or None.
    `mutates_args` names the tensors that the function changes; "unknown": all of them. `tags` say
    what is of no use here. ValueError where the annotations tell no schema.
    """
    signature = inspect.signature(prototype_function)

    def refuse(what: str) -> typing.NoReturn:
        raise ValueError(f"infer_schema(func): {what} Got func with signature {signature})")

    hints = typing.get_type_hints(prototype_function)
    everything = mutates_args == "unknown"
    mutated = set() if isinstance(mutates_args, str) else set(mutates_args)
    if isinstance(mutates_args, str) and not everything:
        refuse(f'mutates_args must be a sequence of names or "unknown", got {mutates_args!r}.')
    if unknown := mutated - set(signature.parameters):
        refuse(f"mutates_args {sorted(unknown)} are not the names of arguments.")
    texts, keyword = [], False
    for number, (name, parameter) in enumerate(signature.parameters.items()):
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            refuse("We do not support *args or **kwargs.")
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword:
            keyword = True
            texts.append("*")
        if name not in hints:
            refuse(f"Parameter {name} must have a type annotation.")
        kind = _type_text(hints[name])
        if kind is None:
            refuse(f"Parameter {name} has unsupported type {hints[name]}.")
        if name in mutated or (everything and kind.startswith("Tensor")):
            if not kind.startswith("Tensor"):
                refuse(f"Parameter {name} is in mutates_args but only Tensors can be mutated.")
            kind = kind.replace("Tensor", f"Tensor(a{number}!)", 1)
        default = ""
        if parameter.default is not parameter.empty:
            default = "=" + _default_text(parameter.default)
        texts.append(f"{kind} {name}{default}")
    if "return" not in hints:
        refuse("No return type annotation was provided. Please add one.")
    return f"{op_name or ''}({', '.join(texts)}) -> {_returns_text(hints['return'], refuse)}"


def _type_text(kind: Any) -> str | None:
    """A type as schemas have it; None for types that they have not."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        parts = typing.get_args(kind)
        others = [part for part in parts if part is not type(None)]
        if len(others) < len(parts):
            inner = _type_text(typing.Union[tuple(others)])  # noqa: UP007  # parts at run time
            return None if inner is None else inner + "?"
        return "Scalar" if set(parts) == {int, float, bool} else None
    if typing.get_origin(kind) in _LISTS:
        parts = typing.get_args(kind)
        inner = _type_text(parts[0]) if parts else None
        return None if inner is None else f"{inner}[]"
    return _NAMES.get(kind)


def _default_text(value: Any) -> str:
    if isinstance(value, str | Device):
        return f'"{value}"'
    return value.name if isinstance(value, DType) else str(value)


def _returns_text(kind: Any, refuse: Callable) -> str:
    if kind is None or kind is type(None):
        return "()"
    parts = typing.get_args(kind) if typing.get_origin(kind) is tuple else (kind,)
    texts = [_type_text(part) for part in parts]
    if not all(texts):
        refuse(f"Return has unsupported type {kind}.")
    joined = ", ".join(text for text in texts if text)
    return f"({joined})" if typing.get_origin(kind) is tuple else joined


__all__ = ["infer_schema"]
