"""Choosing, writing and finding elements by masks."""

from __future__ import annotations

import math

from flambeau import ir, runtime
from flambeau.types import by_name, contiguous, meta

from .facts import c_name, type_name
from .family import Buffer, Fold, Scatter, pointwise
from .family.indexed import At, IndexedSteps, finish, vector, viewed
from .family.launch import Slots, broadcast, expand
from .modes import state
from .op import Op, composite

BOOL, INT64 = by_name("bool"), by_name("int64")


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
masked_fill.holds = "value"


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


class _Found(Op):
    """An op whose result has a row for each element that a mask holds for: they are counted, and
    then written to memory for as many. The plan does not depend on their number.
    """

    family = "indexed"

    def plan(self, args):
        self.check(*args)
        if args[0].layout.device is meta:
            raise NotImplementedError(f"{self.name} is not available on the meta device")
        record = self.recorder(args) if self.gradients else None
        count, write, rest, dtype = self.launchers(*args)
        size = math.prod(rest) * dtype.itemsize

        def find(*args):
            *marks, total = count(*args)
            found = total.item()
            # One row more: what is not chosen is written behind the last row, and overwritten.
            storage = runtime.empty((found + 1) * size)
            made = runtime.wrap(storage, contiguous((found, *rest), dtype), 0)
            write(made, args[0], *marks)
            if record is not None and args[0]._node is not None and state.grad:
                record(made, *args)
            return made

        return find


class _Nonzero(_Found):
    def check(self, source):
        """Everything has zeros."""

    def launchers(self, source):
        layout = source.layout
        steps, slots = IndexedSteps(layout.device), Slots()
        slots.tensor(layout)
        marks = steps.result(layout.shape, BOOL)
        steps.pointwise(lambda value: ir.cast(value, BOOL), [Buffer(layout, 0)], [marks])
        _total(steps, marks)
        count = finish(steps, slots, None, None)
        rank = layout.ndim
        *outer, inner = layout.shape or (1,)
        steps, slots = IndexedSteps(layout.device), Slots()
        out, _, marks = (
            _argument(slots, x) for x in (_vector_of(layout, INT64), layout, marks.layout)
        )
        if layout.numel and rank:
            numbers = (math.prod(outer), inner, rank, *outer)
            address = runtime.order_kernel("places")
            steps.call(address, [marks, out], numbers, 1, 1.5 * layout.numel)
        return count, finish(steps, slots, None, None, "m"), (rank,), INT64


def _vector_of(layout, dtype):
    """The layout of a row for each element and one more; what is written has fewer of them."""
    return contiguous((layout.numel + 1,), dtype, layout.device)


def _argument(slots, layout):
    slots.tensor(layout)
    return Buffer(layout, len(slots.letters) - 1)


def _total(steps, marks):
    """The result that says how often `marks` hold."""
    total = steps.result((), INT64)
    fold = Fold(((0, INT64),), lambda m: (ir.cast(m, INT64),), _sum, lambda state, _: state)
    if not marks.layout.ndim:
        marks = vector(marks)
    steps.reduce(fold, [marks], tuple(range(marks.layout.ndim)), [total])


def _sum(a, b):
    return (a[0] + b[0],)


def _ranks(steps, mask, ranks, finish_):
    """ranks = finish_(marks up to here, whether this is one), in row-major order."""
    flat = viewed(steps.dense(mask), (mask.layout.numel,), (1,))
    fold = Fold(
        ((0, INT64), (0, INT64)),
        lambda m: (ir.cast(ir.cast(m, BOOL), INT64),) * 2,
        lambda a, b: (a[0] + b[0], b[1]),
        lambda state, _: (finish_(*state),),
    )
    steps.scan(fold, [flat], 0, [ranks])


