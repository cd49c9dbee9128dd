"""Programs: kernels on buffers, in order; how they print, and how they become one native call.

A program is what a capture recorded. Its instructions are kernels in loop IR, calls of kernels that
are not (matrix products, convolutions), and ops that only Python can perform. Their operands are
places in buffers: memory that is given, such as a parameter, or made by the program.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from flambeau import ir, runtime
from flambeau.ops import Convolve, Multiply, Work
from flambeau.types import Layout


class Buffer:
    """Memory of a program. `holder` is the tensor that is given, and `argument` its number where
    each run gives another; None where the program makes the memory. Memory that is made `empty` may
    be read before it is written: it is anything then.
    """

    __slots__ = ("argument", "empty", "holder", "nbytes", "number", "storage")

    def __init__(self, number: int, nbytes: int, holder: Any = None, storage: Any = None):
        self.number, self.nbytes, self.holder, self.storage = number, nbytes, holder, storage
        self.argument: int | None = None
        self.empty = False

    def __repr__(self) -> str:
        return f"{'%' if self.holder is None else '@'}{self.number}"


class Operand(NamedTuple):
    """A place in a buffer: bytes from its start (from the holder's first element, where there is
    one), and the layout; None where only the kernel knows it.
    """

    buffer: Buffer
    start: int
    layout: Any

    def __repr__(self) -> str:
        text = repr(self.buffer) + (f"+{self.start}" if self.start else "")
        return text if self.layout is None else f"{text}: {_brief(self.layout)}"


def _brief(layout: Layout) -> str:
    dims = ", ".join(map(str, layout.shape))
    strides = "" if layout.contiguous else f" by {', '.join(map(str, layout.strides))}"
    return f"{layout.dtype.name}[{dims}{strides}]"


def renamed(instruction: Any, others: Mapping[Buffer, Buffer]) -> Any:
    """The instruction on the buffers that stand for its own in `others`."""
    operands = instruction.operands
    if not any(o.buffer in others for o in operands):
        return instruction
    return instruction.replaced([moved(o, others) for o in operands])


def moved(o: Operand, others: Mapping[Buffer, Buffer]) -> Operand:
    """The same place in the buffer that stands for the operand's."""
    other = others.get(o.buffer)
    return o if other is None else Operand(other, o.start, o.layout)


class Loop(NamedTuple):
    """A kernel in loop IR; `operands` are its outputs, then its inputs."""

    kernel: ir.Kernel
    operands: tuple[Operand, ...]
    axes: tuple[int, ...] = ()
    places: tuple = ()
    counter: tuple | None = None

    @property
    def writes(self) -> tuple[Operand, ...]:
        return self.operands[: len(self.kernel.outputs)]

    @property
    def reads(self) -> tuple[Operand, ...]:
        return self.operands[len(self.kernel.outputs) :]

    def replaced(self, operands: Sequence[Operand]) -> Loop:
        """The same on other operands."""
        return self._replace(operands=tuple(operands))

    def work(self, sources: Sequence[int]) -> Work:
        """What is compiled, for operands whose memory comes from `sources`."""
        layouts = tuple(o.layout for o in self.operands)
        starts = tuple(o.start for o in self.operands)
        return Work(
            self.kernel, layouts, tuple(sources), self.axes, self.places, starts, self.counter
        )

    def __repr__(self) -> str:
        outs, ins = ", ".join(map(repr, self.writes)), ", ".join(map(repr, self.reads))
        over = f" over {self.axes}" if self.axes else ""
        values = "; ".join(
            ir.show(v).replace("\n", "; ") for group in self.kernel.values() for v in group
        )
        return f"{outs} = {self.kernel.kind} {self.kernel.name}({ins}){over}: {values}"


class Loops:
    """Several loops that are one instruction."""

    __slots__ = ("loops",)

    def __init__(self, loops: Sequence[Loop]):
        self.loops = tuple(loops)

    @property
    def operands(self) -> tuple[Operand, ...]:
        return tuple(o for loop in self.loops for o in loop.operands)

    @property
    def writes(self) -> tuple[Operand, ...]:
        return tuple(o for loop in self.loops for o in loop.writes)

    @property
    def reads(self) -> tuple[Operand, ...]:
        return tuple(o for loop in self.loops for o in loop.reads)

    def of(self, loops: Sequence[Loop]) -> Loops:
        """The same of other loops."""
        return type(self)(loops)

    def replaced(self, operands: Sequence[Operand]) -> Loops:
        """The same on other operands."""
        given = iter(operands)
        return self.of([i.replaced([next(given) for _ in i.operands]) for i in self.loops])

    def _text(self, title: str) -> str:
        return f"{title}:" + "".join(f"\n    {loop!r}" for loop in self.loops)


