"""Whether a program is well-formed: `FLAMBEAU_VERIFY=1` asks after its capture and each pass.

What is refused is wrong for certain, whoever made it: operands outside their buffers, memory that
is read before it is written, results that nobody writes, kernels that do not fit their operands,
and an order that matters where the program says that it does not. A pass must besides keep what
leaves the program: its results, and the given memory that it writes.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

from flambeau import ir
from flambeau._base import numpy
from flambeau.ops import Multiply

from .program import (
    Buffer,
    Call,
    Foreign,
    Host,
    Loop,
    Loops,
    Operand,
    Program,
    Rows,
    Sums,
    Together,
)

POINTS = 1 << 12  # of an operand that are looked at where places are compared one by one
NEAR = 1 << 16  # bytes of a buffer of which every single one is followed


class Verifier:
    """Checks a program, and what passes make of it."""

    def __init__(self, program: Program):
        self._results = _leaving(program)
        self._written = _written(program)
        verify(program, "the capture")

    def after(self, name: str, program: Program) -> None:
        """The program that the pass `name` made."""
        verify(program, name)
        if _leaving(program) != self._results:
            raise ir.Invalid(f"after {name}: the program's results are others than before")
        if _written(program) != self._written:
            raise ir.Invalid(f"after {name}: other given memory is written than before")


def _leaving(program: Program) -> list[tuple]:
    return [(o.layout.shape, o.layout.strides, o.layout.dtype) for o in program.results]


def _written(program: Program) -> set[Buffer]:
    return {o.buffer for i in program.instructions for o in i.writes if o.buffer.holder is not None}


def verify(program: Program, after: str) -> None:
    """Raises `ir.Invalid` that names the instruction and what was done before: `after`."""
    filled = Filled()
    for k, instruction in enumerate(program.instructions):
        try:
            _instruction(instruction, program.numbers)
            for loop in instruction.loops if isinstance(instruction, Loops) else (instruction,):
                filled.run(loop)
        except ir.Invalid as wrong:
            text = f"after {after}, instruction {k}: {wrong}\n  {instruction!r}"
            raise ir.Invalid(text) from None
    for o in program.results:
        try:
            _inside(o)
            filled.read(o)
        except ir.Invalid as wrong:
            raise ir.Invalid(f"after {after}, result {o!r}: {wrong}") from None


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ir.Invalid(message)


def _instruction(instruction: Any, numbers: int) -> None:
    if isinstance(instruction, Loop):
        _loop(instruction, numbers)
    elif isinstance(instruction, Loops):
        _require(bool(instruction.loops), "there is no loop in it")
        for loop in instruction.loops:
            _loop(loop, numbers)
        if isinstance(instruction, Together):
            _together(instruction)
        elif isinstance(instruction, Rows):
            _rows(instruction)
    elif isinstance(instruction, Sums):
        _sums(instruction, numbers)
    else:
        for o in instruction.operands:
            _inside(o)
        if isinstance(instruction, Foreign):
            extra = instruction.written >> len(instruction.operands)
            _require(not extra, "it writes what is not there")
        if isinstance(instruction, Host):
            _require(all(o.layout for o in instruction.operands), "Python needs layouts")
        if isinstance(instruction, Call):
            count = len(instruction.stage.data)
            _require(count == len(instruction.operands), f"the stage takes {count} operands")


# Loops.


def _loop(loop: Loop, numbers: int) -> None:
    _kernel(loop, numbers)
    for o, more in zip(loop.operands, reaches(loop), strict=True):
        _inside(o, more)
    if loop.kernel.kind != "indexed":
        _order(loop)


def _sums(sums: Sums, numbers: int) -> None:
    """A product: what is made of its sums is a pointwise loop, and nothing is written that it
    multiplies.
    """
    _require(sums.loop.kernel.kind == "pointwise", "what is made of sums is not pointwise")
    _kernel(sums.loop, numbers)
    for o in sums.operands:
        _inside(o)
    _order(sums.loop)
    for w in sums.writes:
        for factor in sums.factors:
            _require(not meet(w, factor), f"{w!r} is written where {factor!r} is multiplied")
    a, b = (factor.layout for factor in sums.factors[:2])
    _require(a.dtype is b.dtype, f"{a.dtype.name} is multiplied with {b.dtype.name}")
    if isinstance(sums.kind, Multiply):
        (m, k), (depth, n) = (factor.layout.shape for factor in sums.factors[:2])
        fits = k == depth and sums.writes[0].layout.shape == (m, n)
        _require(fits, "the matrices do not fit")


def _kernel(loop: Loop, numbers: int) -> None:
    """The kernel is well-formed, and its operands are of its types and shapes."""
    kernel = loop.kernel
    ir.verify(kernel)
    for e in ir.topological([e for group in kernel.values() for v in group for e in ir.parts(v)]):
        if e.op == "param":
            _require(e.value < numbers, f"number {e.value} is read, and there are {numbers}")
    types = (*kernel.outputs, *kernel.inputs)
    _require(
        len(types) == len(loop.operands),
        f"{len(loop.operands)} operands, and the kernel has {len(types)}",
    )
    for o, dtype in zip(loop.operands, types, strict=True):
        _require(o.layout is not None, f"{o!r} has no layout")
        found = o.layout.dtype
        _require(found is dtype, f"{o!r} is {found.name} where the kernel has {dtype.name}")
    _shapes(loop)


def _shapes(loop: Loop) -> None:
    kernel, count = loop.kernel, len(loop.writes)
    shapes = [o.layout.shape for o in loop.operands]
    whole = shapes[count] if kernel.kind in ("reduce", "scan") else shapes[0]
    axes = loop.axes
    _require(all(0 <= d < len(whole) for d in axes), f"axes {axes} of {whole}")
    _require(len(set(axes)) == len(axes), f"axes {axes} occur twice")
    kept = whole
    if kernel.kind == "reduce":
        kept = tuple(n for d, n in enumerate(whole) if d not in axes)
    elif kernel.kind == "scan":
        _require(len(axes) == 1, f"a scan along {axes}")
    elif kernel.kind == "pointwise":
        _require(not axes, f"a pointwise kernel along {axes}")
    for k, shape in enumerate(shapes):
        wanted = kept if k < count else whole
        _require(shape == wanted, f"{loop.operands[k]!r} should have the shape {wanted}")
    if loop.counter is not None:
        _require(len(loop.counter[0]) == len(whole), f"a position by {loop.counter[0]}")
    places = len(kernel.places)
    _require(len(loop.places) == places, f"{len(loop.places)} places, the kernel has {places}")
    for step, size in loop.places:
        _require(size >= 1, f"a place with {size} numbers, {step} bytes apart")


def reaches(loop: Loop) -> list[int]:
    """For each operand, the bytes that its places may lie further on."""
    found = [0] * len(loop.operands)
    for place, (step, size) in zip(loop.kernel.places, loop.places, strict=True):
        for k in place.operands:
            found[k] += step * (size - 1)
    return found


def _order(loop: Loop) -> None:
    """The order of points must not matter, but along the axis of a scan."""
    for w in loop.writes:
        twice = any(n > 1 and not s for n, s in zip(w.layout.shape, w.layout.strides))
        _require(not twice or not w.layout.numel, f"{w!r} has an element for several points")
    for k, w in enumerate(loop.writes):
        for other in loop.writes[k + 1 :]:
            _require(not meet(other, w), f"{w!r} and {other!r} are written at the same time")
        for r in loop.reads:
            apart = _same_place(r, w) or not meet(r, w)
            _require(apart, f"{w!r} is written where {r!r} lies at other points")


def _same_place(a: Operand, b: Operand) -> bool:
    if a.start != b.start or a.layout.shape != b.layout.shape:
        return False
    steps = zip(a.layout.shape, a.layout.strides, b.layout.strides, strict=True)
    same = all(n == 1 or s == t for n, s, t in steps)
    return same and a.layout.itemsize == b.layout.itemsize


# Memory.


def extent(o: Operand, more: int = 0) -> tuple[int, int]:
    """The bytes [low, high) of its buffer that an operand lies in; `more` further on by places."""
    layout = o.layout
    if layout is None:
        return o.start, o.buffer.nbytes
    if not layout.numel:
        return o.start, o.start
    ends = [(n - 1) * s for n, s in zip(layout.shape, layout.strides, strict=True)]
    low = o.start + sum(min(e, 0) for e in ends) * layout.itemsize + min(more, 0)
    high = o.start + (sum(max(e, 0) for e in ends) + 1) * layout.itemsize + max(more, 0)
    return low, high


def _inside(o: Operand, more: int = 0) -> None:
    low, high = extent(o, more)
    holder, first, nbytes = o.buffer.holder, 0, o.buffer.nbytes
    if o.buffer.argument is not None:  # whose memory is another one in each run
        first = -low
    elif holder is not None:
        first, nbytes = holder._offset * holder.layout.itemsize, holder._storage.nbytes
    fits = low == high or (0 <= first + low <= first + high <= nbytes)
    _require(fits, f"{o!r} is bytes {first + low} to {first + high} of {nbytes}")


def places(o: Operand, most: int = POINTS) -> Any:
    """The byte at which each element begins, of those in a corner of at most so many."""
    shape = list(o.layout.shape)
    while math.prod(shape) > most:
        longest = max(range(len(shape)), key=shape.__getitem__)
        shape[longest] //= 2
    where = numpy.full(shape, o.start, numpy.int64)
    for d, (n, step) in enumerate(zip(shape, o.layout.strides, strict=True)):
        along = numpy.arange(n, dtype=numpy.int64) * step * o.layout.itemsize
        where += along.reshape(-1, *[1] * (len(shape) - d - 1))
    return where


def _bytes(where: Any, itemsize: int) -> Any:
    return (where[..., None] + numpy.arange(itemsize)).reshape(*where.shape[:-1], -1)


def meet(a: Operand, b: Operand) -> bool:
    """Whether two operands certainly have a byte in common."""
    if a.buffer is not b.buffer:
        return False
    (low, high), (first, last) = extent(a), extent(b)
    if low >= high or first >= last or high <= first or last <= low:
        return False
    if a.layout is None or b.layout is None or (_is_dense(a) and _is_dense(b)):
        return True
    ours, theirs = (_bytes(places(o).reshape(1, -1), o.layout.itemsize) for o in (a, b))
    return bool(numpy.isin(ours, theirs).any())


def _is_dense(o: Operand) -> bool:
    low, high = extent(o)
    return o.layout is None or o.layout.numel * o.layout.itemsize == high - low


class Filled:
    """Which memory of the program's own has been written."""

    def __init__(self) -> None:
        self._masks: dict[Buffer, Any] = {}
        self._large: set[Buffer] = set()

    def run(self, instruction: Any) -> None:
        """What a loop or something foreign reads must be there; what it writes is there then."""
        operands, written = instruction.operands, (1 << len(instruction.writes)) - 1
        more = [0] * len(operands)
        if isinstance(instruction, Loop):
            more = reaches(instruction)
        elif isinstance(instruction, Foreign):  # nobody knows whether it reads what it writes
            written = instruction.written
        each = list(enumerate(zip(operands, more, strict=True)))
        for k, (o, far) in each:
            if not written >> k & 1:
                self.read(o, far)
        for k, (o, far) in each:
            if written >> k & 1:
                self._write(o, far)

    def read(self, o: Operand, more: int = 0) -> None:
        """Raises `ir.Invalid` where an element was not written."""
        low, high = extent(o, more)
        if o.buffer.holder is not None or o.buffer.empty or low >= high:
            return
        if o.buffer.nbytes > NEAR:
            _require(o.buffer in self._large, f"{o!r} is read before it is written")
            return
        _require(o.buffer in self._masks, f"{o!r} is read before it is written")
        mask = self._masks[o.buffer]
        found = mask[low:high] if more or _is_dense(o) else mask[_each(o)]
        _require(bool(found.all()), f"{o!r} is read, and only a part of it was written")

    def _write(self, o: Operand, more: int) -> None:
        if o.buffer.holder is not None:
            return
        if o.buffer.nbytes > NEAR:
            self._large.add(o.buffer)
            return
        mask = self._masks.get(o.buffer)
        if mask is None:
            mask = self._masks[o.buffer] = numpy.zeros(o.buffer.nbytes, bool)
        low, high = extent(o, more)
        if more or _is_dense(o):
            mask[low:high] = True
        else:
            mask[_each(o)] = True


