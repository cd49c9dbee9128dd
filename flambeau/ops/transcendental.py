"""Roots, exponentials, logarithms, trigonometry, and rounding: one element in, one out."""

import cmath as _cmath
import math as _math

from flambeau import ir
from flambeau.ir import math

from .arithmetic import conj_of, masked, real_only
from .facts import type_name
from .family import fused, pointwise
from .family.pointwise import int_to_float, same, to_real
from .op import also, find

INFINITY, NAN = float("inf"), float("nan")
TWO_OVER_ROOT_PI = 2 / _math.sqrt(_math.pi)


def unary(name, doc, grad, scalar=None, dtype=int_to_float, **options):
    """A function of one element, by its name in `ir.math`."""
    body = scalar or (lambda self: getattr(math, name)(self))
    gradients = dict(self=grad) if grad is not None else None
    return pointwise(
        f"aten::{name}(Tensor self) -> Tensor",
        doc,
        scalar=body,
        dtype=dtype,
        grad=gradients,
        **options,
    )


exp = unary(
    "exp", """e to the power of the element.""", lambda grad, result: grad * conj_of(result)
)
exp2 = unary(
    "exp2",
    """2 to the power of the element.""",
    lambda grad, result: grad * conj_of(result) * _math.log(2),
)
expm1 = unary(
    "expm1", """``exp(x) - 1``, exact near 0.""", lambda grad, self: grad * conj_of(self.exp())
)
log = unary("log", """The natural logarithm.""", lambda grad, self: grad / conj_of(self))
log2 = unary(
    "log2", """The logarithm to base 2.""", lambda grad, self: grad / (conj_of(self) * _math.log(2))
)
log10 = unary(
    "log10",
    """The logarithm to base 10.""",
    lambda grad, self: grad / (conj_of(self) * _math.log(10)),
)
log1p = unary(
    "log1p", """``log(1 + x)``, exact near 0.""", lambda grad, self: grad / (conj_of(self) + 1)
)
sqrt = unary(
    "sqrt",
    """The square root.""",
    lambda grad, result: grad / (2 * conj_of(result)),
    scalar=lambda self: math.sqrt(self),
)
rsqrt = unary(
    "rsqrt",
    """``1 / sqrt(x)``.""",
    lambda grad, result: -0.5 * grad * conj_of(result * result * result),
)
sin = unary("sin", """The sine, of radians.""", lambda grad, self: grad * conj_of(self.cos()))
cos = unary("cos", """The cosine, of radians.""", lambda grad, self: -grad * conj_of(self.sin()))
tan = unary(
    "tan", """The tangent, of radians.""", lambda grad, result: grad * conj_of(result * result + 1)
)
asin = unary(
    "asin", """The inverse sine.""", lambda grad, self: grad * conj_of((1 - self * self).rsqrt())
)
acos = unary(
    "acos", """The inverse cosine.""", lambda grad, self: -grad * conj_of((1 - self * self).rsqrt())
)
atan = unary("atan", """The inverse tangent.""", lambda grad, self: grad / conj_of(self * self + 1))
sinh = unary("sinh", """The hyperbolic sine.""", lambda grad, self: grad * conj_of(self.cosh()))
cosh = unary("cosh", """The hyperbolic cosine.""", lambda grad, self: grad * conj_of(self.sinh()))
asinh = unary(
    "asinh",
    """The inverse hyperbolic sine.""",
    lambda grad, self: grad * conj_of((self * self + 1).rsqrt()),
)
acosh = unary(
    "acosh",
    """The inverse hyperbolic cosine.""",
    lambda grad, self: grad * conj_of((self - 1).rsqrt() * (self + 1).rsqrt()),
)
atanh = unary(
    "atanh",
    """The inverse hyperbolic tangent.""",
    lambda grad, self: grad / conj_of(1 - self * self),
)
for _op, _name in (
    (asin, "arcsin"),
    (acos, "arccos"),
    (atan, "arctan"),
    (asinh, "arcsinh"),
    (acosh, "arccosh"),
    (atanh, "arctanh"),
):
    also(_op, _name)


@fused("aten::_tanh_backward(Tensor grad, Tensor result) -> Tensor", method=False, function=False)
def tanh_backward(grad, result):
    """The derivative of tanh, from its result."""
    return grad * (1 - result * result)


