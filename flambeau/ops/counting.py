"""Counting: distinct elements, runs of equal ones, how often each number occurs, repetition by
counts.
"""

from __future__ import annotations

import math
import operator

from flambeau import ir, runtime
from flambeau._base import numpy
from flambeau.runtime import IN_ORDER, IN_WORD, LISTED
from flambeau.types import by_name, contiguous, meta

from .extremes import aminmax
from .facts import type_name
from .family import Buffer, Fold, chain, indexed, opaque
from .family.indexed import IndexedSteps, finish, vector, viewed
from .family.launch import Slots
from .family.reduction import wrap_dim
from .op import Op, composite, is_tensor
from .promotion import compute_type
from .sorting import NAN, NAN_PACKED, Lines

FLOAT32, FLOAT64, INT32, INT64 = map(by_name, ("float32", "float64", "int32", "int64"))


class _Counted(Op):
    """An op whose results are as long as the elements say: they are counted first, and then written
    by a launch that gets the length as a number.
    """

    family = "indexed"

    def steps(self, *layouts):
        """Slots and steps for tensors of these layouts, and their buffers."""
        if layouts[0].device is meta:
            raise NotImplementedError(f"{self.name} is not available on the meta device")
        slots, steps = Slots(), IndexedSteps(layouts[0].device)
        for layout in layouts:
            slots.tensor(layout)
        return slots, steps, [Buffer(layout, k) for k, layout in enumerate(layouts)]

    def writer(self, kernel, layouts, *dims):
        """The launcher of a kernel that writes to the first of tensors of these layouts, and gets a
        number.
        """
        slots, steps, buffers = self.steps(*layouts)
        slots.number(int)
        dense = [steps.dense(buffer) for buffer in buffers]
        cost = 2.0 * layouts[-1].numel
        steps.call(runtime.order_kernel(kernel), dense, dims, 1, cost)
        return finish(steps, slots, None, None, "m")


def _vector(count, dtype):
    """A new vector that nobody has written."""
    made = contiguous((count,), dtype)
    return runtime.wrap(runtime.empty(made.nbytes), made, 0)


class _Distinct(_Counted):
    def plan(self, args):
        (source, *wanted, wants_length), layout = args, args[0].layout
        if layout.dtype.kind == "c":
            raise NotImplementedError(f"\"unique\" not implemented for '{type_name(layout.dtype)}'")
        slots, steps, [source] = self.steps(layout)
        _runs(steps, source, *wanted)
        find = finish(steps, slots, None, None)
        dtype, listed = layout.dtype, contiguous((layout.numel,), INT64)
        plain = contiguous((layout.numel,), dtype)
        choose = self.writer("chosen", [plain, layout, listed], dtype.itemsize)
        lead = self.writer("leading", [listed, listed])

        def distinct(tensor, *_):
            first, length, member, total = find(tensor)
            count = total.item()
            output = choose(_vector(count, dtype), tensor, first, count)
            if wants_length:
                length = lead(_vector(count, INT64), length, count)
            return output, member, length

        return distinct


def _runs(steps, source, sorts, wants_member):
    lines = Lines(steps, source, 0)
    if sorts:
        lines.sort()
    first, length, member = (steps.result((lines.n,), INT64) for _ in range(3))
    buffers = [lines.words, lines.numbers or lines.words, first, length, member]
    buffers.append(steps.result((), INT64))
    shift, bound = (32, NAN_PACKED) if lines.packed else (0, NAN)
    where = IN_WORD if lines.packed else LISTED if sorts else IN_ORDER
    has_nan = source.dtype.kind == "f"
    dims = (lines.n, shift, where, bound, int(has_nan), int(wants_member))
    steps.call(runtime.order_kernel("runs"), buffers, dims, 1, 4.0 * lines.n)


_distinct = _Distinct(
    "aten::_distinct(Tensor self, bool sort, bool inverse, bool counts) -> (Tensor output, Tensor "
    "inverse, Tensor counts)",
    """Distinct elements of a vector in rising order, or (without `sort`) the first of every run of
    equal ones; on demand the place of each input among them, and their counts.
    """,
    method=False,
    function=False,
)


