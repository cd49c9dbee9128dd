"""Circular functions of real expressions and their inverses."""

from .loop import Expr, bitcast, cast, const, copysign, float32, float64, fma, rint, select, sqrt
from .math_pieces import (
    bits,
    fast_two_sum,
    form,
    is_negative,
    low_bits,
    pick,
    polynomial,
    root_tail,
    two_product,
    two_sum,
    wide,
)  # fmt: skip
from .repeat import repeat


def sin(x: Expr) -> Expr:
    """Sine; the argument in radians, of any size."""
    k, r, low = reduce_angle(x)
    return select(abs(x) < pick(x, 2.0**-13, 2.0**-27), x, sine_from(low_bits(k), r, low))


def cos(x: Expr) -> Expr:
    """Cosine; the argument in radians, of any size."""
    k, r, low = reduce_angle(x)
    return sine_from(low_bits(k) + 1, r, low)


def sine_from(quarter: Expr, r: Expr, low: Expr) -> Expr:
    """sin(quarter pi/2 + r + low) for |r| <= pi/4, `quarter` an integer."""
    result = select((quarter & 1).equals(0), _sine(r, low), _cosine(r, low))
    return _turned(result, quarter)


def tan(x: Expr) -> Expr:
    """Tangent; the argument in radians, of any size."""
    k, r, low = reduce_angle(x)
    odd = (low_bits(k) & 1).differs(0)
    above, below = tangent_ratio(r, low)
    result = select(odd, -below, above) / select(odd, above, below)
    return select(abs(x) < pick(x, 2.0**-13, 2.0**-27), x, result)


def tangent_ratio(r: Expr, low: Expr):
    """(n, d) with tan(r + low) = n/d, |r| <= pi/4."""
    table = form(r).table
    z = r * r
    # tan(r) = r (1 + z P)/(1 + z Q), and the derivative of it is 1 + tan**2
    above = polynomial(z, table["tan"][1:])
    below = polynomial(z, table["tan/"][1:])
    return fma(r * z, above, low) + r, fma(z, below, 1.0)


def _sine(r: Expr, low: Expr) -> Expr:
    z = r * r
    return fma(r * z, polynomial(z, form(r).table["sin"]), low) + r


def _cosine(r: Expr, low: Expr) -> Expr:
    z = r * r
    return fma(z, -0.5, 1.0) + fma(z * z, polynomial(z, form(r).table["cos"]), -(r * low))


def cosm1(x: Expr) -> Expr:
    """cos(x) - 1, precise near 0."""
    k, r, low = reduce_angle(x)
    z = r * r
    near = fma(z, -0.5, fma(z * z, polynomial(z, form(r).table["cos"]), -(r * low)))
    return select((low_bits(k) & 3).equals(0), near, cos(x) - 1.0)


def _turned(value: Expr, quarter: Expr) -> Expr:
    """`value` with its sign flipped where bit 1 of `quarter` is set."""
    f = form(value)
    flip = (quarter & 2) << (f.integer.itemsize * 8 - 2)
    return bitcast(bits(value) ^ flip, value.dtype)


def reduce_angle(x: Expr):
    """(k, r, low): x = k pi/2 + r + low modulo 2 pi, |r| <= pi/4, k a small integer; nan for inf
    and nan.

    W. Cody & W. Waite (1980) with fused steps below a bound; M. Payne & R. Hanek (SIGNUM 18, 1983)
    above it, in a loop that runs once, where it does.
    """
    k, r, low = reduce_near(x)
    huge = abs(x) > pick(x, 131072.0, 2.0**26)
    far = _far_single if x.dtype is float32 else _far_double
    return repeat(lambda k, r, low: (huge, far(r)), (k, select(huge, x, r), low), 1)


def reduce_near(x: Expr):
    """`reduce_angle` below its bound."""
    first, second, third = form(x).table["half_pi"]
    k = rint(x * (1.0 / first))
    p, p_low = two_product(k, const(second, x.dtype))
    r, rest = two_sum(fma(k, -first, x), -p)  # the fma is exact
    return k, r, rest - fma(k, third, p_low)


def _far_single(x: Expr):
    """`reduce_angle` by x/(2 pi) in float64: products with 29-bit digits are exact, so are their
    fractions.
    """
    wide = cast(x, float64)
    *digits, last = form(x).table["turn"]
    turns = wide * last
    for digit in reversed(digits):
        p = wide * digit
        turns = turns + (p - rint(p))
    quarters = (turns - rint(turns)) * 4.0
    k = rint(quarters)
    return cast(k, float32), cast((quarters - k) * 1.5707963267948966, float32), const(0.0, float32)


def _far_double(x: Expr):
    """`reduce_angle` for 2**26 <= |x|: the five words of 1/(2 pi) that matter, moved into place by
    halving steps.
    """
    words = [const(w, float64) for w in form(x).table["turn"]]
    for step in (16, 8, 4, 2, 1):
        # Below 2**52 scaled, x times earlier words would not be a whole number of turns.
        far = abs(x) >= 2.0 ** (52 + 53 * step)
        x = select(far, x * 2.0 ** (-53 * step), x)
        kept = min(len(words), step + 4)
        words = [
            select(far, words[i + step], w) if i + step < len(words) else w
            for i, w in enumerate(words[:kept])
        ]
    p0, e0 = two_product(x, words[0])
    p1, e1 = two_product(x * 2.0**-53, words[1])
    p2, e2 = two_product(x * 2.0**-106, words[2])
    tail = x * 2.0**-159
    high, low = two_sum(p0 - rint(p0), e0 - rint(e0))
    for term in (p1 - rint(p1), e1, p2):
        high, rest = two_sum(high, term)
        low = low + rest
    low = low + fma(tail, words[3], e2) + (tail * 2.0**-53) * words[4]
    high = high - rint(high)
    high, low = fast_two_sum(high * 4.0, low * 4.0)
    k = rint(high)
    high, low = fast_two_sum(high - k, low)
    half_pi, half_pi_low, _ = form(x).table["half_pi"]
    r, rest = two_product(high, const(half_pi, float64))
    return k, r, fma(high, half_pi_low, fma(low, half_pi, rest))


