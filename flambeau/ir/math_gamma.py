"""Incomplete gamma functions, and their derivatives in the first argument.

W. Gautschi, ACM TOMS 5(4), 1979 for series and continued fraction; N. Temme, Math. Comp. 29, 1975
for large arguments near each other.
"""

import math

from . import math_exponential as exponential
from .loop import Expr, bool_, cast, const, float32, float64, fma, select, sqrt
from .math_integrals import fraction
from .math_pieces import (
    INFINITY,
    NAN,
    at_least,
    at_most,
    form,
    polynomial,
    reduce_exp,
    root_tail,
    scale,
    split_log,
    two_product,
    two_sum,
)
from .math_special import digamma, erfcx_pair
from .math_zeta import polygamma
from .repeat import repeat
from .twofold import Numbers, Twofold

ROOT, ROOT_LOW = 0.3989422804014327, -2.49232720227773e-17  # 1/sqrt(2 pi)
STEPS = 2000  # enough for any arguments that are not Temme's
SLOPE_STEPS = 50_000  # enough for a below 1e8
ROWS = 10  # of Temme's coefficients


def gammainc(a: Expr, x: Expr) -> Expr:
    """Regularised lower incomplete gamma function."""
    return _incomplete(a, x, False)


def gammaincc(a: Expr, x: Expr) -> Expr:
    """Regularised upper incomplete gamma function."""
    return _incomplete(a, x, True)


def _usual(a: Expr, x: Expr):
    """Where both are positive and finite, and numbers that are so everywhere."""
    usual = (a > 0.0) & (x > 0.0) & (a < INFINITY) & (x < INFINITY)
    one = const(1.0, float64)
    return usual, select(usual, a, one), select(usual, x, one)


def _limits(a: Expr, x: Expr, usual: Expr, value: Expr, at_zero: float, at_end: float) -> Expr:
    """`value`, but for x = 0 or a infinite, for a = 0 or x infinite, for both, and outside."""
    start = x.equals(0.0) | a.equals(INFINITY)
    end = a.equals(0.0) | x.equals(INFINITY)
    limit = select(start, const(at_zero, float64), at_end)
    value = select(usual, value, select(start & end, const(NAN, float64), limit))
    return select((a >= 0.0) & (x >= 0.0), value, const(NAN, float64))


def _incomplete(a: Expr, x: Expr, upper: bool) -> Expr:
    dtype, precise = a.dtype, a.dtype is not float32
    a, x = cast(a, float64), cast(x, float64)
    usual, s, y = _usual(a, x)
    value = gammainc_pair(s, y, precise)[upper]
    return cast(_limits(a, x, usual, value, float(upper), float(not upper)), dtype)


def gammainc_pair(a: Expr, x: Expr, precise: bool) -> tuple[Expr, Expr]:
    """(`gammainc`, `gammaincc`) in float64 for positive, finite arguments."""
    numbers = Numbers(precise)
    ratio = x / a
    near = (a >= 30.0) & (ratio > 0.7) & (ratio < 1.3)
    tail = ~near & (x > 0.75) & (x >= a)
    front = _front(a, x)
    below = front * _series(a, x, ~near & ~tail, numbers)
    above = front * _fraction(a, x, tail, numbers)
    upper = select(tail, above, 1.0 - below)
    little = (a < 1.0) & (x <= 1.1) & ~tail
    upper = select(little, _little(at_most(a, 1.0), at_most(x, 1.1)), upper)
    lower = select(tail, 1.0 - above, below)
    return select(near, _temme(a, x, False), lower), select(near, _temme(a, x, True), upper)


def _reciprocal(a: Expr, name: str) -> Expr:
    return polynomial(a, form(a).table[name]) / polynomial(a, form(a).table[name + "/"])


