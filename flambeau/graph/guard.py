"""Values that are compared before a program is used: what was read, and whether it is as it was."""

from __future__ import annotations

import collections
import contextlib
import ctypes
import struct
import types
import weakref
from typing import Any, ClassVar

from flambeau import runtime
from flambeau.ops import AccumulateGrad
from flambeau.runtime import GUARD_KINDS
from flambeau.tensor import Tensor
from flambeau.types import Device, DType, Layout

PLAIN = (int, float, complex, str, bytes, bool, type(None), DType, Device, Layout, range, slice)
MOST = 10_000  # elements of a container that native code compares one by one


def exactly(value: Any) -> Any:
    """What two plain values have in common only if they are the same: 0.0 is not -0.0."""
    return repr(value) if isinstance(value, float | complex) else value


class Read:
    """One comparison: the value at `key` of a container (a dict, list, cell) is what it was."""

    __slots__ = ("container", "expected", "key")

    def __init__(self, container: Any, key: Any, expected: Any):
        self.container, self.key, self.expected = container, key, expected

    @property
    def is_slow(self) -> bool:
        """Whether only Python can compare it."""
        return self.key is CONTENT or self.key is ANSWER

    def now(self) -> Any:
        """The value at present; an object of its own where there is none."""
        if isinstance(self.container, types.CellType):
            try:
                return self.container.cell_contents
            except ValueError:
                return ABSENT
        if self.key is LENGTH:
            return length(self.container)
        if self.key is KEYS:
            return tuple(elements(self.container))
        if self.key is ITEMS:
            return (*elements(self.container), *dict.values(self.container))
        if self.key is ANSWER:
            return self.container()
        if self.key is CONTENT:
            return content(self.container)
        if isinstance(self.container, dict):  # of any class: a look-up is to make nothing
            return dict.get(self.container, self.key, ABSENT)
        try:
            if isinstance(self.container, list):
                return list.__getitem__(self.container, self.key)
            return self.container[self.key]
        except IndexError:
            return ABSENT

    def same(self) -> bool:
        """Whether the value is what it was: the object itself, or an equal plain value."""
        now, then = self.now(), self.expected
        if now is then or (self.key is CONTENT and now == then):
            return True
        if self.key is KEYS or self.key is ITEMS:
            return len(now) == len(then) and all(map(_is_equal, now, then))
        return _is_equal(now, then)


def _is_equal(now: Any, then: Any) -> bool:
    """Whether both are one object, or equal plain values."""
    plain = isinstance(then, PLAIN) and type(now) is type(then)
    return now is then or (plain and exactly(now) == exactly(then))


ABSENT = type("Absent", (), {"__repr__": lambda self: "<absent>"})()
LENGTH = type("Length", (), {"__repr__": lambda self: "len"})()
KEYS = type("Keys", (), {"__repr__": lambda self: "order of keys"})()
ITEMS = type("Items", (), {"__repr__": lambda self: "items"})()
ANSWER = type("Answer", (), {"__repr__": lambda self: "a setting"})()
CONTENT = type("Content", (), {"__repr__": lambda self: "elements"})()


def is_array(value: Any) -> bool:
    """Whether it is an array of NumPy's or Python's, or a view of memory."""
    known = type(value).__module__ in ("numpy", "array") or isinstance(value, memoryview)
    return known and hasattr(value, "tobytes")


def is_record(value: Any) -> bool:
    """Whether it is an instance of a data class that has tensors: arguments come in such, and each
    call gets another. Others, such as configurations, are objects that stay.
    """
    if not hasattr(type(value), "__dataclass_fields__") or isinstance(value, dict):
        return False
    inside = getattr(value, "__dict__", None)
    return inside is not None and any(isinstance(v, Tensor) for v in inside.values())


BASES: Any = (collections.OrderedDict, dict, list, tuple, set, collections.deque)


def elements(value: Any) -> list[Any]:
    """What a container has, whatever its class makes of that."""
    base = next(base for base in BASES if isinstance(value, base))
    return list(base.__iter__(value))


def length(value: Any) -> int:
    """How many elements a container has, whatever its class says."""
    count: int = next(base for base in BASES if isinstance(value, base)).__len__(value)
    return count


def content(value: Any) -> Any:
    """The elements of what has no keys, to be compared: objects are the same or not."""
    if isinstance(value, bytearray):
        return bytes(value)
    if is_array(value):
        return getattr(value, "shape", None), value.tobytes()
    base = next(base for base in BASES if isinstance(value, base))
    found = Elements(base.__iter__(value))
    if isinstance(value, dict) and length(value) > MOST:
        found.extend(dict.values(value))
    return found


class Elements(list):
    """Values that are to be the same objects, or equal plain ones."""

    def __eq__(self, other: Any) -> bool:
        if len(self) != len(other):
            return False
        return self._words() == other._words() or all(map(_is_equal, self, other))

    def _words(self) -> bytes:
        """The addresses of the objects: word 3 of a list says where they are."""
        place = ctypes.c_void_p.from_address(id(self) + 3 * 8).value
        return ctypes.string_at(place, 8 * len(self)) if place else b""


def slots_of(kind: type) -> dict[str, Any]:
    """The members that a class has in place of entries of its instances' dictionaries, by name."""
    found = _slots.get(kind)
    if found is None:
        found = _slots[kind] = _slots_of(kind)
    return found


