"""The beta function, the incomplete beta function (NIST DLMF 5.12, 8.17), and the inverses of the
incomplete gamma and beta functions.

Bodies take `numbers` to calculate in, which may be jets: see `jet.value` and `jet.slope`.
"""

import math

from . import math_exponential as exponential
from .jet import rescaled, slope, value
from .loop import Expr, bool_, cast, const, float32, float64, select, sqrt, trunc
from .math_gamma import gammainc_pair
from .math_integrals import finished, fraction
from .math_pieces import INFINITY, NAN, at_least, at_most
from .math_special import lgamma, ndtri
from .repeat import repeat
from .twofold import Numbers, horner

LARGE = 20.0  # from here on Stirling's series has 100 bits
# B_2k/(2 k (2 k - 1)) for k = 1, 2, …
STIRLING = (
    (1, 12), (-1, 360), (1, 1260), (-1, 1680), (1, 1188), (-691, 360360), (1, 156), (-3617, 122400),
    (43867, 244188), (-174611, 125400), (77683, 5796), (-236364091, 1506960), (657931, 300),
    (-3392780147, 93960),
)  # fmt: skip
FRACTION_STEPS = 100_000
SLIGHT = 2.0**-20
TINY = 2.0**-700
CORRECTIONS = 8  # of what a search in float64 has found, in twofold numbers
LARGEST = 1e304  # parameters, products of which with logarithms are finite


def stirling_rest(numbers, z):
    """log gamma(z) - (z - 1/2) log z + z - log(2 pi)/2 for z >= `LARGE`."""
    inverse = numbers.of(1.0) / z
    return horner(inverse * inverse, [numbers.ratio(*c) for c in STIRLING]) * inverse


def raised(numbers, z):
    """(y, p): y = z + n >= `LARGE`, and p = z (z + 1) … (y - 1) = gamma(y)/gamma(z), for z > 0."""

    def step(*parts):
        z, product = numbers.unpack(parts)
        return numbers.lead(z) < LARGE, numbers.pack(z + 1.0, product * z)

    return numbers.unpack(repeat(step, numbers.pack(z, numbers.of(1.0)), int(LARGE)))


def log_gamma(numbers, z):
    """log gamma(z) for z > 0."""
    y, product = raised(numbers, z)
    value = (y - 0.5) * numbers.log(y) - y + numbers.constant("half_log_tau")
    return value + stirling_rest(numbers, y) - numbers.log(product)


def _log1p(numbers, u):
    """log(1 + u) for u > -1/2, also beside u."""
    small = abs(numbers.lead(u)) < SLIGHT
    near = numbers.select(small, u, numbers.of(0.0))
    series = near * horner(near, [numbers.ratio((-1) ** k, k + 1) for k in range(6)])
    return numbers.select(
        small, series, numbers.log(numbers.select(small, numbers.of(1.0), u + 1.0))
    )


def _log_less(numbers, x, y):
    """log(y) for y = 1 - x, also beside x."""
    small = numbers.lead(x) < SLIGHT
    return numbers.select(small, _log1p(numbers, -x), numbers.log(y))


def _gap(numbers, q, p):
    """log gamma(q) - log gamma(q + p) for positive q and p: nothing of it cancels, however small p
    is.
    """
    zero = numbers.of(0.0)

    # v + 1 is the quotient of what both are raised by.
    def step(*parts):
        z, v = numbers.unpack(parts)
        u = p / z
        return numbers.lead(z) < LARGE, numbers.pack(z + 1.0, v + (u + u * v))

    z, v = numbers.unpack(repeat(step, numbers.pack(q, zero), int(LARGE)))
    above = z + p
    total = _log1p(numbers, v) + p - p * numbers.log(above)
    total = total - (z - 0.5) * _log1p(numbers, p / z)
    # The difference of the rests of Stirling's series, by that of two polynomials over t - t'
    less, inverse = p / above, 1.0 / z
    t = inverse * inverse
    apart = t * less * (2.0 - less)
    other = t - apart
    quotient, value = zero, zero
    for c in reversed(STIRLING):
        quotient, value = quotient * other + value, value * t + numbers.ratio(*c)
    return total + (apart * quotient * (1.0 - less) + less * value) * inverse


