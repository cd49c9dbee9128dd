"""Special functions that only `torch.special` has, and its other names of ordinary ops."""

import math as _math

from flambeau import ir
from flambeau._base import numpy
from flambeau.ir import math

from .arithmetic import masked
from .family import opaque, pointwise
from .family.pointwise import int_to_float
from .op import also, composite, find, registry
from .results import named
from .transcendental import i0


def special(name, doc, gradient, scalar=None):
    """A function of one real argument; integers are promoted to the default dtype."""
    return pointwise(
        f"special::{name}(Tensor self) -> Tensor",
        doc,
        scalar=scalar or getattr(math, name),
        dtype=int_to_float,
        grad=dict(self=gradient),
    )


def _density(x):
    return (x * x * -0.5).exp() / _math.sqrt(2 * _math.pi)


def _entropy(x):
    zero = ir.const(0, x.dtype)
    value = ir.select(x > 0, -x * math.log(x), ir.select(x < 0, zero - float("inf"), zero))
    return ir.select(x.differs(x), x, value)


entr = special(
    "entr",
    """``-x * log(x)``; 0 at 0, -inf below.""",
    lambda grad, self: -grad * (self.log() + 1),
    _entropy,
)
ndtr = special(
    "ndtr",
    """The distribution function of the normal distribution.""",
    lambda grad, self: grad * _density(self),
)
ndtri = special("ndtri", """The inverse of `ndtr`.""", lambda grad, result: grad / _density(result))
erfcx = special(
    "erfcx",
    """``exp(x**2) * erfc(x)``.""",
    lambda grad, self, result: grad * (2 * self * result - 2 / _math.sqrt(_math.pi)),
)
log_ndtr = special(
    "log_ndtr",
    """The logarithm of `ndtr`, also where that underflows.""",
    lambda grad, self: grad / erfcx(self * -_math.sqrt(0.5)) * _math.sqrt(2 / _math.pi),
)
i1 = special(
    "i1",
    """The modified Bessel function of order 1.""",
    lambda grad, self, result: grad * (i0(self) - _over(result, self)),
)


def _over(value, x):
    """value / x, with the limit 1/2 at 0."""
    return masked(value / x, x != 0) + 0.5 * (x == 0)


i1e = special(
    "i1e",
    """``exp(-|x|) * i1(x)``.""",
    lambda grad, self, result: grad * (i0e(self) - result * self.sgn() - _over(result, self)),
)
i0e = special(
    "i0e",
    """``exp(-|x|) * i0(x)``.""",
    lambda grad, self, result: grad * (i1e(self) - self.sgn() * result),
)


def _xlog1py(x, y):
    return ir.select(
        y.differs(y), y, ir.select(x.equals(0), ir.const(0, x.dtype), x * math.log1p(y))
    )


xlog1py = pointwise(
    "special::xlog1py(Tensor|Scalar self, Tensor|Scalar other) -> Tensor",
    """``self * log1p(other)``; 0 where `self` is 0.""",
    scalar=_xlog1py,
    dtype=int_to_float,
    grad=dict(
        self=lambda grad, other: grad * other.log1p(),
        other=lambda grad, self, other: grad * self / (other + 1),
    ),
)


def _split(x):
    mantissa, exponent = numpy.frexp(x)
    return mantissa, exponent.astype(numpy.int32)


frexp_op = opaque(
    "aten::_frexp(Tensor self) -> (Tensor mantissa, Tensor exponent)",
    """Mantissas and exponents to base 2.""",
    run=_split,
    grad=dict(self=lambda grad_mantissa, exponent: find("ldexp").door(grad_mantissa, -exponent)),
    method=False,
    function=False,
)


@composite("aten::frexp(Tensor self) -> (Tensor mantissa, Tensor exponent)")
def frexp(self):
    """``self = mantissa * 2 ** exponent`` with mantissas in [1/2, 1)."""
    if self.layout.dtype.kind != "f":
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")
    return named("frexp", "mantissa exponent")(*frexp_op(self))


