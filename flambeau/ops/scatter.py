"""Gathering from and scattering to places along a dimension; masks; searching."""

from __future__ import annotations

from flambeau import ir
from flambeau._base import numpy
from flambeau.types import by_name

from .arithmetic import conj_of
from .family import opaque, pointwise
from .family.launch import broadcast
from .family.pointwise import type_name
from .family.reduction import wrap_dim
from .indexing import add_rows
from .joining import checked
from .op import composite
from .views import expand

INT64, INT32, BOOL, FLOAT32 = map(by_name, ("int64", "int32", "bool", "float32"))
_C_NAMES = {
    "int64": "long int",
    "int32": "int",
    "float32": "float",
    "float64": "double",
    "uint8": "unsigned char",
}


# Whole slices along one dimension.


def _check_vector(name):
    def check(self, dim, index, *rest):
        wrap_dim(dim, self.layout.ndim)
        if index.layout.ndim > 1:
            raise IndexError(f"{name}(): Index is supposed to be a vector")
        if index.layout.dtype not in (INT64, INT32):
            raise RuntimeError(f"{name}(): Expected dtype int32 or int64 for index")

    return check


def _inside(index, n, error="index out of range in self"):
    if index.size and (index.min() < 0 or index.max() >= n):
        raise IndexError(error)


def _index_select(array, dim, index):
    index = index.reshape(-1)
    if not array.ndim:
        _inside(index, 1)
        return array.copy()
    _inside(index, array.shape[dim])
    return array.take(index, axis=dim)


index_select = checked(
    "aten::index_select(Tensor self, int dim, Tensor index) -> Tensor",
    """The slices along `dim` at the places in the vector `index`.""",
    run=_index_select,
    check=_check_vector("index_select"),
    grad=dict(
        self=lambda grad, self_layout, dim, index: grad.new_zeros(self_layout.shape).index_add(
            dim, index, grad
        )
    ),
)


def _check_add(self, dim, index, source, alpha=1):
    _check_vector("index_add")(self, dim, index)
    dim = wrap_dim(dim, self.layout.ndim)
    if self.layout.dtype is not source.layout.dtype:
        raise RuntimeError(
            f"index_add_(): self ({type_name(self.dtype)}) and source ({type_name(source.dtype)}) "
            "must have the same "
            "scalar type"
        )
    n = source.layout.shape[dim] if source.layout.ndim else 1
    if index.layout.numel != n:
        raise RuntimeError(
            f"index_add_(): Number of indices ({index.layout.numel}) should be equal to "
            f"source.size(dim): ({n}), for "
            f"dim: {dim}"
        )


def _index_add(array, dim, index, source, alpha):
    out = numpy.array(array, order="C")
    if not out.ndim:
        return out + source.reshape(()) * numpy.array(alpha).astype(out.dtype)
    index = index.reshape(-1)
    _inside(index, out.shape[dim])
    if alpha != 1:
        source = source * numpy.array(alpha).astype(out.dtype)
    if not source.ndim:
        source = source.reshape((1,) * out.ndim)
    add_rows(numpy.moveaxis(out, dim, 0), index, numpy.moveaxis(source, dim, 0))
    return out


