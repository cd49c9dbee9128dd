"""Rows of a product that are only added up, as those of a gradient are that goes to an embedding:
the rows of the left matrix are added up instead, and the few sums are multiplied.

This is the one pass behind which results differ from eager ones by rounding: in place of (X W)
summed by rows, it computes (X summed by rows) W. It pays where rows are many and sums few, as they
are of characters or tags.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

from flambeau import ir
from flambeau.ops import Multiply
from flambeau.types import contiguous

from .program import Buffer, Loop, Operand, Program, Sums

ENOUGH, SHARE = 256, 8  # rows that are worth it; of so many each, there is one sum
NARROWEST = 16  # columns of the product: with fewer, adding up costs more than multiplying


def added_first(program: Program) -> Program:
    """Sums of a product's rows, made products of sums of rows."""
    steps = program.instructions
    numbers = itertools.count(1 + max((b.number for b in program.buffers()), default=0))
    gone: set[int] = set()
    instead: dict[int, list[Any]] = {}
    for found in _matches(program):
        instead[found.adding] = _exchanged(
            steps[found.zeros], steps[found.product], steps[found.adding], next(numbers)
        )
        gone |= {*found}
    if not gone:
        return program
    kept = [i for k, old in enumerate(steps) for i in instead.get(k, [] if k in gone else [old])]
    return Program(kept, program.results, program.numbers)


class _Match(NamedTuple):
    """Three instructions: a table is zeros, a product is made, its rows are added to the table."""

    zeros: int
    product: int
    adding: int


def _matches(program: Program) -> list[_Match]:
    """Where the rows of a product are added to a table of zeros, and nobody else reads them."""
    steps = program.instructions
    touched: dict[Buffer, list[int]] = {}
    written: dict[Buffer, int] = {}  # at last
    leaving = {o.buffer for o in program.results}
    found = []
    for k, step in enumerate(steps):
        for buffer in {o.buffer for o in step.operands}:
            touched.setdefault(buffer, []).append(k)
        written |= {o.buffer: k for o in step.writes}
        if not _adds_rows(step):
            continue
        table, rows = step.operands[0].buffer, step.operands[2].buffer
        if len(touched[table]) < 2 or len(touched[rows]) != 2 or rows in leaving:
            continue
        match = _Match(touched[table][-2], touched[rows][0], k)
        zeros, product = steps[match.zeros], steps[match.product]
        if _is_zeros(zeros, table) and _fits(product, step):
            if all(written.get(o.buffer, -1) < match.product for o in product.reads):
                found.append(match)
    return [m for m in found if len(touched[steps[m.adding].operands[2].buffer]) == 2]


def _adds_rows(step: Any) -> bool:
    """Whether it adds the rows of one operand to those rows of a table that an index names; rows
    with some indices (a padding) may be left out."""
    if not isinstance(step, Loop) or step.kernel.kind != "indexed":
        return False
    if len(step.places) != 1 or len(step.kernel.body) != 1:
        return False
    [place], [value] = step.kernel.places, step.kernel.body
    if place.operands != (0, 1) or step.operands[0] != step.operands[1]:
        return False
    old, new = (ir.load(k, value.dtype) for k in (0, 1))
    if value.op != "add" or value.args[0] is not old:
        return False
    added = value.args[1]
    if added.op == "select":
        condition, added, zero = added.args
        loads = {e.value for e in ir.topological([condition]) if e.op == "load"}
        if zero is not ir.const(0, value.dtype) or not loads.isdisjoint((0, 1)):
            return False
    return added is new


def _is_zeros(step: Any, table: Buffer) -> bool:
    """Whether it fills a table that the program makes with zeros."""
    if not isinstance(step, Loop) or len(step.operands) != 1 or table.holder is not None:
        return False
    layout = step.operands[0].layout
    return step.kernel.body == (ir.const(0, layout.dtype),) and layout.nbytes == table.nbytes


def _fits(product: Any, adding: Loop) -> bool:
    """Whether the rows are those of the product, and the exchange is worth it."""
    if not isinstance(product, Sums) or not isinstance(product.kind, Multiply):
        return False
    table, _, rows, *indices = adding.operands
    kernel, layout = product.loop.kernel, rows.layout
    if kernel.body != (ir.load(0, layout.dtype),) or len(product.operands) != 3:
        return False
    [made] = product.writes
    (count, columns), (_, size) = made.layout.shape, adding.places[0]
    whole = made.layout.contiguous and layout.contiguous and made.start == rows.start == 0
    return (
        whole
        and made.layout.nbytes == made.buffer.nbytes
        and layout.shape[-1:] == (columns,)
        and table.start == 0
        and table.layout.strides == (*(0,) * (layout.ndim - 1), 1)
        and all(o.layout.strides[-1] == 0 for o in indices)
        and count >= max(ENOUGH, SHARE * size)
        and columns >= NARROWEST
    )


def _exchanged(zeros: Loop, product: Sums, adding: Loop, number: int) -> list[Any]:
    """The three instructions that do the same with fewer products."""
    left, right = product.factors
    [(_, size)], dtype = adding.places, left.layout.dtype
    (_, depth), (down, across) = left.layout.shape, left.layout.strides
    few = contiguous((size, depth), dtype)
    sums = Operand(Buffer(number, few.nbytes), 0, few)
    view, _, rows, *indices = adding.operands
    *lead, columns = rows.layout.shape

    def wide(operand, strides=None):
        """The operand over rows of the left matrix."""
        layout = operand.layout.reshaped((*lead, depth), strides or operand.layout.strides)
        return operand._replace(layout=layout)

    strides = (*(down * math.prod(lead[k + 1 :]) for k in range(len(lead))), across)
    target = wide(view._replace(buffer=sums.buffer))
    operands = [target, target, wide(left, strides), *map(wide, indices)]
    result = contiguous((size, columns), dtype)
    loop = product.loop.replaced(
        [o._replace(layout=result) for o in (zeros.operands[0], product.loop.reads[0])]
    )
    return [
        zeros.replaced([sums]),
        adding._replace(places=((few.strides[0] * few.itemsize, size),)).replaced(operands),
        product._replace(loop=loop, factors=(sums, right)),
    ]
