"""Airy's function and the first spherical Bessel functions of complex numbers (NIST DLMF 9, 10.49).

All of it is float64. On the real axis the results are those of the real functions; elsewhere errors
are a few units of the larger part.
"""

import math
from fractions import Fraction

from . import math_bessel as real
from . import math_complex as elementary
from .loop import Expr, Pair, const, float64, fma, select
from .math_faddeeva import MOST, turned
from .math_pieces import INFINITY, at_least, at_most, exp_fraction, scale, two_product, wide_pair
from .plane import Plane, PlaneNumbers
from .repeat import repeat
from .twofold import Twofold, constant, twofold

NUMBERS = PlaneNumbers(True)
NEAR = 8.5  # where the power series ends: there it has lost 15 of 32 digits
TERMS = 34  # of the expansions beyond
SLANT = math.sqrt(0.5)


def _series(z: Pair, prime: bool) -> Pair:
    """The power series, which cancels where Ai decays."""
    z = NUMBERS.of(z)
    cube = z * z * z

    def step(k, *parts):
        even, odd, first, second = NUMBERS.unpack(parts)
        first, second = first + even, second + odd
        size = NUMBERS.size(even) + NUMBERS.size(odd)
        if prime:
            divisors = (k - 1.0) * (k + 1.0), (k - 3.0) * (k - 1.0)
        else:
            divisors = (k - 1.0) * k, k * (k + 1.0)
        even, odd = (v * cube / d for v, d in zip((even, odd), divisors, strict=True))
        return size > 2.0**-92, [k + 3.0, *NUMBERS.pack(even, odd, first, second)]

    zero, one = NUMBERS.of(0.0), NUMBERS.of(1.0)
    if prime:
        start = [const(4.0, float64), *NUMBERS.pack(z * z * 0.5, one, zero, zero)]
    else:
        start = [const(3.0, float64), *NUMBERS.pack(one, z, zero, zero)]
    _, *parts = repeat(step, start, 80)
    first, second = NUMBERS.unpack(parts)[2:]
    return NUMBERS.plain(first * constant("airy") - second * constant("airy_slope"))


def _numbers(prime: bool) -> list[float]:
    """Coefficients of the expansions (DLMF 9.7.2)."""
    made, u = [], Fraction(1)
    for k in range(TERMS):
        made.append(float(u * Fraction(1 + 6 * k, 1 - 6 * k) if prime else u))
        u *= Fraction((6 * k + 1) * (6 * k + 3) * (6 * k + 5), (2 * k + 1) * 216 * (k + 1))
    return made


def _root(z: Pair) -> tuple[Pair, Plane]:
    """sqrt(z) to float64, and to twice that (Newton)."""
    r = elementary.sqrt(z)
    a, a_low = two_product(r.re, r.re)
    b, b_low = two_product(r.im, r.im)
    c, c_low = two_product(r.re * 2.0, r.im)
    rest = Pair((Twofold(z.re) + -a + b + (b_low - a_low)).high, (z.im - c) - c_low)
    low = rest / (r * const(2.0, float64))
    return r, Plane(Twofold(r.re) + low.re, Twofold(r.im) + low.im)


def _falling(s: Plane) -> tuple[Pair, Expr]:
    """(p, k) with exp(-s) = p 2**k."""
    high = at_most(at_least(s.re.high, -MOST), MOST)
    k, p = exp_fraction(-high)
    p = fma(p, select(abs(s.re.high) < MOST, -s.re.low, 0.0), p)
    return turned(s.im.high, s.im.low).conj() * p, k


def _expanded(z: Pair, prime: bool) -> Pair:
    """The expansions for large z."""
    left = z.re < abs(z.im) * -math.sqrt(1 / 3)  # beyond 2/3 pi, where the second one counts
    right = select(left, -z, z)
    r, exact = _root(right)
    angle = NUMBERS.of(right) * exact * twofold(2, 3)
    # Ai(z) is one exponential on the right, two on the left: of s and -s for s = i angle
    s = NUMBERS.select(left, Plane(-angle.im, angle.re), angle)
    inverse = elementary.reciprocal(NUMBERS.plain(s))
    square, numbers = inverse * inverse, _numbers(prime)
    even = odd = Pair(const(0.0, float64), const(0.0, float64))
    for n in range(TERMS - 2, -1, -2):
        even, odd = even * square + numbers[n], odd * square + numbers[n + 1]
    odd = odd * inverse
    (first, k), (second, m) = _falling(s), _falling(-s)
    first, second = first * (even - odd), second * (even + odd)
    power = elementary.sqrt(r)
    if prime:
        turned = Pair(first.re + first.im, first.im - first.re)  # by -i exp(i pi/4), over SLANT
        other = Pair(second.re - second.im, second.re + second.im)
        first = select(left, -turned * const(SLANT, float64), -first) * power
        second = -other * const(SLANT, float64) * power
    else:
        turned = Pair(first.re - first.im, first.re + first.im)  # by exp(i pi/4), over SLANT
        other = Pair(second.re + second.im, second.im - second.re)
        first = select(left, turned * const(SLANT, float64), first) / power
        second = other * const(SLANT, float64) / power
    half = const(0.5 / math.sqrt(math.pi), float64)
    first, second = first * half, second * half
    return Pair(
        *(
            scale(a, k) + select(left, scale(b, m), 0.0)
            for a, b in ((first.re, second.re), (first.im, second.im))
        )
    )


def _airy(z: Pair, prime: bool) -> Pair:
    near = fma(z.re, z.re, z.im * z.im) < NEAR * NEAR
    small = _series(select(near, z, z._lift(0.0)), prime)
    value = select(near, small, _expanded(select(near, z._lift(NEAR), z), prime))
    value = select((z.re > 1e5) & (abs(z.im) < z.re), z._lift(0.0), value)
    return select(z.im.equals(0.0), Pair(real._airy(z.re, prime), z.im), value)


@wide_pair
def airy_ai(z: Pair) -> Pair:
    """Airy function Ai."""
    return _airy(z, False)


@wide_pair
def airy_ai_prime(z: Pair) -> Pair:
    """Derivative of the Airy function Ai."""
    return _airy(z, True)


@wide_pair
def spherical_j0(z: Pair) -> Pair:
    """sin(z)/z."""
    still = z.equals(0.0)
    value = elementary.sin(z) / select(still, z._lift(1.0), z)
    value = select(still, z._lift(1.0), value)
    return select(abs(z.re).equals(INFINITY) & z.im.equals(0.0), z._lift(0.0), value)


def _spherical_over(z: Pair) -> Pair:
    """(sin(z)/z - cos(z))/z**2."""
    near = fma(z.re, z.re, z.im * z.im) < 1.0
    square = select(near, z * z, z._lift(0.0))
    series = z._lift(0.0)
    for k in range(9, -1, -1):
        series = series * square + (-1) ** k * 2 * (k + 1) / math.factorial(2 * k + 3)
    far = select(near, z._lift(1.0), z)
    large = (elementary.sin(far) / far - elementary.cos(far)) / far / far
    return select(near, series, large)


@wide_pair
def spherical_j1(z: Pair) -> Pair:
    """(sin(z)/z - cos(z))/z."""
    return z * _spherical_over(z)


@wide_pair
def spherical_quotient(z: Pair) -> Pair:
    """3/z times `spherical_j1`."""
    return _spherical_over(z) * const(3.0, float64)
