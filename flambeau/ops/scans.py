"""Running sums and products, differences, and integrals by the trapezoid rule."""

from flambeau import ir

from .arithmetic import conj_of, masked
from .extremes import is_nan, larger
from .family import Fold, chain, fixed, scan
from .family.reduction import wrap_dim
from .op import composite
from .promotion import compute_type
from .reductions import accumulator, add_fold, exclusive_products, joined, sum_dtype
from .views import real

# A running sum of a half type is rounded once, at the end.


def _reverse_sums(grad, self_layout, dim):
    if not self_layout.ndim:
        return grad.to(self_layout.dtype)
    return grad.to(self_layout.dtype).flip(dim).cumsum(dim).flip(dim)


cumsum = scan(
    "aten::cumsum(Tensor self, int dim, *, ScalarType? dtype=None) -> Tensor",
    """The sum of all elements so far along `dim`; integers add up in int64.""",
    fold=add_fold,
    dtype=sum_dtype,
    grad=dict(self=_reverse_sums),
)


def _recurrence_fold(dtype):
    """Affine maps y -> a * y + b under composition; the second component is the recurrence started
    at zero."""
    inner = accumulator(dtype)
    return Fold(
        ((1, inner), (0, inner)),
        lambda a, b: (ir.cast(a, inner), ir.cast(b, inner)),
        lambda first, then: (first[0] * then[0], then[0] * first[1] + then[1]),
        lambda s, n: (s[1],),
    )


def _build_recurrence(steps, factor, term, dim):
    shape = term.layout.shape
    fold = _recurrence_fold(compute_type(term.dtype))
    steps.scan(fold, [factor, term], wrap_dim(dim, len(shape)), [steps.result(shape, term.dtype)])


def _shifted(x, dim, back):
    """`x` moved by one place along `dim`, zeros moving in: y[i] = x[i + 1] (`back`) or x[i - 1]."""
    n = x.layout.shape[dim]
    gap = x.narrow(dim, 0, 1)
    gap = gap.new_zeros(gap.layout.shape)
    parts = (x.narrow(dim, 1, n - 1), gap) if back else (gap, x.narrow(dim, 0, n - 1))
    return joined(parts, dim)


def _adjoint(grad, factor, dim):
    """What each term of the recurrence contributes: the recurrence backwards."""
    if not grad.layout.shape[dim]:
        return grad
    return recurrence(conj_of(_shifted(factor, dim, True)).flip(dim), grad.flip(dim), dim).flip(dim)


def _factor_grad(grad, factor, result, dim):
    if not result.layout.numel:
        return grad
    return _adjoint(grad, factor, dim) * conj_of(_shifted(result, dim, False))


recurrence = chain(
    "aten::_recurrence(Tensor factor, Tensor term, int dim) -> Tensor",
    """y[i] = factor[i] * y[i - 1] + term[i] along `dim`, with y[-1] = 0.""",
    build=_build_recurrence,
    grad=dict(
        factor=_factor_grad,
        term=_adjoint,
    ),
    method=False,
    function=False,
)  # fmt: skip


def _product_fold(dtype):
    inner = accumulator(dtype)
    return Fold(
        ((1, inner),),
        lambda x: (ir.cast(x, inner),),
        lambda a, b: (a[0] * b[0],),
        lambda s, n: (s[0],),
    )


def _cumprod_grad(grad, self, self_layout, dim, dtype):
    """Element k is a factor of all results from k on. Their sum without that factor is a
    recurrence, so that zeros need no case of their own.
    """
    if not self_layout.ndim or not self_layout.numel:
        return grad.to(self_layout.dtype)
    x = self if dtype is None else self.to(dtype)
    d = wrap_dim(dim, self_layout.ndim)
    behind = recurrence(conj_of(_shifted(x, d, True)).flip(d), grad.flip(d), d).flip(d)
    return (conj_of(exclusive_products(x, d)) * behind).to(self_layout.dtype)


cumprod = scan(
    "aten::cumprod(Tensor self, int dim, *, ScalarType? dtype=None) -> Tensor",
    """The product of all elements so far along `dim`; integers multiply in int64.""",
    fold=_product_fold,
    dtype=sum_dtype,
    grad=dict(self=_cumprod_grad),
)


def _log_fold(dtype):
    """log(exp(a) + exp(b)), by the one of the larger real part."""

    def complex_combine(a, b):
        swap = a[0].re < b[0].re
        high, low = ir.select(swap, b[0], a[0]), ir.select(swap, a[0], b[0])
        none = low.re.equals(float("-inf"))
        return (ir.select(none, high, high + ir.math.log1p(ir.math.exp(low - high))),)

    def combine(a, b):
        high = larger(a[0], b[0])
        low = ir.minimum(a[0], b[0])
        same = a[0].equals(b[0]) & (abs(a[0]).equals(float("inf")))
        return (
            ir.select(same | is_nan(high), high, high + ir.math.log1p(ir.math.exp(low - high))),
        )

    join = complex_combine if dtype.kind == "c" else combine
    return Fold(((float("-inf"), dtype),), lambda x: (x,), join, lambda s, n: (s[0],))


