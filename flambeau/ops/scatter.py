"""Gathering from and scattering to places along a dimension."""

from __future__ import annotations

import math

from flambeau import ir
from flambeau.types import by_name, contiguous

from .arithmetic import conj_of
from .family import Buffer, indexed, scatter
from .family.arrays import ndarray
from .family.indexed import At, along, vector, viewed
from .family.launch import broadcast
from .family.pointwise import type_name
from .family.reduction import wrap_dim
from .masks import where, zero_pad
from .op import composite
from .promotion import compute_type
from .views import expand

INT64, INT32 = map(by_name, ("int64", "int32"))


# Whole slices along one dimension.


def _check_vector(name):
    def check(self, dim, index, *rest):
        wrap_dim(dim, self.layout.ndim)
        if index.layout.ndim > 1:
            raise IndexError(f"{name}(): Index is supposed to be a vector")
        if index.layout.dtype not in (INT64, INT32):
            raise RuntimeError(f"{name}(): Expected dtype int32 or int64 for index")

    return check


def outside(index, size, wraps=False) -> int:
    """The first number of an index tensor that is out of range."""
    array = ndarray(index)
    return int(array[(array < (-size if wraps else 0)) | (array >= size)].flat[0])


def _not_in_self(self, dim, index, *rest):
    return IndexError("index out of range in self")


def _not_added(self, dim, index, *rest):
    return (_out_of_bounds if self.layout.ndim > 1 else _not_in_self)(self, dim, index)


def _out_of_bounds(self, dim, index, *rest):
    """The error of ops with a `dim`."""
    size = self.layout.shape[dim] if self.layout.ndim else 1
    place = wrap_dim(dim, self.layout.ndim)
    bad = outside(index, size)
    return RuntimeError(f"index {bad} is out of bounds for dimension {place} with size {size}")


def _slices(buffer, dim, index):
    """`index` in the shape that the slices of `buffer` along `dim` have together."""
    shape = [index.layout.numel if d == dim else n for d, n in enumerate(buffer.layout.shape)]
    [step] = index.layout.strides or (1,)
    return viewed(index, shape, [step if d == dim else 0 for d in range(len(shape))])


def _index_select(steps, self, dim, index):
    dim, scalar, self = wrap_dim(dim, self.layout.ndim), not self.layout.ndim, vector(self)
    index = _slices(self, dim, index)
    source, place = along(self, dim, index.layout.shape, index)
    out = steps.result(() if scalar else index.layout.shape, self.dtype)
    steps.indexed(lambda value: (value,), [vector(out)], [source], [place])


index_select = indexed(
    "aten::index_select(Tensor self, int dim, Tensor index) -> Tensor",
    """The slices along `dim` at the places in the vector `index`.""",
    build=_index_select,
    check=_check_vector("index_select"),
    refuse=_not_in_self,
    grad=dict(
        self=lambda grad, self_layout, dim, index: grad.new_zeros(self_layout.shape).index_add_(
            dim, index, grad
        )
    ),
)


def _check_add(self, dim, index, source, alpha=1):
    _check_vector("index_add")(self, dim, index)
    dim = wrap_dim(dim, self.layout.ndim)
    shape, want = ([*x.layout.shape[:dim], *x.layout.shape[dim + 1 :]] for x in (source, self))
    if source.layout.ndim != self.layout.ndim or shape != want:
        raise RuntimeError(
            "source tensor shape must match self tensor shape, excluding the specified dimension. "
            f"Got self.shape = {list(self.layout.shape)} source.shape = {list(source.layout.shape)}"
        )
    if self.layout.dtype is not source.layout.dtype:
        raise RuntimeError(
            f"index_add_(): self ({type_name(self.dtype)}) and source ({type_name(source.dtype)}) "
            "must have the same scalar type"
        )
    n = source.layout.shape[dim] if dim < source.layout.ndim else 1
    if index.layout.numel != n:
        raise RuntimeError(
            f"index_add_(): Number of indices ({index.layout.numel}) should be equal to "
            f"source.size(dim): ({n}), for dim: {dim}"
        )