def _each(o: Operand) -> Any:
    """The bytes of an operand."""
    return _bytes(places(o, o.layout.numel).reshape(1, -1), o.layout.itemsize)


class Lives:
    """Which buffers of a stretch have their memory, as its instructions run in order: an account of
    lifetimes that knows nothing of those by which the memory was planned.
    """

    def __init__(self, homes: dict[Buffer, tuple[int, int, int]], heirs: dict[Buffer, Buffer]):
        self._homes, self._heirs = homes, heirs  # home, first byte, the one behind the last
        self._alive: set[Buffer] = set()
        self._gone: dict[Buffer, Any] = {}  # what took their memory

    def run(self, instruction: Any, scratch: list[tuple[int, int, int]]) -> None:
        """Raises `ir.Invalid` where the instruction touches what lost its memory, or takes that of
        something else that it touches; `scratch` is what it writes besides.
        """
        touched = {o.buffer for o in instruction.operands if o.buffer in self._homes}
        for b in touched & self._gone.keys():
            raise ir.Invalid(f"{b!r} is needed, and its memory went to {self._gone[b]!r}")
        for b in touched - self._alive:
            self._take(b, self._homes[b], touched - {self._heirs.get(b)} - {b})
            self._alive.add(b)
        for place in scratch:
            self._take("scratch", place, touched)

    def _take(self, who: Any, place: tuple[int, int, int], touched: set[Buffer]) -> None:
        home, low, high = place
        for b in list(self._alive):
            other, first, last = self._homes[b]
            if other == home and first < high and low < last:
                _require(b not in touched, f"{b!r} has memory that is given to {who!r}")
                self._alive.remove(b)
                self._gone[b] = who