index_add = checked(
    "aten::index_add(Tensor self, int dim, Tensor index, Tensor source, *, Scalar alpha=1) -> "
    "Tensor",
    """`self` with the slices of ``alpha * source`` added at the places in `index`; repeated places
    add up in order.
    """,
    run=_index_add,
    check=_check_add,
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


def _index_copy(array, dim, index, source):
    out = numpy.array(array, order="C")
    index = index.reshape(-1)
    n = out.shape[dim] if out.ndim else 1
    for i in index.tolist():
        if not 0 <= i < n:
            raise IndexError(
                f"index_copy_(): index {i} is out of bounds for dimension {dim % max(out.ndim, 1)} "
                "with "
                f"size {n}"
            )
    if not out.ndim:
        return source.reshape(()).copy()
    numpy.moveaxis(out, dim, 0)[index] = numpy.moveaxis(source, dim, 0) if source.ndim else source
    return out


index_copy = checked(
    "aten::index_copy(Tensor self, int dim, Tensor index, Tensor source) -> Tensor",
    """`self` with the slices of `source` at the places in `index`.""",
    run=_index_copy,
    check=_check_copy,
    grad=dict(
        self=lambda grad, dim, index: grad.index_fill(dim, index, 0),
        source=lambda grad, source_layout, dim, index: _as_source(
            expand(grad.index_select(dim, index), source_layout.shape)
            if source_layout.ndim and grad.layout.ndim else grad.index_select(dim, index),
            source_layout,
        ),
    ),
)  # fmt: skip


def _index_fill(array, dim, index, value):
    out = numpy.array(array, order="C")
    index = index.reshape(-1)
    n = out.shape[dim] if out.ndim else 1
    for i in index.tolist():
        if not -n <= i < n:
            raise IndexError(
                f"index {i} is out of bounds for dimension {dim % max(out.ndim, 1)} with size {n}"
            )
    if not out.ndim:
        return numpy.array(value).astype(out.dtype).reshape(()) if index.size else out
    numpy.moveaxis(out, dim, 0)[index] = numpy.array(value).astype(out.dtype)
    return out


def _check_fill(self, dim, index, value):
    if index.layout.dtype not in (INT64, INT32):
        raise IndexError("index_fill_(): Expected dtype int64 for index.")
    if index.layout.ndim > 1:
        raise IndexError("Index has to be a vector/scalar")
    if hasattr(value, "layout") and value.layout.ndim:
        raise RuntimeError(
            "index_fill_ only supports a 0-dimensional value tensor, but got tensor with "
            f"{value.layout.ndim} "
            "dimension(s)."
        )


index_fill = checked(
    "aten::index_fill(Tensor self, int dim, Tensor index, Tensor value) -> Tensor",
    """`self` with the slices at the places in `index` filled with one value.""",
    run=_index_fill,
    check=_check_fill,
    grad=dict(
        self=lambda grad, dim, index: grad.index_fill(dim, index, 0),
        value=lambda grad, value_layout, dim, index: (
            grad.index_select(dim, index.unique()).sum().to(value_layout.dtype)
        ),
    ),
)


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
                "larger than self "
                f"{list(have)} apart from dimension {dim}"
            )
        return
    if not hasattr(src, "layout"):
        if bad:
            raise RuntimeError(
                f"Expected index {list(want)} to be no larger than self {list(have)} apart from "
                "dimension "
                f"{dim}"
            )
        return
    if self.layout.dtype is not src.layout.dtype:
        raise RuntimeError(f"{name}(): Expected self.dtype to be equal to src.dtype")
    if max(src.layout.ndim, 1) != len(want):
        raise RuntimeError("Index tensor must have the same number of dimensions as src tensor")
    if bad or any(n > s for n, s in zip(want, src.layout.shape or (1,), strict=True)):
        raise RuntimeError(
            f"Expected index {list(want)} to be no larger than self {list(have)} apart from "
            f"dimension {dim} and to be "
            f"no larger size than src {list(src.layout.shape)}"
        )


def places(index, dim, n):
    """NumPy's key for an index tensor along one dimension; RuntimeError for places outside."""
    if index.size and (index.min() < 0 or index.max() >= n):
        bad = index[(index < 0) | (index >= n)].flat[0]
        raise RuntimeError(f"index {bad} is out of bounds for dimension {dim} with size {n}")
    key = list(numpy.ogrid[tuple(slice(k) for k in index.shape)]) if index.ndim else []
    key[dim] = index
    return tuple(key)


def _gather(array, dim, index, sparse_grad):
    if not array.ndim or not index.ndim:
        flat, places_ = array.reshape(-1), index.reshape(-1)
        return flat[places(places_, 0, flat.size)].reshape(index.shape)
    dim = wrap_dim(dim, array.ndim)
    if not index.size:
        return numpy.empty(index.shape, array.dtype)
    return array[places(index, dim, array.shape[dim])]


gather = checked(
    "aten::gather(Tensor self, int dim, Tensor index, *, bool sparse_grad=False) -> Tensor",
    """The element at the place that `index` gives along `dim`, for each element of `index`.""",
    run=_gather,
    check=_check_index("gather"),
    grad=dict(
        self=lambda grad, self_layout, dim, index: grad.new_zeros(self_layout.shape).scatter_add(
            dim, index, grad
        )
    ),
)


def _prepared(array, dim, index, src):
    """(a copy of the array, its part seen as at least 1-dim, the key, the values)."""
    out = numpy.array(array, order="C")
    target = out.reshape(1) if not out.ndim else out
    index = index.reshape(1) if not index.ndim else index
    if index.size == 0:
        return out, target, None, None
    dim = wrap_dim(dim, target.ndim)
    key = places(index, dim, target.shape[dim])
    if isinstance(src, numpy.ndarray):
        src = src.reshape(1) if not src.ndim else src
        src = src[tuple(slice(n) for n in index.shape)]
    else:
        src = numpy.array(src).astype(out.dtype)
    return out, target, key, src


