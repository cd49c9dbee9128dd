"""Rows: kernels that go over the same rows become one pass over memory.

A reduction over the last dimensions needs one row of its operands for one row of its results, and a
pointwise kernel needs one row of its operands for one row of its results, too. So a residual sum,
the moments of its rows and their normalisation can be done for a block of rows, then for the next,
and what they hand to each other stays in the cache.

Rows of two kernels are the same where whatever one of them writes and the other touches lies, row
for row, at the same place. The kernels themselves do not change; a reduction only joins where it
folds its elements in the order in which it does alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from flambeau import ir

from .fuse import REACH, Entry, entry, join_latest, nest_by
from .program import Buffer, Host, Loop, Operand, Program, Rows

FEWEST = 32  # rows: so many are shared out well, whatever the number of threads
LONGEST = 1 << 20  # bytes that a row moves: they stay in the cache of one core
SHORTEST = 256  # bytes of the longest row of a kernel: below, a row costs more than its elements
MOST = 32  # kernels of a group


class Member(NamedTuple):
    """A kernel of a group. Its first `lead` dimensions may be rows; `order` is how it folds."""

    loop: Loop
    lead: int
    order: tuple


class Group:
    """Kernels over the same rows, whose numbers along some dimensions are `prefix`."""

    def __init__(self, members: Sequence[Member], prefix: tuple[int, ...], given: Any = None):
        self.members, self.prefix, self.given = tuple(members), prefix, given
        self.reads = {o.buffer for m in members for o in m.loop.reads}
        self.writes = {o.buffer for m in members for o in m.loop.writes}

    @property
    def folds(self) -> bool:
        """Whether there is a reduction among the kernels."""
        return any(m.loop.kernel.kind == "reduce" for m in self.members)

    def instruction(self) -> Any:
        """What the group is in a program."""
        if self.given is not None:
            return self.given
        for loops in (_joined([m.loop for m in self.members]), [m.loop for m in self.members]):
            cut = [cut_loop(loop, _lead(loop), self.prefix) for loop in loops]
            if None not in cut:
                return Rows([c for c in cut if c is not None], len(self.prefix))
        raise AssertionError("kernels of a group have its rows")


def by_rows(program: Program) -> Program:
    """Kernels that share memory row by row, one of them a reduction, made one instruction."""
    out: list[Any] = []
    for instruction in program.instructions:
        new = _entry(instruction)
        if not (isinstance(new, Group) and _merge_into(out, new)):
            out.append(new)
    made = [e.instruction() if isinstance(e, Group) else e.given for e in out]
    return Program(made, program.results, program.numbers)


def _entry(instruction: Any) -> Group | Entry:
    """The group of one instruction, where it may grow."""
    if isinstance(instruction, Rows):
        rows = instruction.rows
        members = [_member(loop, rows) for loop in instruction.loops]
        lead = instruction.loops[0].operands[0].layout.shape[:rows]
    elif isinstance(instruction, Loop) and instruction.kernel.kind in ("pointwise", "reduce"):
        loop = instruction
        if loop.kernel.kind == "pointwise" and (nest := nest_by(loop, 0)) is not None:
            loop = nest.loop()
        members, lead = [_member(loop, 0)], shape_of(loop)[: _lead(loop)]
    else:
        members, lead = [None], ()
    prefix = tuple(n for n in lead if n != 1)
    found = [m for m in members if m is not None]
    if len(found) < len(members) or math.prod(prefix) < FEWEST:
        return entry(instruction)
    return Group(found, prefix, instruction)


def _member(loop: Loop, rows: int) -> Member | None:
    if loop.counter is not None or loop.places or loop.kernel.check is not None:
        return None
    if loop.kernel.kind == "pointwise":
        unplaced = ir.position not in loop.kernel.expressions
        return Member(loop, rows or _lead(loop), ()) if unplaced else None
    order = _order(loop, rows)
    return None if order is None else Member(loop, rows or _lead(loop), order)


def _order(loop: Loop, rows: int) -> tuple | None:
    """How the reduction folds: None where it does in several rounds, nothing where it is
    interpreted.
    """
    plan = loop.work(()).plan(rows)
    if plan.call is not None:
        return ()
    return plan.stages[0].order if len(plan.stages) == 1 else None


def shape_of(loop: Loop) -> tuple[int, ...]:
    """All the points that the loop goes over."""
    return loop.operands[-1 if loop.kernel.kind == "reduce" else 0].layout.shape


def _lead(loop: Loop) -> int:
    """How many dimensions come before the first that is reduced."""
    return min(loop.axes) if loop.axes else len(shape_of(loop))


# ----------------------------------------------------------------------------------------- merging


def _merge_into(done: list[Any], new: Group) -> bool:
    """Puts the group into an earlier one, if there is one that it shares memory with."""
    touched = new.reads | new.writes
    for at in range(len(done) - 1, max(-1, len(done) - 1 - REACH), -1):
        other = done[at]
        if isinstance(other, Entry):
            if isinstance(other.given, Host):
                return False
            continue
        if touched.isdisjoint(other.reads) and touched.isdisjoint(other.writes):
            continue
        if (order := _around(done[at + 1 :], other, new)) is None:
            continue
        if (merged := _merged(other, new)) is not None:
            before, behind = order
            done[at:] = [*before, merged, *behind]
            return True
    return False


def _around(between: Iterable[Any], first: Any, second: Any) -> tuple[list, list] | None:
    """What lies between two entries, as what can be done before and what after both; None where
    the second needs something that needs the first.
    """
    before: list[Any] = []
    behind: list[Any] = []
    reads, writes = set(first.reads), set(first.writes)
    for e in between:
        if e.reads & writes or e.writes & (reads | writes):
            behind.append(e)
            reads |= e.reads
            writes |= e.writes
        else:
            before.append(e)
    for e in behind:
        if second.reads & e.writes or second.writes & (e.reads | e.writes):
            return None
    return before, behind


def _merged(first: Group, second: Group) -> Group | None:
    """Both as one group, or None."""
    if len(first.members) + len(second.members) > MOST or not (first.folds or second.folds):
        return None
    prefix = common(first.prefix, second.prefix)
    rows = math.prod(prefix)
    if rows < FEWEST:
        return None
    cut = []
    for members in (first.members, second.members):
        loops = [cut_loop(m.loop, m.lead, prefix) for m in members]
        if any(
            loop is None or (m.order and _order(loop, len(prefix)) != m.order)
            for m, loop in zip(members, loops, strict=True)
        ):
            return None
        cut.append([loop for loop in loops if loop is not None])
    operands = [[o for loop in loops for o in loop.operands] for loops in cut]
    written = [{o.buffer for loop in loops for o in loop.writes} for loops in cut]
    if not _fits(operands[0] + operands[1], rows, len(prefix)):
        return None
    if not _apart(operands, written, len(prefix)):
        return None
    every = written[0] | written[1]
    if not all(
        _is_row_major(o, len(prefix), rows)
        for o in operands[0] + operands[1]
        if o.buffer in every and o.buffer.holder is None
    ):
        return None
    joined = [
        Member(loop, len(prefix), m.order)
        for m, loop in zip(first.members + second.members, cut[0] + cut[1], strict=True)
    ]
    return Group(joined, prefix)


def _fits(operands: Sequence[Operand], rows: int, lead: int) -> bool:
    """Whether rows are long enough to be worth it, and short enough for the cache."""
    near = {o.buffer: o.layout.nbytes // rows for o in operands if _moves(o, lead)}
    return max(near.values(), default=0) >= SHORTEST and sum(near.values()) <= LONGEST


def _moves(operand: Operand, lead: int) -> bool:
    return any(operand.layout.strides[:lead])


def _apart(operands, written, lead: int) -> bool:
    """Whether no row of one group touches what another row of the other writes."""
    places: dict[Buffer, list[Operand]] = {}
    for o in operands[0]:
        places.setdefault(o.buffer, []).append(o)
    for o in operands[1]:
        for other in places.get(o.buffer, ()):
            conflicts = o.buffer in written[0] or o.buffer in written[1]
            if conflicts and not _same_rows(o, other, lead):
                return False
    return True


def _same_rows(a: Operand, b: Operand, lead: int) -> bool:
    """Whether rows of different numbers never meet."""
    sizes = a.layout.shape[:lead]
    steps = [_bytes(o.layout.strides[:lead], o) for o in (a, b)]
    if steps[0] != steps[1]:
        return False
    first = min(a.start, b.start)
    free = max(o.start - first + _span(o, lead) for o in (a, b))
    for step, size in sorted(zip(steps[0], sizes, strict=True)):
        if step < free:
            return False
        free = step * size
    return True


def _bytes(strides, operand: Operand) -> list[int]:
    return [s * operand.layout.itemsize for s in strides]


def _span(operand: Operand, lead: int) -> int:
    """Bytes from the first element of a row to the end of its last."""
    layout = operand.layout
    inside = zip(layout.shape[lead:], layout.strides[lead:], strict=True)
    return layout.itemsize * (1 + sum((n - 1) * stride for n, stride in inside))


def _is_row_major(operand: Operand, lead: int, rows: int) -> bool:
    """Whether the buffer is rows, one behind the other, so that it may be memory for a block."""
    each = operand.buffer.nbytes // rows
    if each * rows != operand.buffer.nbytes or operand.start + _span(operand, lead) > each:
        return False
    layout = operand.layout
    for size, step in zip(
        layout.shape[:lead][::-1], _bytes(layout.strides[:lead], operand)[::-1], strict=True
    ):
        if step != each:
            return False
        each *= size
    return True


# ------------------------------------------------------------------------------------------ cutting


def common(a: Sequence[int], b: Sequence[int]) -> tuple[int, ...]:
    """The most rows that both numberings agree on: sizes that both begin with, some of their
    dimensions split.
    """
    out: list[int] = []
    left, right = list(a[::-1]), list(b[::-1])
    while left and right:
        n, m = left.pop(), right.pop()
        size = math.gcd(n, m)
        if size > 1:
            out.append(size)
        if n != size and m != size:
            break
        left += [n // size] if n != size else []
        right += [m // size] if m != size else []
    return tuple(out)


def cut_loop(loop: Loop, lead: int, prefix: Sequence[int]) -> Loop | None:
    """The loop over dimensions that begin with `prefix`, made of its first `lead` dimensions."""
    shape = shape_of(loop)
    if len(prefix) <= lead and shape[: len(prefix)] == tuple(prefix):
        return loop
    wanted = list(prefix[::-1])
    dims: list[tuple[int, int, int]] = []  # old dimension, size, old steps of a new one
    for d, size in enumerate(shape):
        if wanted and d >= lead:
            return None
        if wanted and size == 1:
            continue
        whole = size
        while wanted and size > 1:
            if size % wanted[-1]:
                return None
            size //= wanted[-1]
            dims.append((d, wanted.pop(), size))
        if size > 1 or whole == 1:
            dims.append((d, size, 1))
    if wanted:
        return None
    kept = [d for d in range(len(shape)) if d not in loop.axes]
    count = len(loop.kernel.outputs) if loop.axes else 0
    operands = []
    for k, o in enumerate(loop.operands):
        place = {d: j for j, d in enumerate(kept)} if k < count else {d: d for d, *_ in dims}
        mine = [x for x in dims if x[0] in place]
        strides = tuple(o.layout.strides[place[d]] * steps for d, _, steps in mine)
        operands.append(o._replace(layout=o.layout.reshaped(tuple(n for _, n, _ in mine), strides)))
    axes = tuple(j for j, (d, *_) in enumerate(dims) if d in loop.axes)
    return loop._replace(operands=tuple(operands), axes=axes)


def _joined(loops: Sequence[Loop]) -> list[Loop]:
    """The loops, pointwise ones joined to those before them where that is possible."""
    out: list[Entry] = []
    for loop in loops:
        if not join_latest(out, loop):
            out.append(entry(loop))
    return [e.given for e in out]
