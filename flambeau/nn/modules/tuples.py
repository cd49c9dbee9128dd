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