class Chosen(_Found):
    """The elements that a mask of as many dimensions holds for, or rows of those behind a mask's of
    fewer.
    """

    def check(self, source, mask):
        if mask.layout.dtype is not BOOL:
            raise RuntimeError("masked_select: expected BoolTensor for mask")
        broadcast([source.layout.shape, mask.layout.shape][::-1])

    def shapes(self, source, mask):
        """What mask and source have together, and the shape of a row."""
        return broadcast([source.shape, mask.shape]), ()

    def launchers(self, source, mask):
        layout = source.layout
        shape, rest = self.shapes(layout, mask.layout)
        steps, slots = IndexedSteps(layout.device), Slots()
        _argument(slots, layout)
        marks = _argument(slots, expand(mask.layout, shape))
        ranks = steps.result((math.prod(shape),), INT64)
        if ranks.layout.numel:
            _ranks(steps, marks, ranks, lambda count, here: count - here)
        _total(steps, marks)
        count = finish(steps, slots, None, None)
        steps, slots = IndexedSteps(layout.device), Slots()
        whole = (*shape, *rest)
        numel, width = math.prod(shape), math.prod(rest)
        out = _argument(slots, contiguous((numel + 1, width), layout.dtype, layout.device))
        values = _argument(slots, expand(layout, whole))
        index = _argument(slots, ranks.layout)
        row = contiguous(rest, layout.dtype).strides
        index = viewed(index, whole, (*contiguous(shape, INT64).strides, *[0] * len(rest)))
        view = viewed(out, whole, (*[0] * len(shape), *row))
        place = At(index, (view,), width * layout.itemsize, numel + 1)
        steps.indexed(lambda value: (value,), [view], [values], [place], range(len(shape)))
        return count, finish(steps, slots, None, None, "m"), rest, layout.dtype


_nonzero = _Nonzero(
    "aten::_nonzero(Tensor self) -> Tensor",
    """The places of the elements that are not zero, as rows.""",
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


masked_select = Chosen(
    "aten::masked_select(Tensor self, Tensor mask) -> Tensor",
    """The elements where `mask` holds, as a vector.""",
    dict(self=lambda grad, self_layout, mask: _unselect(grad, self_layout, mask)),
)
masked_select.exact_out = masked_select.apart_out = True


def _unselect(grad, layout, mask):
    shape = broadcast([layout.shape, mask.layout.shape])
    return grad.new_zeros(shape).masked_scatter(mask, grad).sum_to_size(layout.shape)


def _masked_scatter(steps, target, mask, source):
    shape = target.layout.shape
    if not target.layout.numel:
        return
    marks = Buffer(expand(mask.layout, shape), mask.source)
    ranks = steps.scratch((target.layout.numel,), INT64)
    _ranks(steps, marks, ranks, lambda count, here: count - 1)
    index = viewed(ranks, shape, contiguous(shape, INT64).strides)
    flat = steps.dense(source)
    view = viewed(flat, shape, [0] * len(shape))
    # Before the first mark the rank is -1, which names an element that is there.
    place = At(index, (view,), flat.layout.itemsize, flat.layout.numel, True)

    def body(old, mark, new):
        return (ir.select(ir.cast(mark, BOOL), new, old),)

    steps.indexed(body, [target], [target, marks, view], [place])


def _too_few(*args):
    return RuntimeError("Number of elements of source < number of ones in mask")


def _check_masked_scatter(self, mask, source):
    if self.layout.dtype is not source.layout.dtype:
        raise RuntimeError(
            "masked_scatter_: expected self and source to have same dtypes but got "
            f"{type_name(self.dtype)} and {type_name(source.dtype)}"
        )
    if mask.layout.dtype is not BOOL:
        raise RuntimeError("masked_scatter_ only supports boolean masks, but got mask with dtype "
                           + type_name(mask.layout.dtype))  # fmt: skip


class _MaskedScatter(Scatter):
    apart = False

    def fill(self, steps, values):
        """The result has the shape that tensor and mask have together."""
        source, mask, new = values
        shape = broadcast([source.layout.shape, mask.layout.shape])
        super().fill(steps, (Buffer(expand(source.layout, shape), source.source), mask, new))


masked_scatter = _MaskedScatter(
    "aten::masked_scatter(Tensor self, Tensor mask, Tensor source) -> Tensor",
    """`self` with the elements of `source`, in order, where `mask` holds.""",
    _masked_scatter,
    dict(
        self=lambda grad, mask, self_layout: grad.masked_fill(mask, 0).sum_to_size(
            self_layout.shape
        ),
        source=lambda grad, mask, source_layout: _in_source(grad, mask, source_layout),
    ),
    check=_check_masked_scatter,
    refuse=_too_few,
)


def _in_source(grad, mask, layout):
    """The gradient of the elements, of which those that were taken lie where `mask` holds."""
    mask = mask.expand(grad.layout.shape).reshape(-1)
    places = (mask.to(INT64).cumsum(0) - 1).masked_fill(~mask, layout.numel)
    whole = grad.new_zeros((layout.numel + 1,)).scatter(0, places, grad.reshape(-1))
    return whole.narrow(0, 0, layout.numel).reshape(layout.shape)


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
