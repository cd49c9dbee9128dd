"""A captured program in place of its function: what runs, and how results reach the user."""

from __future__ import annotations

import collections
import operator
import struct
from collections.abc import Callable
from typing import Any

from flambeau import runtime
from flambeau.tensor import Tensor

from .capture import Broken, Capture
from .execute import Executable, KernelFailed, overwritten
from .guard import GRAD, PLAIN, Read, SlotOf
from .joint import Consumed
from .passes import optimize
from .state import Watch

STORAGE = operator.attrgetter("_storage")


class Grads:
    """What a run does to the `grad` of tensors that the function reaches.

    `made` are those that it makes, `gone` the tensors whose gradient it drops. Gradients that were
    there before and are read are arguments like others: `given`.
    """

    def __init__(self, capture: Capture, watch: Watch, arguments: list[Any]):
        self.made: list[tuple[Any, Any]] = []
        self.gone: list[Any] = []
        self.given: list[tuple[Any, Any]] = []
        self.reads: list[Read] = []
        for tensor, before in watch.grads.values():
            if before is not None and capture.is_new(before):
                before = None  # it was met later than its gradient was made
            now = tensor._grad
            if any(tensor is a for a in arguments):
                if now is not before or (before is not None and self._is_read(capture, before)):
                    raise Broken("the gradient of an argument is used")
                continue
            if before is None and capture.is_new(tensor):
                pass  # the next run has another in its place
            elif before is None:
                self.reads.append(Read(SlotOf(tensor, GRAD), "grad", None))
            elif self._is_read(capture, before):
                self.given.append((tensor, before))
            if now is before:
                continue
            if now is None:
                self.gone.append(tensor)
                continue
            buffer = capture.buffer_of(now)
            if buffer is None or buffer.holder is not None:
                raise Broken("a gradient is no tensor of the function's own")
            self.made.append((tensor, now))
        # The table that native code reads (`runtime/native/guard.py`), and what it points to.
        self._expected = [(t, g.layout) for t, g in self.given]
        rows = [(_address(t), id(g.layout), int(g._node is not None)) for t, g in self.given]
        self.table = b"".join(struct.pack("3q", *row) for row in rows)

    def release(self) -> None:
        """Lets go of the run's gradients."""
        self.made, self.given = [], []

    def _is_read(self, capture: Capture, before: Any) -> bool:
        buffer = capture.buffer_of(before)
        if buffer is None:
            return False
        if buffer.holder is not before:
            raise Broken("a gradient is part of other memory")
        return True

    def put_back(self, present: list[Any]) -> None:
        """Gives tensors the gradients again that a run read."""
        given = len(self._expected)
        for (tensor, _), before in zip(
            self._expected, present[len(present) - given :], strict=True
        ):
            tensor._grad = before

    def present(self, tensors: list[Any]) -> list[Any]:
        """The arguments, and the gradients that are given. Raises Unfit where they are others, or
        share memory with what comes before.
        """
        present = list(tensors)
        if not runtime.given(present, self.table):
            raise Unfit
        return present


class Unfit(Exception):
    """A program cannot be used for these arguments, or gradients that are there now."""


