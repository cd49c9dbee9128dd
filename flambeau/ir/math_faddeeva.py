"""The error function and its kin for complex numbers, by w(z) = exp(-z*z) erfc(-i z).

w is a trapezoidal sum for its integral over the real line, plus what the pole at z contributes
(M. Al Azah & S. Chandler-Wilde, SIAM J. Numer. Anal. 59, 2021). On the real axis the results are
those of the real functions; elsewhere errors are a few units of the larger part. All of it is
float64.
"""

import math

from . import math_special as real
from .loop import Expr, Pair, const, float64, fma, rint, select
from .math_complex import log, log1p
from .math_pieces import (
    INFINITY,
    NAN,
    at_least,
    at_most,
    exp_fraction,
    power_of_two,
    scale,
    two_product,
    two_sum,
    wide_pair,
)
from .math_trigonometric import cos, sin

NODES = 12
STEP = math.sqrt(math.pi / NODES)
FAR = 1e8  # beyond, w is its leading term
BEYOND = 1e100  # as good as infinite
MOST = 1400.0  # beyond, exponentials are infinite or 0 whatever they are multiplied by


def turned(angle: Expr, low: Expr) -> Pair:
    """exp(i (angle + low)); the second may be large where the first is."""
    return Pair(cos(angle), sin(angle)) * Pair(cos(low), sin(low))


def _gauss(z: Pair, factor: float) -> tuple[Pair, Expr]:
    """(p, k) with exp(-factor z*z) = p 2**k, for `factor` 1 or 1/2."""
    x, y = (at_least(at_most(v, BEYOND), -BEYOND) for v in (z.re, z.im))
    p, p_low = two_product(x, x * factor)
    q, q_low = two_product(y, y * factor)
    size, low = two_sum(q, -p)
    k, growth = exp_fraction(at_most(at_least(size, -MOST), MOST))
    growth = fma(growth, select(abs(size) < MOST, low + (q_low - p_low), 0.0), growth)
    return turned(*two_product(x * (-2.0 * factor), y)) * growth, k


def _w(z: Pair) -> Pair:
    """w(z) for im >= 0."""
    far = (abs(z.re) > FAR) | (z.im > FAR)
    x, y = (select(far, const(1.0, float64), v) for v in (abs(z.re), z.im))
    places = x * (1.0 / STEP)
    rest = places - rint(places)
    # Nodes at whole steps, or in between: whichever are farther from the pole.
    between = abs(rest) < 0.25
    first = select(between, const(STEP / 2, float64), 0.0)
    total, across = Pair(const(0.0, float64), const(0.0, float64)), x * y * 2.0
    for k in range(NODES):
        half, whole = (math.exp(-(((k + s) * STEP) ** 2)) for s in (0.5, 0.0))
        node = first + k * STEP
        along = fma(x - node, x + node, -(y * y))
        share = select(between, const(half, float64), whole if k else 0.5)
        share = share / fma(along, along, across * across)
        total = total + Pair(along * share, -(across * share))
    near = Pair(-y, x) * total * const(2.0 * STEP / math.pi, float64)
    # 2 exp(-z*z)/(1 - exp(-2 pi i z/STEP)), less half a turn where nodes are in between
    height = at_most(y, math.pi / STEP)
    gauss, power = _gauss(Pair(at_most(x, 40.0), height), 1.0)
    k, growth = exp_fraction(height * (2.0 * math.pi / STEP))
    growth = growth * power_of_two(k)
    turn = (select(between, const(0.5, float64), 0.0) - rest) * (2.0 * math.pi)
    pole = gauss * 2.0 / Pair(1.0 - growth * cos(turn), -(growth * sin(turn)))
    counts = (x < 40.0) & (y < math.pi / STEP)
    near = near + Pair(*(select(counts, scale(v, power), 0.0) for v in (pole.re, pole.im)))
    lead = Pair(const(0.0, float64), const(1.0 / math.sqrt(math.pi), float64))
    w = select(far, lead / Pair(abs(z.re), z.im), near)
    return select(z.re < 0.0, w.conj(), w)


def _right(z: Pair) -> Pair:
    """exp(z*z) erfc(z) for re >= 0."""
    return _w(Pair(-z.im, z.re))


def _complement(z: Pair, factor: float) -> Pair:
    """erfc(sqrt(factor) z) for re >= 0."""
    p, k = _gauss(z, factor)
    p = p * _right(z * const(math.sqrt(factor), float64))
    return Pair(scale(p.re, k), scale(p.im, k))


def _to_right(z: Pair) -> Pair:
    """z or -z, whichever lies in the right half plane."""
    return select(z.re < 0.0, -z, z)


def _or_real(z: Pair, value: Pair, on_axis: Expr) -> Pair:
    """`value`; on the real axis the real function, and far up or down what has no limit."""
    value = select(abs(z.im) < INFINITY, value, Pair(const(NAN, float64), const(NAN, float64)))
    return select(z.im.equals(0.0), Pair(on_axis, z.im), value)


def _series(z: Pair) -> Pair:
    """erf(z) for |z| <= 1."""
    square = z * z
    terms = [(-1) ** k / (math.factorial(k) * (2 * k + 1)) for k in range(19)]
    *rest, last = terms
    total = Pair(const(last, float64), const(0.0, float64))
    for term in reversed(rest):
        total = total * square + term
    return total * z * const(2.0 / math.sqrt(math.pi), float64)


@wide_pair
def erf(z: Pair) -> Pair:
    """Error function."""
    tail = 1.0 - _complement(_to_right(z), 1.0)
    large = select(z.re < 0.0, -tail, tail)
    size = fma(z.re, z.re, z.im * z.im)
    return _or_real(z, select(size < 1.0, _series(z), large), real.erf(z.re))


@wide_pair
def erfc(z: Pair) -> Pair:
    """1 - erf(z)."""
    tail = _complement(_to_right(z), 1.0)
    return _or_real(z, select(z.re < 0.0, 2.0 - tail, tail), real.erfc(z.re))


@wide_pair
def erfcx(z: Pair) -> Pair:
    """exp(z*z) erfc(z)."""
    w = _right(_to_right(z))
    p, k = _gauss(Pair(-z.im, z.re), 1.0)
    whole = Pair(scale(p.re, k + 1.0), scale(p.im, k + 1.0))
    return _or_real(z, select(z.re < 0.0, whole - w, w), real.erfcx(z.re))


@wide_pair
def ndtr(z: Pair) -> Pair:
    """Distribution function of the standard normal, continued."""
    tail = _complement(_to_right(z), 0.5) * const(0.5, float64)
    return _or_real(z, select(z.re < 0.0, tail, 1.0 - tail), real.ndtr(z.re))


@wide_pair
def log_ndtr(z: Pair) -> Pair:
    """Principal logarithm of `ndtr`."""
    x, y = z.re, z.im
    left = x < 0.0
    to_right = _to_right(z)
    size = (y - x) * (y + x) * 0.5
    # Right of 0, 1 - exp(size)…, of which the 1 may be lost
    half = _right(to_right * const(math.sqrt(0.5), float64)) * const(0.5, float64)
    long = log(select(left, half, -half)) + Pair(size, -(x * y))
    short = log1p(-(_complement(to_right, 0.5) * const(0.5, float64)))
    value = select(left | (size > 40.0), long, short)
    turns = rint(value.im * (0.5 / math.pi))
    value = Pair(value.re, fma(turns, -2.4492935982947064e-16, fma(turns, -2 * math.pi, value.im)))
    return _or_real(z, value, real.log_ndtr(x))
