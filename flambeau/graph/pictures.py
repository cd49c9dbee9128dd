"""Pictures of programs: a box for each instruction, an arrow for each buffer between two."""

from __future__ import annotations

import math
from typing import Any

from flambeau.drawing import Arrow, Kind, Shape, figure
from flambeau.ops import Multiply

from .measures import nbytes_of, size, traffic
from .program import Buffer, Call, Foreign, Host, Loop, Operand, Program, Rows, Sums, Together

FAR = 12  # layers from which arrows are straight: what forward keeps for backward

GIVEN = Kind("given", "#ffffff", "#94a3b8")
RESULT = Kind("result", "#0f172a", "#0f172a")
KINDS = {
    "pointwise": Kind("pointwise", "#dcfce7", "#16a34a"),
    "reduce": Kind("reduction", "#fef3c7", "#d97706"),
    "scan": Kind("scan", "#ffedd5", "#ea580c"),
    "indexed": Kind("indexed", "#f3e8ff", "#9333ea"),
}
KINDS_OF = {
    Rows: Kind("by rows", "#ccfbf1", "#0d9488"),
    Together: Kind("in any order", "#ecfccb", "#65a30d"),
    Call: Kind("native call", "#dbeafe", "#2563eb"),
    Host: Kind("Python", "#ffe4e6", "#e11d48"),
    Sums: Kind("product", "#e0e7ff", "#4f46e5"),
}


def picture(program: Program, title: str = "") -> str:
    """The program as SVG: what instructions do, and what they write, with shapes, types and bytes.

    Pointing at a box shows the instruction, at an arrow the buffer.
    """
    shapes: list[Shape] = []
    arrows: dict[tuple, Arrow] = {}
    writer: dict[Buffer, Any] = {}

    def source(o: Operand) -> Any:
        if o.buffer not in writer and o.buffer.holder is not None:
            shapes.append(_given(o.buffer))
            writer[o.buffer] = o.buffer
        return writer.get(o.buffer)

    def connect(o: Operand, target: Any) -> None:
        above = source(o)
        if above is not None and above != target:
            nbytes = nbytes_of(o)
            width = 1.4 + 0.35 * max(0.0, math.log2(max(nbytes, 1)) - 16)
            made = Arrow(above, target, f"{o!r}, {size(nbytes)}", min(width, 5.0))
            arrows.setdefault((above, target, o.buffer), made)

    for k, instruction in enumerate(program.instructions):
        inputs = _inputs(instruction)
        for o in inputs:
            connect(o, k)
        early = any(isinstance(writer.get(o.buffer), int) for o in inputs)
        shapes.append(_shape(k, instruction)._replace(late=not early))
        for o in instruction.writes:
            if o.buffer.holder is not None:
                source(o)
            writer[o.buffer] = k
    for k, o in enumerate(program.results):
        key = "result", k
        connect(o, key)
        shapes.append(Shape(key, (f"result {k}", "", described(o)), RESULT, repr(o), end=True))
    return figure(shapes, list(arrows.values()), title, FAR)


def dot(program: Program) -> str:
    """The program for Graphviz: instructions, and who needs memory that another wrote."""
    lines, writer = ["digraph program {", "  node [shape=box]"], dict[Buffer, int]()
    for k, instruction in enumerate(program.instructions):
        label = "\\n".join(filter(None, _shape(k, instruction).texts)).replace('"', "'")
        lines.append(f'  {k} [label="{label}"]')
        above = {writer[o.buffer] for o in _inputs(instruction) if o.buffer in writer}
        lines += [f"  {other} -> {k}" for other in sorted(above)]
        writer |= {o.buffer: k for o in instruction.writes}
    return "\n".join([*lines, "}", ""])


def _inputs(instruction: Any) -> list[Operand]:
    """What an instruction reads, and what it writes to a part of."""
    if not isinstance(instruction, Foreign):
        partly = [o for o in instruction.writes if nbytes_of(o) < o.buffer.nbytes]
        return [*instruction.reads, *partly]
    return list(instruction.operands)


def _given(buffer: Buffer) -> Shape:
    name = repr(buffer) if buffer.argument is None else f"argument {buffer.argument}"
    whole = Operand(buffer, 0, buffer.holder.layout)
    texts = name, "", described(whole)
    hint = f"{whole!r}, {size(buffer.nbytes)}"
    return Shape(buffer, texts, GIVEN, hint, end=True, dashed=buffer.argument is None, late=True)


def _shape(k: int, instruction: Any) -> Shape:
    reads, writes = traffic(instruction)
    first = next((o for o in instruction.writes if o.layout is not None), None)
    more = len({o.buffer for o in instruction.writes}) - 1
    what = "" if first is None else described(first) + (f" + {more}" if more > 0 else "")
    amount = f"{size(reads)} in, {size(writes)} out"
    return Shape(k, (_name(instruction), what, amount), kind_of(instruction), repr(instruction))


def kind_of(instruction: Any) -> Kind:
    """The kind by which an instruction is coloured."""
    if isinstance(instruction, Loop):
        return KINDS[instruction.kernel.kind]
    return KINDS_OF[type(instruction)]


def _name(instruction: Any) -> str:
    if isinstance(instruction, Loop):
        return instruction.kernel.name
    if isinstance(instruction, Rows | Together):
        names = dict.fromkeys(loop.kernel.name for loop in instruction.loops)
        return f"{len(instruction.loops)} × {', '.join(list(names)[:3])}"
    if isinstance(instruction, Sums):
        name = "product" if isinstance(instruction.kind, Multiply) else "convolution"
        made = instruction.loop.kernel.name
        return name if made in ("product", name) else f"{name}, {made}"
    return instruction.name


def described(o: Operand) -> str:
    """Shape and type of an operand."""
    if o.layout is None:
        return size(o.buffer.nbytes)
    return f"{' × '.join(map(str, o.layout.shape)) or 'scalar'}  {o.layout.dtype.name}"
