"""Programs made runnable: memory planned, kernels compiled, one native call for each stretch that
needs no Python.
"""

from __future__ import annotations

import collections
import functools
import itertools
import math
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from flambeau import compiler, ir, runtime
from flambeau._base import knobs
from flambeau.ops import InRows, scratch_of
from flambeau.types import Layout, by_name, contiguous

from .dump import dump
from .dynamic import Number
from .memory import BLOCK, Memory, Piece, plan_memory
from .program import Buffer, Host, Loop, Operand, Program, Rows, Sums, Together, loops_of
from .report import memory_plan
from .verify import Lives

BYTE = by_name("uint8")
RELEASE = 50_000.0  # ns of estimated work from which the interpreter's lock is released
CALL = 2_000.0  # ns that a call is taken to cost where nobody knows


class Executable:
    """A program ready to run.

    ``run(tensors, numbers)`` takes the tensors of the buffers that have an `argument`, and gives a
    tuple of the results, new memory each. `fixed` are numbers that are the same in every run, by
    their slots; `numbers` are the others. `scratch` is how many bytes it takes besides. `memory`
    gives blocks for what is kept between native calls.
    """

    def __init__(
        self,
        program: Program,
        fixed: Mapping[int, Number] | None = None,
        memory: Callable[[int], Any] | None = None,
    ):
        self.program, self._fixed = program, fixed or {}
        self._memory = memory or runtime.empty
        if "programs" in knobs.show:
            print(program, file=sys.stderr)
        self.scratch, self.plans = 0, list[Plan]()
        self._homes: dict[Buffer, Any] = {
            b: b.holder for b in program.buffers() if b.holder is not None
        }
        stretches = _stretches(program.instructions)
        if len(stretches) > 1 or any(isinstance(i, Host) for i in program.instructions):
            self._settle(stretches)
        made = [o for o in program.results if o.buffer not in self._homes]
        self._made = list(dict.fromkeys(o.buffer for o in made))
        self._arguments = max(
            (b.argument + 1 for b in self._homes if b.argument is not None), default=0
        )
        if self._made and not stretches:  # of no elements, all of them
            stretches = [[]]
        # Lists are unpacked, not indexed: there may be thousands of tensors.
        lines = ["def run(tensors, numbers):"]
        arguments = [f"*tensors[:{self._arguments}]"] * (self._arguments > 0) + self._numbers()
        scope: dict[str, Any] = {"finish": self._finish, "inf": math.inf, "nan": math.nan}
        for k, stretch in enumerate(stretches):
            last = k == len(stretches) - 1
            held = [b for b in _buffers(stretch) if b in self._homes and b.argument is None]
            part = self._part(stretch, held, last)
            scope[f"part{k}"] = functools.partial(part, *(self._homes[b] for b in held))
            lines.append(f"    made = part{k}({', '.join(arguments)})")
        if not stretches:
            lines.append("    made = ()")
        lines.append(f"    return {self._returned()}")
        exec("\n".join(lines), scope)
        self.run = scope["run"] if len(stretches) < 2 else _one_by_one(scope["run"])
        if "memory" in knobs.show:
            print(memory_plan(self), file=sys.stderr)
        if knobs.dump:
            dump(self, knobs.dump)

    def _numbers(self) -> list[str]:
        """The numbers of a run, as arguments of a call."""
        given = (f"numbers[{k}]" for k in itertools.count())
        slots = range(self.program.numbers)
        named = [repr(self._fixed[k]) if k in self._fixed else next(given) for k in slots]
        return named if self._fixed else ["*numbers"]

    def _returned(self) -> str:
        """What a run returns: `made` where that is the results already."""
        results = self.program.results
        plain = len(results) == len(self._made) and all(
            o.buffer is b and not o.start for o, b in zip(results, self._made, strict=True)
        )
        if plain and len(results) > 1:
            return "made"
        if plain and results:
            return "(made,)"
        return "finish(tensors, made)" if results else "()"

    def _finish(self, tensors, made):
        """The results' tensors: views of what was made, or of copies of what stays."""
        if len(self._made) <= 1:
            made = (made,)
        found = dict(zip(self._made, made, strict=False))
        out = []
        for o in self.program.results:
            if o.buffer not in found and o.buffer.holder is None:
                found[o.buffer] = self._homes[o.buffer].clone()
            if o.buffer in found:
                out.append(_placed(found[o.buffer], o))
            else:
                home = o.buffer.holder if o.buffer.argument is None else tensors[o.buffer.argument]
                out.append(_view(home, o))
        return tuple(out)

    # Memory that stays: what several stretches see, or a host op.

    def _settle(self, stretches) -> None:
        first: dict[Buffer, int] = {}
        for k, stretch in enumerate(stretches):
            for instruction in stretch:
                for o in instruction.operands:
                    if first.setdefault(o.buffer, k) != k or isinstance(instruction, Host):
                        self._keep(o.buffer)
        for o in self.program.results:
            if first.get(o.buffer) != len(stretches) - 1:
                self._keep(o.buffer)

    def _keep(self, buffer: Buffer) -> None:
        if buffer not in self._homes:
            memory = self._memory(buffer.nbytes)
            self._homes[buffer] = runtime.wrap(memory, contiguous((buffer.nbytes,), BYTE), 0)
            self.scratch += buffer.nbytes

    # Parts.

    def _part(self, stretch, held: list[Buffer], last: bool):
        """A callable on the tensors of the buffers `held`, the arguments and the numbers."""
        sources = {b: k for k, b in enumerate(held)}
        met = set(_buffers(stretch))
        sources |= {
            b: len(held) + b.argument for b in self._homes if b in met and b.argument is not None
        }
        if stretch and isinstance(stretch[0], Host):
            return self._host_part(stretch[0], sources)
        given = {k: b for b, k in sources.items()}
        fresh: list[tuple[Layout | None, int]] = []
        if last:
            for b in self._made:
                whole = next(o for o in self.program.results if o.buffer is b)
                carried = whole.layout if not whole.start else contiguous((b.nbytes,), BYTE)
                fresh.append((carried, b.nbytes))
                sources[b] = -len(fresh)
        count = len(fresh)
        rows = _inside(stretch, sources)
        hidden = {b for inner in rows.values() for b in inner}
        open_ = [b for b in _buffers(stretch) if b not in sources and b not in hidden]
        fresh += [(None, b.nbytes) for b in open_]
        sources |= {b: -1 - count - k for k, b in enumerate(open_)}
        stages, cost, during = _stages(stretch, sources, fresh, rows)
        plan = Plan(stretch, self._made if last else [], open_, during)
        self.plans.append(plan)
        self.scratch += plan.memory.nbytes
        stages = [plan.placed(stage) for stage in stages]
        fresh[count:] = [(None, plan.memory.nbytes)]
        written = {o.buffer for i in stretch for o in i.writes}
        letters, sizes = "", [0] * (len(held) + self._arguments + self.program.numbers)
        for k in range(len(held) + self._arguments):
            letters += "-" if k not in given else "m" if given[k] in written else "t"
            if k in given:
                sizes[k] = self._homes[given[k]].layout.itemsize
        for k in range(self.program.numbers):
            letters += "i" if isinstance(self._fixed.get(k), int) else "d"
        launch = runtime.Launch(
            letters, tuple(sizes), tuple(fresh), tuple(stages), cost > RELEASE, None, _failed
        )
        return runtime.launcher(launch)

    def _host_part(self, host: Host, sources: dict[Buffer, int]):
        places, run = [(sources[o.buffer], o) for o in host.operands], host.run

        def part(*tensors):
            try:
                run(*[_placed(tensors[k], o) for k, o in places])
            except Exception as error:
                raise KernelFailed(host.name) from error
            return ()

        return part