def _lifted(numbers, p, q):
    """Whether both are so small that B(p, q) = (p + q)/(p q), and both times 2**600 there."""
    tiny = (numbers.lead(p) < TINY) & (numbers.lead(q) < TINY)
    factor = select(tiny, const(2.0**600, float64), 1.0)
    return tiny, numbers.scaled(p, factor), numbers.scaled(q, factor)


def log_beta(numbers, a, b):
    """log B(a, b) for positive a and b."""
    swap = numbers.lead(a) > numbers.lead(b)
    p, q = numbers.select(swap, b, a), numbers.select(swap, a, b)
    tiny, p, q = _lifted(numbers, p, q)
    value = log_gamma(numbers, p) + _gap(numbers, q, p)
    return value + numbers.constant("log2") * select(tiny, const(600.0, float64), 0.0)


# Of log gamma(1 + z) about 0: minus Euler's constant, zeta(2)/2, -zeta(3)/3, …; times 10**36
LOG_GAMMA = (
    -577215664901532860606512090082402431, 822467033424113218236207583323012595,
    -400685634386531428466579387170483330, 270580808427784547879000924135291976,
    -207385551028673985266273097291406834,
)  # fmt: skip


def betaln_body(numbers, a, b):
    """log |B(a, b)|."""
    x, y = numbers.lead(a), numbers.lead(b)
    usual = (x > 0.0) & (y > 0.0) & (x < INFINITY) & (y < INFINITY)
    one = numbers.of(1.0)
    inside = log_beta(numbers, numbers.select(usual, a, one), numbers.select(usual, b, one))
    return numbers.select(usual, inside, numbers.of(_outside(x, y)))


def _outside(a: Expr, b: Expr) -> Expr:
    total = lgamma(a) + lgamma(b) - lgamma(a + b)
    pole = a.equals(0.0) | b.equals(0.0)
    endless = a.equals(INFINITY) | b.equals(INFINITY)
    total = select(endless & (a > 0.0) & (b > 0.0), const(-INFINITY, float64), total)
    return select(pole & (a >= 0.0) & (b >= 0.0), const(INFINITY, float64), total)


def betaln(a: Expr, b: Expr) -> Expr:
    """Logarithm of |B(a, b)|. Where an argument is negative, errors count by the logarithms of
    gamma that it consists of.
    """
    return value(betaln_body, a, b)


def _little_beta(numbers, p, q, x, logarithm, gap, wanted: Expr):
    """(I, 1 - I) for p that is small, also beside q: I is x**p/(p B(p, q)), which is almost 1, by a
    series (DLMF 8.17.7) that is so too. `logarithm` is that of x, `gap` that of q and p.
    """
    near = numbers.select(wanted, p, numbers.of(0.0))
    w = near * (logarithm - horner(near, [numbers.ratio(c, 10**36) for c in LOG_GAMMA])) - gap
    w = numbers.select(wanted, w, numbers.of(0.0))
    grown = w * horner(w, [numbers.ratio(1, math.factorial(k)) for k in range(1, 11)])

    def step(n, *parts):
        term, total = numbers.unpack(parts)
        size = numbers.size(term) * 2.0**6
        term = term * (-q + n) * x / n
        proceed = wanted & (size > abs(numbers.lead(total)) * numbers.least)
        return proceed, [n + 1.0, *numbers.pack(term, total + term / (p + n))]

    first = numbers.pack(numbers.of(1.0), numbers.of(0.0))
    _, *parts = repeat(step, [const(1.0, float64), *first], 200)
    change = p * numbers.unpack(parts)[1]
    return (grown + 1.0) * (change + 1.0), -(grown + change * (grown + 1.0))