def _scatter(array, dim, index, src):
    out, target, key, values = _prepared(array, dim, index, src)
    if key is not None:
        target[key] = values
    return out


def _linear(target, key):
    """The key as positions in the flat array, for which NumPy's `ufunc.at` has a fast path."""
    return numpy.ravel_multi_index(numpy.broadcast_arrays(*key), target.shape).reshape(-1)


def _scatter_add(array, dim, index, src):
    out, target, key, values = _prepared(array, dim, index, src)
    if key is not None:
        flat, at = target.reshape(-1), _linear(target, key)
        values = numpy.broadcast_to(values, key[wrap_dim(dim, target.ndim)].shape).reshape(-1)
        if out.dtype.itemsize == 2 and out.dtype.kind not in "iu":
            wide = flat.astype(numpy.float32)
            numpy.add.at(wide, at, values.astype(numpy.float32))
            flat[...] = wide.astype(out.dtype)
        elif out.dtype.kind == "b":
            numpy.logical_or.at(flat, at, values)
        else:
            numpy.add.at(flat, at, values)
    return out


def _scatter_self(grad, dim, index):
    return grad.scatter(dim, index, 0)


scatter_src = checked(
    "aten::scatter.src(Tensor self, int dim, Tensor index, Tensor src) -> Tensor",
    """`self` with the elements of `src` written at the places that `index` gives along `dim`; the
    last one stays.
    """,
    run=_scatter,
    check=_check_index("scatter"),
    grad=dict(
        self=_scatter_self,
        src=lambda grad, src_layout, dim, index: _spread(grad.gather(dim, index), src_layout),
    ),
)
scatter_value = checked(
    "aten::scatter.value(Tensor self, int dim, Tensor index, Scalar value) -> Tensor",
    """`self` with a number written at the places that `index` gives along `dim`.""",
    run=_scatter,
    check=_check_index("scatter"),
    grad=dict(self=_scatter_self),
)
scatter_add = checked(
    "aten::scatter_add(Tensor self, int dim, Tensor index, Tensor src) -> Tensor",
    """`self` with the elements of `src` added at the places that `index` gives along `dim`, in
    order.
    """,
    run=_scatter_add,
    check=_check_index("scatter_add"),
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
    return _pad(grad, tuple(pad))


def _pad(grad, pad):
    from_edge = grad.new_zeros(
        [n + p for n, p in zip(grad.layout.shape, reversed(pad[1::2]), strict=True)]
    )
    out = from_edge
    for d, n in enumerate(grad.layout.shape):
        out = out.narrow(d, 0, n)
    out.copy_(grad)
    return from_edge


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


_UFUNCS = {"sum": "add", "mean": "add", "prod": "multiply", "amax": "maximum", "amin": "minimum"}


def _scatter_reduce(array, dim, index, src, reduce, include_self):
    out, target, key, values = _prepared(array, dim, index, src)
    if key is None:
        return out
    half = out.dtype.itemsize == 2 and out.dtype.kind not in "iu"
    wide = numpy.float32 if half else out.dtype
    flat, at = target.reshape(-1).astype(wide), _linear(target, key)
    values = values.reshape(-1).astype(wide)
    if not include_self:
        flat[at] = _identity(reduce, flat.dtype)
    with numpy.errstate(all="ignore"):
        getattr(numpy, _UFUNCS[reduce]).at(flat, at, values)
        if reduce == "mean":
            count = numpy.full(flat.shape, int(include_self), numpy.int64)
            numpy.add.at(count, at, 1)
            count[count == 0] = 1
            flat = flat // count if flat.dtype.kind in "iu" else flat / count
    return flat.astype(out.dtype).reshape(out.shape)


def _identity(reduce, dtype):
    if reduce in ("sum", "mean"):
        return 0
    if reduce == "prod":
        return 1
    if dtype.kind == "b":
        return reduce == "amin"
    if dtype.kind == "f":
        return -numpy.inf if reduce == "amax" else numpy.inf
    info = numpy.iinfo(dtype)
    return info.min if reduce == "amax" else info.max


def _check_scatter_reduce(self, dim, index, src, reduce, include_self=True):
    if reduce not in _UFUNCS:
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


scatter_reduce = checked(
    "aten::scatter_reduce(Tensor self, int dim, Tensor index, Tensor src, str reduce, *, bool "
    "include_self=True)"
    " -> Tensor",
    """`self` with the elements of `src` folded (sum, prod, mean, amax, amin) into the places that
    `index` gives.
    """,
    run=_scatter_reduce,
    check=_check_scatter_reduce,
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
    "include_self=True)"
    " -> Tensor"
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


for _op in (
    index_add, index_copy, index_fill, scatter_src, scatter_add, scatter_reduce, index_reduce,
):  # fmt: skip
    _op.inplace_form = True


# Places in the flat tensor.


def _flat_places(index, n):
    if index.size and (index.min() < -n or index.max() >= n):
        bad = index[(index < -n) | (index >= n)].flat[0]
        raise IndexError(f"out of range: tried to access index {bad} on a tensor of {n} elements.")
    return index


def _check_take(self, index, *rest):
    if index.layout.dtype is not INT64:
        raise RuntimeError(
            "take(): Expected a long tensor for index, but got " + type_name(index.dtype)
        )


take = checked(
    "aten::take(Tensor self, Tensor index) -> Tensor",
    """The elements at places in the flat tensor.""",
    run=lambda array, index: array.reshape(-1)[_flat_places(index, array.size)],
    check=_check_take,
    grad=dict(
        self=lambda grad, self_layout, index: grad.new_zeros(self_layout.shape).put(
            index, grad, True
        ),
    ),
)


def _put(array, index, source, accumulate):
    out = numpy.array(array, order="C")
    flat, at = out.reshape(-1), _flat_places(index, out.size).reshape(-1)
    if accumulate:
        add_rows(flat, at, source.reshape(-1))
    else:
        flat[at] = source.reshape(-1)
    return out


def _check_put(self, index, source, accumulate=False):
    if index.layout.dtype is not INT64:
        raise RuntimeError(
            "put_(): Expected a long tensor for index, but got " + type_name(index.dtype)
        )
    if self.layout.dtype is not source.layout.dtype:
        raise RuntimeError(
            "put_(): self and source expected to have the same dtype, but got self.dtype = "
            f"{type_name(self.dtype)} and "
            f"source.dtype = {type_name(source.dtype)}"
        )
    if index.layout.numel != source.layout.numel:
        raise RuntimeError(
            "put_(): Expected source and index to have the same number of elements, but got "
            "source.numel() = "
            f"{source.layout.numel}, index.numel() = {index.layout.numel}"
        )


put = checked(
    "aten::put(Tensor self, Tensor index, Tensor source, bool accumulate=False) -> Tensor",
    """`self` with elements written (or added) at places in the flat tensor.""",
    run=_put,
    check=_check_put,
    grad=dict(
        self=lambda grad, index, accumulate, source_layout: grad if accumulate else grad.put(
            index, grad.new_zeros(source_layout.shape), False
        ),
        source=lambda grad, index, source_layout: grad.take(index).reshape(source_layout.shape),
    ),
)  # fmt: skip
put.inplace_form = True


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
            "but got "
            f"{n} dimensions for input, and {indices.layout.ndim} dimensions for indices"
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


# Masks.


def _select_by_mask(self, mask, value):
    return ir.select(mask, ir.cast(value, self.dtype), self)


def _check_mask(common, self, mask, value):
    if mask.layout.dtype is not BOOL:
        name = _C_NAMES.get(mask.layout.dtype.name, mask.layout.dtype.name)
        raise RuntimeError(
            f"masked_fill_ only supports boolean masks, but got mask with dtype {name}"
        )
    if hasattr(value, "layout"):
        if value.layout.ndim:
            raise RuntimeError(
                "masked_fill_ only supports a 0-dimensional value tensor, but got tensor with "
                f"{value.layout.ndim} dimension(s)."
            )
        kind = value.layout.dtype.category
    else:
        kind = 3 if isinstance(value, complex) else 0
    if kind == 3 and common.category < 3:
        name = _C_NAMES.get(common.name, common.name)
        raise RuntimeError(f"value cannot be converted to type {name} without overflow")


masked_fill = pointwise(
    "aten::masked_fill(Tensor self, Tensor mask, Tensor value) -> Tensor",
    """`self` with a value where `mask` holds.""",
    scalar=_select_by_mask,
    promotes=("self",),
    check=_check_mask,
    grad=dict(
        self=lambda grad, mask: grad.masked_fill(mask, 0),
        value=lambda grad, mask: where(mask, grad, 0),
    ),
)


def _check_condition(common, condition, *rest):
    if condition.layout.dtype is not BOOL and condition.layout.dtype.name != "uint8":
        raise RuntimeError(
            "where expected condition to be a boolean tensor, but got a tensor with dtype "
            + type_name(condition.layout.dtype)
        )


where = pointwise(
    "aten::where(Tensor condition, Tensor self, Tensor other) -> Tensor",
    """The element of `self` where `condition` holds, else that of `other`.""",
    scalar=lambda condition, self, other: ir.select(ir.cast(condition, BOOL), self, other),
    promotes=("self", "other"),
    check=_check_condition,
    method=False,
    grad=dict(
        self=lambda grad, condition: where(condition, grad, 0),
        other=lambda grad, condition: where(condition, 0, grad),
    ),
)
where.inplace_form = False


def _places_of_nonzero(array):
    return numpy.argwhere(array.astype(bool)).astype(numpy.int64, order="C")


_nonzero = opaque(
    "aten::_nonzero(Tensor self) -> Tensor",
    """The places of the elements that are not zero, as rows.""",
    run=_places_of_nonzero,
    method=False,
    function=False,
)


@composite("aten::nonzero(Tensor self, *, bool as_tuple=False) -> Tensor")
def nonzero(self, as_tuple):
    """The places of the elements that are not zero, as rows; `as_tuple` gives one vector for each
    dimension.
    """
    if as_tuple:
        rows = _nonzero(self if self.layout.ndim else self.reshape(1))
        return rows.unbind(1)
    return _nonzero(self)


@composite("aten::argwhere(Tensor self) -> Tensor")
def argwhere(self):
    """The places of the elements that are not zero, as rows."""
    return _nonzero(self)


def _check_mask_select(self, mask):
    if mask.layout.dtype not in (BOOL, by_name("uint8")):
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    broadcast([self.layout.shape, mask.layout.shape][::-1])


masked_select = checked(
    "aten::masked_select(Tensor self, Tensor mask) -> Tensor",
    """The elements where `mask` holds, as a vector.""",
    run=lambda array, mask: numpy.broadcast_arrays(array, mask)[0][
        numpy.broadcast_to(mask, numpy.broadcast_shapes(array.shape, mask.shape)).astype(bool)
    ],
    check=_check_mask_select,
    grad=dict(self=lambda grad, self_layout, mask: _unselect(grad, self_layout, mask)),
)


def _unselect(grad, layout, mask):
    shape = broadcast([layout.shape, mask.layout.shape])
    return grad.new_zeros(shape).masked_scatter(mask, grad).sum_to_size(layout.shape)


def _masked_scatter(array, mask, source):
    shape = numpy.broadcast_shapes(array.shape, mask.shape)
    out = numpy.array(numpy.broadcast_to(array, shape), order="C")
    mask = numpy.broadcast_to(mask, shape).astype(bool)
    count = int(mask.sum())
    if source.size < count:
        raise RuntimeError("Number of elements of source < number of ones in mask")
    out[mask] = source.reshape(-1)[:count]
    return out


def _check_masked_scatter(self, mask, source):
    if self.layout.dtype is not source.layout.dtype:
        raise RuntimeError(
            "masked_scatter_: expected self and source to have same dtypes but got "
            f"{type_name(self.dtype)} and "
            f"{type_name(source.dtype)}"
        )
    if mask.layout.dtype not in (BOOL, by_name("uint8")):
        raise RuntimeError("masked_scatter_ only supports boolean masks, but got mask with dtype "
                           + type_name(mask.layout.dtype))  # fmt: skip


masked_scatter = checked(
    "aten::masked_scatter(Tensor self, Tensor mask, Tensor source) -> Tensor",
    """`self` with the elements of `source`, in order, where `mask` holds.""",
    run=_masked_scatter,
    check=_check_masked_scatter,
    grad=dict(
        self=lambda grad, mask, self_layout: grad.masked_fill(mask, 0).sum_to_size(
            self_layout.shape
        ),
        source=lambda grad, mask, source_layout: _in_source(
            grad.masked_select(mask), source_layout
        ),
    ),
)
masked_scatter.inplace_form = True


def _in_source(grad, layout):
    rest = layout.numel - grad.layout.numel
    whole = grad if not rest else _pad(grad, (0, rest))
    return whole.reshape(layout.shape)


__all__ = [
    "FLOAT32",
    "gather",
    "index_add",
    "index_select",
    "masked_fill",
    "nonzero",
    "scatter_add",
    "take",
    "where",
]
