"""Fusion: pointwise kernels that go over the same points become one, and nothing goes through
memory that only they read.

A kernel goes over points; how an operand lies is a stride for each dimension. Two kernels go over
the same points where one reads what the other writes, both densely: the number of an element in
that memory is the number of the point. Both are then written over a common refinement of their
dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from flambeau import ir
from flambeau._base import Memo
from flambeau.types import DType, Layout

from .program import Buffer, Loop, Loops, Operand, Program

MOST = 24  # operands of a fused kernel: more do not fit the registers
LARGEST = 600  # primitives of a fused body
REACH = 64  # instructions that are looked back over: passes take time linear in the program


class Access(NamedTuple):
    """An operand over the dimensions of a nest: bytes to the first element, strides in elements."""

    buffer: Buffer
    start: int
    strides: tuple[int, ...]
    layout: Layout


class Nest:
    """A pointwise kernel over `shape`, row-major with respect to one dense operand."""

    def __init__(self, kernel: ir.Kernel, shape: tuple[int, ...], accesses: list[Access]):
        self.kernel, self.shape, self.accesses = kernel, shape, accesses

    @property
    def count(self) -> int:
        return len(self.kernel.outputs)

    def split(self, shape: tuple[int, ...]) -> Nest:
        """The same over a refinement of the shape."""
        accesses = [a._replace(strides=_split(self.shape, a.strides, shape)) for a in self.accesses]
        return Nest(self.kernel, shape, accesses)

    def loop(self) -> Loop:
        """The instruction."""
        operands = [
            Operand(a.buffer, a.start, a.layout.reshaped(self.shape, a.strides))
            for a in self.accesses
        ]
        return Loop(self.kernel, tuple(operands))


def fusable(instruction: Any) -> bool:
    """Whether the instruction is a pointwise kernel that only goes over points."""
    return (
        isinstance(instruction, Loop)
        and instruction.kernel.kind == "pointwise"
        and instruction.counter is None
        and ir.position not in instruction.kernel.expressions
    )


def with_values(kernel: ir.Pointwise, body: Iterable[Any], check: Any) -> ir.Pointwise:
    """The kernel with another body on the same operands."""
    return ir.Pointwise(kernel.name, kernel.inputs, kernel.outputs, body, check)


def nest_by(loop: Loop, by: int) -> Nest | None:
    """The loop's dimensions in the order in which operand `by` lies; None where it is not dense."""
    layout = loop.operands[by].layout
    order = dense_order(layout)
    if order is None:
        return None
    accesses = [
        Access(o.buffer, o.start, tuple([o.layout.strides[d] for d in order]), o.layout)
        for o in loop.operands
    ]
    return Nest(loop.kernel, tuple([layout.shape[d] for d in order]), accesses)


_orders = Memo(8192)


def dense_order(layout: Layout) -> tuple[int, ...] | None:
    """The dimensions of more than one element as they lie in memory; None where there are gaps."""
    return _orders.get_or(layout, _dense_order, layout)


def _dense_order(layout: Layout) -> tuple[int, ...] | None:
    sizes, strides = layout.shape, layout.strides
    order = sorted((d for d in range(len(sizes)) if sizes[d] != 1), key=lambda d: -strides[d])
    step = 1
    for d in reversed(order):
        if strides[d] != step:
            return None
        step *= sizes[d]
    return tuple(order)


def refined(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...] | None:
    """The coarsest shape that both are got from by merging neighbours; None where there is none."""
    if 0 in a or 0 in b:
        return None
    out: list[int] = []
    i, j = len(a) - 1, len(b) - 1
    left, right = 1, 1
    while i >= 0 or j >= 0 or left > 1 or right > 1:
        if left == 1 and i >= 0:
            left, i = a[i], i - 1
        if right == 1 and j >= 0:
            right, j = b[j], j - 1
        small = min(left, right)
        if small == 1 or left % small or right % small:
            return None if max(left, right) > 1 else tuple(reversed(out))
        out.append(small)
        left, right = left // small, right // small
    return tuple(reversed(out))


def _split(shape, strides, fine) -> tuple[int, ...]:
    """The strides over a refinement `fine` of `shape`."""
    out: list[int] = []
    k = len(fine) - 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        covered = 1
        while covered < size:
            out.append(stride * covered)
            covered *= fine[k]
            k -= 1
    return tuple(reversed(out))


def fuse(program: Program) -> Program:
    """Pointwise kernels joined to those before them whose results or operands they share."""
    out: list[Entry] = []
    for instruction in program.instructions:
        if not join_latest(out, instruction):
            out.append(entry(instruction))
    return Program([e.given for e in out], program.results, program.numbers)