def _groups(array, axis):
    """(distinct slices in order along `axis`, first places, inverse, counts) of an array."""
    moved = numpy.moveaxis(array, axis, 0)
    if not moved.size:
        n = min(moved.shape[0], 1)
        if moved.shape[0] and 0 in moved.shape[1:]:
            raise RuntimeError(
                "unique: There are 0 sized dimensions, and they aren't selected, so unique cannot "
                "be applied"
            )
        return (
            array[(slice(None),) * axis + (slice(n),)],
            numpy.zeros(moved.shape[0], int),
            numpy.zeros(n, int),
        )
    values, inverse, counts = numpy.unique(
        array, axis=axis, return_inverse=True, return_counts=True
    )
    return values, inverse.reshape(-1), counts


def _unique(array, dim):
    values, inverse, counts = _groups(array, wrap_dim(dim, array.ndim))
    return values, inverse.astype(numpy.int64), counts.astype(numpy.int64)


unique_op = opaque(
    "aten::_unique(Tensor self, int dim) -> (Tensor output, Tensor inverse, Tensor counts)",
    """Distinct slices in rising order, the place of each input among them, and their counts.""",
    run=_unique,
    function=False,
    method=False,
)


def _consecutive(array, dim):
    axis = wrap_dim(dim, array.ndim)
    rows = numpy.moveaxis(array, axis, 0)
    n = rows.shape[0]
    flat = rows.reshape(n, -1) if rows.size else numpy.zeros((n, 1))
    fresh = numpy.ones(n, bool)
    fresh[1:] = (flat[1:] != flat[:-1]).any(axis=1)
    starts = numpy.flatnonzero(fresh)
    counts = numpy.diff(numpy.append(starts, n))
    inverse = numpy.cumsum(fresh) - 1
    values = numpy.moveaxis(rows[starts], 0, axis)
    return values, inverse.astype(numpy.int64), counts.astype(numpy.int64)


unique_consecutive_op = opaque(
    "aten::_unique_consecutive(Tensor self, int dim) -> (Tensor output, Tensor inverse, "
    "Tensor counts)",
    """As `_unique`, of neighbours only.""",
    run=_consecutive,
    function=False,
    method=False,
)


def _found(self, along, sorts, return_inverse, return_counts, dim):
    """What `unique` and `unique_consecutive` return; `along` finds slices along a dimension."""
    if dim is not None:
        output, inverse, counts = along(self.detach(), dim)
    elif not self.layout.numel:
        output, counts = _vector(0, self.layout.dtype), _vector(0, INT64)
        inverse = counts.reshape(self.layout.shape)
    else:
        flat = self if self.layout.ndim == 1 else self.reshape(-1)
        output, inverse, counts = _distinct(flat, sorts, return_inverse, return_counts)
        if return_inverse and self.layout.ndim != 1:
            inverse = inverse.reshape(self.layout.shape)
    if not return_inverse and not return_counts:
        return output
    return (output, *([inverse] if return_inverse else ()), *([counts] if return_counts else ()))


@composite(
    "aten::unique(Tensor self, bool sorted=True, bool return_inverse=False, bool "
    "return_counts=False, int? dim=None) -> Tensor"
)
def unique(self, sorted, return_inverse, return_counts, dim):
    """The distinct elements (or slices along `dim`) in rising order; on demand also where each
    input element is among them, and how often each occurs."""
    return _found(self, unique_op, True, return_inverse, return_counts, dim)


@composite(
    "aten::unique_consecutive(Tensor self, bool return_inverse=False, bool return_counts=False, "
    "int? dim=None) -> Tensor"
)
def unique_consecutive(self, return_inverse, return_counts, dim):
    """The first of every run of equal elements (or slices along `dim`); on demand also inverse and
    counts.
    """
    return _found(self, unique_consecutive_op, False, return_inverse, return_counts, dim)


# How often.