@fused(
    "aten::_sigmoid_backward(Tensor grad, Tensor result) -> Tensor", method=False, function=False
)
def sigmoid_backward(grad, result):
    """The derivative of the logistic function, from its result."""
    return grad * (1 - result) * result


tanh = unary(
    "tanh", """The hyperbolic tangent.""", lambda grad, result: tanh_backward(grad, conj_of(result))
)
sigmoid = unary(
    "sigmoid", """The logistic function ``1 / (1 + exp(-x))``.""",
    lambda grad, result: sigmoid_backward(grad, conj_of(result)),
)  # fmt: skip
also(sigmoid, "special.expit")
erf = unary(
    "erf",
    """The error function.""",
    lambda grad, self: grad * TWO_OVER_ROOT_PI * conj_of((-(self * self)).exp()),
)
erfc = unary(
    "erfc",
    """One minus the error function.""",
    lambda grad, self: -grad * TWO_OVER_ROOT_PI * conj_of((-(self * self)).exp()),
)
erfinv = unary(
    "erfinv",
    """The inverse of the error function.""",
    lambda grad, result: grad * (_math.sqrt(_math.pi) / 2) * (result * result).exp(),
)
lgamma = unary(
    "lgamma", """The logarithm of |gamma(x)|.""", lambda grad, self: grad * self.digamma()
)
digamma = unary(
    "digamma",
    """The derivative of lgamma.""",
    lambda grad, self: grad * conj_of(find("_polygamma").door(1, self)),
)
i0 = unary(
    "i0",
    """The modified Bessel function of order 0.""",
    lambda grad, self: grad * find("special.i1").door(self),
)


sinc = unary(
    "sinc",
    """``sin(pi x) / (pi x)``, 1 at 0.""",
    lambda grad, self: grad * conj_of(_sinc_slope(self * _math.pi)),
)


def _sinc_slope(x):
    return -_math.pi * find("special._spherical_bessel_j1").door(x)


def _absolute(self):
    if self.dtype.kind == "c":
        return math.hypot(self.re, self.im)
    return abs(self) if self.dtype.kind in "if" else self


abs_ = pointwise(
    "aten::abs(Tensor self) -> Tensor",
    """The absolute value; the modulus of complex numbers.""",
    scalar=_absolute,
    dtype=to_real,
    grad=dict(self=lambda grad, self: grad * self.sgn()),
)
also(abs_, "absolute")
angle = pointwise(
    "aten::angle(Tensor self) -> Tensor",
    """The argument of complex numbers; for real ones 0, pi, or nan.""",
    scalar=lambda self: _angle(self),
    dtype=lambda common: to_real(int_to_float(common)[0]),
    grad=dict(self=lambda grad, self: _angle_backward(grad, self)),
)


def _angle(self):
    if self.dtype.kind == "c":
        return math.atan2(self.im, self.re)
    turned = ir.select(self < 0.0, ir.const(_math.pi, self.dtype), ir.const(0.0, self.dtype))
    return ir.select(self.differs(self), self, turned)


def _angle_backward(grad, self):
    if self.layout.dtype.kind != "c":
        return grad * 0
    square = self.real * self.real + self.imag * self.imag
    turned = find("where").door(square == 0, 0, grad / square)
    return find("complex").door(-self.imag * turned, self.real * turned)


def _sgn(self):
    if self.dtype.kind == "c":
        size = math.hypot(self.re, self.im)
        zero = size.equals(0.0)
        one = ir.select(zero, ir.const(1.0, size.dtype), size)
        return ir.Pair(self.re / one, self.im / one)
    return _sign(self)


def _sign(self):
    if self.dtype.kind == "b":
        return self
    one, zero = ir.const(1, self.dtype), ir.const(0, self.dtype)
    if self.dtype.kind == "u":
        return ir.select(self.equals(0), zero, one)
    signed = ir.select(self > 0, one, ir.select(self < 0, -one, zero))
    return ir.select(self.differs(self), zero, signed) if self.dtype.kind == "f" else signed


def _sgn_backward(grad, self, result):
    if self.layout.dtype.kind != "c":
        return grad * 0
    size = self.abs()
    along = (grad.conj() * result).real
    turned = (grad - result * along) / size
    return find("where").door(size == 0, 0, turned)