class Rows(Loops):
    """Loops that run together over blocks of rows, their first `rows` dimensions. What only they
    see is memory for the rows of a block.
    """

    __slots__ = ("rows",)

    def __init__(self, loops: Sequence[Loop], rows: int):
        super().__init__(loops)
        self.rows = rows

    def of(self, loops: Sequence[Loop]) -> Rows:
        return Rows(loops, self.rows)

    def __repr__(self) -> str:
        return self._text(f"over rows {self.rows}")


class Together(Loops):
    """Short loops that do not depend on each other: threads share them out as wholes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return self._text("in any order")


class Sums(NamedTuple):
    """A product of matrices or a convolution: `kind` says which. `loop`, a pointwise one, is what
    is made of its sums, which are the first that it reads. `factors` are the operands that are
    multiplied, and a convolution's bias.
    """

    kind: Multiply | Convolve
    loop: Loop
    factors: tuple[Operand, ...]

    @property
    def operands(self) -> tuple[Operand, ...]:
        return (*self.loop.writes, *self.factors, *self.loop.reads[1:])

    @property
    def writes(self) -> tuple[Operand, ...]:
        return self.loop.writes

    @property
    def reads(self) -> tuple[Operand, ...]:
        return self.operands[len(self.writes) :]

    def replaced(self, operands: Sequence[Operand]) -> Sums:
        """The same on other operands."""
        outputs, count = len(self.writes), len(self.writes) + len(self.factors)
        sums = self.loop.reads[0]
        loop = self.loop.replaced([*operands[:outputs], sums, *operands[count:]])
        return self._replace(loop=loop, factors=tuple(operands[outputs:count]))

    def work(self, sources: Sequence[int]) -> Multiply | Convolve:
        """What is compiled, for operands whose memory comes from `sources`."""
        layouts = tuple(o.layout for o in self.operands)
        starts = tuple(o.start for o in self.operands)
        kernel = cast(ir.Pointwise, self.loop.kernel)
        return self.kind._replace(
            kernel=kernel, operands=layouts, sources=tuple(sources), starts=starts
        )

    def __repr__(self) -> str:
        return f"{self.loop!r} of {' @ '.join(map(repr, self.factors))}"


class Foreign:
    """What is no loop: of `operands` it writes those whose bit in `written` is set, and it may read
    all.
    """

    __slots__ = ("name", "operands", "written")
    kind = "foreign"

    def __init__(self, operands: Sequence[Operand], written: int, name: str):
        self.operands, self.written, self.name = tuple(operands), written, name

    @property
    def writes(self) -> tuple[Operand, ...]:
        return tuple(o for k, o in enumerate(self.operands) if self.written >> k & 1)

    @property
    def reads(self) -> tuple[Operand, ...]:
        return self.operands

    def replaced(self, operands: Sequence[Operand]) -> Foreign:
        """The same on other operands."""
        made = copy.copy(self)
        made.operands = tuple(operands)
        return made

    def __repr__(self) -> str:
        outs, ins = ", ".join(map(repr, self.writes)), ", ".join(map(repr, self.reads))
        return f"{outs} = {self.kind} {self.name}({ins})"


class Call(Foreign):
    """A native kernel that is not in loop IR: a stage."""

    __slots__ = ("stage",)
    kind = "call"

    def __init__(self, stage: runtime.Stage, operands: Sequence[Operand], written: int, name: str):
        super().__init__(operands, written, name)
        self.stage = stage


class Host(Foreign):
    """An op that Python performs: ``run(*tensors)`` on the tensors of the operands."""

    __slots__ = ("run",)
    kind = "host"

    def __init__(
        self, run: Callable[..., Any], operands: Sequence[Operand], written: int, name: str
    ):
        super().__init__(operands, written, name)
        self.run = run


Instruction = Loop | Rows | Together | Sums | Call | Host


def loops_of(instruction: Any) -> tuple[Loop, ...]:
    """The kernels in loop IR that an instruction runs, what is made of sums among them."""
    if isinstance(instruction, Loops):
        return instruction.loops
    if isinstance(instruction, Sums):
        return (instruction.loop,)
    return (instruction,) if isinstance(instruction, Loop) else ()


class Program:
    """Instructions in order. `results` are the operands that leave it, `numbers` how many
    floating-point numbers it takes with each run.
    """

    history: Any

    def __init__(self, instructions: list[Any], results: list[Operand], numbers: int = 0):
        self.instructions, self.results, self.numbers = instructions, results, numbers
        self.title, self.history = "program", None  # for `dump`

    def buffers(self) -> list[Buffer]:
        """All buffers, in the order in which they are met."""
        met = {o.buffer: None for i in self.instructions for o in i.operands}
        met |= {o.buffer: None for o in self.results}
        return list(met)

    def __str__(self) -> str:
        given = [b for b in self.buffers() if b.holder is not None]
        lines = [f"program of {len(self.instructions)} instructions, {self.numbers} numbers"]
        lines += [f"  given {b!r}: {_brief(b.holder.layout)}" for b in given]
        lines += [f"  {i!r}" for i in self.instructions]
        return "\n".join([*lines, f"  return {', '.join(map(repr, self.results))}"])
