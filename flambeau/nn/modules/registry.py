"""The dictionaries behind a module's parameters, buffers and children."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

_ABSENT = object()


class Registry(dict):
    """Names to values, mirrored into the owning module's attributes.

    ``module.weight`` is then an ordinary attribute look-up (30 ns) instead of a miss that ends in
    ``Module.__getattr__`` (500 ns). A name that the module's class or the instance itself already
    has is not mirrored: class attributes win, as they do over ``__getattr__``.

    The owner is held weakly: modules stay free of reference cycles. Copies and pickles are plain
    dictionaries; ``Module.__setstate__`` makes registries of them again.
    """

    __slots__ = ("_owner",)

    def __init__(self, owner: Any, entries: Any = ()) -> None:
        self._owner = weakref.ref(owner)
        for name, value in dict(entries).items():
            self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        owner = self._owner()
        if owner is not None:
            attributes = owner.__dict__
            held = attributes.get(name, _ABSENT)
            if held is _ABSENT:
                if not hasattr(type(owner), name):
                    attributes[name] = value
            elif held is self.get(name, _ABSENT) or held is value:
                attributes[name] = value
        dict.__setitem__(self, name, value)

    def __delitem__(self, name: str) -> None:
        value = self[name]
        dict.__delitem__(self, name)
        owner = self._owner()
        if owner is not None and owner.__dict__.get(name, _ABSENT) is value:
            del owner.__dict__[name]

    def pop(self, name: str, default: Any = _ABSENT) -> Any:
        if name not in self and default is not _ABSENT:
            return default
        value = self[name]
        del self[name]
        return value

    def popitem(self) -> tuple[str, Any]:
        if not self:
            raise KeyError("popitem(): dictionary is empty")
        name = next(reversed(self))
        return name, self.pop(name)

    def clear(self) -> None:
        for name in list(self):
            del self[name]

    def update(self, *entries: Any, **named: Any) -> None:
        for name, value in dict(*entries, **named).items():
            self[name] = value

    def __ior__(self, entries: Any) -> Registry:  # type: ignore[misc, override]
        self.update(entries)
        return self

    def setdefault(self, name: str, default: Any = None) -> Any:
        if name not in self:
            self[name] = default
        return self[name]

    def move_to_end(self, name: str, last: bool = True) -> None:
        """Move a name to the end, or to the front."""
        others = [item for item in self.items() if item[0] != name]
        items = [*others, (name, self[name])] if last else [(name, self[name]), *others]
        self.clear()
        self.update(items)

    def copy(self) -> dict:
        return dict(self)

    def __copy__(self) -> dict:
        return dict(self)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, tuple, None, None, Iterator]:
        return dict, (), None, None, iter(list(self.items()))
