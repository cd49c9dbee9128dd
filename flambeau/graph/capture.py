"""Capture: what a stretch of the user's program does, recorded as a `Program` while it runs.

Nothing is pretended: the ops are performed as always, on the tensors that are there. Every launch
is seen by the native core's watcher, with the kernels that it consists of; ops that are no launches
are seen by an interpreter. What neither sees, and yet makes memory, ends the capture: a program may
be incomplete, but never wrong.
"""

from __future__ import annotations

import ctypes
import itertools
import sys
import threading
from types import FrameType
from typing import Any

from flambeau import ir, runtime
from flambeau._base import Memo, is_ours, user_line
from flambeau.ops import (
    INPLACE,
    Convolve,
    InRows,
    Multiply,
    Work,
    modes,
    perform_plainly,
    record_of,
)
from flambeau.tensor import Tensor
from flambeau.types import by_name

from .dynamic import Number, Sizes, bits
from .program import Buffer, Call, Host, Instruction, Loop, Operand, Program, Rows, Sums

FLOAT64, INT64 = by_name("float64"), by_name("int64")

# Ops whose results are as long as the data say, and how users know them.
DATA_DEPENDENT = {
    "_nonzero": "nonzero", "_rows_where": "a mask", "masked_select": "masked_select",
    "_distinct": "unique", "_unique": "unique", "_repeated": "repeat_interleave",
}  # fmt: skip
MEMORY_ONLY = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided")


def _masks(op, args) -> bool:
    """Whether elements under a mask are asked for."""
    return op.name == "index" and any(
        t is not None and t.layout.dtype.name in ("bool", "uint8") for t in args[1]
    )


class Broken(Exception):
    """Why a capture cannot stand for what was run."""


class unseen:
    """A with block that Python's profile function, who watches the user's functions, does not see:
    every call costs much less then.
    """

    __slots__ = ("_outer",)

    def __enter__(self):
        self._outer = sys.getprofile()
        if callable(self._outer):
            sys.setprofile(None)
        return self

    def __exit__(self, *exception):
        if callable(self._outer):
            sys.setprofile(self._outer)

    def calls(self, function, *args):
        """Calls a function in which the user's may run, or tensors are made of Python's values."""
        if not callable(self._outer):
            return function(*args)
        sys.setprofile(self._outer)
        try:
            return function(*args)
        finally:
            sys.setprofile(None)


