"""Choosing, writing and finding elements by masks."""

from __future__ import annotations

from flambeau import ir
from flambeau._base import numpy
from flambeau.types import by_name

from .facts import c_name, type_name
from .family import opaque, pointwise
from .family.launch import broadcast
from .joining import checked
from .op import composite

BOOL = by_name("bool")


def _select_by_mask(self, mask, value):
    return ir.select(mask, ir.cast(value, self.dtype), self)


def _check_mask(common, self, mask, value):
    if mask.layout.dtype is not BOOL:
        raise RuntimeError(
            "masked_fill_ only supports boolean masks, but got mask with dtype "
            + c_name(mask.layout.dtype)
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
        raise RuntimeError(f"value cannot be converted to type {c_name(common)} without overflow")


masked_fill = pointwise(
    "aten::masked_fill(Tensor self, Tensor mask, Tensor|Scalar value) -> Tensor",
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
    "aten::where(Tensor condition, Tensor|Scalar self, Tensor|Scalar other) -> Tensor",
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
    if mask.layout.dtype is not BOOL:
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
masked_select.exact_out = masked_select.apart_out = True


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
    if mask.layout.dtype is not BOOL:
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
    whole = grad if not rest else zero_pad(grad, (0, rest))
    return whole.reshape(layout.shape)


def zero_pad(grad, pad):
    """`grad` with zeros behind it, as many as `pad` says in the manner of `constant_pad_nd`."""
    from_edge = grad.new_zeros(
        [n + p for n, p in zip(grad.layout.shape, reversed(pad[1::2]), strict=True)]
    )
    out = from_edge
    for d, n in enumerate(grad.layout.shape):
        out = out.narrow(d, 0, n)
    out.copy_(grad)
    return from_edge
