"""Passes: each takes a program and gives one that does the same with less."""

from __future__ import annotations

from typing import Any

from flambeau import ir
from flambeau._base import knobs

from .dump import History
from .epilogues import epilogues
from .folds import into_folds
from .fuse import fuse, without_dead_outputs
from .program import Buffer, Host, Loop, Program, Rows, Together, moved, renamed
from .recompute import recomputed
from .rows import by_rows
from .scattered import added_first
from .simplify import simplified, without_repeats
from .verify import Verifier


def optimize(program: Program) -> Program:
    """The program after all passes, in their order."""
    title = program.title
    history = History(program) if knobs.dump else None
    watching = [each for each in (Verifier(program) if knobs.verify else None, history) if each]
    for change in PASSES:
        program = change(program)
        for each in watching:
            each.after(change.__name__, program)
    program.title, program.history = title, history
    return program


def without_dead(program: Program) -> Program:
    """Instructions go whose results nobody reads, but not those that may refuse values, or draw."""
    wanted = {o.buffer for o in program.results}
    kept = []
    for instruction in reversed(program.instructions):
        writes = {o.buffer for o in instruction.writes}
        outside = any(b.holder is not None or b in wanted for b in writes)
        if isinstance(instruction, Rows):
            instruction = _live_rows(instruction, wanted)
            outside = bool(instruction.loops)
        check = getattr(getattr(instruction, "kernel", None), "check", None)
        places = getattr(instruction, "places", ())
        if outside or check is not None or places or isinstance(instruction, Host):
            kept.append(instruction)
            wanted |= {o.buffer for o in instruction.reads}
            wanted |= writes
    return Program(kept[::-1], program.results, program.numbers)


def _live_rows(rows: Rows, wanted: set[Buffer]) -> Rows:
    """The loops whose results somebody reads."""
    wanted, kept = set(wanted), []
    for loop in reversed(rows.loops):
        if any(o.buffer.holder is not None or o.buffer in wanted for o in loop.writes):
            kept.append(loop)
            wanted |= {o.buffer for o in loop.operands}
    return Rows(kept[::-1], rows.rows)


def without_copies(program: Program) -> Program:
    """A copy of memory that is not written again is that memory."""
    last = {o.buffer: k for k, i in enumerate(program.instructions) for o in i.writes}
    leaving = {o.buffer for o in program.results}
    others: dict[Buffer, Buffer] = {}
    kept = []
    for k, instruction in enumerate(program.instructions):
        if _is_copy(instruction):
            target, source = instruction.operands
            origin = others.get(source.buffer, source.buffer)
            steady = last[target.buffer] == k and last.get(source.buffer, k) < k
            both = target.buffer in leaving and origin in leaving
            if steady and not both:
                others[target.buffer] = origin
                leaving |= {origin} if target.buffer in leaving else set()
                continue
        kept.append(instruction)
    if not others:
        return program
    results = [moved(o, others) for o in program.results]
    return Program([renamed(i, others) for i in kept], results, program.numbers)


def _is_copy(instruction) -> bool:
    """Whether it copies a whole buffer that the program made to another, as it lies."""
    if not isinstance(instruction, Loop) or instruction.kernel.kind != "pointwise":
        return False
    if len(instruction.operands) != 2 or instruction.kernel.check is not None:
        return False
    target, source = instruction.operands
    dtype = source.layout.dtype
    return (
        target.layout.dtype is dtype
        and instruction.kernel.body == (ir.load(0, dtype),)
        and target.buffer.holder is None
        and source.buffer.holder is None
        and target.layout.shape == source.layout.shape
        and target.layout.strides == source.layout.strides
        and target.start == source.start == 0
        and target.buffer.nbytes == source.buffer.nbytes
        and target.layout.nbytes == target.buffer.nbytes
    )


SHORT = 1 << 14  # elements of a loop that one thread does


def together(program: Program) -> Program:
    """Neighbours that are short and do not depend on each other, made one instruction."""
    out: list[Any] = []
    batch: list[Loop] = []
    reads: set[Buffer] = set()
    writes: set[Buffer] = set()

    def close() -> None:
        out.extend([Together(batch)] if len(batch) > 1 else batch)
        for collected in (batch, reads, writes):
            collected.clear()

    for instruction in program.instructions:
        ours = {o.buffer for o in instruction.writes}
        theirs = {o.buffer for o in instruction.reads}
        if not _is_short(instruction) or ours & (reads | writes) or theirs & writes:
            close()
        if not _is_short(instruction):
            out.append(instruction)
            continue
        batch.append(instruction)
        reads |= theirs
        writes |= ours
    close()
    return Program(out, program.results, program.numbers)


def _is_short(instruction) -> bool:
    if not isinstance(instruction, Loop) or instruction.kernel.check is not None:
        return False
    if instruction.kernel.kind != "pointwise":
        return False
    return instruction.operands[0].layout.numel <= SHORT


PASSES = (
    simplified,
    without_copies,
    without_repeats,
    without_dead,
    added_first,
    fuse,
    without_dead_outputs,
    epilogues,
    into_folds,
    by_rows,
    recomputed,
    without_dead,
    without_dead_outputs,
    together,
)
