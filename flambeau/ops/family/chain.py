"""Chains: several kernels in one launch, the results of earlier ones read by later ones.

Softmax is the model: a maximum, a sum of exponentials, and the quotient, with one native call and
no tensor between. Where all kernels have their first dimensions in common, as they have here, those
are *rows*: the kernels run over a block of rows that stays in the cache, then over the next block,
and memory is read and written once.
"""

import math
import struct
from typing import Any, NamedTuple

from flambeau import compiler, ir, runtime
from flambeau.types import DType, Layout, contiguous, dense_like, layout, meta

from ..modes import state
from ..op import Op, is_tensor
from ..promotion import compute_type
from .launch import Work, expand, same_device, scratch_of
from .product import product_stage
from .reduction import Fold, split

RELEASE = 50_000  # ns of estimated work from which the GIL is released
_ENOUGH_ROWS = 32  # so many rows are shared out well, whatever the number of threads
_PIECE = 30_000.0  # ns of work that are worth another thread
_LONG_ROW = 64  # elements from which a row is worth loops of its own


class Buffer:
    """Memory that the steps of a chain read or write: `layout`, where the launcher finds it, and
    `offset` elements behind its start."""

    __slots__ = ("layout", "offset", "source")

    def __init__(self, layout: Layout, source: int, offset: int = 0):
        self.layout, self.source, self.offset = layout, source, offset

    @property
    def dtype(self) -> DType:
        return self.layout.dtype

    def narrow(self, dim: int, start: int, stop: int) -> "Buffer":
        """The part from `start` to `stop` along `dim`."""
        old = self.layout
        dim %= old.ndim
        shape = (*old.shape[:dim], stop - start, *old.shape[dim + 1 :])
        made = old.reshaped(shape, old.strides)
        return Buffer(made, self.source, self.offset + start * old.strides[dim])

    def turned(self) -> "Buffer":
        """The last two dimensions exchanged."""
        shape, strides = self.layout.shape, self.layout.strides
        swap = (*range(len(shape) - 2), -1, -2)
        made = self.layout.reshaped(tuple(shape[d] for d in swap), tuple(strides[d] for d in swap))
        return Buffer(made, self.source, self.offset)


class _Step(NamedTuple):
    """A kernel to run over `shape`, the reduced `axes` included, or (kernel None) a product."""

    kernel: Any  # an `ir.Kernel`, or None
    buffers: tuple[Buffer, ...]  # outputs, then inputs
    shape: tuple[int, ...]
    axes: tuple[int, ...] = ()
    counter: tuple | None = None
    places: tuple = ()
    add: bool = False

    def product(self) -> "Multiplied":
        return Multiplied(
            tuple(b.layout for b in self.buffers),
            tuple(b.source for b in self.buffers),
            tuple(b.offset * b.layout.itemsize for b in self.buffers),
            self.add,
        )

    def work(self) -> Work:
        kernel = self.kernel
        count = len(kernel.outputs)
        kept = [d for d in range(len(self.shape)) if kernel.kind != "reduce" or d not in self.axes]
        written = [
            b.layout.reshaped(
                tuple(self.shape[d] for d in kept), tuple(b.layout.strides[d] for d in kept)
            )
            for b in self.buffers[:count]
        ]
        read = [expand(b.layout, self.shape) for b in self.buffers[count:]]
        starts = [b.offset * b.layout.itemsize for b in self.buffers]
        return Work(
            kernel,
            (*written, *read),
            tuple(b.source for b in self.buffers),
            self.axes,
            self.places,
            tuple(starts) if any(starts) else None,
            self.counter,
        )


class _Call(NamedTuple):
    """A kernel that is no `ir.Kernel`, to run over [0, total); `cost` in nanoseconds."""

    address: int
    buffers: tuple[Buffer, ...]
    dims: bytes
    total: int
    cost: float

    def stage(self) -> runtime.Stage:
        data = tuple(b.source for b in self.buffers)
        grain = max(1, round(_PIECE * self.total / max(self.cost, 1.0)))
        return runtime.Stage(self.address, data, self.dims, self.total, min(grain, self.total))


def viewed(buffer: Buffer, shape, strides, offset=0) -> Buffer:
    """The buffer's memory from `offset` on, with another shape and other strides."""
    made = buffer.layout.reshaped(tuple(shape), tuple(strides))
    return Buffer(made, buffer.source, buffer.offset + offset)