def _plus(old, new):
    return old + new


def _fold(steps, target, dim, index, source, combine):
    """target = combine(target, source) at the places along `dim` that `index` names, in order; all
    have one shape but for that dimension. `source` may be a number, `combine` None for the source
    itself. Half types are folded in float32.
    """
    wide = compute_type(target.dtype)
    if combine is not None and wide is not target.dtype:
        made = steps.scratch(target.layout.shape, wide)
        steps.copy(made, target)
        _fold(steps, made, dim, index, source, combine)
        steps.copy(target, made)
        return
    shape = index.layout.shape
    view, place = along(target, dim, shape, index)
    inputs = [] if combine is None else [view]
    if isinstance(source, Buffer):
        inputs.append(viewed(source, shape, source.layout.strides))

    def body(*values):
        new = ir.cast(values[-1] if isinstance(source, Buffer) else source, target.dtype)
        return (new if combine is None else combine(values[0], new),)

    steps.indexed(body, [view], inputs, [place], (dim,))


def _index_add(steps, target, dim, index, source, alpha):
    def add(old, new):
        return old + new * ir.cast(alpha, old.dtype)

    dim, target, source = wrap_dim(dim, target.layout.ndim), vector(target), vector(source)
    _fold(steps, target, dim, _slices(target, dim, index), source, add)


index_add = scatter(
    "aten::index_add(Tensor self, int dim, Tensor index, Tensor source, *, Scalar alpha=1) -> "
    "Tensor",
    """`self` with the slices of ``alpha * source`` added at the places in `index`; repeated places
    add up in order.
    """,
    build=_index_add,
    check=_check_add,
    refuse=_not_added,
    grad=dict(
        self=lambda grad: grad,
        source=lambda grad, source_layout, dim, index, alpha: _as_source(
            grad.index_select(dim, index) * conj_of(alpha), source_layout
        ),
    ),
)


def _as_source(grad, layout):
    return grad.reshape(layout.shape)


def _check_copy(self, dim, index, source):
    if index.layout.ndim > 1:
        raise IndexError(
            f"index_copy_(): Index should have dimension 1 or 0 (got {index.layout.ndim})"
        )
    if index.layout.dtype is not INT64:
        raise RuntimeError(
            "index_copy_(): Expected a long tensor for index, but got " + type_name(index.dtype)
        )
    if self.layout.dtype is not source.layout.dtype:
        raise RuntimeError(
            "index_copy_(): self and source expected to have the same dtype, but got (self) "
            f"{type_name(self.dtype)} and (source) {type_name(source.dtype)}"
        )
    dim = wrap_dim(dim, self.layout.ndim)
    have, want = (list(x.layout.shape) or [1] for x in (source, self))
    if source.layout.ndim and self.layout.ndim and len(have) != len(want):
        raise IndexError(
            "index_copy_(): When source and destination are not scalars, their dimensionality must "
            f"match. Source dimensionality ({len(have)}), destination dimensionality ({len(want)})"
        )
    rows, _ = have.pop(dim if len(have) == len(want) else 0), want.pop(dim)
    if have != want:
        raise RuntimeError(
            "index_copy_(): Source/destination tensor must have same slice shapes. Destination "
            f"slice shape: {want} at dimension {dim} and source slice shape: {have} at dimension "
            f"{dim}."
        )
    if index.layout.numel != rows:
        raise IndexError(
            f"index_copy_(): Number of indices ({index.layout.numel}) should be equal to "
            f"source.size(dim) ({rows})"
        )


def _index_copy(steps, target, dim, index, source):
    dim, target, source = wrap_dim(dim, target.layout.ndim), vector(target), vector(source)
    _fold(steps, target, dim, _slices(target, dim, index), source, None)


