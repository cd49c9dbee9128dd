"""Modules as functions of their parameters and buffers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from flambeau.tensor import Tensor

from ..modules import Module


def functional_call(
    module: Module,
    parameter_and_buffer_dicts: dict[str, Tensor] | tuple[dict[str, Tensor], ...],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """``module(*args, **kwargs)`` with tensors in place of its parameters and buffers, by their
    dotted names. What is not named stays.

    `tie_weights`: a tensor replaces all parameters that are the same object as the named one.
    `strict`: the names must be all there are.
    """
    replacements = _merged(parameter_and_buffer_dicts)
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    with _replaced(module, replacements, tie_weights, strict):
        return module(*args, **(kwargs or {}))


def _merged(given: Any) -> dict[str, Tensor]:
    if isinstance(given, dict):
        return given
    if not isinstance(given, tuple | list) or not all(isinstance(d, dict) for d in given):
        raise ValueError(
            "Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got "
            f"{type(given)}"
        )
    names = [name for d in given for name in d]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise ValueError(
            f"{twice} appeared in multiple dictionaries; behavior of functional call is ambiguous"
        )
    return {name: tensor for d in given for name, tensor in d.items()}


@contextlib.contextmanager
def _replaced(
    module: Module, replacements: dict[str, Tensor], tie: bool, strict: bool
) -> Iterator[None]:
    """Inside, the module's tables hold the replacements."""
    places = {
        f"{prefix}.{name}" if prefix else name: (table, name)
        for prefix, part in module.named_modules(remove_duplicate=False)
        for table in (part._parameters, part._buffers)
        for name, tensor in table.items()
        if tensor is not None
    }
    chosen = {name: t for name, t in replacements.items() if name in places}
    missing = [name for name in places if name not in chosen]
    if tie:
        by_object = {id(places[n][0][places[n][1]]): t for n, t in chosen.items()}
        for name in missing:
            table, key = places[name]
            if id(table[key]) in by_object:
                chosen[name] = by_object[id(table[key])]
        missing = [name for name in missing if name not in chosen]
    if strict:
        _check(module, missing, [name for name in replacements if name not in places])
    before = {name: places[name][0][places[name][1]] for name in chosen}
    try:
        for name, tensor in chosen.items():
            table, key = places[name]
            table[key] = tensor
        yield
    finally:
        for name, tensor in before.items():
            table, key = places[name]
            table[key] = tensor


def _check(module: Module, missing: list[str], unexpected: list[str]) -> None:
    lines = []
    for word, names in (("Unexpected", unexpected), ("Missing", missing)):
        if names:
            lines.append(f"\n\t{word} key(s): {', '.join(map(repr, sorted(names)))}.")
    if lines:
        raise RuntimeError(
            f"Error(s) in reparametrizing for {type(module).__name__}:" + "".join(lines)
        )


__all__ = ["functional_call"]