class Steps:
    """Collects the kernels of a chain. Reduced dimensions stay, with size 1, so that buffers
    broadcast.

    `rows` is the number of leading dimensions that all steps have in common; None: found out.
    """

    def __init__(self, device):
        self.device = device
        self.rows: int | None = None
        self.releases = True  # whether a long launch may let other Python threads run
        self.fresh: list[tuple[Layout | None, int]] = []
        self.cost = 0.0
        self._steps: list[Any] = []  # of _Step and _Call

    def plain(self, shape, dtype) -> Layout:
        """The row-major layout of `shape`."""
        return contiguous(shape, dtype, self.device)

    def scratch(self, shape, dtype) -> Buffer:
        """Memory that lives as long as the launch."""
        return self._new(contiguous(shape, dtype, self.device), None)

    def result(self, shape, dtype, carried=None) -> Buffer:
        """The next result; `carried` is the layout of the tensor where that differs in shape."""
        made = contiguous(shape, dtype, self.device)
        return self._new(made, carried or made)

    def result_as(self, made: Layout) -> Buffer:
        """The next result, in a layout of its own."""
        return self._new(made, made)

    def result_like(self, source: Layout, dtype: DType) -> Buffer:
        """The next result, of the shape of `source` and in its order of memory, without gaps."""
        strides = dense_like(source.shape, source.strides)
        return self.result_as(layout(source.shape, strides, dtype, self.device))

    def _new(self, made, carried):
        self.fresh.append((carried, made.nbytes))
        return Buffer(made, -len(self.fresh))

    def copy(self, target: Buffer, source: Buffer) -> None:
        """target = source, of equal shape, converted."""
        self.pointwise(lambda value: value, [source], [target])

    def dense(self, buffer: Buffer) -> Buffer:
        """The buffer, or a copy of it in row-major order."""
        if buffer.layout.contiguous and not buffer.layout.conj and not buffer.layout.neg:
            return buffer
        made = self.scratch(buffer.layout.shape, buffer.dtype)
        self.copy(made, buffer)
        return made

    def pointwise(self, body, operands, outputs, counter=None) -> None:
        """outputs = body(*operands); operands are broadcast and cast to their compute types. For
        `counter`, the meaning of `ir.position`, see `compiler.build`.
        """
        values = _loads(operands)
        kernel = ir.Pointwise("chain", _types(operands), _types(outputs), _tuple(body(*values)))
        shape = outputs[0].layout.shape
        self._steps.append(_Step(kernel, (*outputs, *operands), shape, (), counter))

    def step(self, kernel, outputs, operands, order=(), places=()) -> None:
        """Any kernel whose operands have one shape; for `places` see `compiler.build`."""
        buffers = (*outputs, *operands)
        self._steps.append(
            _Step(kernel, buffers, buffers[0].layout.shape, order, places=tuple(places))
        )

    def call(self, address, buffers, dims, total, cost) -> None:
        """A native kernel, see `_Call`; `dims` may be numbers."""
        packed = dims if isinstance(dims, bytes) else struct.pack(f"{len(dims)}q", *dims)
        self._steps.append(_Call(address, tuple(buffers), packed, total, cost))

    def stage(self, stage: runtime.Stage, cost: float) -> None:
        """A native kernel as the stage that it will be; `cost` in nanoseconds."""
        self._steps.append(stage)
        self.cost += cost

    def whole(self, work) -> None:
        """Kernels that are described together with what is made of their results, see `Multiply`:
        ``work.stages(scratch)``."""
        self._steps.append(work)

    def calls(self) -> list[runtime.Stage]:
        """The stages, which run one after the other."""
        return self._one_by_one()[0]

    def reduce(self, fold: Fold, operands, axes, outputs) -> None:
        """outputs = the fold of ``fold.element(*operands)`` over `axes` of the operands' common
        shape."""
        self._fold(ir.Reduce, fold, operands, axes, outputs)

    def scan(self, fold: Fold, operands, axis, outputs) -> None:
        """outputs = every prefix of the fold along `axis`."""
        self._fold(ir.Scan, fold, operands, (axis,), outputs)

    def _fold(self, kind, fold, operands, axes, outputs):
        kernel = kind("chain", _types(operands), _types(outputs), *split(fold, _loads(operands)))
        shape = common_shape(operands)
        self._steps.append(_Step(kernel, (*outputs, *operands), shape, tuple(axes)))

    def product(self, a, b, out, add=False) -> None:
        """out = a @ b (`add`: added to it), matrices in the last two dimensions."""
        self._steps.append(_Step(None, (out, a, b), out.layout.shape, add=add))

    def _common_rows(self) -> int:
        """How many leading dimensions are rows of all steps: 0 where rows are few or short."""
        if not all(isinstance(step, _Step) for step in self._steps):
            return 0
        folds = [step for step in self._steps if step.axes]
        kinds = {step.kernel.kind for step in self._steps}
        if len(self._steps) < 2 or not folds or not kinds <= {"pointwise", "reduce"}:
            return 0
        rows = min(min(step.axes) for step in folds)
        lead = folds[0].shape[:rows]
        if any(step.shape[:rows] != lead for step in self._steps):
            return 0
        longest = max((step.shape for step in self._steps), key=lambda shape: math.prod(shape))
        return rows if self.goes_by_rows(longest, range(rows, len(longest))) else 0

    def goes_by_rows(self, shape, axes) -> bool:
        """Whether kernels over `shape` that fold `axes` have rows enough, and long ones."""
        rows = min(axes, default=0)
        return math.prod(shape[:rows]) >= _ENOUGH_ROWS and math.prod(shape[rows:]) >= _LONG_ROW

    def launch(self, letters, sizes, record, fail=None):
        """The launcher of all steps."""
        rows = self._common_rows() if self.rows is None else self.rows
        stages, works = self._by_rows(rows) if rows else self._one_by_one()
        outputs = tuple(f for f in self.fresh if not rows or f[0])
        release = self.releases and self.cost > RELEASE
        return runtime.launcher(
            runtime.Launch(letters, sizes, outputs, tuple(stages), release, record, fail, works)
        )

    def _one_by_one(self):
        works = [
            step.stage() if isinstance(step, _Call)
            else step.work() if isinstance(step, _Step)
            else step
            for step in self._steps
        ]  # fmt: skip
        linked = iter(compiler.link([w.plan() for w in works if isinstance(w, Work)]))
        stages = []
        for step, work in zip(self._steps, works, strict=True):
            if isinstance(work, Work):
                built = next(linked)
                stages += work.stages(built, self.fresh)
                self.cost += built.cost
            elif isinstance(work, runtime.Stage):
                stages.append(work)
                self.cost += 0.0 if work is step else step.cost
            else:
                made = work.stages(scratch_of(self.fresh))
                stages += made
                self.cost += sum(_PIECE * s.total / s.grain for s in made)
        return stages, tuple(works)

    def _by_rows(self, rows):
        """One stage: what the steps hand to each other is scratch memory for a block of rows."""
        inner = {-1 - k: nbytes for k, (carried, nbytes) in enumerate(self.fresh) if not carried}
        works = [step.product() if step.kernel is None else step.work() for step in self._steps]
        # Results are numbered as the outputs that they will be, scratch blocks behind them.
        order = [-1 - k for k, (carried, _) in enumerate(self.fresh) if carried] + list(inner)
        number = {source: -1 - k for k, source in enumerate(order)}
        works = tuple(w._replace(sources=tuple(number.get(s, s) for s in w.sources)) for w in works)
        whole = InRows(works, rows, {number[s]: nbytes for s, nbytes in inner.items()})
        stage, cost = whole.stage()
        self.cost += cost
        return [stage], (whole,)