class Capture:
    """Records what its thread performs inside a with block.

    `broken` says, where it is not None, why `program` cannot be made: the reason and the user's
    line. `numbers_of(op, args)` may give numbers (by the position of the argument) that change from
    run to run: for each the number of a slot. Slots in `fixed` have that number in every run; which
    numbers are such, and which are constants of their kernels, `sizes` says.
    """

    def __init__(self, numbers_of=None, code=None, sizes: Sizes | None = None):
        self.instructions: list[Instruction] = []
        self.broken: str | None = None
        # (line, column) at which it broke, in the function whose code this is.
        self.place: tuple[int, int] | None = None
        self._code = code
        self.numbers, self.fixed = 0, dict[int, Number]()
        self.sizes, self._slots = sizes, dict[int, int]()
        self._numbers_of = numbers_of
        self._number_slots: dict[int, int] | None = None
        self._performing = "kernel"  # the op
        self._buffers: dict[int, Buffer] = {}
        self._launches, self._count = 0, -1

    def __enter__(self):
        self._thread = threading.get_ident()
        record_of()  # made before, so that the program finds it
        self._start = runtime.empty(0).serial
        # Below an autocast that is on: it is the casts that are recorded.
        self._outer = modes.state.stack
        modes.state.stack = (self, *self._outer)
        modes.interpreters.append(self)
        self._before = runtime.watch(self._launched)
        return self

    def __exit__(self, *exception):
        runtime.watch(self._before)
        modes.state.stack = self._outer
        modes.interpreters.remove(self)
        if exception[0] is not None:
            self.end(f"{exception[0].__name__} was raised")

    def end(self, reason: str) -> None:
        """The capture is over: what follows is not recorded."""
        if self.broken is None:
            line = user_line()
            self.broken = f"{reason}\n  at {line}" if line else reason
            self.instructions = []
            self.place = self.where()

    def where(self) -> tuple[int, int] | None:
        """The place at which the captured function is now."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code is not self._code:
            frame = frame.f_back
        return None if frame is None else _place(frame)

    # What the interpreter sees.

    def process(self, op, args, target):
        """Performs an op; its parts are seen as well, and it is recorded where it is no launch."""
        with unseen() as hidden:
            return self._process(hidden, op, args, target)

    def _process(self, hidden, op, args, target):
        if self.broken is not None or target is not None:
            return hidden.calls(perform_plainly, op, args, target)
        self._performing = op.name
        for a in args:
            if isinstance(a, runtime.Generator):
                self.give(record_of(a))  # is made at its first use
        inner = op.family in ("composite", "contraction")
        if not inner and (op.name in DATA_DEPENDENT or _masks(op, args)):
            name = DATA_DEPENDENT.get(op.name, "a mask")
            self.end(f"the shape of what {name} gives depends on the data")
            return op.slow(args)
        plan = None if op.family == "composite" else op.known(args)
        # Products may copy their operands first; a chain may have no kernels, but a body.
        if inner or op.family == "chain":
            with modes.interpreting(self):
                return hidden.calls(op.slow, args) if plan is None else plan(*args)
        before = self._launches
        versions = [(t, t._storage.version) for t in tensors_of(args)]
        self._number_slots = self._numbers_of(op, args) if self._numbers_of else None
        if op.family == "custom":
            result = _unwatched(op.slow, args)
        else:
            result = op.slow(args) if plan is None else plan(*args)
        self._number_slots = None
        if self._launches == before and op.family != "view" and self.broken is None:
            self._perform_on_host(op, args, result, versions)
        return result

    def reads(self, tensor) -> None:
        """Somebody wants the elements."""
        frame: FrameType | None = sys._getframe(1)
        name = "repr"
        while frame is not None and is_ours(frame):
            if frame.f_code.co_name == "_numbers":  # of an optimizer: they are computed anew
                return
            name, frame = frame.f_code.co_name, frame.f_back
        self.end(f"{name}() read a tensor's elements")

    def _perform_on_host(self, op, args, result, versions):
        """Records an op that only Python can repeat."""
        made = [t for t in (result if isinstance(result, tuple | list) else (result,)) if _is(t)]
        if any(_is(a) and any(a is r for r in made) for a in args) and not _written(versions):
            return  # the tensor itself: nothing happened
        fresh = [t for t in made if t._storage.serial >= self._start]
        fresh = [t for t in fresh if id(t._storage) not in self._buffers]
        if any(t.layout.device.type == "meta" for t in made):
            return self.end(f"{op.name} gave a tensor without memory")
        if op.name in MEMORY_ONLY:
            for t in fresh:
                self._add(t._storage).empty = True
            return
        written = _written(versions)
        if not fresh and not written:
            return
        tensors = list(tensors_of(args))
        try:
            operands = [self._operand(t) for t in tensors]
        except Broken as reason:
            return self.end(str(reason))
        operands += [
            Operand(self._add(t._storage), t._offset * t.itemsize, t.layout) for t in fresh
        ]
        mask = sum(1 << k for k, t in enumerate(tensors) if any(t is w for w in written))
        mask |= sum(1 << len(tensors) + k for k in range(len(fresh)))
        places = [next(k for k, m in enumerate(made) if m is t) for t in fresh]
        run = _again(op, args, len(tensors), places)
        self.instructions.append(Host(run, tuple(operands), mask, op.name))

    # What the watcher sees.

    def _launched(self, launcher, result, *args):
        if self.broken is not None or threading.get_ident() != self._thread:
            return
        self._launches += 1
        with unseen():
            try:
                self._record(launcher[1], result, args)
            except Broken as reason:
                self.end(str(reason))

    def _record(self, launch, result, args):
        found: dict[int, tuple[Buffer, int, Any]] = {}  # by source: buffer, start, layout
        for k, (letter, value) in enumerate(zip(launch.arguments, args, strict=True)):
            if letter in "tmo" and value is not None:
                found[k] = self._operand(value)
        results = iter(result if isinstance(result, tuple) else (result,))
        for k, (layout, nbytes) in enumerate(launch.outputs):
            tensor = None if layout is None else next(results)
            buffer = self._new(nbytes) if tensor is None else self._add(tensor._storage)
            found[-1 - k] = Operand(buffer, 0, layout)
        numbers = self._scalars(launch, args)
        for work in launch.work or launch.stages:
            if isinstance(work, Work):
                self.instructions.append(_loop(work, found, numbers))
            elif isinstance(work, InRows):
                self._record_rows(work, found, numbers, launch)
            elif isinstance(work, Multiply | Convolve):
                self.instructions.append(_sums(work, found))
            elif work.total:
                self.instructions.append(_call(work, found, launch, self._performing))

    def _record_rows(self, whole, found, numbers, launch):
        """A chain that runs by rows: its kernels, or the stage where there are products."""
        if all(isinstance(work, Work) for work in whole.works):
            found = found | {s: Operand(self._new(n), 0, None) for s, n in whole.inner.items()}
            loops = tuple(_loop(work, found, numbers) for work in whole.works)
            self.instructions.append(Rows(loops, whole.rows))
        else:
            self.instructions.append(_call(launch.stages[0], found, launch, self._performing))

    def _scalars(self, launch, args) -> dict[int, Any]:
        """For each scalar slot of the launch what stands in its place: a constant or a number."""
        slots, at = {}, 0
        for k, (letter, value) in enumerate(zip(launch.arguments, args, strict=True)):
            if letter == "d":
                changing = (self._number_slots or {}).get(k)
                slots[at] = (
                    self._number(launch, float(value))
                    if changing is None
                    else ir.param(changing, FLOAT64)
                )
            elif letter == "i":
                slots[at] = self._number(launch, int(value))
            elif letter == "c":
                slots[at] = self._number(launch, complex(value).real)
                slots[at + 1] = self._number(launch, complex(value).imag)
            at += {"d": 1, "i": 1, "c": 2}.get(letter, 0)
        return slots

    def _number(self, launch, value: Number) -> Any:
        """A number that an op was given: itself, or a parameter where other captures differ."""
        work = launch.work[0] if launch.work else None
        name = work.kernel.name if isinstance(work, Work) else launch.arguments
        kind = None if self.sizes is None else self.sizes.kind(name, value)
        if kind is None:
            return value
        if kind not in self._slots:
            self._slots[kind] = self.numbers
            self.fixed[self.numbers] = value
            self.numbers += 1
        return ir.param(self._slots[kind], FLOAT64 if isinstance(value, float) else INT64)

    # Memory.

    def _new(self, nbytes, storage=None) -> Buffer:
        self._count += 1
        return Buffer(self._count, nbytes, None, storage)

    def _add(self, storage) -> Buffer:
        """The buffer of memory that the program makes."""
        buffer = self._buffers[id(storage)] = self._new(storage.nbytes, storage)
        return buffer

    def constant(self, tensor) -> None:
        """Memory made from Python's values: the same in every run."""
        if self.broken is None:
            self.give(tensor)

    def give(self, tensor) -> Buffer:
        """The buffer of memory that was there before."""
        buffer = self._buffers.get(id(tensor._storage))
        if buffer is None:
            buffer = self._add(tensor._storage)
            buffer.holder = tensor
        return buffer

    def _operand(self, tensor) -> Operand:
        buffer = self._buffers.get(id(tensor._storage))
        if buffer is None:
            if tensor._storage.serial >= self._start:
                raise Broken("memory was made in a way that cannot be followed")
            buffer = self.give(tensor._base if tensor._base is not None else tensor)
        start = tensor._offset * tensor.layout.itemsize
        holder = buffer.holder
        if holder is not None:
            start -= holder._offset * holder.layout.itemsize
        return Operand(buffer, start, tensor.layout)

    def operand(self, tensor) -> Operand:
        """Where a tensor lies. Raises Broken where the capture does not know."""
        return self._operand(tensor)

    def is_new(self, tensor) -> bool:
        """Whether a tensor's memory was made during the capture."""
        return tensor._storage.serial >= self._start

    def buffer_of(self, tensor) -> Buffer | None:
        """The buffer that a tensor lies in, if the capture met it."""
        return self._buffers.get(id(tensor._storage))

    def made(self, storage) -> bool:
        """Whether the run made this memory."""
        buffer = self._buffers.get(id(storage))
        return buffer is not None and buffer.holder is None

    def release(self) -> None:
        """Lets go of the run's memory. Of arguments, only layouts matter from now on."""
        for buffer in self._buffers.values():
            buffer.storage = None
            if buffer.argument is not None:
                buffer.holder = runtime.wrap(runtime.foreign(0, 0, None), buffer.holder.layout, 0)
        self._buffers.clear()
        self.instructions = []

    def program(self, results) -> Program:
        """What was recorded; `results` are the tensors that leave it."""
        return Program(list(self.instructions), [self._operand(t) for t in results], self.numbers)


