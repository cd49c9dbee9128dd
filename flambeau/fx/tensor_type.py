"""Gradual types of tensors: shapes of which parts are known. They are stored, not checked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["Dyn", "TensorType", "is_consistent", "is_more_precise"]


class _DynType:
    """The type of anything."""

    def __init__(self) -> None:
        self.__name__ = "_DynType"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _DynType)

    def __hash__(self) -> int:
        return hash(_DynType)

    def __repr__(self) -> str:
        return "Dyn"


Dyn = _DynType()


class TensorType:
    """A tensor's shape, as an annotation: ``TensorType((1, Dyn, 3))``."""

    def __init__(self, dim: Iterable[Any]):
        self.__origin__ = TensorType
        self.__args__ = tuple(dim)

    @property
    def dims(self) -> tuple:
        """The sizes, `Dyn` where one is not known."""
        return self.__args__

    def __repr__(self) -> str:
        return f"TensorType[{self.__args__}]"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TensorType) and self.__args__ == other.__args__

    def __hash__(self) -> int:
        return hash(self.__args__)

    @staticmethod
    def __class_getitem__(*args: Any) -> TensorType:
        first = args[0]
        return TensorType(first if isinstance(first, tuple) else (first,))


def is_consistent(t1: Any, t2: Any) -> bool:
    """Whether some type is both: unknown parts agree with anything."""
    if t1 == t2 or t1 is Dyn or t2 is Dyn:
        return True
    if isinstance(t1, TensorType) and isinstance(t2, TensorType):
        a, b = t1.__args__, t2.__args__
        return len(a) == len(b) and all(map(is_consistent, a, b))
    return False


def is_more_precise(t1: Any, t2: Any) -> bool:
    """Whether `t1` says all that `t2` says."""
    if t1 == t2 or t2 is Dyn:
        return True
    if isinstance(t1, TensorType) and isinstance(t2, TensorType):
        a, b = t1.__args__, t2.__args__
        return len(a) == len(b) and all(map(is_more_precise, a, b))
    return False
