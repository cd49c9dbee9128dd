"""Spreading one number over the spatial axes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any


def _ntuple(length: int, name: str) -> Callable[[Any], tuple]:
    def spread(value: Any) -> tuple:
        if isinstance(value, Iterable):
            return tuple(value)
        return tuple(itertools.repeat(value, length))

    spread.__name__ = name
    return spread


_single = _ntuple(1, "_single")
_pair = _ntuple(2, "_pair")
_triple = _ntuple(3, "_triple")
_quadruple = _ntuple(4, "_quadruple")


def _reverse_repeat_tuple(values: Iterable, count: int) -> tuple:
    """(a, b) -> (b, b, a, a): the order in which `pad` lists both sides of each axis."""
    return tuple(value for value in reversed(tuple(values)) for _ in range(count))


def _list_with_default(out_size: Any, defaults: list[int]) -> Any:
    """`out_size`, with sizes of `defaults` from behind in the place of None; a number as it is."""
    if isinstance(out_size, int | slice):
        return out_size
    if len(defaults) <= len(out_size):
        raise ValueError(f"Input dimension should be at least {len(out_size) + 1}")
    behind = defaults[-len(out_size) :]
    return [d if v is None else v for v, d in zip(out_size, behind, strict=True)]
