"""The mathematical functions of scalar expressions: Python functions that build expressions over
the primitives.

Arguments are float32 or float64 expressions (half types are cast first), or a `Pair` for a complex
number where a function is analytic; arithmetic takes integers too. Second arguments may be numbers.
Nothing looks anything up: arguments are reduced, a polynomial or a rational function is evaluated,
and special cases are selected, so that all lanes of a vector do the same. Recurrences and series
are loops that run until the last lane is done. Errors are below 1.5 units in the last place for
most functions, below 2 (float32) and 4 (float64) for all, away from zeros of lgamma and digamma
left of 0; complex results are good to a few units of the larger part. Coefficients are made by
tools/minimax.py.
"""

import builtins

from . import math_arithmetic as _arithmetic
from . import math_bessel as _bessel
from . import math_beta as _beta
from . import math_complex as _complex
from . import math_complex_bessel as _complex_bessel
from . import math_complex_gamma as _complex_gamma
from . import math_exponential as _exponential
from . import math_faddeeva as _faddeeva
from . import math_gamma as _gamma
from . import math_hypergeometric as _hypergeometric
from . import math_integrals as _integrals
from . import math_orders as _orders
from . import math_polynomials as _polynomials
from . import math_special as _special
from . import math_trigonometric as _trigonometric
from . import math_zeta as _zeta
from .loop import Expr, Pair
from .loop import copysign as _copysign
from .loop import sqrt as _sqrt


def _analytic(real, complex_functions=_complex):
    """`real`, and for complex arguments its namesake."""
    name = real.__name__
    complex_form = getattr(complex_functions, name)

    def function(x):
        return complex_form(x) if isinstance(x, Pair) else real(x)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = real.__doc__
    return function


exp, exp2, expm1 = map(_analytic, (_exponential.exp, _exponential.exp2, _exponential.expm1))
log, log1p, log2, log10 = map(
    _analytic, (_exponential.log, _exponential.log1p, _exponential.log2, _exponential.log10)
)
rsqrt, sigmoid = map(_analytic, (_exponential.rsqrt, _exponential.sigmoid))
sinh, cosh, tanh = map(_analytic, (_exponential.sinh, _exponential.cosh, _exponential.tanh))
asinh, acosh, atanh = map(_analytic, (_exponential.asinh, _exponential.acosh, _exponential.atanh))
sin, cos, tan = map(_analytic, (_trigonometric.sin, _trigonometric.cos, _trigonometric.tan))
asin, acos, atan = map(_analytic, (_trigonometric.asin, _trigonometric.acos, _trigonometric.atan))
sinc = _analytic(_trigonometric.sinc)

erf, erfc = _analytic(_special.erf, _faddeeva), _analytic(_special.erfc, _faddeeva)
erfcx, erfinv = _analytic(_special.erfcx, _faddeeva), _special.erfinv
ndtr, ndtri = _analytic(_special.ndtr, _faddeeva), _special.ndtri
log_ndtr = _analytic(_special.log_ndtr, _faddeeva)
lgamma, digamma = _special.lgamma, _analytic(_special.digamma, _complex_gamma)
i0, i0e, i1, i1e = _special.i0, _special.i0e, _special.i1, _special.i1e
bessel_j0, bessel_j1, bessel_y0 = _bessel.bessel_j0, _bessel.bessel_j1, _bessel.bessel_y0
bessel_y1, bessel_k0, bessel_k1 = _bessel.bessel_y1, _bessel.bessel_k0, _bessel.bessel_k1
bessel_k0e, bessel_k1e = _bessel.bessel_k0e, _bessel.bessel_k1e
spherical_j0 = _analytic(_bessel.spherical_j0, _complex_bessel)
spherical_j1 = _analytic(_bessel.spherical_j1, _complex_bessel)
spherical_quotient = _analytic(_bessel.spherical_quotient, _complex_bessel)
airy_ai = _analytic(_bessel.airy_ai, _complex_bessel)
airy_ai_prime = _analytic(_bessel.airy_ai_prime, _complex_bessel)
frexp = _exponential.frexp


def logit(x):
    """log(x/(1 - x))."""
    if not isinstance(x, Pair):
        return _exponential.logit(x)
    odds = x / (1 - x)
    return log(Pair(odds.re, _copysign(odds.im, x.im)))  # on the side that x is of


