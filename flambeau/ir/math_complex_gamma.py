"""Digamma and its derivatives of complex numbers: recurrence to the right, reflection, and the
asymptotic series (NIST DLMF 5.5, 5.11, 5.15).
"""

import math

from . import math_special as real
from .loop import Pair, WrongType, const, float64, fma, rint, select
from .math_complex import log, reciprocal
from .math_exponential import exp, expm1
from .math_pieces import at_least, wide_pair
from .math_trigonometric import sinpi_fraction

BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798)
SHIFT = 12  # from where on the series is used, for order 0


def _power(z: Pair, n: int) -> Pair:
    made = z
    for bit in bin(n)[3:]:
        made = made * made
        if bit == "1":
            made = made * z
    return made


def _right(z: Pair, n: int) -> Pair:
    """The derivative of order n at re >= 1/2."""
    steps = SHIFT + n
    far = z + float(steps)
    inverse = reciprocal(far)
    square = inverse * inverse
    series = Pair(const(0.0, float64), const(0.0, float64))
    for k in range(len(BERNOULLI), 0, -1):
        number = BERNOULLI[k - 1] * (math.factorial(2 * k + n - 1) / math.factorial(2 * k))
        series = (series + number) * square
    total = series + inverse * const(math.factorial(n) / 2, float64)
    sums = Pair(const(0.0, float64), const(0.0, float64))
    for k in range(steps):
        sums = sums + _power(reciprocal(z + float(k)), n + 1)
    sums = sums * const(float(math.factorial(n)), float64)
    if n == 0:
        return log(far) - total - sums
    total = (total + float(math.factorial(n - 1))) * _power(inverse, n) + sums
    return total if n % 2 else -total


def _reflected(z: Pair, n: int) -> Pair:
    """The derivative of order n of pi cot(pi z)."""
    r = z.re - rint(z.re)
    sine, cosine = sinpi_fraction(r), sinpi_fraction(0.5 - abs(r))
    # cosh and sinh of pi |im|, times exp(-pi |im|)
    height = at_least(abs(z.im) * (-2.0 * math.pi), -700.0)
    falling = exp(height)
    rising, wide = expm1(height) * -0.5, (falling + 1.0) * 0.5
    below = fma(rising, rising, falling * sine * sine)
    im = rising * wide / below
    cotangent = Pair(falling * sine * cosine / below, select(z.im < 0.0, im, -im))
    if n == 0:
        return cotangent * const(math.pi, float64)
    # A polynomial in the cotangent, whose derivative is -pi (1 + itself squared): with that as a
    # factor, which is 1/sin**2
    polynomial = [-1]
    for _ in range(n - 1):
        slope = [k * c for k, c in enumerate(polynomial)]
        terms = zip([0, *polynomial], [*slope[1:], 0, 0], [0, *slope], strict=True)
        polynomial = [-(2 * a + b + c) for a, b, c in terms]
    total = Pair(const(0.0, float64), const(0.0, float64))
    for c in reversed(polynomial):
        total = total * cotangent + float(c)
    wave = Pair(sine * wide, select(z.im < 0.0, -(cosine * rising), cosine * rising))
    total = total / (wave * wave) * falling
    return total * const(math.pi ** (n + 1), float64)


def _polygamma(z: Pair, n: int) -> Pair:
    left = z.re < 0.5
    value = _right(select(left, 1.0 - z, z), n)
    mirrored = (value if n % 2 == 0 else -value) - _reflected(z, n)
    return select(left, mirrored, value)


def polygamma(n: int, z: Pair) -> Pair:
    """The derivative of order n >= 1 of `digamma`."""
    if n > 100:
        raise WrongType("complex numbers: orders up to 100")
    return wide_pair(lambda z: _polygamma(z, n))(z)


@wide_pair
def digamma(z: Pair) -> Pair:
    """Derivative of log gamma."""
    return select(z.im.equals(0.0), Pair(real.digamma(z.re), z.im), _polygamma(z, 0))
