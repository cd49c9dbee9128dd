"""Reductions and scans: a fold over some dimensions.

The family supplies dimension handling, `keepdim`, dtypes and memory; a declaration supplies the
monoid.
"""

from collections.abc import Callable
from typing import NamedTuple

from flambeau import ir
from flambeau.types import contiguous

from ..op import Op
from ..promotion import compute_type
from .launch import Slots, launch


class Fold(NamedTuple):
    """A monoid. `init`: pairs (value, dtype) of the state; `element(*x)`: an element's state;
    `combine(a, b)`: of two states, associative up to rounding; `finish(state, count)`: the outputs.
    """

    init: tuple
    element: Callable
    combine: Callable
    finish: Callable


def wrap_dim(dim: int, ndim: int) -> int:
    """A dimension in [0, ndim); negative ones count from the end. A 0-dim tensor has dimensions 0
    and -1."""
    limit = max(ndim, 1)
    if not -limit <= dim < limit:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-limit}, {limit - 1}], but got "
            f"{dim})"
        )
    return dim + limit if dim < 0 else dim


def wrap_dims(dims, ndim: int) -> tuple[int, ...]:
    """Several dimensions, each once; None or an empty list is all of them."""
    if ndim > 64:
        raise RuntimeError("only tensors with up to 64 dims are supported")
    if dims is None or dims == ():
        return tuple(range(ndim))
    wrapped = tuple(wrap_dim(d, ndim) for d in ((dims,) if isinstance(dims, int) else dims))
    for d in wrapped:
        if wrapped.count(d) > 1:
            raise RuntimeError(f"dim {d} appears multiple times in the list of dims")
    return tuple(d for d in sorted(wrapped) if d < ndim)


class Reduction(Op):
    """A fold over `dim`; `scan` keeps every prefix. Arguments other than self, dim, keepdim and
    dtype are static."""

    family = "reduction"
    kernel = ir.Reduce

    def __init__(self, schema, doc, fold, dtype, gradients, empty, results=None, **options):
        super().__init__(schema, doc, gradients, **options)
        self.fold, self.dtype, self.empty, self.results = fold, dtype, empty, results

    def plan(self, args):
        named = {a.name: v for a, v in zip(self.schema.arguments, args, strict=True)}
        source = named.pop("self").layout
        dims, keepdim = named.pop("dim", None), named.pop("keepdim", False)
        axes = wrap_dims(dims, source.ndim)
        if self.empty is not None and any(source.shape[d] == 0 for d in axes):
            self.empty(self, source, dims)
        accumulate, results = self.dtype(source.dtype, named.pop("dtype", None))
        slots, value = self._slots(args, accumulate)
        kernel = self._kernel(slots, value, results, named)
        kept = tuple(n for d, n in enumerate(source.shape) if d not in axes)
        outputs = [contiguous(kept, r, source.device) for r in results]
        made = outputs
        if keepdim:
            full = tuple(1 if d in axes else n for d, n in enumerate(source.shape))
            made = [contiguous(full, r, source.device) for r in results]
        record = self.recorder(args) if self.gradients and source.dtype.kind in "fc" else None
        return self._named(
            launch(kernel, slots, outputs, axes=axes, record=record, result_layouts=made)
        )

    def _named(self, launcher):
        """Gives several results their names."""
        names = self.results
        return launcher if names is None else lambda *args: names(*launcher(*args))

    def _slots(self, args, accumulate):
        slots = Slots()
        value = slots.tensor(args[0].layout)
        for _ in args[1:]:
            slots.skip()
        return slots, ir.cast(value, compute_type(accumulate))

    def _kernel(self, slots, value, results, static):
        fold = self.fold(value.dtype, *static.values())
        return self.kernel(
            self.name, [i.dtype for i in slots.inputs], results, *split(fold, [value])
        )


class Scan(Reduction):
    """Every prefix of a fold along one dimension."""

    family = "scan"
    kernel = ir.Scan
    inplace_form = True

    def plan(self, args):
        named = {a.name: v for a, v in zip(self.schema.arguments, args, strict=True)}
        source = named.pop("self").layout
        axis = wrap_dim(named.pop("dim"), source.ndim)
        accumulate, results = self.dtype(source.dtype, named.pop("dtype", None))
        slots, value = self._slots(args, accumulate)
        kernel = self._kernel(slots, value, results, named)
        outputs = [source.plain(r) for r in results]
        record = self.recorder(args) if self.gradients and source.dtype.kind in "fc" else None
        if source.ndim:
            return self._named(launch(kernel, slots, outputs, axes=(axis,), record=record))
        lines = [contiguous((1,), r, source.device) for r in results]
        return self._named(
            launch(
                kernel, slots, lines, axes=(0,), record=record, shape=(1,), result_layouts=outputs
            )
        )


def split(fold: Fold, values):
    """(init, element, combine, finish) of a fold over `values`, complex states split into real
    components."""
    init = [ir.const(v, d) for v, d in fold.init]
    state, other = _leaves(ir.state, fold.init), _leaves(ir.other, fold.init)
    flat = [_flat(vs) for vs in (init, fold.element(*values), fold.combine(state, other))]
    return *flat, fold.finish(state, ir.count)


def _leaves(make, init):
    leaves, index = [], 0
    for _, dtype in init:
        if dtype.kind == "c":
            part = dtype.to_real()
            leaves.append(ir.Pair(make(index, part), make(index + 1, part)))
            index += 2
        else:
            leaves.append(make(index, dtype))
            index += 1
    return tuple(leaves)


def _flat(values):
    return tuple(e for v in values for e in ir.parts(v))


def reduction(schema, doc, *, fold, dtype, grad=None, empty=None, **options) -> Reduction:
    """Declares a reduction.

    `fold(dtype, *static)` is the monoid for elements of the accumulation dtype. `dtype(input,
    asked)` gives (dtype that elements are cast to, dtypes of the results). `empty(op, layout,
    dims)` raises where folding nothing is wrong. `results` is the tuple type of several results.
    """
    return Reduction(schema, doc, fold, dtype, grad, empty, **options)


def scan(schema, doc, *, fold, dtype, grad=None, **options) -> Scan:
    """Declares a scan: as `reduction`, with every prefix kept along `dim`. States are combined in
    order."""
    return Scan(schema, doc, fold, dtype, grad, None, **options)
