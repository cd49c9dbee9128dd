"""PyTorch's names for what kernels are for: `torch._C.DispatchKey`. Ops here are not looked up by
them; packages that declare ops name them.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

_BACKENDS = ("CPU", "CUDA", "XPU", "MPS", "HPU", "XLA", "Meta", "PrivateUse1")
_OTHERS = (
    "Undefined", "BackendSelect", "Python", "ADInplaceOrView", "Autograd",
    "CompositeExplicitAutograd", "CompositeImplicitAutograd",
)  # fmt: skip
DispatchKey = enum.Enum(  # type: ignore[misc]
    "DispatchKey",
    [*_BACKENDS, *_OTHERS, *(f"{kind}{b}" for kind in ("Autograd", "Autocast") for b in _BACKENDS)],
    module="torch._C",
)


class DispatchKeySet:
    """A set of keys: ``DispatchKeySet(key) | DispatchKeySet(other)``."""

    def __init__(self, *keys: DispatchKey) -> None:
        self._keys = frozenset(keys)

    def has(self, key: DispatchKey) -> bool:
        """Whether a key is in the set."""
        return key in self._keys

    def __or__(self, other: DispatchKeySet) -> DispatchKeySet:
        return DispatchKeySet(*self._keys, *other._keys)

    def __and__(self, other: DispatchKeySet) -> DispatchKeySet:
        return DispatchKeySet(*(self._keys & other._keys))

    def __sub__(self, other: DispatchKeySet) -> DispatchKeySet:
        return DispatchKeySet(*(self._keys - other._keys))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DispatchKeySet) and self._keys == other._keys

    def __hash__(self) -> int:
        return hash(self._keys)

    def __iter__(self) -> Iterator[DispatchKey]:
        return (key for key in DispatchKey if key in self._keys)

    def __repr__(self) -> str:
        return f"DispatchKeySet({', '.join(key.name for key in self)})"


__all__ = ["DispatchKey", "DispatchKeySet"]
