"""Special functions of real expressions: error functions and quantiles, gamma, Bessel."""

import math

from .loop import Expr, Pair, const, copysign, fma, rint, select, sqrt
from .math_pieces import (
    INFINITY,
    NAN,
    at_least,
    at_most,
    exp2_fraction,
    fast_two_sum,
    form,
    log_pair,
    log_sum,
    pick,
    polynomial,
    power_of_two,
    reduce_exp,
    root_tail,
    scale,
    split_log,
    two_product,
    two_sum,
    wide,
)  # fmt: skip
from .math_trigonometric import sinpi_fraction
from .repeat import repeat


def erfcx_pair(a: Expr, a_low: Expr | None = None):
    """exp(x*x) erfc(x) at x = a + a_low >= 0 as a sum of two numbers (M. Shepherd & J. Laframboise,
    Math. Comp. 36, 1981).
    """
    table = form(a).table
    first, *others = table["erfcx"]
    top, base = a - 2.5, a + 2.5
    top_low, base_low = a - (top + 2.5), a - (base - 2.5)
    if a_low is not None:
        top_low, base_low = top_low + a_low, base_low + a_low
    inverse = 1.0 / base
    t = top * inverse
    t_low = (fma(-t, base, top) + fma(-t, base_low, top_low)) * inverse
    # What t_low changes, by the first terms of the derivative
    slope = polynomial(t, [k * c for k, c in enumerate(others[:4], 1)])
    rest = polynomial(t, others)
    y = fma(t, rest, first)
    y_low = fma(t, rest, first - y) + fma(t_low, slope, table["erfcx_low"][0])
    w = y * inverse
    return w, (fma(-w, base, y) + fma(-w, base_low, y_low)) * inverse


def erf(x: Expr) -> Expr:
    """Error function."""
    table = form(x).table
    small = fma(x, polynomial(x * x, table["erf"]), x)
    # The complement is at most 0.16: its errors hardly count.
    k, p = exp2_fraction(polynomial(at_most(abs(x), pick(x, 4.0, 6.0)), table["erf_tail"]))
    large = fma(-p, power_of_two(k), 1.0)
    return select(abs(x) < 1.0, small, copysign(large, x))


def _product(w: Expr, low: Expr, r: Expr, t: Expr) -> Expr:
    """(w + low)(1 + r + t), where each is small beside what stands before it."""
    return fma(w, r, fma(w, t, fma(low, r, low))) + w


def _complement(a: Expr, a_low: Expr | None, square: Expr, square_low: Expr) -> Expr:
    """erfc(a + a_low) for a >= 0, given the exact square of that as a sum of two."""
    w, w_low = erfcx_pair(a, a_low)
    k, r, t = reduce_exp(-square, -square_low)
    return scale(_product(w, w_low, r, t), k)


def erfc(x: Expr) -> Expr:
    """1 - erf(x)."""
    a = at_most(abs(x), pick(x, 10.5, 28.0))
    tail = _complement(a, None, *two_product(a, a))
    return select(x < 0.0, 2.0 - tail, tail)


@wide
def erfcx(x: Expr) -> Expr:
    """exp(x*x) erfc(x)."""
    a = abs(x)
    w, w_low = erfcx_pair(at_most(a, form(x).largest))
    tail = select(a.equals(INFINITY), const(0.0, x.dtype), w + w_low)
    near = at_most(a, 30.0)
    square, low = two_product(near, near)
    k, r, t = reduce_exp(at_most(square, 710.0), low)
    whole = scale(r + t + 1.0, k)
    return select(x < 0.0, whole + whole - tail, tail)


def erfcx_slope(x, value, order: int):
    """The derivative of `erfcx` of this order, given its `value`: (-2)**n n! times a repeated
    integral of erfc, scaled (NIST DLMF 7.18; W. Gautschi, Math. Comp. 15, 1961).
    """
    before, now = x._lift(2 / math.sqrt(math.pi)), value
    for n in range(1, order + 1):
        before, now = now, (before * 0.5 - x * now) * (1.0 / n)
    factor = float((-2) ** order * math.factorial(order))
    if isinstance(x, Pair):
        return now * factor
    # Far right that cancels; the ratios of neighbours are a continued fraction.
    double = at_least(x, 2.0) * 2.0
    ratio, falling = const(0.0, x.dtype), value
    for n in range(order + 50, 1, -1):
        ratio = 1.0 / fma(ratio, 2.0 * n, double)
        if n <= order + 1:
            falling = falling * ratio
    return select(x < 2.0, now, falling) * factor


def _over_root_two(a: Expr):
    """a/sqrt(2) as a sum of two."""
    root, root_low = form(a).table["root_half"]
    p, low = two_product(a, const(root, a.dtype))
    return p, fma(a, root_low, low)


def ndtr(x: Expr) -> Expr:
    """Distribution function of the standard normal."""
    a = at_most(abs(x), pick(x, 14.8, 39.5))
    tail = _complement(*_over_root_two(a), *two_product(a, a * 0.5)) * 0.5
    return select(x < 0.0, tail, 1.0 - tail)


