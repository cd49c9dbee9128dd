"""Recomputation: what the backward pass needs of the forward pass is computed again where that is
cheap, so that it need not wait in memory.

A value that a pointwise kernel made is read until some point, and again long after it. Where all
that it was made of is in memory by then anyway, a copy of the kernel makes it anew, if possible as
part of a kernel there that reads the same memory. Only what lies in wait while the program holds
most memory is worth it.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator
from typing import Any

from flambeau import ir
from flambeau._base import Memo

from .epilogues import join_sums
from .fuse import fusable, is_half, joined, trimmed
from .program import Buffer, Host, Loop, Operand, Program, Sums, loops_of

SMALLEST = 1 << 23  # bytes that a program holds at least, for it to matter
PART = 256  # of what it holds: values that are smaller stay
DEAREST = 100  # primitives of a kernel that runs twice
SMALL = 16  # a value may keep others that are so many times smaller
ROUNDS = 4
NEAR = 6  # instructions before the reader that are asked to make the value


def recomputed(program: Program) -> Program:
    """Values that wait in memory, made again before they are read."""
    if any(isinstance(i, Host) for i in program.instructions):
        return program
    for _ in range(ROUNDS):
        before, program = program, _round(program)
        if program is before:
            break
    return program


def _round(program: Program) -> Program:
    """The program with what waits at its peak made again; the same one where that is nothing."""
    uses = _Uses(program)
    peak, most = uses.peak()
    if most < SMALLEST:
        return program
    waiting = [b for b in uses.own if b.nbytes * PART >= most and uses.waits(b, peak)]
    again: dict[int, list[Loop]] = {}
    numbers = itertools.count(max(b.number for b in uses.at) + 1)
    for b in sorted(waiting, key=lambda b: -uses.at[b][0]):
        if (loop := uses.made_again(b, peak)) is not None:
            copy = Buffer(next(numbers), b.nbytes)
            place = uses.turn(b, copy, peak, loop)
            again.setdefault(place, []).append(loop)
    if not again:
        return program
    return Program(uses.rewritten(again), program.results, program.numbers)


class _Uses:
    """Which instructions touch a buffer, in their order: `at`."""

    def __init__(self, program: Program):
        self.instructions = program.instructions
        self.at: dict[Buffer, list[int]] = {}
        self.written: dict[Buffer, list[int]] = {}
        for k, i in enumerate(program.instructions):
            for b in {o.buffer for o in i.operands}:
                self.at.setdefault(b, []).append(k)
            for b in {o.buffer for o in i.writes}:
                self.written.setdefault(b, []).append(k)
        self.leaving = {o.buffer for o in program.results}
        self.own = [b for b in self.at if b.holder is None and b not in self.leaving]
        self._later: dict[Buffer, tuple[int, Buffer]] = {}  # another in its place, from there on

    def peak(self) -> tuple[int, int]:
        """The instruction at which the program holds most, and how much."""
        change = [0] * (len(self.instructions) + 1)
        for b in self.own:
            first, last = self.at[b][0], self.at[b][-1]
            if first < last:
                change[first] += b.nbytes
                change[last + 1] -= b.nbytes
        held = list(itertools.accumulate(change))
        most = max(held)
        return held.index(most), most

    def waits(self, b: Buffer, peak: int) -> bool:
        """Whether nobody touches it at the peak, though it is read before and behind."""
        found = self.at[b]
        behind = bisect.bisect_left(found, peak)
        return 0 < behind < len(found) and found[behind] > peak and len(self.written[b]) == 1

    def made_again(self, b: Buffer, peak: int) -> Loop | None:
        """The kernel that made it, alone, if what it needs is there when it is read next."""
        made = self.at[b][0]
        place = self.at[b][bisect.bisect_left(self.at[b], peak)]
        given = self.instructions[made]
        loops = loops_of(given)
        for k, loop in enumerate(loops):
            if any(o.buffer is b for o in loop.writes) and _is_cheap(loop):
                # What is written there while the kernel reads it, or later, is something else.
                other = {o.buffer for following in loops[k + 1 :] for o in following.writes}
                other |= {o.buffer for o in loop.writes} & {o.buffer for o in loop.reads}
                for alone in _alone(loop, b):
                    reads = {o.buffer for o in alone.reads}
                    there = all(self._is_there(r, made, place, b.nbytes) for r in reads)
                    if there and other.isdisjoint(reads):
                        return alone
        return None

    def _is_there(self, b: Buffer, made: int, place: int, nbytes: int) -> bool:
        """Whether a buffer has at `place` what it had at `made`, and is there at little cost."""
        if b not in self.at or any(made < k < place for k in self.written.get(b, ())):
            return False
        free = b.holder is not None or b in self.leaving or b.nbytes * SMALL <= nbytes
        return free or self.at[b][-1] >= place

    def turn(self, b: Buffer, copy: Buffer, peak: int, loop: Loop) -> int:
        """Who reads the buffer behind the peak reads the copy, which `loop` makes; where."""
        behind = bisect.bisect_left(self.at[b], peak)
        place = self.at[b][behind]
        self._later[b] = place, copy
        self.at[copy], self.at[b] = self.at[b][behind:], self.at[b][:behind]
        for o in loop.reads:
            bisect.insort(self.at[o.buffer], place)
        return place

    def rewritten(self, again: dict[int, list[Loop]]) -> list[Any]:
        """The instructions, and before some of them the loops that make values again."""
        done: list[Any] = []
        for k, instruction in enumerate(self.instructions):
            # Those of the latest values come first: they may read the others.
            for loop in reversed(again.get(k, ())):
                target = loop.operands[0]
                copy = target._replace(buffer=self._later[target.buffer][1])
                loop = loop.replaced([copy, *(self._present(o, k) for o in loop.reads)])
                if not _join_near(done, loop):
                    done.append(loop)
            operands = instruction.operands
            present = [self._present(o, k) for o in operands]
            changed = any(a is not b for a, b in zip(present, operands, strict=True))
            done.append(instruction.replaced(present) if changed else instruction)
        return done

    def _present(self, o: Operand, k: int) -> Operand:
        later = self._later.get(o.buffer)
        return o if later is None or k < later[0] else o._replace(buffer=later[1])


def _is_cheap(loop: Loop) -> bool:
    kernel = loop.kernel
    return fusable(loop) and kernel.check is None and len(kernel.expressions) <= DEAREST


def _alone(loop: Loop, b: Buffer) -> Iterator[Loop]:
    """The kernel that writes the whole buffer only: as it is, and with what it writes besides in
    place of what that is made of.
    """
    writes, count = loop.writes, len(loop.writes)
    [out, *more] = [k for k, o in enumerate(writes) if o.buffer is b]
    if more or writes[out].layout.nbytes != b.nbytes:
        return
    yield trimmed(loop, [k == out for k in range(count)])
    kernel = loop.kernel
    others = tuple(
        k for k, o in enumerate(writes)
        if k != out and o.layout.shape == writes[out].layout.shape
    )  # fmt: skip
    if others:
        made = _partly.get_or((kernel.key, kernel.name, out, others), _through, kernel, out, others)
        reads = [*loop.reads, *(writes[k] for k in others)]
        yield trimmed(loop._replace(kernel=made, operands=(writes[out], *reads)), [True])


_partly = Memo(1024)


def _through(kernel: ir.Pointwise, out: int, others: tuple[int, ...]) -> ir.Pointwise:
    """The kernel of output `out`, which takes the other outputs as inputs behind its own."""
    mapping: dict[Any, Any] = {}
    for number, k in enumerate(others, len(kernel.inputs)):
        dtype = kernel.outputs[k]
        parts = ir.parts(kernel.body[k])
        if all(e.args and e.dtype is parts[0].dtype for e in parts) and not is_half(dtype):
            value = ir.load(number, dtype)
            if ir.parts(value)[0].dtype is parts[0].dtype:
                mapping.update(zip(parts, ir.parts(value), strict=True))
    inputs = [*kernel.inputs, *(kernel.outputs[k] for k in others)]
    body = ir.substitute(kernel.body[out], mapping)
    return ir.Pointwise(kernel.name, inputs, [kernel.outputs[out]], (body,))


def _join_near(done: list[Any], loop: Loop) -> bool:
    """Joins the loop to one of the latest instructions, if one reads the same memory."""
    reads = {o.buffer for o in loop.reads}
    for at in range(len(done) - 1, max(-1, len(done) - 1 - NEAR), -1):
        other = done[at]
        made: Any = None
        if isinstance(other, Sums):
            made = join_sums(other, loop)
        elif fusable(other):
            made = joined(other, loop)
        if made is not None:
            done[at] = made
            return True
        if any(o.buffer in reads for o in other.writes):
            break
    return False
