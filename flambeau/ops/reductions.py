"""Sums, means, products and truth values over dimensions."""

from flambeau import ir
from flambeau.types import by_name

from .arithmetic import conj_of, masked
from .creation import ones_like
from .family import Fold, reduction
from .family.pointwise import type_name
from .family.reduction import wrap_dims
from .modes import interpreters
from .op import LIMIT, composite, find
from .promotion import compute_type
from .views import expand

FLOAT32, FLOAT64, INT64, BOOL, UINT8 = map(
    by_name, ("float32", "float64", "int64", "bool", "uint8")
)
COMPLEX128 = by_name("complex128")


def sum_dtype(source, asked):
    """Integers and bool add up in int64; `asked` decides otherwise."""
    result = asked or (source if source.kind in "fc" else INT64)
    return result, (result,)


def accumulator(dtype):
    """What a sum of `dtype` is accumulated in: one size wider than float32, so that order hardly
    matters."""
    if dtype.kind == "c":
        return COMPLEX128
    return FLOAT64 if dtype in (FLOAT32, FLOAT64) else dtype


def add_fold(dtype):
    """The sum."""
    inner = accumulator(dtype)
    return Fold(((0, inner),), lambda x: (ir.cast(x, inner),), _add, lambda s, n: (s[0],))


def _add(a, b):
    return tuple(x + y for x, y in zip(a, b, strict=True))


def is_nan(x):
    """Whether a value, or a part of a complex one, is nan."""
    if isinstance(x, ir.Pair):
        return is_nan(x.re) | is_nan(x.im)
    return x.differs(x)


def spread(grad, layout, dim, keepdim):
    """A gradient of a reduction's result, expanded over the reduced dimensions."""
    if not grad.layout.ndim:  # everything was reduced: one number expands to any shape
        plan = _spreads.get((grad.layout, layout))
        if plan is None or interpreters:
            return _spread_number(grad, layout)
        return plan(grad, layout.shape, False)
    return keep_dims(grad, layout, dim, keepdim).expand(layout.shape)


_spreads: dict = {}  # plans of `expand`


def _spread_number(grad, layout):
    if interpreters:
        return expand.door(grad, layout.shape)
    if len(_spreads) > LIMIT:
        _spreads.clear()
    args = grad, layout.shape, False
    plan = _spreads[grad.layout, layout] = expand.plan(args)
    return plan(*args)


def keep_dims(result, layout, dim, keepdim):
    """A reduction's result with the reduced dimensions of size 1 again."""
    if not keepdim and layout.ndim:
        for d in wrap_dims(dim, layout.ndim):
            result = result.unsqueeze(d)
    return result


def folded(layout, dim):
    """How many elements are folded into one result."""
    n = 1
    for d in wrap_dims(dim, layout.ndim):
        n *= layout.shape[d]
    return n


sum_ = reduction(
    "aten::sum(Tensor self, int[]? dim=None, bool keepdim=False, *, ScalarType? dtype=None) -> "
    "Tensor",
    """The sum over `dim` (all dimensions by default); integers add up in int64.""",
    fold=add_fold,
    dtype=sum_dtype,
    grad=dict(
        self=lambda grad, self_layout, dim, keepdim: spread(
            grad if grad.layout.dtype is self_layout.dtype else grad.to(self_layout.dtype),
            self_layout,
            dim,
            keepdim,
        )
    ),
)


def _nan_as_zero(dtype):
    inner = accumulator(dtype)

    def element(x):
        return (
            ir.cast(
                ir.select(is_nan(x), ir.const(0, dtype), x) if dtype.kind in "fc" else x, inner
            ),
        )

    return Fold(((0, inner),), element, _add, lambda s, n: (s[0],))


nansum = reduction(
    "aten::nansum(Tensor self, int[]? dim=None, bool keepdim=False, *, ScalarType? dtype=None) -> "
    "Tensor",
    """The sum over `dim`, nan counting as zero.""",
    fold=_nan_as_zero,
    dtype=sum_dtype,
    grad=dict(
        self=lambda grad, self, self_layout, dim, keepdim: masked(
            spread(grad, self_layout, dim, keepdim).to(self_layout.dtype), self == self
        )
    ),
)


def _mean_dtype(source, asked):
    result = asked or source
    if result.kind not in "fc":
        what = "Optional" if asked else "Input"
        raise RuntimeError(
            f"mean(): could not infer output dtype. {what} dtype must be either a floating point "
            f"or complex dtype. Got: {type_name(result)}"
        )
    return result, (result,)


def _mean_fold(dtype):
    inner = accumulator(dtype)
    return Fold(
        ((0, inner),),
        lambda x: (ir.cast(x, inner),),
        _add,
        lambda s, n: (s[0] / ir.cast(n, inner.to_real()),),
    )


mean = reduction(
    "aten::mean(Tensor self, int[]? dim=None, bool keepdim=False, *, ScalarType? dtype=None) -> "
    "Tensor",
    """The mean over `dim` (all dimensions by default).""",
    fold=_mean_fold,
    dtype=_mean_dtype,
    grad=dict(
        self=lambda grad, self_layout, dim, keepdim: spread(
            grad.to(self_layout.dtype) * (1.0 / max(folded(self_layout, dim), 1)),
            self_layout,
            dim,
            keepdim,
        )
    ),
)


