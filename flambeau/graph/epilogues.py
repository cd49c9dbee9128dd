"""Epilogues: what is made of a product's sums joins the product.

Sums leave the registers once, through the cache: a bias, an activation or a residual that goes over
the same points is computed there, and its intermediate is stored only where somebody else reads it.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

from flambeau._base import knobs

from .fuse import REACH, Entry, entry, fusable, joined, trimmed
from .program import Buffer, Loop, Operand, Program, Sums

# Operands as large as the result, beside the sums and it, that may come to an epilogue: lines of
# tiles are short, and memory wants long ones.
FULL = 3


def epilogues(program: Program) -> Program:
    """Pointwise kernels joined to the products that make what they read: where they are compiled,
    as products are."""
    if knobs.backend == "interpret":
        return program
    done: list[Entry] = []
    made: set[Buffer] = set()  # by products
    for instruction in program.instructions:
        new = entry(instruction)
        behind = fusable(instruction) and not made.isdisjoint(new.reads)
        if not (behind and _join(done, new)):
            done.append(new)
        if behind or isinstance(instruction, Sums):
            made |= new.writes
    kept = _without_dead([e.given for e in done], program.results)
    return Program(kept, program.results, program.numbers)


def _join(done: list[Entry], new: Entry) -> bool:
    """Joins the loop to the latest product whose result it reads, where the one can be moved to the
    other."""
    loop, reads, writes, _ = new
    between_reads: set[Buffer] = set()
    between_writes: set[Buffer] = set()
    for at in range(len(done) - 1, max(-1, len(done) - 1 - REACH), -1):
        other, theirs, ours, _ = done[at]
        if isinstance(other, Sums) and not ours.isdisjoint(reads):
            early = not (between_writes & (reads | writes) or between_reads & writes)
            late = not (between_writes & (theirs | ours) or between_reads & ours)
            made = join_sums(other, loop) if early or late else None
            if made is None:
                return False
            if early:
                done[at] = entry(made)
            else:
                del done[at]
                done.append(entry(made))
            return True
        between_reads |= theirs
        between_writes |= ours
    return False


def join_sums(product: Sums, loop: Loop) -> Sums | None:
    """The product with the loop as a part of its epilogue, or None."""
    if knobs.backend == "interpret":
        return None
    factors = {o.buffer for o in product.factors}
    if any(o.buffer in factors for o in loop.writes):
        return None  # other tasks still read them
    made = joined(product.loop, loop)
    if made is None:
        return None
    if product.kind.repeats and {o.buffer for o in made.reads} & {o.buffer for o in made.writes}:
        return None
    shape = product.loop.reads[0].layout.shape
    flat = [over for o in made.operands if (over := _over(o, shape))]
    full = sum(0 not in o.layout.strides for o in flat)
    if len(flat) < len(made.operands) or full - 2 > FULL:
        return None
    made = made.replaced(flat)
    return product._replace(loop=made) if _same(made.reads[0], product.loop.reads[0]) else None


def _same(a: Operand, b: Operand) -> bool:
    """Whether two operands lie alike: strides of single elements do not count."""
    pairs = zip(a.layout.shape, a.layout.strides, b.layout.strides, strict=True)
    return a.buffer is b.buffer and all(n == 1 or s == t for n, s, t in pairs)


def _over(operand: Operand, shape: tuple[int, ...]) -> Operand | None:
    """The operand over the dimensions of the sums, which its own refine; None where it has no one
    step along each, or neighbours along the last are not neighbours in memory."""
    sizes, strides = operand.layout.shape, operand.layout.strides
    steps, at = [], 0
    for size in shape:
        start = at
        while at < len(sizes) and math.prod(sizes[start:at]) < size:
            at += 1
        if math.prod(sizes[start:at]) != size:
            return None
        pairs = list(zip(sizes[start:at], strides[start:at], strict=True))
        if any(s != n * t for (_, s), (n, t) in itertools.pairwise(pairs)):
            return None
        steps.append(pairs[-1][1] if pairs else 1)
    if steps[-1] not in (0, 1):
        return None
    return operand._replace(layout=operand.layout.reshaped(shape, tuple(steps)))


def _without_dead(instructions: list[Any], results: list[Operand]) -> list[Any]:
    """Results of products go that only their epilogues read."""
    wanted = {o.buffer for o in results}
    kept: list[Any] = []
    for instruction in reversed(instructions):
        if isinstance(instruction, Sums):
            live = [o.buffer.holder is not None or o.buffer in wanted for o in instruction.writes]
            if any(live) and not all(live):
                instruction = instruction._replace(loop=trimmed(instruction.loop, live))
        wanted |= {o.buffer for o in instruction.operands}
        kept.append(instruction)
    return kept[::-1]