class _Tally(_Counted):
    unkeyed = frozenset(("size",))

    def plan(self, args):
        layout = args[0].layout
        slots, steps, [counts, source] = self.steps(contiguous((1,), INT64, layout.device), layout)
        slots.number(int)
        places = steps.dense(source)
        if layout.dtype is not INT64:
            places = steps.scratch(layout.shape, INT64)
            steps.copy(places, source)
        numbers = layout.numel, 0
        steps.call(runtime.order_kernel("tally"), [places, counts], numbers, 1, 2.0 * layout.numel)
        write = finish(steps, slots, None, None, "m")
        return lambda tensor, size: write(_vector(size, INT64), tensor, size)


_tally = _Tally(
    "aten::_tally(Tensor self, int size) -> Tensor",
    """How often each of 0, 1, …, `size` - 1 occurs in a vector that has nothing else.""",
    method=False,
    function=False,
)


@composite("aten::bincount(Tensor self, Tensor? weights=None, int minlength=0) -> Tensor")
def bincount(self, weights, minlength):
    """How often each of 0, 1, … occurs, or the sum of its `weights`."""
    layout = self.layout
    if layout.dtype.kind not in "iu":
        kind = type_name(layout.dtype)
        raise NotImplementedError(f"\"bincount_cpu\" not implemented for '{kind}'")
    low, high = (x.item() for x in aminmax(self)) if layout.numel else (0, -1)
    if layout.ndim != 1 or low < 0:
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    size = max(high + 1, minlength)
    if weights is None:
        return _tally(self, size)
    if weights.layout.shape != layout.shape:
        raise RuntimeError("weights should be 1-d and have the same length as input")
    kind = FLOAT32 if weights.layout.dtype is FLOAT32 else FLOAT64
    return weights.new_zeros((size,), dtype=kind).index_add(0, self.to(INT64), weights.to(kind))


def _build_histogram(steps, self, bins, low, high):
    inner = compute_type(self.dtype)
    counts = steps.scratch((bins + 1,), INT64)  # the last one for what is outside
    places = steps.scratch(self.layout.shape, INT64)

    def place(value):
        inside = (value >= ir.cast(low, inner)) & (value <= ir.cast(high, inner))
        # As in PyTorch, arithmetic in the elements' own type finds the bin, not its edges.
        share = (value - ir.cast(low, inner)) / (ir.cast(high, inner) - ir.cast(low, inner))
        found = ir.cast(ir.select(inside, share * bins, 0.0), INT64)
        return ir.select(inside, ir.minimum(found, bins - 1), bins)

    steps.pointwise(place, [self], [places])
    n = self.layout.numel
    steps.call(runtime.order_kernel("tally"), [places, counts], (n, bins + 1), 1, 2.0 * n)
    steps.copy(steps.result((bins,), self.dtype), counts.narrow(0, 0, bins))


_histogram = indexed(
    "aten::_histc(Tensor self, int bins, Scalar low, Scalar high) -> Tensor",
    """How many elements fall into each of `bins` equal bins of [low, high].""",
    build=_build_histogram,
    method=False,
    function=False,
)


@composite("aten::histc(Tensor self, int bins=100, Scalar min=0, Scalar max=0) -> Tensor")
def histc(self, bins, min, max):
    """How many elements fall into each of `bins` equal bins of [min, max]; of all elements' range
    where both are 0."""
    dtype = self.layout.dtype
    if dtype.kind != "f":
        name = "aminmax_cpu" if dtype.kind == "c" else "histogram_cpu"
        raise NotImplementedError(f"\"{name}\" not implemented for '{type_name(dtype)}'")
    if bins <= 0:
        raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins} for dimension 0")
    if min == max and self.layout.numel:
        min, max = (x.item() for x in aminmax(self.detach()))
    if not (math.isfinite(min) and math.isfinite(max)):
        raise RuntimeError(f"torch.histc: range of [{min}, {max}] is not finite")
    if min > max:
        raise RuntimeError("torch.histc: max must be larger than min")
    if min == max:
        min, max = min - 1, max + 1
    return _histogram(self.detach(), bins, float(min), float(max))


# Repetition.


def _build_repeat(steps, self, times, dim):
    shape, strides = list(self.layout.shape), list(self.layout.strides)
    final = steps.plain((*shape[:dim], shape[dim] * times, *shape[dim + 1 :]), self.dtype)
    shape.insert(dim + 1, times)
    strides.insert(dim + 1, 0)
    steps.copy(steps.result(shape, self.dtype, final), viewed(self, shape, strides))