def sinpi_fraction(r: Expr) -> Expr:
    """sin(pi r) for |r| <= 1/2."""
    table = form(r).table
    pi, pi_low = table["pi"]
    z = r * r
    return fma(r, pi, r * fma(z, polynomial(z, table["sinpi"]), pi_low))


@wide
def sinc(x: Expr) -> Expr:
    """sin(pi x)/(pi x), 1 at 0, exactly 0 at the other integers."""
    whole = rint(x)
    half = whole * 0.5
    wave = sinpi_fraction(x - whole)
    wave = select(rint(half).equals(half), wave, -wave)
    pi, pi_low = form(x).table["pi"]
    result = wave / fma(x, pi, x * pi_low)
    result = select(abs(x) < form(x).least, const(1.0, x.dtype), result)
    # Beyond these all numbers are whole, or the product overflows.
    return select(abs(x) < 2.0**53, result, select(x.equals(x), const(0.0, x.dtype), x))


def _arc(x: Expr):
    """(big, s, tail, rest) with asin(a) = s + tail for a = |x| <= 1/2, else pi/2 - 2 (s + tail), s
    = sqrt((1 - a)/2).
    """
    a = abs(x)
    big = a > 0.5
    z = select(big, 0.5 - a * 0.5, x * x)
    root = sqrt(z)
    s = select(big, root, a)
    tail = fma(s * z, polynomial(z, form(x).table["asin"]), select(big, root_tail(root, z), 0.0))
    return big, s, tail


def asin(x: Expr) -> Expr:
    """Inverse sine, nan outside [-1, 1]."""
    half_pi, half_pi_low, _ = form(x).table["half_pi"]
    big, s, tail = _arc(x)
    high, low = fast_two_sum(const(half_pi, x.dtype), s * -2.0)
    far = high + (fma(tail, -2.0, low) + half_pi_low)
    return copysign(select(big, far, s + tail), x)


def acos(x: Expr) -> Expr:
    """Inverse cosine, nan outside [-1, 1]."""
    pi, pi_low = form(x).table["pi"]
    big, s, tail = _arc(x)
    negative = x < 0.0
    # pi/2 -+ asin(a) near 0, 2 asin(s) near 1, pi - 2 asin(s) near -1
    zero = const(0.0, x.dtype)
    base = select(big, select(negative, const(pi, x.dtype), zero), pi * 0.5)
    base_low = select(big, select(negative, const(pi_low, x.dtype), zero), pi_low * 0.5)
    factor = select(big, const(2.0, x.dtype), 1.0)
    factor = select((x < 0.0) & ~big | ((x >= 0.0) & big), factor, -factor)
    return fma(factor, s, base) + fma(factor, tail, base_low)


def atan(x: Expr) -> Expr:
    """Inverse tangent."""
    half_pi, half_pi_low, _ = form(x).table["half_pi"]
    a = abs(x)
    big = a > 1.0
    t = select(big, const(-1.0, x.dtype), a) / select(big, a, 1.0)
    z = t * t
    zero = const(0.0, x.dtype)
    low = fma(
        t * z, polynomial(z, form(x).table["atan"]), select(big, const(half_pi_low, x.dtype), zero)
    )
    return copysign(select(big, const(half_pi, x.dtype), zero) + (t + low), x)


def atan2(y: Expr, x: Expr) -> Expr:
    """The angle of the point (x, y), signs of zero and infinities as C99 has them."""
    pi, pi_low = form(x).table["pi"]
    a, b = abs(x), abs(y)
    steep, left = b > a, is_negative(x)
    t = select(steep, a, b) / select(steep, b, a)
    one, zero = const(1.0, x.dtype), const(0.0, x.dtype)
    t = select(a.equals(b), select(a.equals(0.0), zero, one), t)
    base = select(steep, const(pi * 0.5, x.dtype), select(left, const(pi, x.dtype), zero))
    base_low = select(
        steep, const(pi_low * 0.5, x.dtype), select(left, const(pi_low, x.dtype), zero)
    )
    t = select(steep ^ left, -t, t)
    z = t * t
    low = fma(t * z, polynomial(z, form(x).table["atan"]), base_low)
    return copysign(base + (t + low), y)


def hypot(x: Expr, y: Expr) -> Expr:
    """sqrt(x*x + y*y) without overflow or underflow on the way; inf if either is, even beside
    nan.
    """
    if x.dtype is float32:
        wide, other = cast(x, float64), cast(y, float64)
        size = cast(sqrt(fma(wide, wide, other * other)), float32)
    else:
        size = _hypot(abs(x), abs(y))
    infinity = const(float("inf"), x.dtype)
    return select(abs(x).equals(infinity) | abs(y).equals(infinity), infinity, size)


def _hypot(a: Expr, b: Expr) -> Expr:
    large, small = select(a < b, b, a), select(a < b, a, b)
    far, near = large > 2.0**500, large < 2.0**-450
    one = const(1.0, a.dtype)
    down = select(far, const(2.0**-600, a.dtype), select(near, const(2.0**600, a.dtype), one))
    up = select(far, const(2.0**600, a.dtype), select(near, const(2.0**-600, a.dtype), one))
    large, small = large * down, small * down
    return sqrt(fma(large, large, small * small)) * up