def _front(a: Expr, x: Expr) -> Expr:
    """x**a exp(-x)/gamma(a + 1).

    For small a, exp(a log x - x) over gamma itself; for others, exp(a (log t - t + 1)) with
    t = x/a, and Stirling's series.
    """
    small = a < 4.0
    zero = const(0.0, float64)
    t = x / a
    t_low = fma(-t, a, x) / a
    t, t_low = select(small, x, t), select(small, zero, t_low)
    logarithm, low = exponential.log_double(*split_log(t))
    low = low + t_low / t
    p, p_low = two_product(a, logarithm)
    p_low = fma(a, low, p_low)
    less, less_low = two_sum(select(small, zero, a), -x)
    high, rest = two_sum(p, less)
    low = rest + (p_low + less_low)
    far = at_least(a, 4.0)
    inverse = 1.0 / far
    remainder = inverse * polynomial(inverse * inverse, form(a).table["stirling"])
    high, rest = two_sum(high, select(small, zero, -remainder))
    low = low + rest
    root = sqrt(far)
    factor = ROOT / root
    factor_low = fma(-factor, root, ROOT) - fma(factor, root_tail(root, far), -ROOT_LOW)
    factor_low = select(small, zero, factor_low / root)
    beyond = a > 2.0
    shift = select(beyond, a - 2.0, a)
    shrunk = _reciprocal(at_most(shift, 2.0), "reciprocal_gamma")
    factor = select(small, shrunk / select(beyond, a * (a - 1.0), 1.0), factor)
    inside = high > -746.0
    k, r, t = reduce_exp(at_least(at_most(high, 710.0), -746.0), select(inside, low, 0.0))
    return scale(fma(factor, r + t, factor_low) + factor, k)


def _series(a: Expr, x: Expr, wanted: Expr, numbers: Numbers) -> Expr:
    """The sum of x**n/((a + 1) ... (a + n))."""

    def step(n, *parts):
        total, term = numbers.unpack(parts)
        proceed = wanted & (numbers.lead(term) > numbers.lead(total) * numbers.least)
        term = term * x / numbers.sum(a, n)
        return proceed, [n + 1.0, *numbers.pack(total + term, term)]

    first = numbers.pack(numbers.of(1.0), numbers.of(1.0))
    _, *parts = repeat(step, [const(1.0, float64), *first], STEPS)
    return numbers.plain(numbers.unpack(parts)[0])


def _fraction(a: Expr, x: Expr, wanted: Expr, numbers: Numbers) -> Expr:
    """The upper function over x**a exp(-x)/gamma(a + 1), by its continued fraction (DLMF 8.9.2,
    contracted).
    """
    a, x = at_most(a, 1e60), at_most(x, 1e70)  # where all vanishes
    first = numbers.sum(-a, 1.0) + x

    def along(n):
        return first + (n + n)

    def back(n):
        return numbers.sum(-a, n) * -n

    return numbers.plain(numbers.of(a) / fraction(first, along, back, wanted, numbers, STEPS))


def _little(a: Expr, x: Expr) -> Expr:
    """The upper function for a < 1, x <= 1.1: 1 - x**a/gamma(a + 1) (1 - a x/(a + 1) + ...), which
    is small where a is.
    """
    logarithm = a * (exponential.log(x) + _reciprocal(a, "log_reciprocal"))
    total = const(0.0, float64)
    for n in range(22, 0, -1):
        total = (1.0 / (a + float(n)) - total) * x * (1.0 / n)
    return fma(exponential.exp(logarithm) * a, total, -exponential.expm1(logarithm))


def _temme(a: Expr, x: Expr, upper: bool) -> Expr:
    """For a >= 30 and 0.7 < x/a < 1.3: the complementary error function of sqrt(a f), with
    f = t - 1 - log t at t = x/a, and a series in 1/a.
    """
    table = form(a).table
    t = (x - a) / a
    t_low = fma(-t, a, x - a) / a
    t = at_least(at_most(t, 0.3), -0.3)
    # With s = t/(2 + t): log(1 + t) = 2 s + 2 s**3/3 + ..., and t - 2 s = t s
    wide = Twofold(t, t_low)
    s = wide / (wide + 2.0)
    v = (s * s).high
    tail = const(2.0 / 27.0, float64)
    for n in range(25, 3, -2):
        tail = fma(tail, v, 2.0 / n)
    third = s * s * s * 2.0 / 3.0
    f = wide * s - (third + s.high * v * v * tail)
    square = f * a
    size = sqrt(f.high * 2.0)
    side = select(t < 0.0, -size, size)
    inverse = 1.0 / a
    total = const(0.0, float64)
    for k in reversed(range(ROWS)):
        total = fma(total, inverse, polynomial(side, table[f"temme{k}"]))
    total = total * (ROOT / sqrt(a))
    root = sqrt(square.high)
    w, w_low = erfcx_pair(root, root_tail(root, square.high, square.low))
    w, w_low = w * 0.5, w_low * 0.5
    w_low = w_low + select(t < 0.0, -total, total)
    limit = square.high < 746.0
    k, r, e = reduce_exp(-at_most(square.high, 746.0), select(limit, -square.low, 0.0))
    w, w_low = two_sum(w, w_low)
    smaller = scale(fma(w, r + e, w_low) + w, k)
    small = t >= 0.0 if upper else t < 0.0
    return select(small, smaller, 1.0 - smaller)