class Variant:
    """A program, when it holds, and how what it gives reaches the user."""

    def __init__(self, program, fixed, pair, guard, rebuild, count, grads, paces, held):
        self._program, self._fixed, self._pair, self.guard = program, fixed, pair, guard
        self.executables: list[Executable] = []
        self._rebuild, self._count, self._grads, self._paces = rebuild, count, grads, paces
        made = [t for t, _ in grads.made]
        self._reached = made, grads.gone  # kept alive for the addresses
        self._made = struct.pack(f"{len(made)}q", *map(_address, made))
        self._dropped = self._made + struct.pack(f"{len(grads.gone)}q", *map(_address, grads.gone))
        self._overwritten: Any = None  # numbers of arguments, and other tensors
        self._held = held  # memory that the function reaches otherwise than by its arguments

    def build(self) -> None:
        """Makes the program ready to run: this is what takes time."""
        self.executable = Executable(optimize(self._program), self._fixed)
        self.executables, self._run = [self.executable], self.executable.run
        lost = overwritten(self.executable.program)
        if lost:
            places = [b.argument for b in lost if b.argument is not None]
            self._overwritten = places, [b.holder for b in lost if b.argument is None]
        if self._pair is not None:
            self._pair.start(self.executable)
            self.executables.append(self._pair.second)

    def tell(self, differentiated: Callable[[], None]) -> None:
        """Says whom to tell when gradients are differentiated themselves."""
        if self._pair is not None:
            self._pair.differentiated = differentiated

    def run(self, tensors, call):
        """Runs the program on arguments that are these tensors; `call` are all arguments."""
        for t in tensors:
            if id(t._storage) in self._held:
                raise Unfit
        if self._grads.table:
            tensors = self._grads.present(tensors)
        numbers = self._paces.numbers()
        memory, before = (), b""
        if self._overwritten:
            places, holders = self._overwritten
            memory = tuple(map(STORAGE, [*holders, *[tensors[k] for k in places]]))
            before = runtime.contents(memory)
        runtime.put(self._dropped, None, 0)  # their memory is free for the new ones
        try:
            if self._pair is None:
                made = self._run(tensors, numbers)
            else:
                made = self._pair.run(tensors, numbers, call)
        except KernelFailed:  # what was done until then is done again, by the function
            self._paces.take_back()
            self._grads.put_back(tensors)
            runtime.restore(memory, before)
            raise
        runtime.put(self._made, made, self._count)
        return self._rebuild(made, tensors)


def _address(tensor) -> int:
    """Where the slot is that a tensor's gradient is in."""
    return id(tensor) + SlotOf(tensor, GRAD).offset


def rebuilding(value, leaving: list[Any], arguments, was_there) -> Callable[[Any, Any], Any]:
    """A function that gives the result again, from other tensors and arguments. Raises Broken for
    results that hold what cannot be made again.
    """
    if isinstance(value, Tensor):
        return _tensor_again(value, leaving, arguments, was_there)
    if isinstance(value, PLAIN) or (not isinstance(value, tuple) and was_there(value)):
        return lambda made, tensors: value
    kind: Any = type(value)
    if isinstance(value, tuple | list) and kind.__new__ in (tuple.__new__, list.__new__):
        parts = [rebuilding(v, leaving, arguments, was_there) for v in value]
        return lambda made, tensors: kind([part(made, tensors) for part in parts])
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        parts = [rebuilding(v, leaving, arguments, was_there) for v in value]
        return lambda made, tensors: kind(*[part(made, tensors) for part in parts])
    if kind in (dict, collections.OrderedDict):
        items = {k: rebuilding(v, leaving, arguments, was_there) for k, v in value.items()}
        return lambda made, tensors: kind((k, part(made, tensors)) for k, part in items.items())
    raise Broken(f"the function returns a {kind.__name__}")


def consumed(places: list[int], rebuild) -> Callable[[Any, Any], Any]:
    """The same, where the results at these places have a history that was used up."""

    def again(made, tensors):
        for k in places:
            made[k]._node = Consumed()
        return rebuild(made, tensors)

    return again if places else rebuild


def versioned(places: dict[int, int], rebuild) -> Callable[[Any, Any], Any]:
    """The same, where results were made in inference mode, or outside of it, unlike the rest."""

    def again(made, tensors):
        for k, version in places.items():
            made[k]._storage.version = version
        return rebuild(made, tensors)

    return again if places else rebuild


def _tensor_again(value, leaving: list[Any], arguments, was_there) -> Callable[[Any, Any], Any]:
    for number, tensor in enumerate(arguments):
        if tensor is value:
            return lambda made, tensors: tensors[number]
    if was_there(value):
        return lambda made, tensors: value
    if value.__dict__:
        raise Broken("the function returns a tensor that it gave attributes")
    if type(value) is not Tensor:
        raise Broken(f"the function returns a {type(value).__name__}")
    k = next((k for k, tensor in enumerate(leaving) if tensor is value), len(leaving))
    if k == len(leaving):
        leaving.append(value)
    return lambda made, tensors: made[k]


def unmade(result: Any) -> int | None:
    """Which item of a tuple that was returned cannot be made again."""
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], tuple):
        result = result[1]  # with the mark of a part
    for k, value in enumerate(result if isinstance(result, tuple) else ()):
        try:
            rebuilding(value, [], (), lambda _: False)
        except Broken:
            return k
    return None


__all__ = ["Grads", "Unfit", "Variant", "consumed", "rebuilding", "unmade", "versioned"]
