"""Softmax and its kin: a maximum, a sum of exponentials, and one pass for the result, in one
launch."""

from flambeau import ir
from flambeau.ir import math
from flambeau.types import by_name

from .arithmetic import masked
from .extremes import extreme_fold, larger
from .family import Fold, chain, fused
from .family.pointwise import type_name
from .family.reduction import wrap_dim, wrap_dims
from .op import composite
from .promotion import compute_type
from .reductions import accumulator, folded, keep_dims
from .views import real

FLOAT32 = by_name("float32")
SHORT = 4096  # elements whose sum their own type holds: lanes share them out
INF = float("inf")


def sum_fold(element, inner, finish=lambda total: total, count=0):
    """The sum of `element(*operands)` in the accumulation type of `inner`; of few elements, if
    their `count` is told, in `inner` itself, which takes half the time."""
    wide = inner if 0 < count <= SHORT else accumulator(inner)
    return Fold(
        ((0, wide),),
        lambda *x: (ir.cast(element(*x), wide),),
        lambda a, b: (a[0] + b[0],),
        lambda s, n: (ir.cast(finish(s[0]), inner),),
    )


def reduced(shape, axes):
    """`shape` with size 1 along `axes`."""
    return tuple(1 if d in axes else n for d, n in enumerate(shape))


def _axes(source, dim):
    return (wrap_dim(dim, source.ndim),) if source.ndim else ()


def _highest(steps, x, axes, inner):
    """The maximum over `axes`, in the compute type."""
    high = steps.scratch(reduced(x.layout.shape, axes), inner)
    fold = extreme_fold(larger, 0)(inner)
    steps.reduce(fold._replace(element=lambda v: (ir.cast(v, inner),)), [x], axes, [high])
    return high


def _result_type(name, source, dtype):
    result = dtype or source.dtype
    if result.kind != "f":
        raise NotImplementedError(f"\"{name}\" not implemented for '{type_name(result)}'")
    return result


def _build_softmax(steps, x, dim, dtype):
    result = _result_type("softmax_lastdim_kernel_impl", x, dtype)
    inner, axes = compute_type(result), _axes(x.layout, dim)
    high = _highest(steps, x, axes, inner)
    scale, shape = steps.scratch(high.layout.shape, inner), x.layout.shape
    out = steps.result(shape, result)
    alone = result is inner and not steps.goes_by_rows(shape, axes)  # a block of rows is cheap
    raised = out if alone else steps.scratch(shape, inner)
    total = sum_fold(lambda v: v, inner, lambda total: 1.0 / total, folded(x.layout, axes))
    steps.pointwise(lambda v, m: math.exp(ir.cast(v, inner) - m), [x, high], [raised])
    steps.reduce(total, [raised], axes, [scale])
    steps.pointwise(lambda v, s: v * s, [raised, scale], [out])


def _build_level(steps, x, dim):
    _result_type("log_softmax_lastdim_kernel_impl", x, None)
    inner, axes = compute_type(x.dtype), _axes(x.layout, dim)
    shape = reduced(x.layout.shape, axes)
    high, rest = steps.result(shape, inner), steps.result(shape, inner)
    fold = extreme_fold(larger, 0)(inner)
    steps.reduce(fold._replace(element=lambda v: (ir.cast(v, inner),)), [x], axes, [high])
    fold = sum_fold(lambda v, m: math.exp(ir.cast(v, inner) - m), inner, math.log)
    steps.reduce(fold, [x, high], axes, [rest])


def _build_log_softmax(steps, x, dim, dtype):
    result = _result_type("log_softmax_lastdim_kernel_impl", x, dtype)
    inner, axes = compute_type(result), _axes(x.layout, dim)
    high = _highest(steps, x, axes, inner)
    log_sum = steps.scratch(high.layout.shape, inner)
    fold = sum_fold(lambda v, m: math.exp(ir.cast(v, inner) - m), inner, math.log)
    steps.reduce(fold, [x, high], axes, [log_sum])
    out = steps.result(x.layout.shape, result)
    steps.pointwise(lambda v, m, s: ir.cast(v, inner) - m - s, [x, high, log_sum], [out])


def _build_backward(element, finish):
    def build(steps, grad, result, dim):
        shape, inner = result.layout.shape, compute_type(result.dtype)
        axes = _axes(result.layout, dim)
        total = steps.scratch(reduced(shape, axes), inner)
        fold = sum_fold(element, inner, count=folded(result.layout, axes))
        steps.reduce(fold, [grad, result], axes, [total])
        steps.pointwise(finish, [grad, result, total], [steps.result(shape, result.dtype)])

    return build


softmax_backward = chain(
    "aten::_softmax_backward(Tensor grad, Tensor result, int dim) -> Tensor",
    """The gradient of softmax: result * (grad - sum(grad * result)).""",
    build=_build_backward(lambda g, y: g * y, lambda g, y, total: y * (g - total)),
    body=lambda grad, result, dim: result * (grad - (grad * result).sum(dim, True)),
    method=False,
    function=False,
)
log_softmax_backward = chain(
    "aten::_log_softmax_backward(Tensor grad, Tensor result, int dim) -> Tensor",
    """The gradient of log_softmax: grad - exp(result) * sum(grad).""",
    build=_build_backward(lambda g, y: g, lambda g, y, total: g - math.exp(y) * total),
    body=lambda grad, result, dim: grad - result.exp() * grad.sum(dim, True),
    method=False,
    function=False,
)
level = chain(
    "aten::_softmax_level(Tensor self, int dim) -> (Tensor high, Tensor rest)",
    """The maximum along `dim`, which stays with size 1, and what log-sum-exp is above it.""",
    build=_build_level,
    method=False,
    function=False,
)