def gammainc_slope(a: Expr, x: Expr, order: int) -> Expr:
    """The derivative of `gammainc` in a of this order, by arithmetic on truncated Taylor series;
    nan where they converge too slowly, from about a = 1e8 on.
    """
    dtype = a.dtype
    a, x = cast(a, float64), cast(x, float64)
    usual, s, y = _usual(at_least(a, 1e-300), x)
    tail = (y > 1.1) & (y >= s)
    front = _taylor_front(s, y, order)
    below, found = _taylor_series(s, y, ~tail, order)
    above, found_above = _taylor_fraction(s, y, tail, order)
    value = select(tail, -_product(front, above)[order], _product(front, below)[order])
    value = select(found | found_above, const(NAN, float64), value * float(math.factorial(order)))
    return cast(_limits(a, x, usual, value, 0.0, 0.0), dtype)


def _product(a: list[Expr], b: list[Expr]) -> list[Expr]:
    return [sum((a[j] * b[i - j] for j in range(1, i + 1)), a[0] * b[i]) for i in range(len(a))]


def _taylor_front(a: Expr, x: Expr, order: int) -> list[Expr]:
    """Coefficients in a of `_front`, from those of its logarithm."""
    up = a + 1.0
    slopes = [exponential.log(x) - digamma(up)]
    slopes += [-polygamma(k, up) * (1.0 / math.factorial(k)) for k in range(1, order)]
    front = [_front(a, x)]
    for k in range(1, order + 1):
        total = sum((slopes[j] * front[k - 1 - j] for j in range(1, k)), slopes[0] * front[k - 1])
        front.append(total * (1.0 / k))
    return front


def _moving(pairs, precision: float) -> Expr:
    """Whether any change still counts beside its value."""
    moving = const(False, bool_)
    for change, value in pairs:
        moving = moving | (abs(change) > abs(value) * precision)
    return moving


def _taylor_series(a: Expr, x: Expr, wanted: Expr, order: int):
    """Coefficients in a of `_series`, and where they are not right yet."""
    size = order + 1

    def step(n, *parts):
        total, term = parts[:size], parts[size:]
        made = []
        for t in term:
            made.append((x * t - (made[-1] if made else 0.0)) / (a + n))
        proceed = wanted & _moving(zip(term, total, strict=True), 2.0**-54)
        return proceed, [n + 1.0, *(t + m for t, m in zip(total, made, strict=True)), *made]

    one, zeros = const(1.0, float64), [const(0.0, float64)] * order
    _, *parts = repeat(step, [one, one, *zeros, one, *zeros], SLOPE_STEPS)
    unfinished = _moving(zip(parts[size:], parts[:size], strict=True), 2.0**-54)
    return parts[:size], wanted & unfinished


def _taylor_fraction(a: Expr, x: Expr, wanted: Expr, order: int):
    """Coefficients in a of `_fraction`, and where they are not right yet."""
    size = order + 1
    zero, one = const(0.0, float64), const(1.0, float64)
    begin = x + 2.0 - a

    def ratio(p, q):
        made = []
        for i in range(size):
            made.append((p[i] - sum((q[j] * made[i - j] for j in range(1, i + 1)), zero)) / q[0])
        return made

    def changes(parts):
        now, last = parts[:size], parts[size : 2 * size]
        # Rounding keeps later coefficients from settling further.
        return wanted & _moving(((n - o, n) for n, o in zip(now, last, strict=True)), 2.0**-44)

    def step(n, *parts):
        now, _, p, p_old, q, q_old = (parts[k * size : (k + 1) * size] for k in range(6))
        along, back = begin + (n + n), (n + 1.0 - a) * n

        def following(new, old):
            new, old = [zero, *new], [zero, *old]
            return [
                new[i] * along - new[i - 1] - (old[i] * back - old[i - 1] * n)
                for i in range(1, size + 1)
            ]

        p, p_old, q, q_old = following(p, p_old), p, following(q, q_old), q
        factor = select(abs(q[0]) > 2.0**300, const(2.0**-300, float64), 1.0)
        made = [v * factor for row in (p, p_old, q, q_old) for v in row]
        return changes(parts), [n + 1.0, *ratio(p, q), *now, *made]

    zeros = [zero] * order
    p, q = [x + 1.0, *zeros], [begin * x, -x, *zeros][:size]
    start = [*ratio(p, q), *[zero] * size, *p, one, *zeros, *q, x, *zeros]
    _, *parts = repeat(step, [one, *start], SLOPE_STEPS)
    return _product([a, one, *zeros][:size], parts[:size]), changes(parts)
