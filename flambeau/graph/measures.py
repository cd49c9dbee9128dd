"""What programs cost, counted: bytes that are moved, arithmetic, memory that is taken."""

from __future__ import annotations

import math
from typing import Any

from flambeau import ir

from .program import Buffer, Foreign, Loop, Loops, Operand, Program, loops_of


def nbytes_of(o: Operand) -> int:
    """Bytes of the elements of an operand, each counted once."""
    if o.layout is None:
        return o.buffer.nbytes - o.start
    sizes = zip(o.layout.shape, o.layout.strides, strict=True)
    once = math.prod(n if s or not n else 1 for n, s in sizes)
    return min(once * o.layout.itemsize, max(o.buffer.nbytes, o.layout.itemsize))


def traffic(instruction: Any) -> tuple[int, int]:
    """Bytes that an instruction reads and writes: of memory that several loops of it see, only what
    comes from outside and what is left.
    """
    if isinstance(instruction, Foreign):
        written = instruction.written
        reads = [o for k, o in enumerate(instruction.operands) if not written >> k & 1]
        return sum(map(nbytes_of, reads)), sum(map(nbytes_of, instruction.writes))
    made: set[Buffer] = set()
    taken: dict[tuple, int] = {}
    left: dict[tuple, int] = {}
    for loop in instruction.loops if isinstance(instruction, Loops) else (instruction,):
        for o in loop.reads:
            if o.buffer not in made:
                key = o.buffer, o.start
                taken[key] = max(nbytes_of(o), taken.get(key, 0))
        for o in loop.writes:
            made.add(o.buffer)
            key = o.buffer, o.start
            left[key] = max(nbytes_of(o), left.get(key, 0))
    return sum(taken.values()), sum(left.values())


def moved(program: Program) -> int:
    """Bytes that all instructions of a program read and write."""
    return sum(sum(traffic(i)) for i in program.instructions)


def computed(program: Program) -> int:
    """Operations on numbers that all kernels in loop IR of a program do, `fma` counted as two."""
    return sum(_arithmetic(loop) for i in program.instructions for loop in loops_of(i))


def _arithmetic(loop: Loop) -> int:
    kernel, kept = loop.kernel, loop.operands[0].layout.numel
    if kernel.kind not in ("reduce", "scan"):
        return kept * sum(map(_operations, kernel.values()))
    points = loop.operands[len(loop.writes)].layout.numel if loop.reads else kept
    each = _operations(kernel.element) + _operations(kernel.combine)
    return points * each + kept * _operations(kernel.finish)


_FREE = frozenset(
    ("load", "param", "const", "position", "count", "state", "other", "variable", "item", "cast",
     "bitcast", "select")
)  # fmt: skip


def _operations(values: Any) -> int:
    found = ir.topological([e for v in values for e in ir.parts(v)])
    return sum(2 if e.op == "fma" else 1 for e in found if e.op not in _FREE)


def size(nbytes: float) -> str:
    """Bytes with three digits, in the unit that suits them."""
    for unit, scale in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if nbytes >= scale:
            return f"{nbytes / scale:.3g} {unit}"
    return f"{nbytes:.0f} B"