class Entry(NamedTuple):
    """An instruction, and which buffers it touches. `dense` is where operands lie densely that it
    may share with others over the same points.
    """

    given: Any
    reads: set[Buffer]
    writes: set[Buffer]
    dense: set[tuple[Buffer, int]]


def entry(instruction: Any) -> Entry:
    """The entry of an instruction."""
    reads, writes = {o.buffer for o in instruction.reads}, {o.buffer for o in instruction.writes}
    dense: set[tuple[Buffer, int]] = set()
    if fusable(instruction):
        operands = instruction.operands
        dense = {(o.buffer, o.start) for o in operands if dense_order(o.layout) is not None}
    return Entry(instruction, reads, writes, dense)


def join_latest(done: list[Entry], loop: Any) -> bool:
    """Joins the loop to the latest that it can be joined to, what comes of it to the next, and so
    on; False where there is none.
    """
    if not fusable(loop):
        return False
    home, ours = None, entry(loop)
    for at in range(len(done) - 1, max(-1, len(done) - 1 - REACH), -1):
        other, reads, writes, dense = done[at]
        depends = not (writes.isdisjoint(ours.reads) and writes.isdisjoint(ours.writes))
        delays = not reads.isdisjoint(ours.writes)
        if not dense.isdisjoint(ours.dense):
            both = joined(other, ours.given)
            if both is not None:
                del done[at]
                home, ours = at, entry(both)
                continue
        if depends or delays:  # what lies between must not depend on the loop, nor it on that
            break
    if home is not None:
        done.insert(home, ours)
    return home is not None


def joined(first: Loop, second: Loop) -> Loop | None:
    """One kernel that does both, or None."""
    if len(first.operands) + len(second.operands) > MOST:
        return None
    for by, operand in enumerate(second.operands):
        for k, other in enumerate(first.operands):
            if operand.buffer is other.buffer and operand.start == other.start:
                given = _layouts(first), k, _layouts(second), by
                shared = _shared.get_or(given, _common, *given)
                if shared is not None:
                    shape, *strides = shared
                    made = _merged(*map(_over, (first, second), (shape, shape), strides))
                    if made is not None:
                        return made.loop()
    return None


_shared = Memo(8192)


def _common(ours, k: int, theirs, by: int) -> tuple | None:
    """The points that two kernels with these layouts both go over, where operand k of the one and
    `by` of the other are the same memory: their shape, and the strides of both.
    """
    orders = dense_order(ours[k]), dense_order(theirs[by])
    if None in orders:
        return None
    shapes = [
        tuple([layout.shape[d] for d in order or ()])
        for layout, order in zip((ours[k], theirs[by]), orders, strict=True)
    ]
    shape = refined(*shapes)
    if shape is None:
        return None
    strides = [
        [_split(old, tuple([layout.strides[d] for d in order or ()]), shape) for layout in layouts]
        for layouts, old, order in zip((ours, theirs), shapes, orders, strict=True)
    ]
    return shape, *strides


def _layouts(loop: Loop) -> tuple[Layout, ...]:
    return tuple([o.layout for o in loop.operands])


def _over(loop: Loop, shape: tuple[int, ...], strides: list[tuple[int, ...]]) -> Nest:
    """The loop as a nest over these points."""
    found = zip(loop.operands, strides, strict=True)
    return Nest(loop.kernel, shape, [Access(o.buffer, o.start, s, o.layout) for o, s in found])


def _merged(first: Nest, second: Nest) -> Nest | None:
    """One nest that does `first`, then `second`, at each point; None where the second needs other
    points of what the first writes, or the other way round.
    """
    written = {a.buffer: (k, a) for k, a in enumerate(first.accesses[: first.count])}
    if len(written) != first.count:
        return None
    writes = first.accesses[: first.count] + second.accesses[: second.count]
    for w in writes:
        for a in (*first.accesses, *second.accesses):
            if a.buffer is w.buffer and not _same_place(a, w):
                return None
    inputs: list[Access] = []
    known: dict[tuple, int] = {}

    def load_of(access: Access) -> int:
        key = access.buffer, access.start, access.strides, access.layout.dtype
        if key not in known:
            known[key] = len(inputs)
            inputs.append(access)
        return known[key]

    ours = tuple([load_of(access) for access in first.accesses[first.count :]])
    theirs: list[int] = []
    for access in second.accesses[second.count :]:
        made = written.get(access.buffer)
        if made is None:
            theirs.append(load_of(access))
        elif is_half(access.layout.dtype) or access.layout.dtype is not made[1].layout.dtype:
            return None
        else:
            theirs.append(~made[0])
    outputs = {a.buffer: k for k, a in enumerate(writes)}  # the later one's where both write
    dtypes = tuple([a.layout.dtype for a in inputs])
    given = first.kernel, second.kernel, ours, tuple(theirs), tuple(outputs.values()), dtypes
    key = (first.kernel.key, second.kernel.key, *given[2:])
    kernel = _both.get_or(key, _kernel_of, *given)
    if kernel is None:
        return None
    return Nest(kernel, first.shape, [writes[k] for k in outputs.values()] + inputs)