_slots: weakref.WeakKeyDictionary[type, dict[str, Any]] = weakref.WeakKeyDictionary()


def _slots_of(kind: type) -> dict[str, Any]:
    return {
        name: member
        for owner in kind.__mro__
        for name, member in vars(owner).items()
        if isinstance(member, types.MemberDescriptorType)
    }


class Owned:
    """Something of an object as the one item of a container."""

    __slots__ = ("_owner",)

    @property
    def owner(self) -> Any:
        """The object."""
        return self._owner() if isinstance(self._owner, weakref.ReferenceType) else self._owner

    def loosen(self) -> None:
        """No longer keeps the object alive: who dies is asked no more."""
        with contextlib.suppress(TypeError):  # some objects have no weak references
            self._owner = weakref.ref(self._owner)


class SlotOf(Owned):
    """A slot of an object as the one item of a container."""

    __slots__ = ("member",)

    def __init__(self, owner: Any, member: Any):
        self._owner, self.member = owner, member

    def __getitem__(self, name: str) -> Any:
        try:
            return self.member.__get__(self.owner)
        except AttributeError:
            return ABSENT

    @property
    def offset(self) -> int:
        """Bytes to the slot: word 3 of the member's definition (CPython's structmember.h)."""
        definition = ctypes.c_ssize_t.from_address(id(self.member) + 5 * 8).value
        return ctypes.c_ssize_t.from_address(definition + 2 * 8).value


class FieldOf(Owned):
    """A field of an object's C structure, which no member describes, as the item of a container."""

    __slots__ = ("offset",)
    # Bytes before the closure of a function (_Py_COMMON_FIELDS in CPython's funcobject.h).
    OF_FUNCTIONS: ClassVar = {"__code__": 24, "__defaults__": 16, "__kwdefaults__": 8}

    def __init__(self, owner: Any, name: str):
        self._owner, self.offset = owner, 8  # the class
        if name in self.OF_FUNCTIONS:
            closure = SlotOf(owner, vars(types.FunctionType)["__closure__"])
            self.offset = closure.offset - self.OF_FUNCTIONS[name]

    def __getitem__(self, name: str) -> Any:
        value = getattr(self.owner, name)
        return ABSENT if value is None else value


GRAD = slots_of(Tensor)["_grad"]
EXTRA = slots_of(AccumulateGrad)["extra"]


SNAPSHOTS = 100  # of one guard: where values always move, it is cheaper without


class Guard:
    """Whether all values are what they were, and tensors lie as they did: ``guard()``.

    First the objects are compared natively, by identity, as a snapshot of the words of memory that
    refer to them. Where a word is another, because an object is or lies elsewhere, Python
    looks whether the values are equal, and makes the next snapshot.
    """

    def __init__(self, reads: list[Read], tensors: list[Any]):
        self._reads = reads
        self._tensors = [(t, t.layout, t._node is not None) for t in tensors]
        rows: list[int] = []
        self._slow = [read for read in reads if read.is_slow]
        for read in reads:
            rows += () if read.is_slow else _row(read)
        for tensor, layout, wanted in self._tensors:
            rows += (GUARD_KINDS.index("tensor"), id(tensor), int(wanted), id(layout))
        self._rows = struct.pack(f"{len(rows)}q", *rows)
        self._snapshot, self._snapshots = runtime.snapshot(self._rows), 1
        self._suspect: Read | None = None  # was another when last looked at

    def __call__(self) -> bool:
        if runtime.unchanged(self._snapshot):
            return not self._slow or all(read.same() for read in self._slow)
        if (self._suspect is not None and not self._suspect.same()) or not self._equal():
            return False
        if self._snapshots < SNAPSHOTS:
            self._snapshot, self._snapshots = runtime.snapshot(self._rows), self._snapshots + 1
        return True

    def changed(self) -> str | None:
        """The name of the first value that is not what it was."""
        return next((f"{read.key!r}" for read in self._reads if not read.same()), None)

    def _equal(self) -> bool:
        self._suspect = next((read for read in self._reads if not read.same()), None)
        return self._suspect is None and all(
            t.layout is layout and (t._node is not None) is wanted
            for t, layout, wanted in self._tensors
        )


def _row(read: Read) -> tuple[int, int, int, int]:
    """The comparison for native code: see `native/guard.py`. What is expected is kept alive by the
    read.
    """
    container, key = read.container, read.key
    if isinstance(container, types.CellType):
        kind, number = "cell", 0
    elif isinstance(container, Owned):
        kind, container, number = "slot", container.owner, container.offset
    elif key is LENGTH:
        kind, number = "length", read.expected
    elif key is KEYS or key is ITEMS:
        kind, number = "keys", len(read.container)
    elif isinstance(container, dict):
        kind, number = "item", id(key)
    else:
        kind, number = "element", key
    expected = 0 if read.expected is ABSENT else id(read.expected)
    return GUARD_KINDS.index(kind), id(container), number, expected


__all__ = [
    "ABSENT", "ANSWER", "CONTENT", "EXTRA", "GRAD", "ITEMS", "KEYS", "LENGTH", "MOST", "PLAIN",
    "FieldOf", "Guard", "Owned", "Read", "SlotOf", "content", "elements", "exactly", "is_array",
    "is_record", "length", "slots_of",
]  # fmt: skip
