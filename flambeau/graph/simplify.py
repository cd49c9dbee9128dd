"""Algebra on the bodies of kernels, and instructions that compute what is known already.

Only laws that hold bit for bit are used: x * 1, x / 1, x - 0 and x + -0 are x for every number,
zeros of both signs, infinities and nans included; x + 0 is not, where x is -0. Reductions keep
their bodies, which the order of their sums follows from.
"""

from __future__ import annotations

import math
from typing import Any

from flambeau import ir
from flambeau._base import Memo, numpy
from flambeau.ir import Expr

from .fuse import with_values
from .program import Buffer, Loop, Loops, Operand, Program, renamed

_simples = Memo(4096)


def simplified(program: Program) -> Program:
    """Bodies of pointwise kernels by the laws above, each distinct kernel once."""

    def simple(loop: Loop) -> Loop:
        if loop.kernel.kind != "pointwise":
            return loop
        key = loop.kernel.key, loop.kernel.name
        return loop._replace(kernel=_simples.get_or(key, _simple_kernel, loop.kernel))

    out = []
    for instruction in program.instructions:
        if isinstance(instruction, Loops):
            instruction = instruction.of([simple(loop) for loop in instruction.loops])
        elif isinstance(instruction, Loop):
            instruction = simple(instruction)
        out.append(instruction)
    return Program(out, program.results, program.numbers)


def _simple_kernel(kernel: Any) -> ir.Kernel:
    roots = [e for v in kernel.body for e in ir.parts(v)]
    checks = [] if kernel.check is None else [kernel.check]
    done: dict[Expr, Expr] = {}
    for e in ir.topological(roots + checks):
        args = tuple(done[a] for a in e.args)
        same = args == e.args
        done[e] = _simple(
            e if same else ir.node(e.op, *args, dtype=e.dtype, value=e.value, part=e.part)
        )
    body = [
        ir.Pair(done[v.re], done[v.im]) if isinstance(v, ir.Pair) else done[v] for v in kernel.body
    ]
    return with_values(kernel, body, done[kernel.check] if checks else None)


def _is(e: Expr, value) -> bool:
    """Whether the expression is this constant, a zero with its sign."""
    return (
        e.op == "const"
        and e.value == value
        and (value != 0 or math.copysign(1.0, e.value) == math.copysign(1.0, value))
    )


def _simple(e: Expr) -> Expr:
    """The expression, whose arguments are simple, by one law."""
    args, real = e.args, e.dtype.kind == "f"
    if args and all(a.op == "const" for a in args) and (known := _folded(e)) is not None:
        return known
    match e.op:
        case "mul" if _is(args[1], 1):
            return args[0]
        case "mul" if _is(args[0], 1):
            return args[1]
        case "div" if _is(args[1], 1):
            return args[0]
        case "sub" if _is(args[1], 0.0):
            return args[0]
        case "add" if _is(args[1], -0.0 if real else 0):
            return args[0]
        case "add" if _is(args[0], -0.0 if real else 0):
            return args[1]
        case "neg" | "not" if args[0].op == e.op:
            return args[0].args[0]
        case "abs" if args[0].op in ("neg", "abs") and real:
            return _simple(ir.node("abs", args[0].args[0]))
        case "select" if args[0].op == "const":
            return args[1] if args[0].value else args[2]
        case "select" if args[1] is args[2]:
            return args[1]
        case "cast" if args[0].op == "cast" and _is_kept(e.dtype, args[0].dtype):
            inner = args[0].args[0]
            return inner if inner.dtype is e.dtype else e
    return e


def _is_kept(narrow, wide) -> bool:
    """Whether a cast from `narrow` to `wide` and back gives what there was."""
    if narrow.kind != wide.kind or narrow.kind not in "iuf":
        return False
    return wide.itemsize >= narrow.itemsize and (narrow.kind != "f" or narrow.itemsize >= 4)


_FOLDED = {"add": "add", "sub": "subtract", "mul": "multiply", "div": "divide", "neg": "negative"}


def _folded(e: Expr) -> Expr | None:
    """The constant that an expression of constants is, as the processor computes it."""
    if e.op == "cast":
        made = ir.cast(e.args[0], e.dtype)
        return made if isinstance(made, Expr) and made.op == "const" else None
    if e.op not in _FOLDED or e.dtype.name not in ("float32", "float64"):
        return None
    kind = getattr(numpy, e.dtype.name)
    with numpy.errstate(all="ignore"):
        value = float(getattr(numpy, _FOLDED[e.op])(*[kind(a.value) for a in e.args]))
    return ir.const(value, e.dtype) if math.isfinite(value) else None


# ---------------------------------------------------------------------------- what is known already


def without_repeats(program: Program) -> Program:
    """An instruction that does what an earlier one did, on memory that nobody has written since,
    gives the earlier one's results.
    """
    written: dict[Buffer, int] = {}  # the last instruction that wrote it, so far
    writers: dict[Buffer, int] = {}  # how many instructions write it
    for i in program.instructions:
        for b in {o.buffer for o in i.writes}:
            writers[b] = writers.get(b, 0) + 1
    leaving = {o.buffer for o in program.results}
    known: dict[tuple, tuple[int, Loop]] = {}
    others: dict[Buffer, Buffer] = {}
    kept: list[Any] = []
    for k, instruction in enumerate(program.instructions):
        instruction = renamed(instruction, others)
        if isinstance(instruction, Loop):
            key = _meaning(instruction)
            at, earlier = known.get(key, (-1, None))
            if earlier is not None and all(
                written.get(o.buffer, -1) <= at for o in (*earlier.reads, *earlier.writes)
            ):
                pairs = list(zip(instruction.writes, earlier.writes, strict=True))
                if all(_is_ours(b, writers, leaving) for pair in pairs for b in pair):
                    others |= {ours.buffer: theirs.buffer for ours, theirs in pairs}
                    continue
            known[key] = k, instruction
        written |= {o.buffer: k for o in instruction.writes}
        kept.append(instruction)
    return Program(kept, program.results, program.numbers)


def _is_ours(operand: Operand, writers: dict[Buffer, int], leaving: set[Buffer]) -> bool:
    """Whether one instruction makes the whole buffer, for this program alone."""
    b = operand.buffer
    whole = operand.layout.nbytes == b.nbytes and not operand.start
    return b.holder is None and b not in leaving and writers[b] == 1 and whole


def _meaning(loop: Loop) -> tuple:
    """Equal for loops that compute the same from the same operands."""
    layouts = tuple((o.layout, o.start) for o in loop.writes)
    return loop.kernel.key, layouts, loop.reads, loop.axes, loop.places, repr(loop.counter)