@wide
def log_ndtr(x: Expr) -> Expr:
    """Logarithm of `ndtr`, precise in the tails."""
    limit = 1e150
    a = abs(x)
    near = at_most(a, limit)
    ratio, ratio_low = erfcx_pair(*_over_root_two(near))
    ratio, ratio_low = ratio * 0.5, ratio_low * 0.5
    square, low = two_product(near, near * 0.5)
    k, r, t = reduce_exp(-at_most(square, 746.0), select(square < 800.0, -low, 0.0))
    tail = scale(fma(ratio, r + t, ratio_low) + ratio, k)
    # log(ratio) - x*x/2 below 0, log1p(-tail) above
    left = x < 0.0
    rest, lost = fast_two_sum(const(1.0, x.dtype), -tail)
    lost = select(left, ratio_low, lost)
    k, f = split_log(select(left, ratio, rest), denormals=False)
    value = log_sum(k, fma(lost, power_of_two(-k), f))
    result = select(left, value - low - square, select(tail < 2.0**-60, -tail, value))
    result = select(left & (a >= limit), a * (a * -0.5), result)
    return select(x.equals(x), result, x)


def _ratio(x: Expr, name: str) -> Expr:
    table = form(x).table
    return polynomial(x, table[name]) / polynomial(x, table[name + "/"])


def _log_root(p: Expr, factor: float):
    """sqrt(-factor log p) as a sum of two, for 0 < p < 1; `factor` 1 or 2."""
    high, low = log_pair(*split_log(p))
    square, low = high * -factor, low * -factor
    root = sqrt(square)
    return root, root_tail(root, square, low)


def erfinv(x: Expr) -> Expr:
    """Inverse of `erf`, infinite at -1 and 1, nan outside (rational forms as in J. Blair et al.,
    Math. Comp. 30, 1976).
    """
    a = abs(x)
    z = x * x
    small = fma(a, _ratio(0.5625 - z, "erfinv"), a)
    w, low = _log_root(1.0 - a, 1.0)
    tail = fma(w, _ratio(w - 1.0, "erfinv_tail"), low) + w
    result = select(a < 0.75, small, tail)
    result = select(a < 1.0, result, select(a.equals(1.0), const(INFINITY, x.dtype), NAN))
    return copysign(result, x)


def ndtri(p: Expr) -> Expr:
    """Inverse of `ndtr` (the plan is M. Wichura's, Applied Statistics 37, AS 241)."""
    q = p - 0.5
    z = q * q
    middle = fma(q, 2.5, q * _ratio(0.16 - z, "ndtri"))
    upper = p > 0.5
    w, low = _log_root(select(upper, 1.0 - p, p), 2.0)
    tail = fma(w, _ratio(w - 2.0, "ndtri_tail"), low) + w
    result = select(abs(q) <= 0.4, middle, select(upper, tail, -tail))
    result = select(p > 0.0, result, select(p.equals(0.0), const(-INFINITY, p.dtype), NAN))
    return select(p < 1.0, result, select(p.equals(1.0), const(INFINITY, p.dtype), NAN))


def _stirling(a: Expr, high: Expr, low: Expr) -> Expr:
    """log gamma(a) for large a, given log a as a sum of two."""
    inverse = 1.0 / a
    series = polynomial(inverse * inverse, form(a).table["stirling"])
    shifted, less = a - 0.5, high - 1.0
    p, p_low = two_product(shifted, less)
    # log(2 pi)/2 - 1/2
    result = p + (fma(series, inverse, 0.41893853320467274) + fma(shifted, low, p_low))
    return select(p < INFINITY, result, p)


def lgamma(x: Expr) -> Expr:
    """Logarithm of |gamma(x)|; infinite at 0 and the negative integers."""
    a = abs(x)
    below = a < 0.6
    # log gamma(a) or, below, log gamma(a + 1); a - 1 is exact where it is small.
    less = a - 1.0
    ends, ends_low = two_product(select(below, a, a - 2.0), less)
    ratio = _ratio(select(below, a + 0.5, a - 0.5), "lgamma")
    middle = fma(ends, 0.4375, fma(ends, ratio, ends_low * (ratio + 0.4375))) + 0.0
    k, f = split_log(a)
    high, low = log_pair(k, f)
    large = a >= pick(x, 3.0, 4.0)
    value = select(large, _stirling(a, high, low), middle)
    left = x < -form(x).least
    start = select(below & ~left, value - high - low, value)
    [result, _] = repeat(lambda value, x: (left, (_lgamma_left(value, x), x)), (start, x), 1)
    result = select((x <= 0.0) & rint(x).equals(x), const(INFINITY, x.dtype), result)
    return select(a < INFINITY, result, a)