@fused("aten::_softmax_at(Tensor self, Tensor high, Tensor rest, Tensor grad) -> Tensor")
def softmax_at(self, high, rest, grad):
    """Softmax from its `level`, times `grad`."""
    return (self - high - rest).exp() * grad


softmax = chain(
    "aten::softmax(Tensor self, int dim, ScalarType? dtype=None) -> Tensor",
    """exp(x) divided by its sum along `dim`; `dtype` is what it is computed in and returned as.""",
    build=_build_softmax,
    grad=dict(
        self=lambda grad, result, self_layout, dim: softmax_backward(grad, result, dim).to(
            self_layout.dtype
        )
    ),
)
log_softmax = chain(
    "aten::log_softmax(Tensor self, int dim, ScalarType? dtype=None) -> Tensor",
    """The logarithm of softmax along `dim`.""",
    build=_build_log_softmax,
    grad=dict(
        self=lambda grad, result, self_layout, dim: log_softmax_backward(grad, result, dim).to(
            self_layout.dtype
        )
    ),
)


@composite("special::softmax(Tensor input, int dim, ScalarType? dtype=None) -> Tensor")
def special_softmax(input, dim, dtype):
    """exp(x) divided by its sum along `dim`; also of complex numbers."""
    if (dtype or input.layout.dtype).kind == "c":
        return special_log_softmax(input, dim, dtype=dtype).exp()
    return softmax(input, dim, dtype)


@composite("special::log_softmax(Tensor input, int dim, *, ScalarType? dtype=None) -> Tensor")
def special_log_softmax(input, dim, dtype):
    """The logarithm of softmax along `dim`; of complex numbers, one of those."""
    if (dtype or input.layout.dtype).kind == "c":
        input = input.to(dtype or input.layout.dtype)
        return input - logsumexp(input, [dim], True)
    return log_softmax(input, dim, dtype)


@composite(
    "aten::_safe_softmax(Tensor self, int dim, ScalarType? dtype=None) -> Tensor",
    grad=dict(
        self=lambda grad, result, self_layout, dim: softmax_backward(grad, result, dim).to(
            self_layout.dtype
        )
    ),
    method=False,
)
def safe_softmax(self, dim, dtype):
    """Softmax with zeros, not nan, along lines that are -inf throughout."""
    out = softmax(self, dim, dtype)
    return masked(out, (self == -INF).all(dim, True).logical_not())


def _build_logsumexp(steps, x, dim, keepdim):
    source, result = x.layout, x.dtype if x.dtype.kind == "f" else FLOAT32
    inner, axes = compute_type(result), wrap_dims(dim, source.ndim)
    if source.numel == 0:
        high = None
    else:
        high = _highest(steps, x, axes, inner)
    kept = reduced(source.shape, axes)
    carried = None
    if not keepdim:
        shape = tuple(n for d, n in enumerate(source.shape) if d not in axes)
        carried = steps.plain(shape, result)
    if high is None:
        steps.pointwise(lambda: ir.const(-INF, inner), [], [steps.result(kept, result, carried)])
        return

    def bounded(m):
        return ir.select(abs(m).equals(INF), ir.const(0.0, inner), m)

    total = steps.scratch(kept, inner)
    fold = sum_fold(lambda v, m: math.exp(ir.cast(v, inner) - bounded(m)), inner, math.log)
    steps.reduce(fold, [x, high], axes, [total])
    steps.pointwise(
        lambda s, m: s + bounded(m), [total, high], [steps.result(kept, result, carried)]
    )


def _logsumexp_grad(grad, self, self_layout, result, dim, keepdim):
    value = keep_dims(result, self_layout, dim, keepdim)
    above = masked(self - value, value.isinf().logical_not() | (self != value))
    return keep_dims(grad, self_layout, dim, keepdim) * above.exp()


real_logsumexp = chain(
    "aten::_logsumexp(Tensor self, int[1] dim, bool keepdim=False) -> Tensor",
    """`logsumexp` of real numbers.""",
    build=_build_logsumexp,
    grad=dict(self=_logsumexp_grad),
    method=False,
    function=False,
)


@composite("aten::logsumexp(Tensor self, int[1] dim, bool keepdim=False) -> Tensor")
def logsumexp(self, dim, keepdim):
    """The logarithm of the sum of exponentials along `dim`, without overflow."""
    if self.layout.dtype.kind != "c":
        return real_logsumexp(self, dim, keepdim)
    if not self.layout.numel:
        return self.exp().sum(dim, keepdim).log()
    high = real(self).detach().amax(dim, True)
    high = masked(high, high.isfinite())
    out = (self - high).exp().sum(dim, True).log() + high
    return out if keepdim else out.squeeze(dim)


@composite("special::logsumexp(Tensor input, int[1] dim, bool keepdim=False) -> Tensor")
def special_logsumexp(input, dim, keepdim):
    """The logarithm of the sum of exponentials along `dim`."""
    return logsumexp(input, dim, keepdim)