sgn = unary(
    "sgn", """The sign; for complex numbers, z / |z|.""", _sgn_backward,
    scalar=_sgn, dtype=same,
)  # fmt: skip


sign = unary(
    "sign",
    """-1, 0 or 1.""",
    lambda grad: grad * 0,
    scalar=_sign,
    dtype=same,
    check=real_only(
        "Unlike NumPy, torch.sign is not intended to support complex numbers. Please use torch.sgn "
        "instead."
    ),
)


def _round_like(name, doc, primitive):
    return unary(
        name,
        doc,
        lambda grad: grad * 0,
        scalar=lambda self: primitive(self) if self.dtype.kind == "f" else self,
        dtype=same,
        check=real_only(f"{name} is not supported for complex inputs"),
    )


ceil = _round_like("ceil", """The smallest integer not below.""", ir.ceil)
floor = _round_like("floor", """The largest integer not above.""", ir.floor)
trunc = _round_like("trunc", """Rounded towards zero.""", ir.trunc)
also(trunc, "fix")


def _floats_only(name):
    def check(common, *args):
        if common.kind != "f":
            raise NotImplementedError(f"\"{name}_cpu\" not implemented for '{type_name(common)}'")

    return check


frac = unary(
    "frac",
    """What `trunc` cuts off.""",
    lambda grad: grad,
    scalar=lambda self: self - ir.trunc(self),
    dtype=same,
    check=_floats_only("frac"),
)


def _round(self, decimals):
    if self.dtype.kind != "f" or decimals is None:
        return self
    if decimals == 0:
        return ir.rint(self)
    power = 10.0 ** abs(decimals)
    return ir.rint(self * power) / power if decimals > 0 else ir.rint(self / power) * power


def _check_round(common, self, decimals):
    if common.kind == "c" or (common.kind != "f" and decimals):
        raise NotImplementedError(f"\"round_cpu\" not implemented for '{type_name(common)}'")


round_ = pointwise(
    "aten::round(Tensor self, *, int decimals=0) -> Tensor",
    """Rounded to the nearest, ties to even, at `decimals` digits behind the point.""",
    scalar=_round,
    check=_check_round,
    grad=dict(self=lambda grad: grad * 0),
)


@fused("aten::_logit_inside(Tensor self) -> Tensor", method=False, function=False)
def _logit(self):
    """log(x / (1 - x))."""
    return (self / (1 - self)).log()


def _logit_scalar(self, eps):
    if eps is not None:
        self = ir.minimum(ir.maximum(self, eps), 1 - eps)
    return math.logit(self)


def _logit_backward(grad, self, eps):
    slope = grad / conj_of(self * (1 - self))
    if self.layout.dtype.kind == "c":
        return slope
    if eps is None:
        return find("where").door((self < 0) | (self > 1), float("nan"), slope)
    return masked(slope, (self >= eps) & (self <= 1 - eps))


logit = pointwise(
    "aten::logit(Tensor self, float? eps=None) -> Tensor",
    """``log(x / (1 - x))``; `eps` clamps x to [eps, 1 - eps] first.""",
    scalar=_logit_scalar,
    dtype=int_to_float,
    grad=dict(self=_logit_backward),
)


def binary(
    name, doc, grad, scalar=None, dtype=same, operands="Tensor self, Tensor other", **options
):
    """A function of two elements, by its name in `ir.math`."""
    body = scalar or (lambda self, other: getattr(math, name)(self, other))
    return pointwise(
        f"aten::{name}({operands}) -> Tensor",
        doc,
        scalar=body,
        dtype=dtype,
        grad=grad,
        **options,
    )


def _atan2_slope(self, other):
    square = self * self + other * other
    return find("where").door(square == 0, 0, 1 / square)


atan2 = binary(
    "atan2",
    """The angle of the point (other, self).""",
    dict(
        self=lambda grad, self, other: grad * other * _atan2_slope(self, other),
        other=lambda grad, self, other: -grad * self * _atan2_slope(self, other),
    ),
    dtype=int_to_float,
)
also(atan2, "arctan2")
hypot = binary(
    "hypot",
    """The length of the vector (self, other), without overflow.""",
    dict(
        self=lambda grad, self, result: grad * (self / result),
        other=lambda grad, other, result: grad * (other / result),
    ),
    check=_floats_only("hypot"),
)
copysign = binary(
    "copysign",
    """|self| with the sign of other.""",
    dict(
        self=lambda grad, self, result: _copysign_backward(grad, self, result),
        other=lambda grad: grad * 0,
    ),
    operands="Tensor self, Tensor|Scalar other",
    scalar=lambda self, other: ir.copysign(self, other),
    dtype=int_to_float,
)


