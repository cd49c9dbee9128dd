"""Special functions that only `torch.special` has, and its other names of ordinary ops."""

import math as _math

from flambeau import ir
from flambeau._base import numpy
from flambeau.ir import math
from flambeau.types import by_name

from .arithmetic import conj_of
from .family import opaque, pointwise
from .family.pointwise import int_to_float, type_name
from .op import also, composite, find, registry
from .results import named
from .transcendental import i0, xlogy


def only(kinds, name):
    """The check of an op that takes these kinds of dtypes; for others PyTorch's error."""

    def check(common, *args):
        if common.kind not in kinds:
            raise NotImplementedError(f"\"{name}_cpu\" not implemented for '{type_name(common)}'")

    return check


FLOAT64, COMPLEX128 = by_name("float64"), by_name("complex128")
REAL = "fiub"
ANALYTIC = "fiubc"


def special(name, doc, gradient, scalar=None, argument="self", kinds=REAL, **options):
    """A function of one argument; integers are promoted to the default dtype."""
    return pointwise(
        f"special::{name}(Tensor {argument}) -> Tensor",
        doc,
        scalar=scalar or getattr(math, name),
        dtype=int_to_float,
        check=only(kinds, name.removeprefix("_")),
        grad={argument: gradient},
        **options,
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
    lambda grad, self: grad * conj_of(_density(self)),
    kinds=ANALYTIC,
)
ndtri = special("ndtri", """The inverse of `ndtr`.""", lambda grad, result: grad / _density(result))


def _precise(x):
    """x in float64: differences follow."""
    return ir.cast(x, COMPLEX128 if isinstance(x, ir.Pair) else FLOAT64)


def _erfcx_slope(x, order):
    x = _precise(x)
    return math.erfcx_slope(x, math.erfcx(x), order)


erfcx_slope = pointwise(
    "special::_erfcx_slope(Tensor self, int order) -> Tensor",
    """The derivative of `erfcx`.""",
    scalar=_erfcx_slope,
    dtype=int_to_float,
    grad=dict(self=lambda grad, self, order: grad * conj_of(erfcx_slope(self, order + 1))),
    function=False,
)
erfcx = special(
    "erfcx",
    """``exp(x**2) * erfc(x)``.""",
    lambda grad, self: grad * conj_of(erfcx_slope(self, 1)),
    kinds=ANALYTIC,
)


def _halves(x):
    """Whether x lies left of 0, |x|/sqrt(2), and the density of the normal distribution over its
    distribution function at x.
    """
    left = (x.re if isinstance(x, ir.Pair) else x) < 0.0
    a = ir.select(left, -x, x) * _math.sqrt(0.5)
    ratio = math.exp(x * x * -0.5) / math.ndtr(x)
    ratio = ir.select(left, 1.0 / math.erfcx(a), ratio * 0.5)
    return left, a, ratio * _math.sqrt(2 / _math.pi)


def _gap(x):
    x = _precise(x)
    left, a, ratio = _halves(x)
    scaled = math.erfcx(a)
    return ir.select(left, math.erfcx_slope(a, scaled, 1) / scaled * -_math.sqrt(0.5), x + ratio)


hazard_gap = special(
    "_hazard_gap",
    """`x + hazard(x)`, also where that cancels.""",
    lambda grad, self, result: grad * conj_of(1 - hazard(self) * result),
    _gap,
    kinds=ANALYTIC,
    function=False,
)
hazard = special(
    "_hazard",
    """The derivative of `log_ndtr`: the density of the normal distribution over `ndtr`.""",
    lambda grad, self, result: -grad * conj_of(result * hazard_gap(self)),
    lambda x: _halves(x)[2],
    kinds=ANALYTIC,
    function=False,
)
log_ndtr = special(
    "log_ndtr",
    """The logarithm of `ndtr`, also where that underflows.""",
    lambda grad, self: grad * conj_of(hazard(self)),
    kinds=ANALYTIC,
)


def quotient(name, sign):
    """The Bessel function `name` of order n over the first term of its series. Derivatives of such
    functions are made of such functions, so that nothing is divided by x.
    """

    def slope(grad, x, n, result):
        change = sign * 0.5 / (n + 1) * x * made(x, n + 1)
        return grad * (change - x.sgn() * result if name == "ive" else change)

    made = pointwise(
        f"special::_{name}_quotient(Tensor x, float n) -> Tensor",
        """A Bessel function over the first term of its series.""",
        scalar=getattr(math, f"{name}_quotient"),
        dtype=int_to_float,
        grad=dict(x=slope),
        function=False,
    )
    return made


CANCELLING = 4.0  # from here on, scaled functions and their neighbours are almost equal


def uncancelled(name, near, v, x):
    """The derivative in x of the scaled function `name` of order v: `near`, or far from 0 that of
    its Taylor series, in which nothing cancels.
    """
    close = x.abs() < CANCELLING
    far = find(f"special._{name}_slope").door(v, x.masked_fill(close, CANCELLING), [0, 1])
    return find("where").door(close, near, far)


iv_quotient, ive_quotient = quotient("iv", 1), quotient("ive", 1)
i1 = special(
    "i1",
    """The modified Bessel function of order 1.""",
    lambda grad, self: grad * (0.5 * i0(self) + self * self / 16 * iv_quotient(self, 2.0)),
)