def _not_in_copy(self, dim, index, source):
    size = self.layout.shape[dim] if self.layout.ndim else 1
    return IndexError(
        f"index_copy_(): index {outside(index, size)} is out of bounds for dimension "
        f"{wrap_dim(dim, self.layout.ndim)} with size {size}"
    )


index_copy = scatter(
    "aten::index_copy(Tensor self, int dim, Tensor index, Tensor source) -> Tensor",
    """`self` with the slices of `source` at the places in `index`.""",
    build=_index_copy,
    check=_check_copy,
    refuse=_not_in_copy,
    grad=dict(
        self=lambda grad, dim, index: grad.index_fill(dim, index, 0),
        source=lambda grad, source_layout, dim, index: _as_source(
            expand(grad.index_select(dim, index), source_layout.shape)
            if source_layout.ndim and grad.layout.ndim else grad.index_select(dim, index),
            source_layout,
        ),
    ),
)  # fmt: skip


def _index_fill(steps, target, dim, index, value):
    dim, target = wrap_dim(dim, target.layout.ndim), vector(target)
    index = _slices(target, dim, index)
    view, place = along(target, dim, index.layout.shape, index)
    inputs = []
    if isinstance(value, Buffer):
        inputs = [viewed(value, index.layout.shape, [0] * index.layout.ndim)]
    steps.indexed(lambda *values: values or (value,), [view], inputs, [place._replace(wraps=True)])


def _not_filled(self, dim, index, value):
    size = self.layout.shape[dim] if self.layout.ndim else 1
    return IndexError(
        f"index {outside(index, size, True)} is out of bounds for dimension "
        f"{wrap_dim(dim, self.layout.ndim)} with size {size}"
    )


def _check_fill(self, dim, index, value):
    if index.layout.dtype not in (INT64, INT32):
        raise IndexError("index_fill_(): Expected dtype int64 for index.")
    if index.layout.ndim > 1:
        raise IndexError("Index has to be a vector/scalar")
    if hasattr(value, "layout") and value.layout.ndim:
        raise RuntimeError(
            "index_fill_ only supports a 0-dimensional value tensor, but got tensor with "
            f"{value.layout.ndim} dimension(s)."
        )


def _filled(grad, dim, index):
    """`grad` where `index_fill` fills, 0 elsewhere."""
    elsewhere = grad.new_zeros(grad.shape).index_fill(dim, index, 1).eq(0)
    return grad.masked_fill(elsewhere, 0)


index_fill = scatter(
    "aten::index_fill(Tensor self, int dim, Tensor index, Tensor|Scalar value) -> Tensor",
    """`self` with the slices at the places in `index` filled with one value.""",
    build=_index_fill,
    check=_check_fill,
    refuse=_not_filled,
    grad=dict(
        self=lambda grad, dim, index: grad.index_fill(dim, index, 0),
        value=lambda grad, value_layout, dim, index: (
            _filled(grad, dim, index).sum().to(value_layout.dtype)
        ),
    ),
)
index_fill.holds = "value"


# Element by element along one dimension.


def _check_index(name):
    def check(self, dim, index, src=None, *rest):
        wrap_dim(dim, self.layout.ndim)
        if not index.layout.numel:
            return
        if index.layout.dtype not in (INT64, INT32):
            kinds = "int32/int64" if name == "gather" else "int64"
            raise RuntimeError(f"{name}(): Expected dtype {kinds} for index")
        if max(index.layout.ndim, 1) != max(self.layout.ndim, 1):
            whose = "input" if name == "gather" else "self"
            raise RuntimeError(
                f"Index tensor must have the same number of dimensions as {whose} tensor"
            )
        _check_sizes(self, wrap_dim(dim, self.layout.ndim), index, src, name)

    return check


