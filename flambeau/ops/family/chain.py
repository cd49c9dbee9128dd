"""Chains: several kernels in one launch, the results of earlier ones read by later ones.

Softmax is the model: a maximum, a sum of exponentials, and the quotient, with one native call and
no tensor between.
"""

from flambeau import compiler, ir, runtime
from flambeau.types import DType, Layout, contiguous, meta

from ..modes import state
from ..op import Op, is_tensor
from ..promotion import compute_type
from .launch import expand
from .reduction import Fold, split

RELEASE = 50_000  # ns of estimated work from which the GIL is released


class Buffer:
    """Memory that the steps of a chain read or write: `layout`, and where the launcher finds it."""

    __slots__ = ("layout", "source")

    def __init__(self, layout: Layout, source: int):
        self.layout, self.source = layout, source

    @property
    def dtype(self) -> DType:
        return self.layout.dtype


class Steps:
    """Collects the kernels of a chain. Reduced dimensions stay, with size 1, so that buffers
    broadcast."""

    def __init__(self, device):
        self.device = device
        self.fresh: list[tuple[Layout | None, int]] = []
        self.stages: list = []
        self.cost = 0.0

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

    def _new(self, made, carried):
        self.fresh.append((carried, made.nbytes))
        return Buffer(made, -len(self.fresh))

    def pointwise(self, body, operands, outputs) -> None:
        """outputs = body(*operands); operands are broadcast and cast to their compute types."""
        values = _loads(operands)
        kernel = ir.Pointwise(
            "chain", [o.dtype for o in operands], [o.dtype for o in outputs], _tuple(body(*values))
        )
        self._stage(
            kernel, outputs, [o.layout for o in outputs], operands, outputs[0].layout.shape, ()
        )

    def reduce(self, fold: Fold, operands, axes, outputs) -> None:
        """outputs = the fold of ``fold.element(*operands)`` over `axes` of the operands' common
        shape."""
        shape = common_shape(operands)
        kernel = ir.Reduce(
            "chain",
            [o.dtype for o in operands],
            [o.dtype for o in outputs],
            *split(fold, _loads(operands)),
        )
        kept = tuple(n for d, n in enumerate(shape) if d not in axes)
        self._stage(
            kernel,
            outputs,
            [contiguous(kept, o.dtype, self.device) for o in outputs],
            operands,
            shape,
            axes,
        )

    def scan(self, fold: Fold, operands, axis, outputs) -> None:
        """outputs = every prefix of the fold along `axis`."""
        kernel = ir.Scan(
            "chain",
            [o.dtype for o in operands],
            [o.dtype for o in outputs],
            *split(fold, _loads(operands)),
        )
        self._stage(
            kernel, outputs, [o.layout for o in outputs], operands, common_shape(operands), (axis,)
        )

    def call(self, stage: runtime.Stage, cost) -> None:
        """Another kernel's stage, whose data are sources of buffers; `cost` in nanoseconds."""
        self.stages.append(stage)
        self.cost += cost

    def _stage(self, kernel, outputs, written, operands, shape, axes):
        if self.device is meta:
            return
        built = compiler.build(kernel, written, [expand(o.layout, shape) for o in operands], axes)
        sources = [b.source for b in (*outputs, *operands)]
        for nbytes in built.scratch:
            self.fresh.append((None, nbytes))
            sources.append(-len(self.fresh))
        for address, data, dims, total, grain in built.stages:
            self.stages.append(
                runtime.Stage(address, tuple(sources[k] for k in data), dims, total, grain)
            )
        self.cost += built.cost


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
        device = tensors[0].layout.device
        steps = Steps(device)
        self.build(steps, *[Buffer(a.layout, i) if is_tensor(a) else a for i, a in enumerate(args)])
        record = None
        if self.gradients and any(t.layout.dtype.kind in "fc" for t in tensors):
            record = self.recorder(args)
        if device is meta:
            return self._on_meta([m for m, _ in steps.fresh if m is not None], record)
        letters = "".join("t" if is_tensor(a) else "-" for a in args)
        sizes = tuple(a.layout.itemsize if is_tensor(a) else 0 for a in args)
        launcher = runtime.launcher(
            runtime.Launch(
                letters,
                sizes,
                tuple(steps.fresh),
                tuple(steps.stages),
                steps.cost > RELEASE,
                record,
                None,
            )
        )
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
