"""Largest and smallest elements, with and without their places."""

from flambeau import ir
from flambeau.types import by_name

from .arithmetic import masked
from .family import Fold, pointwise, reduction, scan
from .family.reduction import wrap_dim, wrap_dims
from .op import composite
from .reductions import is_nan, keep_dims, spread
from .results import named

INT64 = by_name("int64")
LAST = 2**63 - 1


def limits(dtype):
    """(smallest, largest) value of a dtype: the infinities of floating types."""
    if dtype.kind == "f":
        return float("-inf"), float("inf")
    if dtype.kind == "b":
        return False, True
    bits = 8 * dtype.itemsize
    return (0, 2**bits - 1) if dtype.kind == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def larger(a, b):
    """The larger of two scalars; nan if either is."""
    return a | b if a.dtype.kind == "b" else ir.maximum(a, b)


def smaller(a, b):
    """The smaller of two scalars; nan if either is."""
    return a & b if a.dtype.kind == "b" else ir.minimum(a, b)


def no_complex(op, dtype):
    if dtype.kind == "c":
        kind = {"complex64": "ComplexFloat", "complex128": "ComplexDouble"}[dtype.name]
        raise NotImplementedError(f"\"{op}\" not implemented for '{kind}'")


def _dtype(op):
    def rule(source, asked):
        no_complex(op, source)
        return source, (source,)

    return rule


def extreme_fold(pick, start):
    """The fold of `pick` (`larger` or `smaller`); `start` is the place of the neutral element in
    `limits`."""

    def fold(dtype):
        return Fold(
            ((limits(dtype)[start], dtype),),
            lambda x: (x,),
            lambda a, b: (pick(a[0], b[0]),),
            lambda s, n: (s[0],),
        )

    return fold


def _no_identity(op, layout, dims):
    if dims is None:
        raise RuntimeError(
            "aminmax(): cannot compute aminmax over an empty dimension as the operation has no "
            "identity."
        )
    _empty(op, layout, dims)


def _empty(op, layout, dims):
    if dims is None or dims == ():
        raise RuntimeError(
            f"{op.name}(): Expected reduction dim to be specified for input.numel() == 0. Specify "
            "the reduction dim with the 'dim' argument."
        )
    dim = next(
        d
        for d in ((dims,) if isinstance(dims, int) else dims)
        if layout.shape[wrap_dim(d, layout.ndim)] == 0
    )
    raise IndexError(f"{op.name}(): Expected reduction dim {dim} to have non-zero size.")


def share(grad, self, self_layout, result, dim, keepdim):
    """The gradient of an extreme value: equal shares for all elements that attain it."""
    value = keep_dims(result, self_layout, dim, keepdim)
    attain = (self == value).logical_or((self != self).logical_and(value != value))
    counts = attain.sum(wrap_dims(dim, self_layout.ndim), True).to(self_layout.dtype)
    return masked(spread(grad, self_layout, dim, keepdim), attain) / counts


amax = reduction(
    "aten::amax(Tensor self, int[]? dim=None, bool keepdim=False) -> Tensor",
    """The largest element along `dim`; nan where there is one. Equal elements share the
    gradient.""",
    fold=extreme_fold(larger, 0),
    dtype=_dtype("amax"),
    empty=_empty,
    grad=dict(self=share),
)
amin = reduction(
    "aten::amin(Tensor self, int[]? dim=None, bool keepdim=False) -> Tensor",
    """The smallest element along `dim`; nan where there is one. Equal elements share the
    gradient.""",
    fold=extreme_fold(smaller, 1),
    dtype=_dtype("amin"),
    empty=_empty,
    grad=dict(self=share),
)


def _both_fold(dtype):
    low, high = limits(dtype)
    return Fold(
        ((high, dtype), (low, dtype)),
        lambda x: (x, x),
        lambda a, b: (smaller(a[0], b[0]), larger(a[1], b[1])),
        lambda s, n: s,
    )


def _both_grad(grad_min, grad_max, self, self_layout, min, max, dim, keepdim):
    total = None
    for grad, value in ((grad_min, min), (grad_max, max)):
        if grad is not None:
            part = share(grad, self, self_layout, value, dim, keepdim)
            total = part if total is None else total + part
    return total