gammainc, gammaincc = _gamma.gammainc, _gamma.gammaincc
gammainc_slope = _gamma.gammainc_slope
betaln, betainc, betaincinv = _beta.betaln, _beta.betainc, _beta.betaincinv
gammaincinv, gammainccinv = _beta.gammaincinv, _beta.gammainccinv
hyp2f1 = _hypergeometric.hyp2f1
expi, expn, lambertw = _integrals.expi, _integrals.expn, _integrals.lambertw
ellipk, ellipe = _integrals.ellipk, _integrals.ellipe
jv, yv, iv, kv = _orders.jv, _orders.yv, _orders.iv, _orders.kv
ive, kve, struve = _orders.ive, _orders.kve, _orders.struve
jv_slope, yv_slope, iv_slope = _orders.jv_slope, _orders.yv_slope, _orders.iv_slope
kv_slope, ive_slope, kve_slope = _orders.kv_slope, _orders.ive_slope, _orders.kve_slope
struve_slope = _orders.struve_slope
jv_quotient, iv_quotient = _orders.jv_quotient, _orders.iv_quotient
ive_quotient, erfcx_slope = _orders.ive_quotient, _special.erfcx_slope
betainc_slope, betaln_slope = _beta.betainc_slope, _beta.betaln_slope
hyp2f1_slope = _hypergeometric.hyp2f1_slope
zeta = _zeta.zeta


def polygamma(n, x):
    """The derivative of digamma of order n >= 1."""
    return (_complex_gamma if isinstance(x, Pair) else _zeta).polygamma(n, x)


chebyshev_t, chebyshev_u = _polynomials.chebyshev_t, _polynomials.chebyshev_u
chebyshev_v, chebyshev_w = _polynomials.chebyshev_v, _polynomials.chebyshev_w
shifted_chebyshev_t = _polynomials.shifted_chebyshev_t
shifted_chebyshev_u = _polynomials.shifted_chebyshev_u
shifted_chebyshev_v = _polynomials.shifted_chebyshev_v
shifted_chebyshev_w = _polynomials.shifted_chebyshev_w
hermite_h, hermite_he = _polynomials.hermite_h, _polynomials.hermite_he
laguerre, legendre = _polynomials.laguerre, _polynomials.legendre
gegenbauer = _polynomials.gegenbauer


def _second(function):
    """`function` of two operands, the second of which may be a number."""

    def taking(x, y):
        return function(x, y if isinstance(y, Expr) else x._lift(y))

    taking.__name__ = taking.__qualname__ = function.__name__
    taking.__doc__ = function.__doc__
    return taking


atan2, hypot = map(_second, (_trigonometric.atan2, _trigonometric.hypot))
fmod, remainder, floor_divide, nextafter = map(
    _second,
    (_arithmetic.fmod, _arithmetic.remainder, _arithmetic.floor_divide, _arithmetic.nextafter),
)
ldexp = _second(_exponential.ldexp)
ipow = _arithmetic.ipow


def sqrt(x):
    """Square root; for complex numbers the one in the right half plane."""
    return _complex.sqrt(x) if isinstance(x, Pair) else _sqrt(x)


def reciprocal(x):
    """1/x."""
    return _complex.reciprocal(x) if isinstance(x, Pair) else 1.0 / x


def abs(x):
    """|x|; of complex numbers without overflow on the way."""
    return hypot(x.re, x.im) if isinstance(x, Pair) else builtins.abs(x)


def angle(x: Pair) -> Expr:
    """The argument of a complex number, in [-pi, pi]."""
    return atan2(x.im, x.re)


_POWERS = {
    1.0: lambda x: x,
    2.0: lambda x: x * x,
    -1.0: reciprocal,
    3.0: lambda x: x * x * x,
    -2.0: lambda x: reciprocal(x * x),
}


def pow(x, y):
    """x**y with C99's special values. Small whole numbers as exponents are products."""
    if isinstance(y, int | float):
        short = _POWERS.get(float(y)) if isinstance(x, Expr) else None
        if short is not None and (y != -2.0 or x.dtype.itemsize == 8):
            return short(x)
    if isinstance(x, Pair) or isinstance(y, Pair | complex):
        x = x if isinstance(x, Pair) else y._lift(x)
        return _complex.power(x, x._lift(y))
    return _exponential.power(x, x._lift(y))