@composite("aten::mvlgamma(Tensor self, int p) -> Tensor")
def mvlgamma(self, p):
    """The logarithm of the multivariate gamma function of dimension `p`."""
    if p < 1:
        raise RuntimeError("p has to be greater than or equal to 1")
    total = self.lgamma()
    for j in range(1, p):
        total = total + (self - j / 2).lgamma()
    return total + p * (p - 1) / 4 * _math.log(_math.pi)


mvlgamma.inplace_form = True
also(mvlgamma, "special.multigammaln")

# Names of `torch.special` for ops that exist without it.
for _name, _ordinary in {
    "digamma": "digamma",
    "psi": "digamma",
    "erf": "erf",
    "erfc": "erfc",
    "erfinv": "erfinv",
    "exp2": "exp2",
    "expit": "sigmoid",
    "expm1": "expm1",
    "gammaln": "lgamma",
    "i0": "i0",
    "log1p": "log1p",
    "logit": "logit",
    "round": "round",
    "sinc": "sinc",
    "xlogy": "xlogy",
}.items():
    if f"special.{_name}" not in registry and _ordinary in registry:
        also(find(_ordinary), f"special.{_name}")


def _zeta_tail(order, x):
    """sum over k >= 0 of (x + k) ** -order for x > 0: twenty terms, then Euler and Maclaurin."""
    total = numpy.zeros_like(x)
    for k in range(20):
        total += (x + k) ** -order
    x = x + 20
    total += x ** (1 - order) / (order - 1) + 0.5 * x**-order
    factor = order * x ** (-order - 1)
    for j, bernoulli in enumerate((1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6), 1):
        total += bernoulli / _math.factorial(2 * j) * factor
        factor = factor * (order + 2 * j - 1) * (order + 2 * j) / (x * x)
    return total


def _cotangent_derivative(n, x):
    """The n-th derivative of pi * cot(pi * x), as a polynomial in the cotangent."""
    polynomial = numpy.polynomial.Polynomial([0.0, 1.0])
    for _ in range(n):
        polynomial = -_math.pi * numpy.polynomial.Polynomial([1.0, 0.0, 1.0]) * polynomial.deriv()
    turn = numpy.pi * (x - numpy.round(x))
    with numpy.errstate(all="ignore"):
        return _math.pi * polynomial(numpy.cos(turn) / numpy.sin(turn))


def _polygamma(n, x):
    """Left of 0 by reflection: psi_n(1 - x) - (-1)**n psi_n(x) = (-1)**n times the derivative."""
    dtype = x.dtype if x.dtype.kind == "f" else numpy.dtype(numpy.float32)
    x = numpy.asarray(x, numpy.float64)
    sign = 1.0 if n % 2 else -1.0
    with numpy.errstate(all="ignore"):
        right = sign * _math.factorial(n) * _zeta_tail(n + 1, numpy.where(x > 0, x, 1.0 - x))
        mirrored = -sign * right - _cotangent_derivative(n, x)
    pole = (x <= 0) & (x == numpy.floor(x))
    value = numpy.where(x > 0, right, mirrored)
    return numpy.where(pole, numpy.inf if n % 2 else -numpy.inf, value).astype(dtype)


_derivatives = opaque(
    "aten::_polygamma(int n, Tensor self) -> Tensor",
    """`polygamma` of order 1 and above.""",
    run=_polygamma,
    real="polygamma",
    grad=dict(self=lambda grad, n, self: grad * _derivatives(n + 1, self)),
    method=False,
    function=False,
)


@composite("aten::polygamma(int n, Tensor self) -> Tensor", method=False)
def polygamma(n, self):
    """The derivative of order n of digamma (NIST DLMF 5.15; at poles inf, or -inf for even n)."""
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    return self.digamma() if n == 0 else _derivatives(n, self)


also(polygamma, "special.polygamma")