def betainc_pair(numbers, a, b, x):
    """(I, 1 - I), the regularised incomplete beta functions, for positive a, b and 0 < x < 1."""
    lead = numbers.lead
    _, a, b = _lifted(numbers, a, b)
    y = 1.0 - x
    less = lead(a) < lead(b)
    least = numbers.select(less, a, b)
    gap = _gap(numbers, numbers.select(less, b, a), least)
    swap = lead(x) * (lead(a) + lead(b) + 2.0) > lead(a) + 1.0
    # Beside a far larger parameter, digits are lost to the complement of the fraction's argument,
    # but not where the fraction of the other one soon ends.
    most = lead(numbers.select(less, b, a))
    close = most * lead(numbers.select(less, x, y)) < lead(least) * 1.1 + 6.0
    close = close & (lead(least) < 1000.0) & (most > (lead(least) + 1.0) * 1e4)
    swap = select(close, ~less, swap)
    log_x, log_y = _log_less(numbers, y, x), _log_less(numbers, x, y)
    exponent = a * log_x + b * log_y - log_gamma(numbers, least) - gap
    p, q = numbers.select(swap, b, a), numbers.select(swap, a, b)
    x, log_x = numbers.select(swap, y, x), numbers.select(swap, log_y, log_x)
    little = (lead(p) < SLIGHT) & (lead(p) < lead(q) * SLIGHT)
    small, less = _little_beta(numbers, p, q, x, log_x, gap, little)
    power, k = numbers.exp_parts(exponent)

    def along(n):
        return numbers.of(1.0)

    def back(n):
        m = trunc(n * 0.5)
        odd = m.differs(n * 0.5)
        up = p + m
        twice = p + (m + m)
        first = numbers.select(odd, -up, q - m) / twice
        second = numbers.select(odd, up + q, numbers.of(m))
        return first * (second / (twice + select(odd, const(1.0, float64), -1.0))) * x

    exact = select(close, const(2.0**-45, float64), 2.0**-6)
    tail = fraction(numbers.of(1.0), along, back, ~little, numbers, FRACTION_STEPS, exact)
    other = lead(1.0 - x)
    tail = finished(numbers, tail, little | close | (other > 2.0**-46))
    p = numbers.select(little, numbers.of(1.0), p)
    made = numbers.select(little, small, rescaled(numbers, power / (tail * p), k))
    rest = numbers.select(little, less, 1.0 - made)
    return numbers.select(swap, rest, made), numbers.select(swap, made, rest)


def _ends(numbers, a, b, x, inside, at_zero: float, at_one: float):
    """`inside` with its limits, nan outside; for a body of betainc's arguments."""
    p, q, t = (numbers.lead(v) for v in (a, b, x))
    low = t.equals(0.0) | q.equals(0.0) | p.equals(INFINITY)
    high = t.equals(1.0) | p.equals(0.0) | q.equals(INFINITY)
    limit = select(low, const(at_zero, float64), at_one)
    limit = select(low & high, const(NAN, float64), limit)
    inside = numbers.select(low | high, numbers.of(limit), inside)
    allowed = (p >= 0.0) & (q >= 0.0) & (t >= 0.0) & (t <= 1.0)
    return numbers.select(allowed, inside, numbers.of(const(NAN, float64)))


def betainc_body(numbers, a, b, x):
    """The regularised incomplete beta function."""
    p, q, t = (numbers.lead(v) for v in (a, b, x))
    usual = (p > 0.0) & (q > 0.0) & (p < INFINITY) & (q < INFINITY) & (t > 0.0) & (t < 1.0)
    s, t, u = (numbers.select(usual, v, numbers.of(0.5)) for v in (a, b, x))
    # So large a parameter counts by its product with x; that 1 - x would have to be as small.
    large = numbers.of(LARGEST)
    excess = numbers.select(numbers.lead(t) > LARGEST, t / LARGEST, numbers.of(1.0))
    u = numbers.select(numbers.lead(u * excess) < 1.0, u * excess, u)
    s, t = (numbers.select(numbers.lead(v) > LARGEST, large, v) for v in (s, t))
    return _ends(numbers, a, b, x, betainc_pair(numbers, s, t, u)[0], 0.0, 1.0)


def betainc(a: Expr, b: Expr, x: Expr) -> Expr:
    """Regularised incomplete beta function."""
    return value(betainc_body, a, b, x, precise=True)


def betaln_slope(a: Expr, b: Expr, orders) -> Expr:
    """The derivative of `betaln` of these orders in positive a and b; 0 for others."""
    return slope(betaln_body, orders, a, b)


def betainc_slope(a: Expr, b: Expr, x: Expr, orders) -> Expr:
    """The derivative of `betainc` of these orders in a, b and x."""
    return slope(betainc_body, orders, a, b, x)


def _search(evaluate, u: Expr, low: float, high: float) -> Expr:
    """A zero between `low` and `high` of a rising function; `evaluate(u)` gives it and its
    derivative. Newton's steps, and halving where these lead out of what is left.
    """

    def step(u, last, low, high):
        f, slope = evaluate(u)
        low, high = select(f < 0.0, u, low), select(f > 0.0, u, high)
        following = u - f / slope
        inside = (following > low) & (following < high)
        following = select(f.equals(0.0), u, select(inside, following, (low + high) * 0.5))
        return abs(u - last) > (abs(u) + 1.0) * 2.0**-48, [following, u, low, high]

    first = [u, const(INFINITY, float64), const(low, float64), const(high, float64)]
    return repeat(step, first, 90)[0]