aminmax = reduction(
    "aten::aminmax(Tensor self, *, int? dim=None, bool keepdim=False) -> (Tensor min, Tensor max)",
    """The smallest and the largest element, in one pass.""",
    fold=_both_fold,
    dtype=lambda source, asked: (_dtype("aminmax")(source, asked)[0], (source, source)),
    empty=_no_identity,
    grad=dict(self=_both_grad),
    results=named("aminmax", "min max"),
)
aminmax.exact_out = True


def place_fold(greater):
    """The extreme value and the place of the first such; nan counts as most extreme."""

    def fold(dtype):
        start = (limits(dtype)[0 if greater else 1], dtype), (LAST, INT64)

        def combine(a, b):
            (x, i), (y, j) = a, b
            before = j < i
            if dtype.kind == "b":
                wins, ties = (y & ~x, ~(x ^ y)) if greater else (x & ~y, ~(x ^ y))
            else:
                wins, ties = (y > x if greater else y < x), x.equals(y)
            if dtype.kind == "f":
                wins, ties = wins | (is_nan(y) & ~is_nan(x)), ties | (is_nan(x) & is_nan(y))
            take = wins | (ties & before)
            return ir.select(take, y, x), ir.select(take, j, i)

        return Fold(start, lambda x: (x, ir.position), combine, lambda s, n: s)

    return fold


def _latest_fold(greater):
    """The extreme value and the place of the last such, for a scan, which adds elements in order:
    so the new one wins ties, and each step costs a comparison and two selections.
    """

    def fold(dtype):
        start = (limits(dtype)[0 if greater else 1], dtype), (0, INT64)

        def combine(a, b):
            (x, i), (y, j) = a, b
            if dtype.kind == "b":
                take = y | ~x if greater else x | ~y
            else:
                take = y >= x if greater else y <= x
            if dtype.kind == "f":
                take = take | is_nan(y)
            return larger(x, y) if greater else smaller(x, y), ir.select(take, j, i)

        return Fold(start, lambda x: (x, ir.position), combine, lambda s, n: s)

    return fold


def _place_dtype(op):
    def rule(source, asked):
        if source.kind == "c":
            raise RuntimeError(f"{op}(): does not support complex input")
        return source, (source, INT64)

    return rule


def put_back(grad, indices, layout, dim, keepdim):
    """Zeros of `layout`'s shape with `grad` at `indices` along `dim`: the gradient of picking
    elements."""
    if grad is None:
        return None
    if not layout.ndim:
        return grad
    if not keepdim:
        grad, indices = grad.unsqueeze(dim), indices.unsqueeze(dim)
    return grad.new_zeros(layout.shape).scatter(dim, indices, grad)


def _with_place(name, greater, doc):
    def grad(grad_values, indices, self_layout, dim, keepdim):
        return put_back(grad_values, indices, self_layout, dim, keepdim)

    return reduction(
        f"aten::{name}.dim(Tensor self, int dim, bool keepdim=False) -> (Tensor values, Tensor "
        "indices)",
        doc,
        fold=place_fold(greater),
        dtype=_place_dtype(name),
        empty=_empty,
        grad=dict(self=grad),
        results=named(name, "values indices"),
    )


@composite("aten::max(Tensor self) -> Tensor")
def max_(self):
    """The largest element. Equal elements share the gradient."""
    if not self.layout.numel:
        _empty(max_, self.layout, None)
    return amax(self)


@composite("aten::max.other(Tensor self, Tensor other) -> Tensor")
def max_other(self, other):
    """As `maximum`."""
    return maximum(self, other)


max_dim = _with_place(
    "max", True, """The largest elements along `dim`, and the place of the first of each."""
)


@composite("aten::min(Tensor self) -> Tensor")
def min_(self):
    """The smallest element. Equal elements share the gradient."""
    if not self.layout.numel:
        _empty(min_, self.layout, None)
    return amin(self)


@composite("aten::min.other(Tensor self, Tensor other) -> Tensor")
def min_other(self, other):
    """As `minimum`."""
    return minimum(self, other)


