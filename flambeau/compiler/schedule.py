"""Which loops a kernel runs in: order, merging and splitting of dimensions, lanes, and pieces for
threads.

Everything here is arithmetic on sizes and strides (in bytes); `loops` writes the code of the
variant that is chosen.
"""

import itertools
import math
import struct
from collections.abc import Sequence
from typing import NamedTuple

from flambeau.ir import Kernel, Reduce, load, parts, position, state, topological
from flambeau.types import DType, Layout

from .access import Operand
from .loops import COLUMNS, accumulators, tile_rows, unrolling
from .nests import HEADER, STRIDED_TILE, TILE, Variant
from .target import Target

LINE = 64  # bytes of a cache line
CACHE = 1 << 20  # bytes that one core keeps near
PIECE = 30_000.0  # nanoseconds of work that are worth another thread
PARTS = 64  # partial results of a fold that is split
PART = 1 << 16  # elements of each, at least
ROW = 128  # elements side by side that one thread writes at least
LONG = range(100, 400)  # expressions of long bodies; longer ones would take long to compile
POINT = 2.0  # nanoseconds for an element with a place of its own


class Dim(NamedTuple):
    """A loop: its size and each operand's stride, in bytes."""

    size: int
    strides: tuple[int, ...]


class Nest(NamedTuple):
    """The loops of one stage: innermost dimension, rest of the first nest, second nest."""

    inner: Dim
    first: list[Dim]
    second: list[Dim]


class StagePlan(NamedTuple):
    """A call to come: kernel and variant say the code, the rest is as in `build.Stage`; `cost` in
    nanoseconds.
    """

    kernel: Kernel
    variant: Variant
    data: tuple[int, ...]
    dims: bytes
    total: int
    cost: float
    least: int = 1  # iterations that belong together
    order: tuple = ()  # what the order in which a fold takes its elements follows from


class Request(NamedTuple):
    """A kernel, its operands' places among the data, how many elements go into one result.

    The first `rows` axes are the outermost loops, in their order, so that a range of them is one
    of [0, total); `counter` are the steps of the position and the first one, where it is not a
    row-major number. `ahead`: for each operand, how many bytes behind what is read the cache
    should be asked for; `streams`: the outputs that nobody reads soon.
    """

    kernel: Kernel
    data: tuple[int, ...]
    number: int
    target: Target
    rows: int = 0
    counter: tuple[Sequence[int], int] | None = None
    ahead: Sequence[int] = ()
    streams: Sequence[int] = ()

    @property
    def outputs(self) -> tuple[DType, ...]:
        return self.kernel.outputs

    @property
    def operands(self) -> tuple[DType, ...]:
        return self.kernel.outputs + self.kernel.inputs


def byte_strides(layout: Layout) -> list[int]:
    return [s * layout.dtype.itemsize for s in layout.strides]


def merged(dims: list[Dim]) -> list[Dim]:
    """Neighbours that every operand runs through with one stride, made one."""
    out: list[Dim] = []
    for dim in dims:
        if out and all(
            a == b * dim.size for a, b in zip(out[-1].strides, dim.strides, strict=True)
        ):
            out[-1] = Dim(out[-1].size * dim.size, dim.strides)
        else:
            out.append(dim)
    return out


def ordered(dims: list[Dim], priority) -> list[Dim]:
    """Dimensions with large strides first, the operands compared in order of `priority`; then
    merged.
    """
    return merged(sorted(dims, key=lambda dim: [-abs(dim.strides[k]) for k in priority]))


def ways(request: Request, strides) -> list[str]:
    """How each operand moves along the innermost dimension; output Z: one result of a fold."""
    turns = request.kernel.kind == "pointwise"
    return [
        "U"
        if stride == dtype.itemsize
        else "R"
        if turns and k >= len(request.outputs) and stride == -dtype.itemsize
        else "S"
        if stride
        else "Z"
        for k, (dtype, stride) in enumerate(zip(request.operands, strides, strict=False))
    ]