def _log_dtype(source, asked):
    if source.kind not in "fc":
        raise NotImplementedError(
            f"\"logcumsumexp_out_cpu\" not implemented for '{source.name.capitalize()}'"
        )
    return source, (source,)


def _log_grad(grad, self, result, dim):
    """sum(grad[i] * exp(self[k] - result[i]) for i >= k), as a recurrence whose factors are at
    most 1."""
    if not self.layout.ndim or not self.layout.numel:
        return grad
    d = wrap_dim(dim, self.layout.ndim)
    n, reached = result.layout.shape[d], real(result) != float("-inf")
    self, result = conj_of(self), conj_of(result)
    here, ahead = result.narrow(d, 0, n - 1), result.narrow(d, 1, n - 1)
    factors = masked((here - ahead).exp(), reached.narrow(d, 0, n - 1))
    end = result.new_zeros(result.narrow(d, 0, 1).layout.shape)
    sums = recurrence(joined((factors, end), d).flip(d), grad.flip(d), d).flip(d)
    return sums * masked((self - result).exp(), reached)


logcumsumexp = scan(
    "aten::logcumsumexp(Tensor self, int dim) -> Tensor",
    """The logarithm of the running sum of exponentials along `dim`.""",
    fold=_log_fold,
    dtype=_log_dtype,
    grad=dict(self=_log_grad),
)


@fixed(
    "aten::diff(Tensor self, int n=1, int dim=-1, Tensor? prepend=None, Tensor? append=None) -> "
    "Tensor"
)
def diff(self, n, dim, prepend, append):
    """Differences of neighbours along `dim`, taken `n` times; of bool tensors, whether they
    differ."""
    if not self.layout.ndim:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    d = wrap_dim(dim, self.layout.ndim)
    if n == 0:
        return self.clone()
    around = tuple(x for x in (prepend, self, append) if x is not None)
    out = joined(around, d) if len(around) > 1 else self
    n = min(n, out.layout.shape[d])
    for _ in range(n):
        m = max(out.layout.shape[d] - 1, 0)
        ahead, behind = out.narrow(d, min(1, out.layout.shape[d]), m), out.narrow(d, 0, m)
        out = ahead.logical_xor(behind) if out.layout.dtype.kind == "b" else ahead - behind
    return out


def _panels(y, x, dx, dim):
    """The areas between neighbours along `dim` (which is moved last), times two."""
    d = wrap_dim(dim, y.layout.ndim)
    n = y.layout.shape[d]
    pairs = y.narrow(d, 1, max(n - 1, 0)) + y.narrow(d, 0, max(n - 1, 0)) if n else y
    if x is None:
        return pairs * dx, d
    if x.layout.ndim == 1:
        if x.layout.shape[0] != n:
            raise RuntimeError("trapezoid: There must be one `x` value for each sample point")
        x = x.reshape((n,) + (1,) * (y.layout.ndim - 1 - d))
        d = d - y.layout.ndim
        m = max(n - 1, 0)
        return pairs * (x.narrow(0, 1, m) - x.narrow(0, 0, m)), d
    if x.layout.ndim < y.layout.ndim:
        x = x.reshape((1,) * (y.layout.ndim - x.layout.ndim) + tuple(x.layout.shape))
    d = wrap_dim(dim, y.layout.ndim)
    return pairs * x.diff(1, d), d


def _area(y, x, dx, dim, finish):
    if not y.layout.ndim:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    panels, d = _panels(y, x, 1 if dx is None else dx, dim)
    return finish(panels, d) / 2.0


@composite(
    "aten::trapezoid(Tensor y, Tensor? x=None, *, Scalar? dx=None, int dim=-1) -> Tensor",
    method=False,
)
def trapezoid(y, x, dx, dim):
    """The integral of samples `y` along `dim` by the trapezoid rule, at places `x` or `dx`
    apart."""
    return _area(y, x, dx, dim, lambda panels, d: panels.sum(d))


@composite(
    "aten::trapz(Tensor y, Tensor? x=None, *, Scalar? dx=None, int dim=-1) -> Tensor", method=False
)
def trapz(y, x, dx, dim):
    """As `trapezoid`."""
    return trapezoid(y, x, dx=dx, dim=dim)


@composite(
    "aten::cumulative_trapezoid(Tensor y, Tensor? x=None, *, Scalar? dx=None, int dim=-1) -> "
    "Tensor",
    method=False,
)
def cumulative_trapezoid(y, x, dx, dim):
    """The running integral of `trapezoid`: one result fewer than samples."""
    return _area(y, x, dx, dim, lambda panels, d: panels.cumsum(d))