min_dim = _with_place(
    "min", False, """The smallest elements along `dim`, and the place of the first of each."""
)


def _only_place(greater):
    def fold(dtype):
        return place_fold(greater)(dtype)._replace(finish=lambda s, n: (s[1],))

    return fold


def _argument(name, greater, doc):
    return reduction(
        f"aten::{name}(Tensor self, int? dim=None, bool keepdim=False) -> Tensor",
        doc,
        fold=_only_place(greater),
        dtype=lambda source, asked: (_place_dtype(name)(source, asked)[0], (INT64,)),
        empty=_no_place,
    )


def _no_place(op, layout, dims):
    if dims is None:
        raise IndexError(
            f"{op.name}(): Expected reduction dim to be specified for input.numel() == 0."
        )
    _empty(op, layout, dims)


argmax = _argument(
    "argmax",
    True,
    """The place of the (first) largest element along `dim`, or in the flattened tensor.""",
)
argmin = _argument(
    "argmin",
    False,
    """The place of the (first) smallest element along `dim`, or in the flattened tensor.""",
)


def _prefix_grad(grad_values, indices, self_layout, dim):
    """Each prefix's gradient goes to the element that was the extreme of it."""
    if grad_values is None or not self_layout.ndim or not self_layout.numel:
        return grad_values
    return grad_values.new_zeros(self_layout.shape).scatter_add(dim, indices, grad_values)


def _running(name, greater, doc):
    op = scan(
        f"aten::{name}(Tensor self, int dim) -> (Tensor values, Tensor indices)",
        doc,
        fold=_latest_fold(greater),
        dtype=_place_dtype(name),
        grad=dict(self=_prefix_grad),
        results=named(name, "values indices"),
    )
    op.inplace_form = False  # two results
    return op


cummax = _running(
    "cummax", True, """The largest element so far along `dim`, and the place of the latest such."""
)
cummin = _running(
    "cummin",
    False,
    """The smallest element so far along `dim`, and the place of the latest such.""",
)


# Elementwise.


def _halves(grad, self, other, wins):
    """The gradient where `wins`, half of it where both are equal."""
    ties = self == other
    return masked(grad, wins.logical_and(ties.logical_not())) + masked(grad, ties) * 0.5


def _elementwise(name, body, self_wins, other_wins, doc):
    """`self_wins(self, other)` and `other_wins`: where the gradient goes, beside ties, which
    share."""

    def check(common, *args):
        if common.kind == "c":
            raise RuntimeError(f"{name} not implemented for complex tensors.")

    return pointwise(
        f"aten::{name}(Tensor self, Tensor other) -> Tensor",
        doc,
        scalar=body,
        check=check,
        grad=dict(
            self=lambda grad, self, other: _halves(grad, self, other, self_wins(self, other)),
            other=lambda grad, self, other: _halves(grad, self, other, other_wins(self, other)),
        ),
    )


def _ignoring_nan(pick):
    def body(self, other):
        if self.dtype.kind != "f":
            return pick(self, other)
        return ir.select(is_nan(self), other, ir.select(is_nan(other), self, pick(self, other)))

    return body


maximum = _elementwise(
    "maximum", larger, lambda a, b: a >= b, lambda a, b: b > a,
    """The larger of two elements; nan if either is.""",
)  # fmt: skip
minimum = _elementwise(
    "minimum", smaller, lambda a, b: a <= b, lambda a, b: b < a,
    """The smaller of two elements; nan if either is.""",
)  # fmt: skip
fmax = _elementwise(
    "fmax", _ignoring_nan(larger),
    lambda a, b: (a >= b).logical_or(b.isnan()),
    lambda a, b: (a >= b).logical_or(b.isnan()).logical_not(),
    """The larger of two elements; the other one where one is nan.""",
)  # fmt: skip
fmin = _elementwise(
    "fmin", _ignoring_nan(smaller),
    lambda a, b: (a <= b).logical_or(b.isnan()),
    lambda a, b: (a <= b).logical_or(b.isnan()).logical_not(),
    """The smaller of two elements; the other one where one is nan.""",
)  # fmt: skip