def _check_sizes(self, dim, index, src, name):
    want, have = index.layout.shape or (1,), self.layout.shape or (1,)
    bad = [d for d in range(len(want)) if d != dim and want[d] > have[d]]
    if name == "gather":
        if bad:
            raise RuntimeError(
                f"Size does not match at dimension {bad[0]} expected index {list(want)} to be no "
                f"larger than self {list(have)} apart from dimension {dim}"
            )
        return
    if not hasattr(src, "layout"):
        if bad:
            raise RuntimeError(
                f"Expected index {list(want)} to be no larger than self {list(have)} apart from "
                f"dimension {dim}"
            )
        return
    if self.layout.dtype is not src.layout.dtype:
        raise RuntimeError(f"{name}(): Expected self.dtype to be equal to src.dtype")
    if max(src.layout.ndim, 1) != len(want):
        raise RuntimeError("Index tensor must have the same number of dimensions as src tensor")
    if bad or any(n > s for n, s in zip(want, src.layout.shape or (1,), strict=True)):
        raise RuntimeError(
            f"Expected index {list(want)} to be no larger than self {list(have)} apart from "
            f"dimension {dim} and to be no larger size than src {list(src.layout.shape)}"
        )


def _gather(steps, self, dim, index, sparse_grad):
    out = steps.result(index.layout.shape, self.dtype)
    dim, self, index = wrap_dim(dim, self.layout.ndim), vector(self), vector(index)
    if index.layout.numel:
        source, place = along(self, dim, index.layout.shape, index)
        steps.indexed(lambda value: (value,), [vector(out)], [source], [place])


gather = indexed(
    "aten::gather(Tensor self, int dim, Tensor index, *, bool sparse_grad=False) -> Tensor",
    """The element at the place that `index` gives along `dim`, for each element of `index`. The
    gradient is dense, with `sparse_grad` too.
    """,
    build=_gather,
    check=_check_index("gather"),
    refuse=_out_of_bounds,
    grad=dict(
        self=lambda grad, self_layout, dim, index: grad.new_zeros(self_layout.shape).scatter_add_(
            dim, index, grad
        )
    ),
)
gather.exact_out = gather.apart_out = True


def _elementwise(combine):
    """The steps of an op that writes elements along one dimension."""

    def build(steps, target, dim, index, src):
        if index.layout.numel:
            dim, target, index = wrap_dim(dim, target.layout.ndim), vector(target), vector(index)
            src = vector(src) if isinstance(src, Buffer) else src
            _fold(steps, target, dim, index, src, combine)

    return build


def _scatter_self(grad, dim, index):
    return grad.scatter(dim, index, 0)


scatter_src = scatter(
    "aten::scatter.src(Tensor self, int dim, Tensor index, Tensor src) -> Tensor",
    """`self` with the elements of `src` written at the places that `index` gives along `dim`; the
    last one stays.
    """,
    build=_elementwise(None),
    check=_check_index("scatter"),
    refuse=_out_of_bounds,
    grad=dict(
        self=_scatter_self,
        src=lambda grad, src_layout, dim, index: _spread(grad.gather(dim, index), src_layout),
    ),
)
scatter_value = scatter(
    "aten::scatter.value(Tensor self, int dim, Tensor index, Scalar value) -> Tensor",
    """`self` with a number written at the places that `index` gives along `dim`.""",
    build=_elementwise(None),
    check=_check_index("scatter"),
    refuse=_out_of_bounds,
    grad=dict(self=_scatter_self),
)
scatter_value.holds = "value"
scatter_add = scatter(
    "aten::scatter_add(Tensor self, int dim, Tensor index, Tensor src) -> Tensor",
    """`self` with the elements of `src` added at the places that `index` gives along `dim`, in
    order.
    """,
    build=_elementwise(_plus),
    check=_check_index("scatter_add"),
    refuse=_out_of_bounds,
    grad=dict(
        self=lambda grad: grad,
        src=lambda grad, src_layout, dim, index: _spread(grad.gather(dim, index), src_layout),
    ),
)


def _spread(grad, layout):
    """A gradient of the part of `src` that was read, with zeros where nothing was."""
    if grad.layout.shape == layout.shape:
        return grad
    pad = [k for have, want in zip(reversed(grad.layout.shape), reversed(layout.shape), strict=True)
           for k in (0, want - have)]  # fmt: skip
    return zero_pad(grad, tuple(pad))