_repeat_each = chain(
    "aten::_repeat_each(Tensor self, int times, int dim) -> Tensor",
    """Each slice along `dim` repeated `times` times.""",
    build=_build_repeat,
    grad=dict(
        self=lambda grad, self_layout, times, dim: grad.unflatten(
            dim, (self_layout.shape[dim], times)
        ).sum(dim + 1)
    ),
    method=False,
    function=False,
)


class _Repeated(_Counted):
    def plan(self, args):
        layout, n = args[0].layout, args[1]
        if layout.dtype not in (INT64, INT32):
            kind = type_name(layout.dtype)
            raise NotImplementedError(f"\"repeat_interleave_cpu\" not implemented for '{kind}'")
        if not layout.numel:
            return lambda *_: _vector(0, INT64)
        slots, steps, [source] = self.steps(layout)
        fold = Fold(
            ((0, INT64), (2**63 - 1, INT64)),
            lambda times: (ir.cast(times, INT64),) * 2,
            lambda a, b: (a[0] + b[0], ir.minimum(a[1], b[1])),
            lambda state, _: state,
        )
        found = [steps.result((), INT64) for _ in range(2)]
        times = vector(source)
        steps.reduce(fold, [times], (0,), found)
        count = finish(steps, slots, None, None)
        slots, steps, [made, source] = self.steps(contiguous((n,), INT64, layout.device), layout)
        times = steps.scratch((n,), INT64)
        steps.copy(times, source)
        steps.call(runtime.order_kernel("repeated"), [times, made], (n,), 1, 3.0 * n)
        write = finish(steps, slots, None, None, "m")
        equal = n if layout.numel != n else 1

        def repeat(times, *_):
            total, least = (x.item() for x in count(times))
            if least < 0:
                raise RuntimeError("repeats can not be negative")
            return write(_vector(total * equal, INT64), times)

        return repeat


_repeated = _Repeated(
    "aten::_repeated(Tensor repeats, int n) -> Tensor",
    """Each of the first n integers as often as `repeats` says.""",
    method=False,
    function=False,
)


def _check_size(made, asked):
    if asked is not None and asked != made:
        raise RuntimeError(
            f"repeat_interleave: Invalid output_size, expected {made} but got {asked}"
        )


@composite(
    "aten::repeat_interleave(Tensor self, Any repeats=None, int? dim=None, *, int? "
    "output_size=None) -> Tensor"
)
def repeat_interleave(self, repeats, dim, output_size):
    """Each element (or slice along `dim`) repeated: all equally often, or as `repeats` says for
    each.

    With one argument, that is `repeats`, and the result holds the indices.
    """
    if repeats is None:
        if self.layout.ndim != 1:
            raise RuntimeError("repeat_interleave only accept 1D vector as repeat")
        if self.layout.dtype not in (INT64, INT32):
            raise RuntimeError("repeats has to be Long or Int tensor")
        rows = _repeated(self, self.layout.shape[0])
        _check_size(rows.layout.numel, output_size)
        return rows.to(self.layout.dtype)
    if dim is None:
        self, dim = self.reshape(-1), 0
    elif not self.layout.ndim:
        self = self.reshape(1)
    d = wrap_dim(dim, self.layout.ndim)
    n = self.layout.shape[d]
    if not is_tensor(repeats):
        times = operator.index(repeats) if not isinstance(repeats, list | tuple) else None
        if times is None:
            repeats = self.new_tensor(repeats, dtype=INT64)
        else:
            if times < 0:
                raise RuntimeError("Repeats must be non-negative")
            _check_size(n * times, output_size)
            return _repeat_each(self, times, d)
    if repeats.layout.ndim > 1:
        raise RuntimeError("repeats must be 0-dim or 1-dim tensor")
    if repeats.layout.numel not in (1, n):
        raise RuntimeError(
            "repeats must have the same size as input along dim, but got repeats.size(0) = "
            f"{repeats.layout.shape[0]} and input.size({d}) = {n}"
        )
    rows = _repeated(repeats, n)
    _check_size(rows.layout.numel, output_size)
    return self.index_select(d, rows)