_both = Memo(4096)


def _kernel_of(first, second, ours, theirs, outputs, dtypes) -> ir.Pointwise | None:
    """The kernel that does `first`, then `second`. Their inputs are those with the numbers `ours`
    and `theirs`, of these types; where a number is ~k, output k of the first. The kernel's outputs
    are these, of both. None where it is too large.
    """
    mapping: dict[Any, Any] = {}
    for k, number in enumerate(ours):
        map_load(mapping, k, dtypes[number], ir.load(number, dtypes[number]))
    before = first.mapped(mapping)
    bodies = [
        ir.cast(v, d) if not is_half(d) else v
        for v, d in zip(before.body, first.outputs, strict=True)
    ]
    later: dict[Any, Any] = {}
    for k, number in enumerate(theirs):
        if number < 0:
            map_load(later, k, first.outputs[~number], bodies[~number])
        else:
            map_load(later, k, dtypes[number], ir.load(number, dtypes[number]))
    behind = second.mapped(later)
    values, kinds = [*bodies, *behind.body], first.outputs + second.outputs
    checks = [c for c in (before.check, behind.check) if c is not None]
    check = None if not checks else checks[0] if len(checks) == 1 else checks[0] | checks[1]
    body = [values[k] for k in outputs]
    made = ir.Pointwise("fused", dtypes, [kinds[k] for k in outputs], body, check)
    return None if len(made.expressions) > LARGEST else made


def is_half(dtype: DType) -> bool:
    """Whether numbers of the type are computed with as others and rounded when stored."""
    return dtype.kind == "f" and dtype.itemsize == 2


def _same_place(a: Access, b: Access) -> bool:
    return a.start == b.start and a.strides == b.strides and a.layout.itemsize == b.layout.itemsize


def map_load(mapping, index, dtype, value) -> None:
    """The leaves of operand `index` stand for the value."""
    for old, new in zip(ir.parts(ir.load(index, dtype)), ir.parts(value), strict=True):
        mapping[old] = new


def without_dead_outputs(program: Program) -> Program:
    """Outputs of fused kernels go that nobody reads."""
    wanted = {o.buffer for o in program.results}
    kept: list[Any] = []
    for instruction in reversed(program.instructions):
        if isinstance(instruction, Loops):
            loops = [_wanted(loop, wanted) for loop in reversed(instruction.loops)]
            instruction = instruction.of(loops[::-1])
        elif isinstance(instruction, Loop):
            instruction = _wanted(instruction, wanted)
        wanted |= {o.buffer for o in instruction.operands}
        kept.append(instruction)
    return Program(kept[::-1], program.results, program.numbers)


def _wanted(loop: Loop, wanted: set[Buffer]) -> Loop:
    """The loop with the outputs that are wanted, to which it adds what it reads."""
    live = [o.buffer.holder is not None or o.buffer in wanted for o in loop.writes]
    if loop.kernel.kind == "pointwise" and any(live) and not all(live):
        loop = trimmed(loop, live)
    wanted |= {o.buffer for o in loop.operands}
    return loop


def trimmed(loop: Loop, live: Iterable[bool]) -> Loop:
    """The kernel with those outputs only, and without inputs that are not needed then."""
    count, kernel = len(loop.kernel.outputs), loop.kernel
    outs = tuple(k for k, alive in enumerate(live) if alive)
    key = kernel.key, kernel.name, outs
    made, used = _trims.get_or(key, _trimmed, kernel, outs)
    operands = [loop.operands[k] for k in outs] + [loop.operands[count + k] for k in used]
    return loop._replace(kernel=made, operands=tuple(operands))


_trims = Memo(4096)


def _trimmed(kernel, outs: tuple[int, ...]) -> tuple[ir.Kernel, list[int]]:
    """The kernel with those outputs, and the inputs that it has then."""
    body = [kernel.body[k] for k in outs]
    roots = [e for v in body for e in ir.parts(v)]
    roots += [] if kernel.check is None else [kernel.check]
    used = sorted({e.value for e in ir.topological(roots) if e.op == "load"})
    mapping: dict[Any, Any] = {}
    for new, old in enumerate(used):
        map_load(mapping, old, kernel.inputs[old], ir.load(new, kernel.inputs[old]))
    inputs, outputs = [kernel.inputs[k] for k in used], [kernel.outputs[k] for k in outs]
    return ir.Pointwise(kernel.name, inputs, outputs, body, kernel.check).mapped(mapping), used