def width(kernel: Kernel, target: Target) -> int:
    """Lanes such that a vector of the widest type fills a register. What is the same for all
    elements is computed once, in whatever width.
    """
    uniform: set = set()
    types = set()
    for e in kernel.expressions:
        if e.op in ("param", "const", "count") or (e.args and uniform.issuperset(e.args)):
            uniform.add(e)
        else:
            types.add(e.dtype)
    types |= {d.to_real() for d in (*moved(kernel), *kernel.outputs)}
    widest = max((dtype.itemsize for dtype in types), default=8)
    if kernel.kind == "reduce" and all(e.dtype.kind == "f" for e in kernel.init):
        # Sums are wider than what they sum: two registers for a state cost less than half-empty
        # ones for the elements.
        widest = max([widest // 2, 4, *(d.to_real().itemsize for d in moved(kernel))])
    return target.vector_bytes // widest


def abreast(request: Request, lanes: int, run: int) -> int:
    """Lanes for a run of this length. A processor finds work that waits for no result within some
    hundred instructions: long bodies need several vectors side by side. Loops inside them would
    run until more lanes are done.
    """
    several, body = lanes * (request.target.vector_bytes // 16), request.kernel.expressions
    if len(body) not in LONG or run < 4 * several or any(e.op == "repeat" for e in body):
        return lanes
    return several


def moved(kernel: Kernel) -> list[DType]:
    """The types of inputs that are read as vectors: those of indices are not."""
    indices = {place.by for place in kernel.places}
    return [dtype for k, dtype in enumerate(kernel.inputs) if k not in indices]


# ------------------------------------------------------------------------------------ what it costs

_SLOW = {"div": 8.0, "sqrt": 8.0}


STEPS = 8  # of a loop, where nobody knows


def _cycles(expressions, lanes: int, target: Target) -> float:
    """Machine cycles of the vectors' arithmetic."""
    cycles = 0.0
    for e in expressions:
        if e.op == "repeat":
            inside = topological([e.value.proceed, *e.value.following])
            cycles += min(STEPS, e.value.limit) * _cycles(inside, lanes, target)
        elif e.op == "rem" and e.dtype.kind == "f":
            cycles += 30.0 * lanes
        elif e.op in ("div", "rem") and e.dtype.itemsize == 8 and e.dtype.kind in "iu":
            cycles += 12.0 * lanes
        elif e.args:
            registers = max(1.0, e.dtype.itemsize * lanes / target.vector_bytes)
            cycles += _SLOW.get(e.op, 0.5) * registers
    return cycles


def body_cost(request: Request, lanes: int, elements: int) -> float:
    """Nanoseconds per element of the arithmetic and of moving contiguous operands, from memory if
    they are large.
    """
    kernel = request.kernel
    cycles = _cycles(kernel.expressions, lanes, request.target)
    size = sum(dtype.itemsize for dtype in moved(kernel))
    size += 0 if kernel.kind == "reduce" else sum(dtype.itemsize for dtype in kernel.outputs)
    return max(0.3 * cycles / lanes, size * (0.008 if size * elements < CACHE else 0.035))


def strided_cost(request: Request, strides) -> float:
    """What strided operands add per element; reading a line for each element is worse."""
    cost = 0.0
    for way, stride in zip(ways(request, strides), strides, strict=False):
        cost += 0.0 if way != "S" else 0.5 if abs(stride) < LINE else 1.5
    return cost


# -------------------------------------------------------------------------------------- descriptors

RUNS = ("pointwise", "across")  # modes that read their operands in runs


def _streams(request: Request, output: int, way: str) -> bool:
    """Whether whole vectors of the output fill registers, as stores past the cache must."""
    size = request.outputs[output].itemsize * width(request.kernel, request.target)
    return way == "U" and size % request.target.vector_bytes == 0


def _computes(kernel: Kernel) -> bool:
    """Whether bodies take longer than their operands: only then is memory idle meanwhile."""
    body = kernel.body if kernel.kind == "pointwise" else [*kernel.element, *kernel.combine]
    return unrolling([e for value in body for e in parts(value)]) == 1


def pack(nest: Nest, count: int, offsets, operands: int, places=(), ahead=()) -> bytes:
    """The descriptor that `nests` documents."""
    record = 1 + 2 * operands
    table = HEADER + 2 * operands + 2 * len(places) + len(ahead) + record * len(nest.first)
    steps = math.prod(dim.size for dim in nest.second)
    numbers = [nest.inner.size, steps, count, table, len(nest.first), len(nest.second)]
    numbers += [*nest.inner.strides, *offsets, *itertools.chain(*places), *ahead]
    for dims in (nest.first, nest.second):
        for dim in reversed(dims):
            numbers += [dim.size, *dim.strides, *(dim.size * s for s in dim.strides)]
    return struct.pack(f"{len(numbers)}q", *numbers)


def stage(
    request: Request, mode: str, nest: Nest, offsets, total: int, cost: float, lanes: int, places=()
) -> StagePlan:
    """The call that runs `nest`. `offsets` are bytes to the operands' first elements."""
    strides = nest.inner.strides
    way = tiled_ways(request, nest) if mode == "tiled" else ways(request, strides)
    placed = list(map(Operand, request.operands, way))
    uses_position = len(strides) > len(placed)
    where = ("S" if strides[-1] else "Z") if uses_position else ""
    split = len(request.outputs)
    asks = any(request.ahead) and mode in RUNS and _computes(request.kernel)
    ahead = {k: n for k, n in enumerate(request.ahead) if n and way[k] == "U" and asks}
    variant = Variant(
        mode,
        tuple(placed[:split]),
        tuple(placed[split:]),
        where,
        bool(nest.first),
        bool(nest.second),
        lanes,
        tuple(ahead),
        tuple(k for k in request.streams if mode == "pointwise" and _streams(request, k, way[k])),
    )
    dims = pack(nest, request.number, offsets, len(strides), places, ahead.values())
    return StagePlan(request.kernel, variant, request.data, dims, total, cost)


# ---------------------------------------------------------------------------------------- pointwise


def row_major(shape, axes) -> list[int]:
    """Strides of the row-major number of a point among `axes`; zero along other dimensions."""
    strides, step = [0] * len(shape), 1
    for axis in sorted(axes, reverse=True):
        strides[axis] = step
        step *= shape[axis]
    return strides


def with_position(request: Request, strides: list, shape, axes) -> list:
    """`strides` of the operands, and those of the position where the body asks for it."""
    if position not in request.kernel.expressions:
        return strides
    return [*strides, request.counter[0] if request.counter else row_major(shape, axes)]


def pointwise(request: Request, outputs, inputs) -> list[StagePlan]:
    shape = (*outputs, *inputs)[0].shape
    total = math.prod(shape)
    if total == 0:
        return []
    strides = [byte_strides(layout) for layout in (*outputs, *inputs)]
    strides = with_position(request, strides, shape, range(len(shape)))
    rows = merged(select(shape, strides, range(request.rows)))
    inside = select(shape, strides, range(request.rows, len(shape)))
    dims = ordered(inside, range(len(strides)))
    lanes = width(request.kernel, request.target)
    if not dims:
        single = tuple(dtype.itemsize for dtype in request.operands)
        dims = [Dim(1, single + (0,) * (len(strides) - len(single)))]
    each = body_cost(request, lanes, total)

    def row_cost(dim):
        return strided_cost(request, dim.strides) + (2.0 + len(strides)) / dim.size

    inner = min(reversed(dims), key=row_cost)
    outer = [dim for dim in dims if dim is not inner]
    near = beside(request, outer, inner)
    lanes = abreast(request, lanes, inner.size)
    outer = rows + outer
    offsets = [0] * len(request.operands)
    if len(strides) > len(offsets):
        offsets.append(request.counter[1] if request.counter else 0)
    if near is None:
        cost = total * (each + row_cost(inner))
        return [stage(request, "pointwise", Nest(inner, outer, []), offsets, total, cost, lanes)]
    outer.remove(near)
    nest = Nest(inner, outer, [near])
    turned = [
        t for t, w in zip(request.operands, tiled_ways(request, nest), strict=True) if w in "TG"
    ]
    tiles = (
        math.prod(d.size for d in outer)
        * -(-near.size // tile_rows(turned))
        * -(-inner.size // COLUMNS)
    )
    return [stage(request, "tiled", nest, offsets, tiles, total * (each + 0.5), lanes)]


def beside(request: Request, dims: list[Dim], inner: Dim) -> Dim | None:
    """The dimension along which an input that jumps along the innermost one has its neighbours."""
    for k in range(len(request.outputs), len(request.operands)):
        if abs(inner.strides[k]) < LINE or inner.size < 8:
            continue
        near = [dim for dim in dims if 0 < abs(dim.strides[k]) < LINE and dim.size >= 4]
        if near:
            return min(near, key=lambda dim: abs(dim.strides[k]))
    return None


def tiled_ways(request: Request, nest: Nest) -> list[str]:
    """As `ways`, with T and G for inputs that are turned: their neighbours lie along the second
    nest's dimension.
    """
    [near] = nest.second
    out = ways(request, nest.inner.strides)
    for k in range(len(request.outputs), len(out)):
        step, size = near.strides[k], request.operands[k].itemsize
        if out[k] == "S" and 0 < abs(step) < abs(nest.inner.strides[k]):
            out[k] = "T" if step == size and size <= 8 else "G"
    return out


# ------------------------------------------------------------------------------------------ indexed


def indexed(request: Request, outputs, inputs, axes, places) -> list[StagePlan]:
    """Rows of elements with one place for each, or elements each with a place of its own, the
    innermost dimension either one of those that threads share or the last of `axes`.
    """
    kernel, shape = request.kernel, (*outputs, *inputs)[0].shape
    if math.prod(shape) == 0:
        return []
    strides = [byte_strides(layout) for layout in (*outputs, *inputs)]
    others = [d for d in range(len(shape)) if d not in axes]
    shared = ordered(select(shape, strides, others), range(len(strides)))
    serial = merged(select(shape, strides, axes))
    points, count = math.prod(d.size for d in shared), math.prod(d.size for d in serial)
    indices = [len(outputs) + place.by for place in kernel.places]
    lanes = width(kernel, request.target)
    body = body_cost(request, lanes, points * count)
    found = []
    for dim in shared:
        each = strided_cost(request, dim.strides) + (8.0 + 2 * len(strides)) / dim.size
        nest = Nest(dim, [d for d in shared if d is not dim], serial)
        if not any(dim.strides[k] for k in indices):
            found.append(Fold("rows", nest, 0, points, points * count * (body + each)))
        found.append(Fold("each", nest, 0, points, points * count * (POINT + each)))
    if serial or not shared:
        *rest, last = serial or [Dim(1, (0,) * len(strides))]
        cost = points * count * (POINT + (8.0 + 2 * len(strides)) / last.size)
        found.append(Fold("along", Nest(last, shared, rest), 0, points, cost))
    best = min(found, key=lambda way: way.cost)
    lanes = lanes if best.mode == "rows" else 1
    made = stage(
        request, best.mode, best.nest, (0,) * len(strides), best.total, best.cost, lanes, places
    )
    # Several threads go through all of `serial`: not for less than a few lines of the cache each.
    least = 1 if best.mode == "along" or not serial else ROW
    return [made._replace(least=min(least, best.total))]


# -------------------------------------------------------------------------------------------- folds


class Fold(NamedTuple):
    """A way to fold: mode, loops, how many pieces may run at once, nanoseconds in all."""

    mode: str
    nest: Nest
    pieces: int
    total: int
    cost: float


def fold_of(
    request: Request, kept: list[Dim], folded: list[Dim], lanes: int, rows: list[Dim] | None = None
) -> Fold:
    """The cheapest loops for a reduction; `rows` are the outermost."""
    rows = rows or []
    points, count = math.prod(d.size for d in rows + kept), math.prod(d.size for d in folded)
    body = body_cost(request, lanes, points * count)
    found = []
    for dim in folded:
        others = [d for d in folded if d is not dim]
        each = body + strided_cost(request, dim.strides) + 3.0 / max(dim.size, 1)
        cost = points * (count * each + 8.0)
        found.append(Fold("across", Nest(dim, rows + kept, others), points, points, cost))
    for dim in kept:
        others = [d for d in kept if d is not dim]
        run = min(dim.size, TILE)
        each = body + 0.03 + strided_cost(request, dim.strides) + 3.0 / run
        cost = points * (count * each + 12.0 / run)
        found.append(Fold("down", Nest(dim, rows + others, folded), points // 128, points, cost))
    return min(found, key=lambda fold: fold.cost)


def fold_stage(request: Request, fold: Fold, offsets, lanes: int) -> StagePlan:
    made = stage(request, fold.mode, fold.nest, offsets, fold.total, fold.cost, lanes)
    across = fold.mode == "across"
    steps = [*fold.nest.second, *([fold.nest.inner] if across else [])]
    return made._replace(
        order=(
            fold.mode,
            lanes * accumulators(request.kernel) if across else 0,
            tuple(dim.size for dim in steps),
        )
    )


def reduction(request: Request, outputs, inputs, axes) -> tuple[list[StagePlan], list[int]]:
    """The stages of a reduction, and the bytes of the blocks that they need beside the operands."""
    kernel, shape = request.kernel, inputs[0].shape
    kept_axes = [d for d in range(len(shape)) if d not in axes]
    strides = []
    for layout in outputs:
        spread = [0] * len(shape)
        for d, s in zip(kept_axes, byte_strides(layout), strict=True):
            spread[d] = s
        strides.append(spread)
    strides += [byte_strides(layout) for layout in inputs]
    strides = with_position(request, strides, shape, axes)
    outs = len(outputs)
    priority = [*range(outs, len(strides)), *range(outs)]
    rows = merged(select(shape, strides, range(request.rows)))
    kept = ordered(select(shape, strides, kept_axes[request.rows :]), priority)
    folded = ordered(select(shape, strides, axes), priority)
    if math.prod(d.size for d in rows + kept) == 0:
        return [], []
    if request.number == 0:
        # Nothing is read; the innermost loop runs no times.
        units = (0,) * outs + tuple(dtype.itemsize for dtype in kernel.inputs)
        folded = [Dim(0, units + (0,) * (len(strides) - len(units)))]
    if not folded:
        folded = [Dim(1, tuple(0 for _ in strides))]
    lanes = width(request.kernel, request.target)
    fold = fold_of(request, kept, folded, lanes, rows)
    if request.rows:
        return [fold_stage(request, fold, (0,) * len(strides), lanes)], []
    if cut := interleaved(request, kept, folded):
        return split(request, kept, folded, "down", cut)
    if cut := blocked(request, folded, fold):
        return split(request, kept, folded, fold.mode, cut)
    return [fold_stage(request, fold, (0,) * len(strides), lanes)], []


def select(shape, strides, axes) -> list[Dim]:
    return [Dim(shape[d], tuple(s[d] for s in strides)) for d in sorted(axes) if shape[d] != 1]


class Cut(NamedTuple):
    """A folded dimension made two: `parts` partial results, of `piece` elements each; `rest`
    elements remain.

    Part k holds the elements from k * `step` on, `stride` elements apart; the rest is behind them
    all.
    """

    whole: Dim
    parts: int
    piece: int
    step: int
    stride: int

    @property
    def rest(self) -> int:
        return self.whole.size - self.parts * self.piece


def blocked(request: Request, folded: list[Dim], fold: Fold) -> Cut | None:
    """Parts for threads, where there are few results and much to fold.

    They depend on sizes alone, not on the number of threads or on what is computed for an element,
    so that results do not either.
    """
    count = fold.total * request.number
    if count < 2 * PART or fold.pieces >= PARTS // 2 or request.number < 2048:
        return None
    want = min(PARTS // max(fold.pieces, 1), math.ceil(count / PART), request.number // 1024)
    outs = len(request.outputs)
    whole = max(folded, key=lambda dim: (min(dim.size, want), sum(map(abs, dim.strides[outs:]))))
    piece = -(-whole.size // want)
    piece = min(-(-piece // 64) * 64, whole.size) if len(folded) == 1 else piece
    return Cut(whole, whole.size // piece, piece, piece, 1)


def interleaved(request: Request, kept: list[Dim], folded: list[Dim]) -> Cut | None:
    """Parts for lanes, where rows of few kept elements lie one behind the other: many are folded as
    one long row.
    """
    if not kept or kept[-1].size >= COLUMNS or folded[-1].size * kept[-1].size < 16 * TILE:
        return None
    inner, whole, ins = kept[-1], folded[-1], slice(len(request.outputs), len(request.operands))
    if any(
        a * inner.size != b for a, b in zip(inner.strides[ins], whole.strides[ins], strict=True)
    ):
        return None
    parts = TILE // inner.size
    return Cut(whole, parts, whole.size // parts, 1, parts)


def split(request: Request, kept: list[Dim], folded: list[Dim], mode: str, cut: Cut):
    """Two rounds: partial states of the parts, then the fold of those."""
    kernel, outs, whole = request.kernel, len(request.outputs), cut.whole
    states = [e.dtype for e in kernel.init]
    first = Reduce(
        kernel.name + "_part", kernel.inputs, states, kernel.init, kernel.element, kernel.combine,
        [state(k, dtype) for k, dtype in enumerate(states)],
    )  # fmt: skip
    second = Reduce(
        kernel.name + "_join", states, kernel.outputs, kernel.init,
        [load(k, dtype) for k, dtype in enumerate(states)], kernel.combine, kernel.finish,
    )  # fmt: skip
    base = len(request.operands)
    scratch = tuple(range(base, base + len(states)))
    partial = request._replace(kernel=first, data=scratch + request.data[outs:])
    join = request._replace(kernel=second, data=request.data[:outs] + scratch)
    every = cut.parts + (cut.rest > 0)
    kept_states, part_step = state_strides(kept, states, mode, every)
    inside = [Dim(d.size, s + d.strides[outs:]) for d, s in zip(kept, kept_states, strict=True)]
    zeros, moves = (0,) * len(states), whole.strides[outs:]
    others = [Dim(d.size, zeros + d.strides[outs:]) for d in folded if d is not whole]
    part = Dim(cut.parts, part_step + tuple(cut.step * s for s in moves))
    row = Dim(cut.piece, zeros + tuple(cut.stride * s for s in moves))
    lanes = width(first, request.target)
    fold = fold_of(partial, merged([part, *inside]), [*others, row], lanes)
    plans = [fold_stage(partial, fold, zeros + (0,) * len(moves), lanes)]
    if cut.rest:
        fold = fold_of(partial, inside, [*others, Dim(cut.rest, zeros + moves)], lanes)
        done = tuple(cut.parts * cut.piece * s for s in moves)
        plans.append(
            fold_stage(partial, fold, tuple(cut.parts * s for s in part_step) + done, lanes)
        )
    kept = merged(
        [Dim(d.size, d.strides[:outs] + s) for d, s in zip(kept, kept_states, strict=True)]
    )
    lanes = width(second, request.target)
    fold = fold_of(join, kept, [Dim(every, (0,) * outs + part_step)], lanes)
    plans.append(fold_stage(join, fold, (0,) * outs + zeros, lanes))
    return plans, [every * math.prod(d.size for d in kept) * d.itemsize for d in states]


def state_strides(kept, states: list[DType], mode: str, every: int):
    """Strides of the partial states along the kept dimensions, and from part to part."""
    step = every if mode == "across" else 1
    steps = []
    for dim in reversed(kept):
        steps.append(step)
        step *= dim.size
    each = [tuple(s * d.itemsize for d in states) for s in reversed(steps)]
    return each, tuple((1 if mode == "across" else step) * d.itemsize for d in states)


# -------------------------------------------------------------------------------------------- scans


def scan(request: Request, outputs, inputs, axis: int) -> list[StagePlan]:
    shape = inputs[0].shape
    if math.prod(shape) == 0:
        return []
    strides = [byte_strides(layout) for layout in (*outputs, *inputs)]
    strides = with_position(request, strides, shape, (axis,))
    line = Dim(shape[axis], tuple(s[axis] for s in strides))
    kept = ordered(
        select(shape, strides, [d for d in range(len(shape)) if d != axis]), range(len(strides))
    )
    points = math.prod(d.size for d in kept)
    lanes = width(request.kernel, request.target)
    offsets = (0,) * len(strides)
    body = body_cost(request, 1, points * line.size) + 1.2 + strided_cost(request, line.strides)
    found = [
        Fold("across", Nest(line, kept, []), points, points, points * (line.size * body + 5.0))
    ]
    for dim in kept:
        others = [d for d in kept if d is not dim]
        added = strided_cost(request, dim.strides)
        run = min(dim.size, STRIDED_TILE if added else TILE)
        each = body_cost(request, lanes, points * line.size) + 0.03 + added + 3.0 / run
        found.append(
            Fold("down", Nest(dim, others, [line]), points, points, points * line.size * each)
        )
    fold = min(found, key=lambda fold: fold.cost)
    return [fold_stage(request, fold, offsets, 1 if fold.mode == "across" else lanes)]