# What may run in any order.


def _together(together: Together) -> None:
    for one, other in itertools.permutations(together.loops, 2):
        for w in one.writes:
            for a in other.operands:
                _require(not meet(w, a), f"{w!r} is written, and another loop has {a!r}")


def _rows(rows: Rows) -> None:
    """What a row of a loop reads, no other row writes."""
    count = rows.rows
    lead = rows.loops[0].operands[0].layout.shape[:count]
    for loop in rows.loops:
        _require(
            loop.kernel.kind in ("pointwise", "reduce"), f"a {loop.kernel.kind} kernel has no rows"
        )
        _require(all(axis >= count for axis in loop.axes), f"a row is folded: {loop!r}")
        for o in loop.operands:
            _require(o.layout.shape[:count] == lead, f"{o!r} has not the rows {lead}")
    written: dict[Buffer, list[Operand]] = {}
    for loop in rows.loops:
        for w in loop.writes:
            written.setdefault(w.buffer, []).append(w)
    for a in dict.fromkeys(o for loop in rows.loops for o in loop.operands):
        for w in dict.fromkeys(written.get(a.buffer, ())):
            _require(not _crosses(a, w, count), f"{w!r} is written in rows that others have: {a!r}")


def _crosses(a: Operand, w: Operand, count: int) -> bool:
    """Whether a row of `a` certainly has a byte of another row of `w`."""
    ours, theirs = places(a), places(w)
    lead = [min(n, m) for n, m in zip(ours.shape[:count], theirs.shape[:count], strict=True)]
    total = math.prod(lead)
    if total < 2:
        return False
    cut = tuple(slice(n) for n in lead)
    flat = [
        _bytes(where[cut].reshape(total, -1), o.layout.itemsize)
        for where, o in ((ours, a), (theirs, w))
    ]
    ours, theirs = (f.ravel() for f in flat)
    row, other = (numpy.arange(total).repeat(f.shape[1]) for f in flat)
    order = numpy.argsort(theirs, kind="stable")  # of one byte, the first and the last row
    theirs, other = theirs[order], other[order]
    found = numpy.isin(ours, theirs)
    first = other[numpy.searchsorted(theirs, ours[found], "left")]
    last = other[numpy.searchsorted(theirs, ours[found], "right") - 1]
    return bool(((first != row[found]) | (last != row[found])).any())