class Rehearsal(Capture):
    """A capture of what is not to happen yet: it raises where it would end, and what it overwrote
    can be put back.
    """

    def __init__(self, numbers_of=None, code=None, sizes: Sizes | None = None):
        super().__init__(numbers_of, code, sizes)
        self._overwritten: dict[int, tuple[Any, bytes]] = {}
        self._generators: dict[int, tuple[Any, Any]] = {}

    def __enter__(self):
        self._remember_generator(runtime.default_generator)
        return super().__enter__()

    def end(self, reason: str) -> None:
        """Raises Broken."""
        super().end(reason)
        raise Broken(self.broken)

    def process(self, op, args, target):
        for a in args:
            if isinstance(a, runtime.Generator):
                self._remember_generator(a)
        if target is INPLACE:
            self._remember(args[0])
        elif target is not None or op.name.endswith("_"):
            for t in tensors_of((*args, target)):
                self._remember(t)
        return super().process(op, args, target)

    def _remember_generator(self, generator) -> None:
        self._generators.setdefault(id(generator), (generator, generator.get_state()))

    def _remember(self, tensor) -> None:
        memory = tensor._storage
        if memory.serial < self._start and id(memory) not in self._overwritten:
            self._overwritten[id(memory)] = memory, ctypes.string_at(memory.ptr, memory.nbytes)

    def restore(self) -> None:
        """Memory and random streams as they were before the capture."""
        for memory, content in self._overwritten.values():
            ctypes.memmove(memory.ptr, content, len(content))
        for generator, state in self._generators.values():
            generator.set_state(state)