def _i1e_slope(self, result):
    return i0e(self) - result * self.sgn() - 0.5 * ive_quotient(self, 1.0)


i1e = special(
    "i1e",
    """``exp(-|x|) * i1(x)``.""",
    lambda grad, self, result: grad * uncancelled("ive", _i1e_slope(self, result), 1.0, self),
)
i0e = special(
    "i0e",
    """``exp(-|x|) * i0(x)``.""",
    lambda grad, self, result: (
        grad * uncancelled("ive", i1e(self) - self.sgn() * result, 0.0, self)
    ),
)


def _xlog1py(x, y):
    return ir.select(y.differs(y), y, ir.select(x.equals(0), x._lift(0), x * math.log1p(y)))


xlog1py = pointwise(
    "special::xlog1py(Tensor|Scalar self, Tensor|Scalar other) -> Tensor",
    """``self * log1p(other)``; 0 where `self` is 0.""",
    scalar=_xlog1py,
    dtype=int_to_float,
    check=only(ANALYTIC, "xlog1py"),
    grad=dict(
        self=lambda grad, other: grad * conj_of(other.log1p()),
        other=lambda grad, self, other: grad * conj_of(self / (other + 1)),
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
    if self.layout.dtype.kind == "b":
        raise RuntimeError("The input tensor may not be a boolean tensor.")
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


zeta_slope = pointwise(
    "special::_zeta_slope(Tensor|Scalar self, Tensor|Scalar other, int order) -> Tensor",
    """The derivative of `zeta` in self, of any order.""",
    scalar=math.zeta,
    dtype=int_to_float,
    grad=dict(
        self=lambda grad, self, other, order: grad * zeta_slope(self, other, order + 1),
        other=lambda grad, self, other, order: (
            -grad * (self * zeta_slope(self + 1, other, order))
            - grad * order * zeta_slope(self + 1, other, order - 1 if order else 0)
        ),
    ),
    function=False,
)
zeta = pointwise(
    "special::zeta(Tensor|Scalar self, Tensor|Scalar other) -> Tensor",
    """The Hurwitz zeta function: the sum over k >= 0 of ``(other + k) ** -self``."""
    """ Left of 0 in `other`, `self` must be whole.""",
    scalar=math.zeta,
    dtype=int_to_float,
    check=only(REAL, "zeta"),
    grad=dict(
        self=lambda grad, self, other: grad * zeta_slope(self, other, 1),
        other=lambda grad, self, other: -grad * self * zeta(self + 1, other),
    ),
)
_derivatives = pointwise(
    "aten::_polygamma(int n, Tensor self) -> Tensor",
    """`polygamma` of order 1 and above.""",
    scalar=math.polygamma,
    dtype=int_to_float,
    grad=dict(self=lambda grad, n, self: grad * conj_of(_derivatives(n + 1, self))),
    method=False,
    function=False,
)


MOST_DERIVATIVES = 10_000  # of digamma: the factorial is part of the kernel


@composite("aten::polygamma(int n, Tensor self) -> Tensor", method=False)
def polygamma(n, self):
    """The derivative of order n of digamma (NIST DLMF 5.15; at poles inf, or -inf for even n)."""
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    if n > MOST_DERIVATIVES:
        raise RuntimeError(f"polygamma(n, x) does not support n above {MOST_DERIVATIVES}.")
    return self.digamma() if n == 0 else _derivatives(n, self)


also(polygamma, "special.polygamma")


def gamma_density(a, x, order=0):
    """The derivative of order `order` in a of x**(a - 1) exp(-x)/gamma(a), which is that of
    `gammainc` in x.
    """
    logarithms = [x.log() - a.digamma()] + [-polygamma(k, a) for k in range(1, order)]
    made = [(xlogy(a - 1, x) - x - a.lgamma()).exp()]
    for n in range(order):
        made.append(sum(_math.comb(n, j) * made[n - j] * logarithms[j] for j in range(n + 1)))
    return made[order]


def _incomplete_gamma(name, doc, sign):
    return pointwise(
        f"aten::{name}(Tensor self, Tensor other) -> Tensor",
        doc,
        scalar=math.gammainc if sign > 0 else math.gammaincc,
        dtype=int_to_float,
        check=only("f", name),
        grad=dict(
            self=lambda grad, self, other: sign * grad * gammainc_slope(self, other, 1),
            other=lambda grad, self, other: sign * grad * gamma_density(self, other),
        ),
    )


gammainc_slope = pointwise(
    "special::_gammainc_slope(Tensor self, Tensor other, int order) -> Tensor",
    """The derivative of `gammainc` in self, of order 1 and above.""",
    scalar=math.gammainc_slope,
    dtype=int_to_float,
    grad=dict(
        self=lambda grad, self, other, order: grad * gammainc_slope(self, other, order + 1),
        other=lambda grad, self, other, order: grad * gamma_density(self, other, order),
    ),
    function=False,
)


igamma = _incomplete_gamma(
    "igamma",
    """The regularised lower incomplete gamma function of a = self, x = other.""",
    1,
)
igammac = _incomplete_gamma(
    "igammac",
    """One minus `igamma`, precise where that is small.""",
    -1,
)
also(igamma, "special.gammainc")
also(igammac, "special.gammaincc")