def _lgamma_left(value: Expr, x: Expr) -> Expr:
    """log |gamma(x)| for x < 0, given log gamma(-x), or from -0.6 on log gamma(1 - x)."""
    # gamma(x) gamma(-x) = -pi/(x sin(pi x)); -x is also the factor of gamma(1 - x) = -x gamma(-x).
    wave = abs(sinpi_fraction(x - rint(x)))
    product = select(x > -0.6, wave, wave * -x)
    # log pi, less two logarithms
    log_pi, log_pi_low = form(x).table["log_pi"]
    log_product, log_product_low = log_pair(*split_log(product))
    mirrored, lost = two_sum(const(log_pi, x.dtype), -value)
    mirrored, more = two_sum(mirrored, -log_product)
    return mirrored + ((lost + more) + (log_pi_low - log_product_low))


def _pi_over_tan(x: Expr) -> Expr:
    """pi/tan(pi x)."""
    r = x - rint(x)
    return sinpi_fraction(0.5 - abs(r)) * 3.141592653589793 / sinpi_fraction(r)


@wide
def digamma(x: Expr) -> Expr:
    """Derivative of log gamma; infinite at 0, nan at the negative integers."""
    left = x < 0.0
    y = select(left, 1.0 - x, x)
    below = y < 0.5
    up = select(below, y + 1.0, y)
    root, root_low = form(x).table["digamma_root"]
    off = (up - root) - root_low
    middle = fma(off, 0.75, off * _ratio(up - 0.5, "digamma"))
    inverse = 1.0 / up
    v = inverse * inverse
    high, low = log_pair(*split_log(up, denormals=False))
    series = fma(v, polynomial(v, form(x).table["digamma_tail"]), inverse * 0.5)
    value = select(up >= 3.0, high - (series - low), middle)
    # psi(x) = psi(x + 1) - 1/x, psi(x) = psi(1 - x) - pi/tan(pi x)
    value = value - select(below, 1.0 / x, const(0.0, x.dtype))
    [result, _] = repeat(lambda value, x: (left, (value - _pi_over_tan(x), x)), (value, x), 1)
    result = select(left & rint(x).equals(x), const(NAN, x.dtype), result)
    return select(x < INFINITY, result, x)


def _bessel(x: Expr, order: int):
    """(a, s, s_low, t, t_low): I(a) = s + s_low for a <= 8, and (t + t_low) exp(a)/sqrt(a) above,
    a = |x|.
    """
    table = form(x).table
    a = abs(x)
    near = at_most(a, 8.0)
    # The series in a*a/4. Its derivative is large: the last steps are sums of two numbers.
    t, t_low = two_product(near * 0.5, near * 0.5)
    numbers = (1.0, *table[f"i{order}"])
    s, s_low = polynomial(t, numbers[6:]), const(0.0, x.dtype)
    for number in reversed(numbers[:6]):
        p, p_low = two_product(s, t)
        low = fma(s, t_low, fma(s_low, t, p_low))
        s, s_low = two_sum(p, const(number, x.dtype))
        s_low = s_low + low
    if order == 1:
        half = near * 0.5
        s, p_low = two_product(s, half)
        s_low = fma(s_low, half, p_low)
    t = 16.0 / at_least(a, 8.0) - 1.0
    first, *others = table[f"i{order}_large"]
    rest = polynomial(t, others)
    large = fma(t, rest, first)
    return a, s, s_low, large, fma(t, rest, first - large)


def _over_root(x: Expr, low: Expr, a: Expr):
    """(x + low)/sqrt(a) as a sum of two."""
    root = sqrt(a)
    inverse = 1.0 / root
    w = x * inverse
    root_low = fma(-root, root, a) * (inverse * 0.5)
    return w, (fma(-w, root, x) + fma(-w, root_low, low)) * inverse


def _bessel_plain(x: Expr, order: int) -> Expr:
    a, small, small_low, large, low = _bessel(x, order)
    w, w_low = _over_root(large, low, a)
    limit = pick(x, 95.0, 720.0)
    k, r, t = reduce_exp(at_most(a, limit))
    far = select(a > limit, const(INFINITY, x.dtype), scale(_product(w, w_low, r, t), k))
    return select(a <= 8.0, small + small_low, far)


def _bessel_scaled(x: Expr, order: int) -> Expr:
    a, small, small_low, large, low = _bessel(x, order)
    w, w_low = _over_root(large, low, a)
    k, r, t = reduce_exp(-at_most(a, 8.0))
    near = _product(small, small_low, r, t) * power_of_two(k)
    far = select(a < INFINITY, w + w_low, 1.0 / a)
    return select(a <= 8.0, near, far)


def i0(x: Expr) -> Expr:
    """Modified Bessel function of the first kind, order 0."""
    return _bessel_plain(x, 0)


def i0e(x: Expr) -> Expr:
    """exp(-|x|) i0(x)."""
    return _bessel_scaled(x, 0)


def i1(x: Expr) -> Expr:
    """Modified Bessel function of the first kind, order 1."""
    return copysign(_bessel_plain(x, 1), x)


def i1e(x: Expr) -> Expr:
    """exp(-|x|) i1(x)."""
    return copysign(_bessel_scaled(x, 1), x)