def _place(frame: FrameType) -> tuple[int, int]:
    """The line and the column that a frame is at; without columns (``-X no_debug_ranges``), -1."""
    positions = itertools.islice(frame.f_code.co_positions(), frame.f_lasti // 2, None)
    line, _, column, _ = next(positions)
    return line or frame.f_lineno, -1 if column is None else column


def _is(value) -> bool:
    return isinstance(value, Tensor)


def tensors_of(args):
    """The tensors among arguments, those in lists too."""
    for a in args:
        if _is(a):
            yield a
        elif isinstance(a, tuple | list):
            yield from (t for t in a if _is(t))


def _unwatched(function, args):
    """Performs an op whose own launches are no part of the program: what they make is."""
    watcher = runtime.watch(None)
    try:
        return function(args)
    finally:
        runtime.watch(watcher)


def _written(versions):
    return [t for t, version in versions if t._storage.version != version]


def _loop(work: Work, found, numbers) -> Loop:
    """The instruction of a kernel, its scalar slots filled in."""
    operands = _operands(work, found)
    return Loop(filled(work.kernel, numbers), operands, work.axes, work.places, work.counter)


def _sums(work: Multiply | Convolve, found) -> Sums:
    """The instruction of a product or a convolution."""
    first, operands = len(work.kernel.outputs), _operands(work, found)
    last = first + work.factors
    sums = Operand(Buffer(-1, 0), 0, operands[0].layout)
    loop = Loop(work.kernel, (*operands[:first], sums, *operands[last:]))
    return Sums(work, loop, operands[first:last])


def _operands(work: Work | Multiply | Convolve, found) -> tuple[Operand, ...]:
    starts = work.starts or (0,) * len(work.operands)
    return tuple(
        Operand(found[source].buffer, found[source].start + start, layout)
        for source, layout, start in zip(work.sources, work.operands, starts, strict=True)
    )


_filled = Memo(4096)


def filled(kernel: ir.Kernel, numbers) -> ir.Kernel:
    """The kernel with constants, or other parameters, in place of its parameters."""
    if not numbers:
        return kernel
    given = tuple([v if isinstance(v, ir.Expr) else bits(v) for v in numbers.values()])
    key = kernel.key, kernel.name, tuple(numbers), given
    return _filled.get_or(key, _with_numbers, kernel, numbers)


def _with_numbers(kernel: ir.Kernel, numbers) -> ir.Kernel:
    mapping = {}
    for e in kernel.expressions:
        if e.op == "param":
            value = numbers[e.value]
            mapping[e] = value if isinstance(value, ir.Expr) else ir.const(value, e.dtype)
    return kernel.mapped(mapping) if mapping else kernel


def _call(stage, found, launch, name) -> Call:
    operands = [found[source] for source in stage.data]
    starts = stage.starts or (0,) * len(operands)
    placed = tuple(
        Operand(o.buffer, o.start + s, None) for o, s in zip(operands, starts, strict=True)
    )
    written = sum(1 << k for k, s in enumerate(stage.data) if s < 0 or launch.arguments[s] == "m")
    return Call(stage, placed, written, name)


HOLE = type("Hole", (), {"__repr__": lambda self: "<a tensor>"})()


def _again(op, args, count, places):
    """A function that performs the op on `count` other tensors; those behind take the results at
    `places`.
    """

    def without(value):
        if isinstance(value, tuple | list):
            return type(value)(HOLE if _is(v) else v for v in value)
        return HOLE if _is(value) else value

    given_args = [without(a) for a in args]

    def run(*tensors):
        given = iter(tensors[:count])
        again = [
            next(given)
            if a is HOLE
            else type(a)(next(given) if v is HOLE else v for v in a)
            if isinstance(a, tuple | list)
            else a
            for a in given_args
        ]
        result = op.slow(tuple(again))
        results = result if isinstance(result, tuple | list) else (result,)
        for target, position in zip(tensors[count:], places, strict=True):
            target.copy_(results[position])

    return run