def _copysign_backward(grad, self, result):
    return find("where").door(self == 0, 0, grad * (result / self))


nextafter = binary(
    "nextafter",
    """The next value after self in the direction of other.""",
    dict(self=lambda grad, self, other: grad * (self != other), other=lambda grad: grad * 0),
)


def _xlogy(self, other):
    zero = self.equals(0.0) & ~other.differs(other)
    return ir.select(zero, ir.const(0.0, self.dtype), self * math.log(other))


xlogy = binary(
    "xlogy",
    """``self * log(other)``, 0 where self is 0.""",
    dict(
        self=lambda grad, self, other: masked(
            grad * conj_of(_log_of(other)), ~((self == 0) & _not_positive(other))
        ),
        other=lambda grad, self, other: grad * conj_of(self / other),
    ),
    operands="Tensor|Scalar self, Tensor|Scalar other",
    scalar=_xlogy,
    dtype=int_to_float,
)
also(xlogy, "special.xlogy")


def _log_of(value):
    if hasattr(value, "layout"):
        return value.log()
    if isinstance(value, complex):
        return _cmath.log(value) if value else -INFINITY
    return _math.log(value) if value > 0 else NAN


def _not_positive(value):
    """Whether the logarithm is no number: of complex ones that of 0."""
    kind = value.layout.dtype.kind if hasattr(value, "layout") else None
    return value == 0 if kind == "c" or isinstance(value, complex) else value <= 0


def _logaddexp(self, other):
    if self.dtype.kind == "c":
        swap = self.re < other.re
        big, small = ir.select(swap, other, self), ir.select(swap, self, other)
        return big + math.log1p(math.exp(small - big))
    big, small = ir.maximum(self, other), ir.minimum(self, other)
    infinite = abs(self).equals(float("inf")) & self.equals(other)
    return ir.select(infinite, self, big + math.log1p(math.exp(small - big)))


logaddexp = binary(
    "logaddexp",
    """``log(exp(self) + exp(other))``, without overflow.""",
    dict(
        self=lambda grad, self, result: grad * conj_of((self - result).exp()),
        other=lambda grad, other, result: grad * conj_of((other - result).exp()),
    ),
    scalar=_logaddexp,
    dtype=int_to_float,
)


def _logaddexp2(self, other):
    big, small = ir.maximum(self, other), ir.minimum(self, other)
    infinite = abs(self).equals(float("inf")) & self.equals(other)
    return ir.select(infinite, self, big + math.log1p(math.exp2(small - big)) / _math.log(2))


logaddexp2 = binary(
    "logaddexp2",
    """``log2(2**self + 2**other)``, without overflow.""",
    dict(
        self=lambda grad, self, result: grad * (self - result).exp2(),
        other=lambda grad, other, result: grad * (other - result).exp2(),
    ),
    scalar=_logaddexp2,
    dtype=int_to_float,
)


def _heaviside(self, values):
    one, zero = ir.const(1, self.dtype), ir.const(0, self.dtype)
    if self.dtype.kind == "b":
        return self | values
    step = ir.select(self.equals(0), values, ir.select(self < 0, zero, one))
    return ir.select(self.differs(self), self, step) if self.dtype.kind == "f" else step


def _check_heaviside(common, self, values):
    if common.kind == "c":
        raise RuntimeError("heaviside is not yet implemented for complex tensors.")
    if self.layout.dtype is not values.layout.dtype:
        raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes.")


heaviside = pointwise(
    "aten::heaviside(Tensor self, Tensor values) -> Tensor",
    """0 for negative elements, 1 for positive ones, `values` for zeros.""",
    scalar=_heaviside,
    check=_check_heaviside,
)


@fused("aten::ldexp(Tensor self, Tensor other) -> Tensor")
def ldexp(self, other):
    """``self * 2 ** other``."""
    return self * find("exp2").door(other)