def _gamma_guess(a: Expr, p: Expr, q: Expr) -> Expr:
    """About the logarithm of where `gammainc` is p = 1 - q."""
    tail = (exponential.log(p) + lgamma(a + 1.0)) / a  # from x**a/gamma(a + 1) = p
    quantile = select(p < q, ndtri(p), -ndtri(q))
    cube = 1.0 - 1.0 / (9.0 * a) + quantile / (3.0 * exponential.exp(exponential.log(a) * 0.5))
    middle = a * cube * cube * cube  # E. Wilson & M. Hilferty, 1931
    far = at_least(-exponential.log(q) - lgamma(a), 1.0)
    middle = select(a < 1.0, far, middle)
    return select((tail < -1.0) | (middle <= 0.0), tail, exponential.log(at_least(middle, 1e-300)))


def _large_inverse(a: Expr, p: Expr, q: Expr) -> Expr:
    """Where `gammainc` is p = 1 - q, for a so large that the guess of Wilson and Hilferty is right
    to the last digit: it lacks a multiple of 1/sqrt(a).
    """
    quantile = select(p < q, ndtri(p), -ndtri(q))
    step = quantile / (3.0 * sqrt(a)) - 1.0 / (9.0 * a)
    return a + a * (step * (3.0 + step * (3.0 + step)))


def _little_inverse(a: Expr, p, x: Expr, numbers: Numbers) -> Expr:
    """x again, by x**a = p gamma(a + 1)/M, where M = 1 - x a/(a + 1) + … hardly depends on it."""
    a, wide = at_most(a, 0.5), numbers.of(at_most(x, 0.5))
    total = numbers.of(0.0)
    for n in range(18, 0, -1):
        term = numbers.of(1.0) / numbers.sum(a, float(n)) - total
        total = term * wide * numbers.ratio(1, n)
    series = numbers.of(1.0) - total * a
    up = numbers.sum(a, 1.0)
    logarithm = numbers.log(p / series) + log_gamma(numbers, up)
    return numbers.plain(numbers.exp(logarithm / a))


def _inverse_gamma(s: Expr, given: Expr, upper: Expr, precise: bool) -> Expr:
    """The x where `gammainc(s, x)`, or `gammaincc` if `upper`, is `given`; all are float64, finite
    and not at the ends.
    """
    numbers = Numbers(precise)
    p, q = select(upper, 1.0 - given, given), select(upper, given, 1.0 - given)
    lower = p <= q
    wanted = exponential.log(select(lower, p, q))
    sign = select(lower, const(1.0, float64), -1.0)

    def evaluate(u, precise=False):
        x = exponential.exp(u)
        below, above = gammainc_pair(s, x, precise)
        smaller = select(lower, below, above)
        density = exponential.exp(s * u - x - lgamma(s))
        f = exponential.log(smaller) - wanted
        return f * sign, density / at_least(smaller, 1e-300)

    u = _search(evaluate, at_most(at_least(_gamma_guess(s, p, q), -745.0), 709.0), -745.2, 709.7)
    x = exponential.exp(u)
    below, above = gammainc_pair(s, x, precise)
    off = select(lower, below - p, q - above)
    density = exponential.exp(s * exponential.log(x) - x - lgamma(s))
    step = off / density
    x = select(abs(step) < 0.01, x * (1.0 - step), x)
    exact = numbers.select(upper, numbers.sum(-given, 1.0), numbers.of(given))
    x = select((s < 0.5) & (x < 0.5), _little_inverse(s, exact, x, numbers), x)
    return select(s > 1e15, _large_inverse(s, p, q), x)


def _gamma_inverse_of(a: Expr, y: Expr, upper: bool) -> Expr:
    dtype = a.dtype
    a, y = cast(a, float64), cast(y, float64)
    finite = (a > 0.0) & (a < INFINITY)
    usual = finite & (y > 0.0) & (y < 1.0)
    s, given = select(usual, a, 1.0), select(usual, y, 0.5)
    x = _inverse_gamma(s, given, const(upper, bool_), dtype is not float32)
    low, high = (INFINITY, 0.0) if upper else (0.0, INFINITY)
    limit = select(y.equals(0.0), const(low, float64), high)
    limit = select(finite & (y.equals(0.0) | y.equals(1.0)), limit, NAN)
    return cast(select(usual, x, limit), dtype)