def _one_by_one(run):
    """`run` by one thread at a time: programs with host ops have memory that stays."""
    lock = threading.Lock()

    def locked(tensors, numbers):
        with lock:
            return run(tensors, numbers)

    return locked


class KernelFailed(Exception):
    """A kernel of a program found what it refuses, such as an index out of range, or an op of the
    host raised its cause.
    """


def overwritten(program: Program) -> list[Buffer]:
    """The given memory that is written before something may fail."""
    found: dict[Buffer, None] = {}
    written: dict[Buffer, None] = {}
    for i in program.instructions:
        written |= {o.buffer: None for o in i.writes if o.buffer.holder is not None}
        if isinstance(i, Host) or any(n.kernel.check is not None or n.places for n in loops_of(i)):
            found |= written
    return list(found)


def _failed(code, *_):
    raise KernelFailed(code)


def _placed(home, operand: Operand):
    """The tensor that an operand is, in the memory of `home`."""
    layout = operand.layout
    assert layout is not None
    start = home._offset * home.layout.itemsize + operand.start
    return runtime.wrap(home._storage, layout, start // layout.itemsize)


def _view(home, operand: Operand):
    """The tensor that an operand is, as a view of a tensor of the user's."""
    layout, place = operand.layout, _placed(home, operand)
    if any(getattr(layout, f) != getattr(home.layout, f) for f in ("dtype", "conj", "neg")):
        return place
    if home._node is not None:  # a result with a history is made otherwise
        home = home.detach()
    return home.as_strided(layout.shape, layout.strides, place._offset)


def _buffers(instructions) -> list[Buffer]:
    return list(dict.fromkeys(o.buffer for i in instructions for o in i.operands))


def _stretches(instructions) -> list[list[Any]]:
    """Runs of instructions that are no host ops, and each host op by itself."""
    out: list[list[Any]] = []
    for instruction in instructions:
        alone = isinstance(instruction, Host)
        if alone or not out or isinstance(out[-1][0], Host):
            out.append([])
        out[-1].append(instruction)
    return out


HIDDEN = -1_000_000  # sources from here down are what only the kernels of a stage see


def _inside(instructions, outside) -> dict[int, list[Buffer]]:
    """For each instruction that runs by rows, the buffers that only it sees."""
    met = collections.Counter(b for i in instructions for b in {o.buffer for o in i.operands})
    return {
        k: [b for b in _buffers([i]) if met[b] == 1 and b not in outside]
        for k, i in enumerate(instructions)
        if isinstance(i, Rows)
    }


def _stages(
    instructions, sources: dict[Buffer, int], fresh: list, rows
) -> tuple[list[runtime.Stage], float, list[Piece]]:
    """The stages of all instructions, kernels compiled together; a rough time in ns; and the
    scratch memory of each instruction, which is added to `fresh`.
    """
    works = [
        loop.work(_sources(loop, sources))
        for i in instructions
        if isinstance(i, Loop | Together)
        for loop in ([i] if isinstance(i, Loop) else i.loops)
    ]
    linked = iter(zip(works, compiler.link([w.plan() for w in works]), strict=True))
    stages: list[runtime.Stage] = []
    during: list[Piece] = []
    cost = 0.0
    for k, i in enumerate(instructions):
        before = len(fresh)
        if isinstance(i, Loop):
            work, built = next(linked)
            stages += work.stages(built, fresh)
            cost += built.cost
        elif isinstance(i, Together):
            parts, each = [], 0.0
            for _ in i.loops:
                work, built = next(linked)
                parts += work.stages(built, fresh)
                each += built.cost / len(i.loops)
            cost += each * len(i.loops)
            if parts:  # else all are empty
                grain = max(1, round(compiler.PIECE / max(each, 1)))
                stages.append(runtime.tasks_stage(parts, grain))
        elif isinstance(i, Sums):
            made = i.work(_sources(i, sources)).stages(scratch_of(fresh))
            stages += made
            cost += CALL * sum(-(-n.total // max(n.grain, 1)) for n in made)
        elif isinstance(i, Rows):
            inner = {HIDDEN - n: b for n, b in enumerate(rows[k])}
            known = sources | {b: s for s, b in inner.items()}
            bodies = tuple(loop.work(_sources(loop, known)) for loop in i.loops)
            bytes_of = {s: b.nbytes for s, b in inner.items()}
            stage, each = InRows(bodies, i.rows, bytes_of).stage()
            stages.append(stage)
            cost += each
        else:
            starts = tuple(o.start for o in i.operands)
            stages.append(i.stage._replace(data=_sources(i, sources), starts=starts))
            cost += CALL * -(-i.stage.total // max(i.stage.grain, 1))
        during += [Piece(nbytes, k, k) for _, nbytes in fresh[before:]]
    return stages, cost, during


def _sources(instruction, sources) -> tuple[int, ...]:
    return tuple(sources[o.buffer] for o in instruction.operands)


class Plan:
    """Where the buffers of a stretch lie that only it sees, and its scratch memory. `made` are the
    buffers that leave it as results.
    """

    def __init__(self, stretch, made: list[Buffer], buffers: list[Buffer], during: list[Piece]):
        first: dict[Buffer, int] = {}
        last: dict[Buffer, int] = {}
        for k, instruction in enumerate(stretch):
            for o in instruction.operands:
                first.setdefault(o.buffer, k)
                last[o.buffer] = k
        heirs = _heirs(stretch, buffers, first, last)
        pieces = [Piece(b.nbytes, first[b], last[b], heirs.get(b)) for b in buffers]
        results = [(b.nbytes, first.get(b, len(stretch))) for b in made]
        self.memory: Memory = plan_memory([*pieces, *during], results)
        self.buffers, self.pieces, self.made = buffers, pieces, made
        if knobs.verify:
            self._verify(stretch, during)

    def _verify(self, stretch, during: list[Piece]) -> None:
        """Raises `ir.Invalid` where something loses its memory before its time."""
        pieces = [*self.pieces, *during]
        taken = [
            (home, start, start + piece.nbytes)
            for piece, (home, start) in zip(pieces, self.memory.places, strict=True)
        ]
        homes = dict(zip(self.buffers, taken, strict=False))
        homes |= {b: (k, 0, b.nbytes) for k, b in enumerate(self.made)}
        heirs = {
            b: self.buffers[piece.heir]
            for b, piece in zip(self.buffers, self.pieces, strict=True)
            if piece.heir is not None
        }
        for home, _, end in taken:
            room = self.memory.nbytes if home == BLOCK else self.made[home].nbytes
            if end > room:
                raise ir.Invalid(f"the plan of memory goes to byte {end} of {room}")
        lives, scratch = Lives(homes, heirs), taken[len(self.buffers) :]
        for k, instruction in enumerate(stretch):
            used = [p for piece, p in zip(during, scratch, strict=True) if piece.first == k]
            lives.run(instruction, used)

    def placed(self, stage: runtime.Stage) -> runtime.Stage:
        """A stage whose sources are results, then pieces: on the results and the common block."""
        count, places = len(self.made), self.memory.places
        data, starts = [], []
        for source, start in zip(stage.data, stage.starts or (0,) * len(stage.data), strict=True):
            if source < -count:
                home, begin = places[-1 - count - source]
                source, start = -1 - (count if home == BLOCK else home), start + begin
            data.append(source)
            starts.append(start)
        return stage._replace(data=tuple(data), starts=tuple(starts))


def _heirs(
    stretch, buffers: list[Buffer], first: Mapping[Buffer, int], last: Mapping[Buffer, int]
) -> dict[Buffer, int]:
    """The buffers that a pointwise loop can write where it reads another for the last time: the
    same points lie at the same places.
    """
    number = {b: k for k, b in enumerate(buffers)}
    found: dict[Buffer, int] = {}
    for k, instruction in enumerate(stretch):
        if not isinstance(instruction, Loop) or instruction.kernel.kind != "pointwise":
            continue
        if instruction.places or instruction.kernel.check is not None:
            continue
        met = collections.Counter(o.buffer for o in instruction.operands)
        ends = [o for o in instruction.reads if o.buffer in number and last[o.buffer] == k]
        for out in instruction.writes:
            b = out.buffer
            if b in number and first[b] == k and met[b] == 1 and out.layout.nbytes == b.nbytes:
                for o in ends:
                    alike = o.layout is out.layout and o.start == out.start == 0
                    if alike and met[o.buffer] == 1 and o.buffer.nbytes == b.nbytes:
                        found[b] = number[o.buffer]
                        ends.remove(o)
                        break
    return found