_REDUCE = {"add": "sum", "multiply": "prod"}


def _check_reduce(self, dim, index, src, *, reduce):
    if reduce not in _REDUCE:
        raise RuntimeError("reduce argument must be either add or multiply.")


@composite(
    "aten::scatter.reduce(Tensor self, int dim, Tensor index, Tensor src, *, str reduce) -> Tensor"
)
def scatter_reduced(self, dim, index, src, reduce):
    """`self` with the elements of `src` added to or multiplied with what is at their places."""
    _check_reduce(self, dim, index, src, reduce=reduce)
    return scatter_reduce(self, dim, index, src, _REDUCE[reduce])


@composite(
    "aten::scatter.value_reduce(Tensor self, int dim, Tensor index, Scalar value, *, str reduce) "
    "-> Tensor"
)
def scatter_value_reduced(self, dim, index, value, reduce):
    """`self` with a number added to or multiplied with what is at the places that `index` gives."""
    _check_reduce(self, dim, index, value, reduce=reduce)
    return scatter_reduce(
        self, dim, index, self.new_full(index.layout.shape, value), _REDUCE[reduce]
    )


for _op in (scatter_reduced, scatter_value_reduced):
    _op.inplace_form = True

_COMBINE = {
    "sum": _plus,
    "mean": _plus,
    "prod": lambda old, new: old * new,
    "amax": ir.maximum,
    "amin": ir.minimum,
}


def _scatter_reduce(steps, target, dim, index, src, reduce, include_self):
    if not index.layout.numel:
        return
    wide, result = compute_type(target.dtype), target
    if wide is not target.dtype:
        target = steps.scratch(result.layout.shape, wide)
        steps.copy(target, result)
    dim, whole, index = wrap_dim(dim, target.layout.ndim), target, vector(index)
    target = vector(target)
    if not include_self:
        _fold(steps, target, dim, index, ir.const(_identity(reduce, wide), wide), None)
    src = vector(src) if isinstance(src, Buffer) else src
    _fold(steps, target, dim, index, src, _COMBINE[reduce])
    if reduce == "mean":
        count = steps.scratch(target.layout.shape, INT64)
        steps.indexed(lambda: (ir.const(int(include_self), INT64),), [count], [], [])
        _fold(steps, count, dim, index, ir.const(1, INT64), _plus)
        steps.indexed(_quotient, [target], [target, count], [])
    if whole is not result:
        steps.copy(result, whole)


def _quotient(total, count):
    """The mean; that of integers is rounded down."""
    count = ir.cast(ir.maximum(count, 1), total.dtype)
    quotient = total / count
    if total.dtype.kind in "iu":
        quotient = quotient - ir.cast(ir.rem(total, count) < 0, total.dtype)
    return (quotient,)


def _identity(reduce, dtype):
    if reduce in ("sum", "mean"):
        return 0
    if reduce == "prod":
        return 1
    if dtype.kind == "b":
        return reduce == "amin"
    if dtype.kind == "f":
        return -math.inf if reduce == "amax" else math.inf
    bits = 8 * dtype.itemsize - (dtype.kind == "i")
    least = -(2**bits) if dtype.kind == "i" else 0
    return least if reduce == "amax" else 2**bits - 1


def _check_scatter_reduce(self, dim, index, src, reduce, include_self=True):
    if reduce not in _COMBINE:
        raise RuntimeError(
            f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}"
        )
    _check_index("scatter_reduce")(self, dim, index, src)