def gammaincinv(a: Expr, y: Expr) -> Expr:
    """The x where `gammainc(a, x)` is y."""
    return _gamma_inverse_of(a, y, False)


def gammainccinv(a: Expr, y: Expr) -> Expr:
    """The x where `gammaincc(a, x)` is y."""
    return _gamma_inverse_of(a, y, True)


def _far_inverse(a: Expr, b: Expr, y: Expr, precise: bool) -> tuple[Expr, Expr]:
    """(whether it applies, the x where `betainc(a, b, x)` is y) for parameters of which one is so
    large that this is gammainc(a, -(b + (a - 1)/2) log(1 - x)) (M. Wise, 1950).
    """
    swap = a > b
    less, more = select(swap, b, a), select(swap, a, b)
    applies = (more > 1e13) & (less < 1e4)
    s, given = select(applies, less, 1.0), select(applies, y, 0.5)
    x = _inverse_gamma(s, given, swap, precise)
    small = -exponential.expm1(-x / (more + (less - 1.0) * 0.5))
    return applies, select(swap, 1.0 - small, small)


def betaincinv(a: Expr, b: Expr, y: Expr) -> Expr:
    """The x where `betainc(a, b, x)` is y."""
    dtype, numbers = a.dtype, Numbers(a.dtype is not float32)
    plain = Numbers(False)
    a, b, y = (cast(v, float64) for v in (a, b, y))
    finite = (a > 0.0) & (b > 0.0) & (a < INFINITY) & (b < INFINITY)
    usual = finite & (y > 0.0) & (y < 1.0)
    s, t, given = select(usual, a, 1.0), select(usual, b, 1.0), select(usual, y, 0.5)
    uneven, far = _far_inverse(s, t, given, dtype is not float32)
    s, t, given = (select(uneven, const(v, float64), e) for v, e in ((1, s), (1, t), (0.5, given)))
    # Of x and 1 - x, the one that is below 1/2 is looked for.
    right = given > betainc_pair(plain, s, t, const(0.5, float64))[0]
    s, t = select(right, t, s), select(right, s, t)
    p, q = select(right, 1.0 - given, given), select(right, given, 1.0 - given)
    lower = p <= q
    wanted = exponential.log(select(lower, p, q))
    sign = select(lower, const(1.0, float64), -1.0)
    scale = log_beta(plain, s, t)

    def density(z):
        return exponential.exp(s * exponential.log(z) + (t - 1.0) * exponential.log1p(-z) - scale)

    def evaluate(u):
        z = exponential.exp(u)
        smaller = select(lower, *betainc_pair(plain, s, t, z))
        return (exponential.log(smaller) - wanted) * sign, density(z) / at_least(smaller, 1e-300)

    start = exponential.log(s / (s + t))
    tail = (exponential.log(p * s) + scale) / s
    z = exponential.exp(
        _search(evaluate, at_least(select(tail < start, tail, start), -744.0), -745.2, 0.0)
    )
    whole = numbers.of(given)
    rest = numbers.select(right, whole - 1.0, whole)  # the target of `below`, negated on the right
    below_wanted = numbers.select(right, -rest, rest)
    above_wanted = numbers.select(right, whole, 1.0 - whole)
    wide = [numbers.of(v) for v in (s, t)]

    def correct(size, *parts):
        (z,) = numbers.unpack(parts)
        below, above = betainc_pair(numbers, *wide, z)
        off = numbers.select(lower, below - below_wanted, above_wanted - above)
        step = off * (1.0 / density(numbers.lead(z)))
        step = numbers.select(abs(numbers.lead(step)) < 0.5, step, numbers.of(0.0))
        return size > 2.0**-30, [abs(numbers.lead(step)), *numbers.pack(z - step * z)]

    (z,) = numbers.unpack(
        repeat(correct, [const(1.0, float64), *numbers.pack(numbers.of(z))], CORRECTIONS)[1:]
    )
    x = numbers.plain(numbers.select(right, 1.0 - z, z))
    x = select(uneven, far, x)
    limit = select(y.equals(0.0) | y.equals(1.0), y, NAN)
    return cast(select(usual, x, select(finite, limit, const(NAN, float64))), dtype)
