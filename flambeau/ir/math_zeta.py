"""The Hurwitz zeta function and its derivatives in the exponent, by Euler and Maclaurin's formula
(F. Johansson, Numerical Algorithms 69, 2015).
"""

import math

from . import math_exponential as exponential
from .loop import Expr, cast, const, float32, float64, fma, rint, select
from .math_pieces import (
    INFINITY,
    NAN,
    at_least,
    at_most,
    reduce_exp,
    scale,
    split_log,
    two_sum,
)
from .repeat import repeat

TERMS = 10  # summed before the formula takes over
# Bernoulli numbers over factorials: B_2/2!, B_4/4!, …
CORRECTIONS = (
    8.333333333333333e-02, -1.388888888888889e-03, 3.306878306878307e-05, -8.267195767195768e-07,
    2.08767569878681e-08, -5.284190138687493e-10, 1.3382536530684679e-11, -3.3896802963225827e-13,
    8.586062056277845e-15, -2.174868698558062e-16, 5.50900282836023e-18, -1.3954464685812523e-19,
)  # fmt: skip


def zeta(x: Expr, q: Expr, order: int = 0, lift: int = 0) -> Expr:
    """The sum over k >= 0 of (q + k)**-x, or its derivative of this order in x, times
    2**lift.

    1 is a pole in x, and so are 0 and the negative integers in q. For other negative q, x must be
    whole. nan elsewhere.
    """
    precise = x.dtype is not float32
    s, y = at_most(cast(x, float64), 1e300), cast(q, float64)
    whole = rint(s).equals(s)
    r = y - rint(y)
    left = y < 0.0
    # Left of 0, two sums that go to the right, less the end of the second: with f = y - floor(y),
    # the terms of f and those of 1 - f up to 1 - y.
    above = select(left, select(r > 0.0, r, r + 1.0), y)
    below = select(r > 0.0, 1.0 - r, -r)
    odd = rint(s * 0.5).differs(s * 0.5)
    sign = select(odd, const(-1.0, float64), 1.0)
    count = select(left, const(3.0, float64), 1.0)

    def one_sum(i, total):
        base = select(i.equals(0.0), above, select(i.equals(1.0), below, 1.0 - y))
        factor = select(i.equals(0.0), const(1.0, float64), select(i.equals(1.0), sign, -sign))
        return i < count, [i + 1.0, fma(factor, _right(s, base, order, precise, lift), total)]

    zero = const(0.0, float64)
    value = repeat(one_sum, [zero, zero], 3)[1]
    value = select(left & (~whole if order == 0 else left), const(NAN, float64), value)
    value = select((y <= 0.0) & r.equals(0.0), const(INFINITY, float64), value)
    value = select(y.equals(INFINITY) & (s > 1.0), zero, value)
    limit = math.inf if order % 2 == 0 else -math.inf
    value = select(s.equals(1.0) & (y > -INFINITY), const(limit, float64), value)
    value = select((s >= 1.0) & y.equals(y), value, const(NAN, float64))
    return cast(value, x.dtype)


def _power(a: Expr, low: Expr, y: Expr, precise: bool, lift: int):
    """(2**lift (a + low)**y, log a)."""
    k, f = split_log(a)
    if precise:
        high, rest = exponential.log_double(k, f)
        rest = rest + low / a
    else:
        high, rest = exponential.log_sum(k, f), const(0.0, float64)
    p = y * high
    lost = select(abs(p) < 1e6, fma(y, high, -p) + y * rest, 0.0)
    offset = lift * math.log(2)
    k, r, t = reduce_exp(at_least(at_most(p, 710.0 - offset), -746.0 - offset), lost)
    return scale((r + t) + 1.0, k + float(lift)), high


def _right(s: Expr, q: Expr, order: int, precise: bool, lift: int) -> Expr:
    """The derivative of that order in s of the sum for q > 0."""
    a, low = two_sum(q, const(float(TERMS), float64))
    w, logarithm = _power(a, low, 1.0 - s, precise, lift)
    series = _integral(s, a, order)
    total = const(0.0, float64)
    for i, coefficient in enumerate(series):
        power = _whole_power(-logarithm, order - i) * (1.0 / math.factorial(order - i))
        total = fma(power, coefficient, total)
    # Where it is that large, the first of the terms overflows.
    rest = total * at_most(w, 2.0**900) * float(math.factorial(order))

    def term(k, sum_):
        a, low = two_sum(q, k)
        p, logarithm = _power(a, low, -s, precise, lift)
        return k >= 0.0, [k - 1.0, fma(p, _whole_power(-logarithm, order), sum_)]

    zero = const(0.0, float64)
    return repeat(term, [const(TERMS - 1.0, float64), zero], TERMS)[1] + rest


def _whole_power(x: Expr, n: int) -> Expr:
    total = const(1.0, x.dtype)
    for _ in range(n):
        total = total * x
    return total


def _integral(s: Expr, a: Expr, order: int) -> list[Expr]:
    """Taylor coefficients in s of what follows the sum, over a**(1 - s): 1/(s - 1), 1/(2 a) and
    the corrections.
    """
    inverse = 1.0 / a
    square = inverse * inverse
    s = at_most(s, 1e4)  # beyond, all of it vanishes
    zero = const(0.0, float64)
    # The rising factorial s (s + 1) … over the same power of a
    rising = [s * square, square, *(zero for _ in range(order))][: order + 1]
    total = [zero] * (order + 1)
    for j, number in enumerate(CORRECTIONS):
        total = [fma(c, number, t) for c, t in zip(rising, total, strict=True)]
        for n in (2 * j + 1, 2 * j + 2):
            before = [zero, *rising]
            rising = [
                fma(c, s + float(n), b) * inverse for c, b in zip(rising, before, strict=False)
            ]
    total[0] = fma(inverse, 0.5, total[0])
    pole = 1.0 / (s - 1.0)
    power = pole
    for i in range(order + 1):
        total[i] = total[i] + (power if i % 2 == 0 else -power)
        power = power * pole
    return total


def polygamma(n: int, x: Expr) -> Expr:
    """The derivative of digamma of order n >= 1; at poles inf, or -inf for even n."""
    factorial = math.factorial(n)
    lift = factorial.bit_length() - 1
    value = zeta(const(n + 1.0, x.dtype), x, 0, lift) * (factorial / (1 << lift))
    return value if n % 2 else -value