def _nanmean_fold(dtype):
    inner = accumulator(dtype)
    count = inner.to_real()

    def element(x):
        bad = is_nan(x)
        return ir.cast(ir.select(bad, ir.const(0, dtype), x), inner), ir.cast(~bad, count)

    return Fold(((0, inner), (0, count)), element, _add, lambda s, n: (s[0] / s[1],))


def _nanmean_dtype(source, asked):
    if source.kind not in "fc":
        raise RuntimeError(
            "nanmean(): expected input to have floating point or complex dtype but got "
            f"{type_name(source)}"
        )
    return _mean_dtype(source, asked)


def _nanmean_grad(grad, self, self_layout, dim, keepdim):
    good = self == self
    counts = good.sum(dim, keepdim).to(self_layout.dtype)
    return masked(spread(grad.to(self_layout.dtype) / counts, self_layout, dim, keepdim), good)


nanmean = reduction(
    "aten::nanmean(Tensor self, int[]? dim=None, bool keepdim=False, *, ScalarType? dtype=None) -> "
    "Tensor",
    """The mean over `dim` of the elements that are not nan.""",
    fold=_nanmean_fold,
    dtype=_nanmean_dtype,
    grad=dict(self=_nanmean_grad),
)


def _prod_fold(dtype):
    inner = accumulator(dtype)
    return Fold(
        ((1, inner),),
        lambda x: (ir.cast(x, inner),),
        lambda a, b: (a[0] * b[0],),
        lambda s, n: (s[0],),
    )


def _prod_grad(grad, self, self_layout, dim, keepdim, dtype):
    """The product of the other elements, as products of all before and all behind: right beside
    zeros too."""
    x = self if dtype is None else self.to(dtype)
    if not self_layout.ndim:
        return grad.to(self_layout.dtype)
    if dim is None:
        x, grad, d = x.reshape(-1), grad.reshape(()), 0
    else:
        d = wrap_dims(dim, self_layout.ndim)[0]
        grad = grad if keepdim else grad.unsqueeze(d)
    before = exclusive_products(x, d)
    behind = exclusive_products(x.flip(d), d).flip(d)
    return (grad * conj_of(before * behind)).reshape(self_layout.shape).to(self_layout.dtype)


def exclusive_products(x, d):
    """Along `d`, the product of all elements before each; 1 for the first."""
    n = x.layout.shape[d]
    if n == 0:
        return x
    head = x.narrow(d, 0, 1)
    return joined((ones_like(head), x.narrow(d, 0, n - 1)), d).cumprod(d)


def joined(tensors, dim):
    """`tensors` one behind the other along `dim`."""
    return find("cat").door(tensors, dim)


prod = reduction(
    "aten::prod(Tensor self, int? dim=None, bool keepdim=False, *, ScalarType? dtype=None) -> "
    "Tensor",
    """The product over `dim` (all dimensions by default); integers multiply in int64.""",
    fold=_prod_fold,
    dtype=sum_dtype,
    grad=dict(self=_prod_grad),
)


def _truth_dtype(source, asked):
    """uint8 stays, for the sake of old masks; everything else gives bool."""
    return source, (UINT8 if source is UINT8 else BOOL,)


def _truth_fold(combine, start):
    def fold(dtype):
        return Fold(
            ((start, BOOL),),
            lambda x: (ir.cast(x, BOOL),),
            lambda a, b: (combine(a[0], b[0]),),
            _first,
        )

    return fold


def _first(s, n):
    return (s[0],)


any_ = reduction(
    "aten::any(Tensor self, int[]? dim=None, bool keepdim=False) -> Tensor",
    """Whether any element along `dim` is true (not zero).""",
    fold=_truth_fold(lambda a, b: a | b, False),
    dtype=_truth_dtype,
)
all_ = reduction(
    "aten::all(Tensor self, int[]? dim=None, bool keepdim=False) -> Tensor",
    """Whether all elements along `dim` are true (not zero).""",
    fold=_truth_fold(lambda a, b: a & b, True),
    dtype=_truth_dtype,
)


def _count_fold(dtype):
    return Fold(((0, INT64),), lambda x: (ir.cast(ir.cast(x, BOOL), INT64),), _add, _first)


count_nonzero = reduction(
    "aten::count_nonzero(Tensor self, int[]? dim=None) -> Tensor",
    """The number of elements along `dim` that are not zero.""",
    fold=_count_fold,
    dtype=lambda source, asked: (source, (INT64,)),
)


@composite("aten::sum_to_size(Tensor self, int[] size) -> Tensor", function=False)
def sum_to_size(self, size):
    """The sum over the dimensions that broadcasting `size` to this shape repeats."""
    shape = self.layout.shape
    if shape == tuple(size) and shape:
        return self
    lead = len(shape) - len(size)
    dims = tuple(range(lead)) + tuple(
        d for d in range(lead, len(shape)) if size[d - lead] == 1 and shape[d] != 1
    )
    if lead < 0 or any(size[d - lead] not in (1, shape[d]) for d in range(lead, len(shape))):
        raise RuntimeError(f"size {{{list(size)}}} is not expandable to size {{{list(shape)}}}.")
    out = sum_(self, dims, True) if dims or not size else self
    return out.reshape(size) if lead else out


__all__ = ["FLOAT32", "compute_type", "spread"]