def _both_gradients(grad, self, dim, index, src, reduce, include_self, result):
    """Gradients of `scatter_reduce` for self and for the part of src that was read."""
    read = (
        src[tuple(slice(n) for n in index.layout.shape)]
        if src.layout.shape != index.layout.shape
        else src
    )
    if reduce == "sum":
        from_self, from_src = grad, grad.gather(dim, index)
    elif reduce == "mean":
        count = (grad.new_ones if include_self else grad.new_zeros)(grad.layout.shape)
        count = count.scatter_add(dim, index, grad.new_ones(index.layout.shape))
        count = count.masked_fill(count == 0, 1)
        from_self = grad / count
        from_src = from_self.gather(dim, index)
    elif reduce == "prod":
        from_self, from_src = _product_gradients(grad, self, dim, index, read, include_self, result)
    else:
        hit_self = (self == result).to(grad.dtype)
        hit_src = (read == result.gather(dim, index)).to(grad.dtype)
        shared = grad / hit_self.scatter_add(dim, index, hit_src)
        from_self, from_src = hit_self * shared, hit_src * shared.gather(dim, index)
    if not include_self:
        from_self = from_self.scatter(dim, index, 0)
    return from_self, _spread(from_src, src.layout)


def _product_gradients(grad, self, dim, index, src, include_self, result):
    """Quotients of the product by each factor; zeros among the factors are left out and put
    back.
    """
    ones = self.masked_fill(self == 0, 1)
    from_self = (
        grad * ones.scatter_reduce(dim, index, src, "prod", include_self=include_self) / ones
    )
    zero = src == 0
    zeros = (
        self.new_zeros(self.layout.shape)
        .scatter_add(dim, index, zero.to(self.dtype))
        .gather(dim, index)
    )
    single = zero.logical_and(zeros == 1)
    filled = src.masked_fill(single, 1)
    without = self.scatter_reduce(dim, index, filled, "prod", include_self=include_self)
    plain = (grad * result).gather(dim, index) / src.masked_fill(zero, 1)
    plain = plain.masked_fill(zero, 0)
    return from_self, where(single, (grad * without).gather(dim, index), plain)


scatter_reduce = scatter(
    "aten::scatter_reduce(Tensor self, int dim, Tensor index, Tensor src, str reduce, *, bool "
    "include_self=True) -> Tensor",
    """`self` with the elements of `src` folded (sum, prod, mean, amax, amin) into the places that
    `index` gives.
    """,
    build=_scatter_reduce,
    check=_check_scatter_reduce,
    refuse=_out_of_bounds,
    grad=dict(
        self=lambda grad, self, dim, index, src, reduce, include_self, result: _both_gradients(
            grad, self, dim, index, src, reduce, include_self, result
        )[0],
        src=lambda grad, self, dim, index, src, reduce, include_self, result: _both_gradients(
            grad, self, dim, index, src, reduce, include_self, result
        )[1],
    ),
)


@composite(
    "aten::index_reduce(Tensor self, int dim, Tensor index, Tensor source, str reduce, *, bool "
    "include_self=True) -> Tensor"
)
def index_reduce(self, dim, index, source, reduce, include_self):
    """`self` with the slices of `source` folded (prod, mean, amax, amin) into the places in
    `index`.
    """
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(
            "index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got "
            f"{reduce}."
        )
    n = source.layout.ndim
    if not n:
        return scatter_reduce(
            self, dim, index.reshape(()), source, reduce, include_self=include_self
        )
    spread = index.reshape([-1 if d == wrap_dim(dim, n) else 1 for d in range(n)]).expand(
        source.layout.shape
    )
    return scatter_reduce(self, dim, spread, source, reduce, include_self=include_self)


index_reduce.inplace_form = True


# Places in the flat tensor.


def _not_in_flat(self, index, *rest):
    n = self.layout.numel
    bad = outside(index, n, True)
    return IndexError(f"out of range: tried to access index {bad} on a tensor of {n} elements.")


def _flat(buffer, index):
    """A contiguous buffer for points of the shape of `index`, which gives places in it."""
    view = viewed(buffer, index.layout.shape, [0] * index.layout.ndim)
    return view, At(index, (view,), buffer.layout.itemsize, buffer.layout.numel, True)


def _take(steps, self, index):
    out = steps.result(index.layout.shape, self.dtype)
    view, place = _flat(steps.dense(self), index)
    steps.indexed(lambda value: (value,), [out], [view], [place])


