"""Folds: a pointwise kernel whose result only a reduction reads becomes part of its element, so
that nothing goes through memory.

The order in which a reduction takes its elements stays: the compiler is asked for the loops of
both, and where these would differ, the two kernels stay apart.
"""

from __future__ import annotations

from typing import Any

from flambeau import ir
from flambeau._base import Memo

from .fuse import LARGEST, MOST, fusable, is_half, map_load, nest_by, refined
from .program import Buffer, Loop, Operand, Program
from .rows import shape_of


def into_folds(program: Program) -> Program:
    """Pointwise kernels moved into the reductions that alone read their results."""
    uses: dict[Buffer, int] = {}
    for o in [o for i in program.instructions for o in i.operands] + list(program.results):
        uses[o.buffer] = uses.get(o.buffer, 0) + 1
    makers: dict[Buffer, int] = {}
    written: dict[Buffer, int] = {}
    kept: list[Any] = []
    for instruction in program.instructions:
        if isinstance(instruction, Loop) and instruction.kernel.kind == "reduce":
            for operand in instruction.reads:
                at = makers.get(operand.buffer)
                if at is None or uses[operand.buffer] != 2:
                    continue
                maker = kept[at]
                if any(written.get(o.buffer, -1) > at for o in maker.reads):
                    continue
                if (made := folded(maker, instruction)) is not None:
                    instruction, kept[at] = made, None
        if fusable(instruction) and len(instruction.writes) == 1:
            [target] = instruction.writes
            if target.buffer.holder is None and instruction.kernel.check is None:
                makers[target.buffer] = len(kept)
        written |= {o.buffer: len(kept) for o in instruction.writes}
        kept.append(instruction)
    return Program([i for i in kept if i is not None], program.results, program.numbers)


def folded(maker: Loop, fold: Loop) -> Loop | None:
    """The reduction of what `maker` computes, or None."""
    [target] = maker.writes
    ins = [k for k, o in enumerate(fold.reads) if o.buffer is target.buffer]
    if len(ins) != 1 or len(maker.reads) + len(fold.operands) > MOST:
        return None
    at, kernel = ins[0], fold.kernel
    read = fold.reads[at]
    if is_half(read.layout.dtype) or read.layout.dtype is not target.layout.dtype:
        return None
    added = _over(maker, read, shape_of(fold))
    if added is None:
        return None
    # What lies as the result did comes first: the order of dimensions follows from it.
    leading = [k for k, o in enumerate(added) if _steps(o) == _steps(read)]
    if not leading:
        return None
    order = [leading[0], *(k for k in range(len(added)) if k != leading[0])]
    others = [k for k in range(len(fold.reads)) if k != at]
    reads = [*(added[k] for k in order), *(fold.reads[k] for k in others)]
    key = maker.kernel.key, kernel.key, kernel.name, at, order[0]
    made = _folds.get_or(key, _reduction, maker.kernel, kernel, at, order, others)
    if len(made.expressions) > LARGEST:
        return None
    result = fold._replace(kernel=made, operands=(*fold.writes, *reads))
    return result if _order(result) == _order(fold) else None


_folds = Memo(4096)


def _reduction(maker: ir.Kernel, kernel: ir.Kernel, at: int, order, others) -> ir.Kernel:
    """The reduction whose input `at` is what `maker` makes of its inputs, which come first, in this
    order; then those with the numbers `others`.
    """
    mapping: dict[Any, Any] = {}
    for new, k in enumerate(order):
        map_load(mapping, k, maker.inputs[k], ir.load(new, maker.inputs[k]))
    [body] = maker.mapped(mapping).body
    later: dict[Any, Any] = {}
    map_load(later, at, kernel.inputs[at], ir.cast(body, kernel.inputs[at]))
    for new, k in enumerate(others, len(order)):
        map_load(later, k, kernel.inputs[k], ir.load(new, kernel.inputs[k]))
    inputs = [maker.inputs[k] for k in order] + [kernel.inputs[k] for k in others]
    element = [ir.substitute(v, later) for v in kernel.element]
    return ir.Reduce(
        kernel.name, inputs, kernel.outputs, kernel.init, element, kernel.combine, kernel.finish
    )


def _over(maker: Loop, read: Operand, shape: tuple[int, ...]) -> list[Operand] | None:
    """The maker's inputs over the points of the reduction, which reads its result row by row."""
    whole = tuple(n for n in shape if n != 1)
    nest = nest_by(maker, 0)
    if nest is None or read.start != maker.operands[0].start or not read.layout.contiguous:
        return None
    if refined(nest.shape, whole) != whole:
        return None
    out = []
    for access in nest.split(whole).accesses[1:]:
        steps = iter(access.strides)
        strides = tuple(0 if n == 1 else next(steps) for n in shape)
        layout = access.layout.reshaped(shape, strides)
        out.append(Operand(access.buffer, access.start, layout))
    return out


def _steps(operand: Operand) -> list[int]:
    layout = operand.layout
    return [s for n, s in zip(layout.shape, layout.strides, strict=True) if n != 1]


def _order(loop: Loop) -> tuple:
    """What the order of a reduction's elements follows from."""
    plan = loop.work(()).plan()
    return tuple((stage.order, stage.total) for stage in plan.stages), tuple(plan.scratch)