class Multiplied(NamedTuple):
    """A product of matrices: as `Work`, of operands out, a and b."""

    operands: tuple[Layout, ...]
    sources: tuple[int, ...]
    starts: tuple[int, ...]
    add: bool

    @property
    def outputs(self) -> int:
        return 1

    def pairs(self):
        """(source, layout) of each operand."""
        return zip(self.sources, self.operands, strict=True)


class InRows(NamedTuple):
    """Kernels to be run together over blocks of rows: the first `rows` dimensions of all of them.

    `inner` are the bytes of what they hand to each other, by source: memory that needs to be there
    for the rows of a block only.
    """

    works: tuple[Work | Multiplied, ...]
    rows: int
    inner: dict[int, int]

    def stage(self) -> tuple[runtime.Stage, float]:
        """The stage, and a rough time in nanoseconds."""
        total, rows = math.prod(self.works[0].operands[0].shape[: self.rows]), self.rows
        near = {s: row_bytes(y, rows) for w in self.works for s, y in w.pairs()}
        block = runtime.block_of(sum(near.values()), total)
        ahead = self._ahead(block)
        read = {s for w in self.works for s in w.sources[w.outputs :]}
        plans = [
            w.plan(rows, ahead[k], read) for k, w in enumerate(self.works) if isinstance(w, Work)
        ]
        built = iter(compiler.link(plans))
        met = list(dict.fromkeys(s for w in self.works for s in w.sources if s not in self.inner))
        places = {s: k for k, s in enumerate(met)}
        places |= {s: -1 - k for k, s in enumerate(self.inner)}
        parts: list[runtime.Part] = []
        cost = 0.0
        for work in self.works:
            if isinstance(work, Work):
                made = next(built)
                found: list[Any] = list(made.stages)
                cost += made.cost
            else:
                out, a, b = work.operands
                found = [product_stage(out, a, b, work.add)]
                cost += 0.02 * work.operands[0].numel * work.operands[1].shape[-1]
            starts = work.starts or (0,) * len(work.sources)
            pairs = [(places[s], at) for s, at in zip(work.sources, starts, strict=True)]
            for address, data, dims, count, *_ in found:
                each = tuple(pairs[k] for k in data)
                parts.append(runtime.Part(address, each, dims, count // total))
        grain = max(1, min(total, round(_PIECE * total / max(cost, 1.0))))
        scratch = tuple(nbytes // total for nbytes in self.inner.values())
        if any(plan.call for plan in plans):
            grain = block = total  # an interpreted kernel does all rows in one call
        whole = runtime.Rows(parts, tuple(met), scratch, total, grain, block)
        return runtime.rows_stage(whole), cost

    def _ahead(self, block: int) -> list[tuple[int, ...]]:
        """For each operand of each work, how far behind it the next block lies, where it should be
        asked for: by the last of several works that read it. The first waits for memory as it
        runs, the others would leave memory waiting.
        """
        readers: dict[int, list[int]] = {}
        written: set[int] = set(self.inner)
        for k, work in enumerate(self.works):
            count = work.outputs
            written |= set(work.sources[:count])
            for s in dict.fromkeys(work.sources[count:]):
                readers.setdefault(s, []).append(k)
        out = []
        for k, work in enumerate(self.works):
            mine = [
                block * row_step(y, self.rows)
                if s not in written and len(readers[s]) > 1 and readers[s][1] == k
                else 0
                for s, y in work.pairs()
            ]
            out.append(tuple(mine))
        return out


def row_step(layout: Layout, rows: int) -> int:
    """Bytes from a row of `layout` to the next one, 0 where that is not one number."""
    step = layout.strides[rows - 1]
    each = step
    for size, stride in zip(layout.shape[:rows][::-1], layout.strides[:rows][::-1], strict=True):
        if stride != each:
            return 0
        each *= size
    return step * layout.itemsize


def row_bytes(layout: Layout, rows: int) -> int:
    """Bytes of `layout` for each of its rows; 0 where all rows have the same."""
    if rows and not any(layout.strides[:rows]):
        return 0
    inside = zip(layout.shape[rows:], layout.strides[rows:], strict=True)
    return math.prod(n for n, stride in inside if stride) * layout.itemsize


def _types(buffers):
    return [b.dtype for b in buffers]


def common_shape(operands) -> tuple[int, ...]:
    """The shape that operands of equal rank broadcast to."""
    ranked = [o.layout.shape for o in operands]
    return tuple(max(ns) if 0 not in ns else 0 for ns in zip(*ranked, strict=True))


def _tuple(values):
    return values if isinstance(values, tuple) else (values,)


def _loads(operands):
    values = []
    for i, o in enumerate(operands):
        value = ir.load(i, o.dtype)
        value = value.conj() if o.layout.conj else value
        inner = ir.cast(value, compute_type(o.dtype))
        values.append(-inner if o.layout.neg else inner)
    return values


class Chain(Op):
    """`build(steps, *args)` gets buffers in place of tensors and says which kernels run.

    A chain either has gradients, or `body`: the same in differentiable ops, taken where a gradient
    is wanted.
    """

    family = "chain"

    def __init__(self, schema, doc, build, body, gradients, **options):
        super().__init__(schema, doc, gradients, **options)
        self.build, self.body = build, body

    def plan(self, args):
        tensors = [a for a in args if is_tensor(a)]
        device = same_device([t.layout for t in tensors], self.name)
        steps = Steps(device)
        self.build(steps, *[Buffer(a.layout, i) if is_tensor(a) else a for i, a in enumerate(args)])
        record = None
        if self.gradients and any(t.layout.dtype.kind in "fc" for t in tensors):
            record = self.recorder(args)
        if device is meta:
            return self._on_meta([m for m, _ in steps.fresh if m is not None], record)
        letters = "".join("t" if is_tensor(a) else "-" for a in args)
        sizes = tuple(a.layout.itemsize if is_tensor(a) else 0 for a in args)
        launcher = steps.launch(letters, sizes, record)
        return launcher if self.body is None else self._or_body(launcher)

    def _or_body(self, launcher):
        body = self.body

        def plan(*args):
            if state.grad and any([is_tensor(a) and a._node is not None for a in args]):
                return body(*args)
            return launcher(*args)

        return plan

    def _on_meta(self, made, record):
        def plan(*args):
            results = tuple(runtime.wrap(runtime.foreign(0, 0, None), m, 0) for m in made)
            result = results[0] if len(results) == 1 else results
            if (
                record is not None
                and state.grad
                and any(getattr(a, "_node", None) is not None for a in args)
            ):
                record(result, *args)
            return result

        return plan


def chain(schema, doc, *, build, body=None, grad=None, **options) -> Chain:
    """Declares a chain: see `Chain`."""
    return Chain(schema, doc, build, body, grad, **options)