def _check_take(self, index, *rest):
    if index.layout.dtype is not INT64:
        raise RuntimeError(
            "take(): Expected a long tensor for index, but got " + type_name(index.dtype)
        )


take = indexed(
    "aten::take(Tensor self, Tensor index) -> Tensor",
    """The elements at places in the flat tensor.""",
    build=_take,
    check=_check_take,
    refuse=_not_in_flat,
    grad=dict(
        self=lambda grad, self_layout, index: grad.new_zeros(self_layout.shape).put_(
            index, grad, True
        ),
    ),
)
take.exact_out = take.apart_out = True


def _put(steps, target, index, source, accumulate):
    wide, dense = compute_type(target.dtype), target
    if not target.layout.contiguous or (accumulate and wide is not target.dtype):
        dense = steps.scratch(target.layout.shape, wide if accumulate else target.dtype)
        steps.copy(dense, target)
    source = steps.dense(source)
    shape, order = index.layout.shape, range(index.layout.ndim)
    view, place = _flat(dense, index)
    source = viewed(source, shape, contiguous(shape, source.dtype).strides)
    if accumulate:
        steps.indexed(
            lambda old, new: (old + ir.cast(new, old.dtype),),
            [view], [view, source], [place], order,
        )  # fmt: skip
    else:
        steps.indexed(lambda new: (new,), [view], [source], [place], order)
    if dense is not target:
        steps.copy(target, dense)


def _check_put(self, index, source, accumulate=False):
    if index.layout.dtype is not INT64:
        raise RuntimeError(
            "put_(): Expected a long tensor for index, but got " + type_name(index.dtype)
        )
    if self.layout.dtype is not source.layout.dtype:
        raise RuntimeError(
            "put_(): self and source expected to have the same dtype, but got self.dtype = "
            f"{type_name(self.dtype)} and source.dtype = {type_name(source.dtype)}"
        )
    if index.layout.numel != source.layout.numel:
        raise IndexError(
            "put_(): Expected source and index to have the same number of elements, but got "
            f"source.numel() = {source.layout.numel}, index.numel() = {index.layout.numel}"
        )


put = scatter(
    "aten::put(Tensor self, Tensor index, Tensor source, bool accumulate=False) -> Tensor",
    """`self` with elements written (or added) at places in the flat tensor.""",
    build=_put,
    check=_check_put,
    refuse=_not_in_flat,
    grad=dict(
        self=lambda grad, index, accumulate, source_layout: grad if accumulate else grad.put(
            index, grad.new_zeros(source_layout.shape), False
        ),
        source=lambda grad, index, source_layout: grad.take(index).reshape(source_layout.shape),
    ),
)  # fmt: skip


@composite("aten::take_along_dim(Tensor self, Tensor indices, int? dim=None) -> Tensor")
def take_along_dim(self, indices, dim):
    """As `gather`, with the other dimensions broadcast; without `dim` places in the flat tensor."""
    if indices.layout.dtype is not INT64:
        raise RuntimeError(
            "torch.take_along_dim(): dtype of indices should be Long but got "
            f"{type_name(indices.dtype)}"
        )
    if dim is None:
        return self.reshape(-1).gather(0, indices.reshape(-1))
    n = self.layout.ndim
    if n != indices.layout.ndim:
        raise RuntimeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions, "
            f"but got {n} dimensions for input, and {indices.layout.ndim} dimensions for indices"
        )
    d = wrap_dim(dim, n)
    a, b = list(self.layout.shape), list(indices.layout.shape)
    a[d] = b[d] = 1
    shape = broadcast([tuple(a), tuple(b)])

    def at(size):
        return (*shape[:d], size, *shape[d + 1 :])

    indices = where(indices < 0, indices + self.layout.shape[d], indices)
    return expand(self, at(self.layout.shape[d])).gather(
        d, expand(indices, at(indices.layout.shape[d]))
    )
