"""Programs as text: their loops, and the memory that they take."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any

from flambeau import ir
from flambeau._base import nearest

from .measures import moved, size
from .program import Loop, Loops, Program, Sums

WIDTH = 100  # columns
WORDS = ("programs", "loops", "memory", "breaks")


def shown(executables: Iterable[Any], reasons: Iterable[str], what: str) -> str:
    """What was compiled, as text: "programs", their "loops", their "memory"; and "breaks", what was
    not compiled and why. Raises ValueError for other words.
    """
    if what not in WORDS:
        guess = nearest(what, WORDS)
        hint = f"; did you mean {guess!r}?" if guess else ""
        raise ValueError(f"show() knows {', '.join(map(repr, WORDS))}, not {what!r}{hint}")
    write = {"programs": lambda e: str(e.program), "loops": lambda e: loops(e.program)}
    write["memory"] = memory_plan
    texts = [write[what](e) for e in executables] if what in write else []
    if what in ("programs", "breaks"):
        texts += [f"not compiled: {reason}" for reason in reasons]
    return "\n".join(texts)


def loops(program: Program) -> str:
    """The program with the kernels' expressions on lines of their own."""
    lines = [f"program of {len(program.instructions)} instructions, {program.numbers} numbers"]
    for b in program.buffers():
        if b.holder is not None:
            lines.append(f"  given {b!r}: {b.holder.layout!r}")
    for instruction in program.instructions:
        if isinstance(instruction, Loops):
            lines.append(f"  {type(instruction).__name__.lower()}:")
            lines += [f"    {line}" for loop in instruction.loops for line in _loop(loop)]
        elif isinstance(instruction, Loop):
            lines += [f"  {line}" for line in _loop(instruction)]
        elif isinstance(instruction, Sums):
            of = f" of {' @ '.join(map(repr, instruction.factors))}"
            lines += [f"  {line}" for line in _loop(instruction.loop, of)]
        else:
            lines.append(f"  {instruction!r}")
    lines.append(f"  return {', '.join(map(repr, program.results))}")
    return "\n".join(part for line in lines for part in _folded(line))


def _folded(line: str) -> list[str]:
    """The line, as several that fit on a screen."""
    indent = " " * (len(line) - len(line.lstrip()))
    text = textwrap.TextWrapper(
        WIDTH, initial_indent=indent, subsequent_indent=indent + " " * 6, break_on_hyphens=False
    )
    return text.wrap(line.strip())


def _loop(loop: Loop, of: str = "") -> list[str]:
    kernel = loop.kernel
    outs, ins = ", ".join(map(repr, loop.writes)), ", ".join(map(repr, loop.reads))
    over = f" over {loop.axes}" if loop.axes else ""
    lines = [f"{outs} = {kernel.kind} {kernel.name}({ins}){over}{of}"]
    names = ("init", "element", "combine", "finish") if kernel.kind in ("reduce", "scan") else ()
    for k, group in enumerate(kernel.values()):
        label = f"{names[k]}: " if names else ""
        lines += [f"    {label}{line}" for v in group for line in ir.show(v).split("\n")]
    if kernel.check is not None:
        lines.append(f"    refused where: {ir.show(kernel.check)}")
    return lines


def memory_plan(executable: Any) -> str:
    """The plan of a program's memory: where each buffer lies, in the common block or in a result
    that is written later, from the instruction that meets it first to the one that does last; the
    block and the results are the peak.
    """
    program: Program = executable.program
    buffers = program.buffers()
    own = [b for b in buffers if b.holder is None]
    leaving = {o.buffer for o in program.results if o.buffer.holder is None}
    results, total = sum(b.nbytes for b in leaving), sum(b.nbytes for b in own)
    given = sum(b.nbytes for b in buffers if b.holder is not None)
    lines = [
        f"memory of a program of {len(program.instructions)} instructions",
        f"  given   {size(given):>8}  in {len(buffers) - len(own)} buffers",
        f"  results {size(results):>8}  in {len(leaving)} buffers",
        f"  scratch {size(executable.scratch):>8}  for {len(own) - len(leaving)} buffers of "
        f"{size(total - results)}",
        f"  peak    {size(executable.scratch + results):>8}  results and scratch",
        f"  moved   {size(moved(program)):>8}  by all instructions",
    ]
    for plan in executable.plans:
        lines.append(f"  block {size(plan.memory.nbytes)}")
        for b, piece, (home, start) in zip(
            plan.buffers, plan.pieces, plan.memory.places, strict=False
        ):
            where = f"{start}" if home < 0 else f"{plan.made[home]!r}+{start}"
            lines.append(
                f"    {b!r:<6} {size(b.nbytes):>8}  [{piece.first}-{piece.last}] at {where}"
            )
    return "\n".join(lines)
