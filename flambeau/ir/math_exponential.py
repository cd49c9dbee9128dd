"""Exponentials, logarithms, powers and hyperbolic functions of real expressions."""

from .loop import (
    Expr,
    bitcast,
    cast,
    const,
    copysign,
    float32,
    float64,
    fma,
    maximum,
    rint,
    select,
    sqrt,
)  # fmt: skip
from .math_pieces import (
    INFINITY,
    NAN,
    at_least,
    at_most,
    bits,
    exp2_fraction,
    exp_fraction,
    exp_rest,
    exponent,
    fast_two_sum,
    form,
    log1p_sum,
    log_edges,
    log_pair,
    log_sum,
    pick,
    polynomial,
    power_halves,
    power_of_two,
    reduce_exp,
    root_tail,
    scale,
    scale_by,
    split_log,
    two_product,
    two_sum,
)  # fmt: skip


def exp(x: Expr) -> Expr:
    """e**x."""
    near = at_least(at_most(x, pick(x, 89.0, 710.0)), pick(x, -104.0, -746.0))
    i, _, q = exp_rest(near, 2.0 * form(x).bias)
    return scale_by(q + 1.0, i)


def exp2(x: Expr) -> Expr:
    """2**x."""
    k, p = exp2_fraction(at_least(at_most(x, pick(x, 129.0, 1025.0)), pick(x, -151.0, -1076.0)))
    return scale(p, k)


def expm1(x: Expr) -> Expr:
    """e**x - 1."""
    near = at_least(at_most(x, pick(x, 89.0, 710.0)), pick(x, -20.0, -40.0))
    # Half the result first: 2**k itself may overflow.
    if x.dtype is float32:
        i, _, q = exp_rest(near, form(x).bias - 1.0, "expm1")
        s = bitcast(i << form(x).width, x.dtype)
    else:  # log 2 as a float64 is further from it, in units of the last place
        k, r, t = reduce_exp(near)
        q, s = r + t, power_of_two(k - 1.0)
    half = fma(s, q, s - 0.5)
    return select(abs(x) < pick(x, 2.0**-26, 2.0**-55), x, half + half)


def sigmoid(x: Expr) -> Expr:
    """1/(1 + e**-x)."""
    limit = pick(x, 104.0, 746.0)
    i, _, q = exp_rest(-at_least(at_most(x, limit), -limit), 2.0 * form(x).bias)
    # Both terms by a power of two, so that they are normal numbers and the result need not be.
    first, second = power_halves(i, x.dtype)
    one = bitcast((2 * form(x).one) - first, x.dtype)
    power = bitcast(second, x.dtype)
    total = one + power
    # Far left, `one` is lost in the sum (far right nothing matters).
    return one / (total + fma(power, q, one - (total - power)))


def log(x: Expr) -> Expr:
    """Natural logarithm (as in P. Tang, ACM TOMS 16(4), 1990, without his table)."""
    return log_edges(x, log_sum(*split_log(x)), x + 0.0)


def log1p(x: Expr) -> Expr:
    """log(1 + x)."""
    f, above = form(x), x + 1.0
    shifted = bits(above) + (f.one - f.root_half)
    # 1 + x = 2**k (1 + fraction). An exponent is changed by adding to its bits: where x is not a
    # normal number, k is 0.
    down = f.one - (shifted & (-1 << f.width))
    unit = bitcast(maximum(down + f.one, 0), x.dtype)  # 2**-k, or 0 where that is too small
    fraction = bitcast(bits(x) + down, x.dtype) + (unit - 1.0)
    if x.dtype is float32:
        result = log_sum(cast(down, float32), fraction, -(2.0**-f.width))
    else:
        result = log_sum(exponent(shifted), fraction)
    return log_edges(x, copysign(result, x), above)


def log2(x: Expr) -> Expr:
    """Logarithm to base 2."""
    k, f = split_log(x)
    high, low = log_pair(k * 0.0, f)
    ratio, ratio_low = form(x).table["log2e"]
    p, e = two_product(high, const(ratio, x.dtype))
    e = fma(high, ratio_low, fma(low, ratio, e))
    total, rest = fast_two_sum(k, p)
    return log_edges(x, total + (rest + e), x + 0.0)


def log10(x: Expr) -> Expr:
    """Logarithm to base 10."""
    k, f = split_log(x)
    high, low = log_pair(k * 0.0, f)
    table = form(x).table
    ratio, ratio_low = table["log10e"]
    step, step_low = table["log10_2_short"]
    p, e = two_product(high, const(ratio, x.dtype))
    e = fma(high, ratio_low, fma(low, ratio, fma(k, step_low, e)))
    total, rest = fast_two_sum(k * step, p)
    return log_edges(x, total + (rest + e), x + 0.0)


def rsqrt(x: Expr) -> Expr:
    """1/sqrt(x)."""
    return 1.0 / sqrt(x)


def sinh(x: Expr) -> Expr:
    """(e**x - e**-x)/2."""
    a = abs(x)
    z = x * x
    small = fma(a * z, polynomial(z, form(x).table["sinh"]), a)
    half = _half_exp(a)
    return copysign(select(a < 1.0, small, half - 0.25 / half), x)


def cosh(x: Expr) -> Expr:
    """(e**x + e**-x)/2."""
    half = _half_exp(abs(x))
    return half + 0.25 / half


def _half_exp(a: Expr) -> Expr:
    """exp(a)/2 for a >= 0, which overflows later than exp(a)."""
    k, p = exp_fraction(at_most(a, pick(a, 90.0, 711.0)))
    quarter = p * power_of_two(k - 2.0)
    return quarter + quarter


def tanh(x: Expr) -> Expr:
    """sinh(x)/cosh(x)."""
    a = abs(x)
    z = x * x
    table = form(x).table
    i, _, q = exp_rest(at_most(a + a, pick(x, 20.0, 44.0)), form(x).bias, short=True)
    s = bitcast(i << form(x).width, x.dtype)
    # Both branches share a division: a + a z P/Q, or 1 - 2/(exp(2 a) + 1).
    small = a < pick(x, 0.625, 1.0)
    above = select(small, a * z * polynomial(z, table["tanh"]), -2.0)
    below = select(small, polynomial(z, table["tanh/"]), fma(s, q, s + 1.0))
    return copysign(select(small, a, 1.0) + above / below, x)


def asinh(x: Expr) -> Expr:
    """Inverse hyperbolic sine."""
    a = abs(x)
    z = x * x
    small = fma(a * z, polynomial(z, form(x).table["asinh"]), a)
    # log(a + sqrt(a*a + 1)), its argument as a sum of two less 1.
    p, p_low = two_product(a, a)
    square, low = two_sum(p, const(1.0, x.dtype))
    root = sqrt(square)
    high, rest = two_sum(root - 1.0, a)
    rest = rest + root_tail(root, square, low + p_low)
    large = a > pick(x, 2.0**30, 2.0**60)
    result = select(
        a < 0.5,
        small,
        log1p_sum(select(large, a, high), select(large, const(0.0, x.dtype), rest), large),
    )
    return copysign(select(a < INFINITY, result, a), x)


def acosh(x: Expr) -> Expr:
    """Inverse hyperbolic cosine, nan below 1."""
    t = x - 1.0
    # log(1 + t + sqrt(2 t + t*t))
    p, p_low = two_product(t, t)
    square, low = two_sum(t + t, p)
    root = sqrt(square)
    high, rest = two_sum(root, t)
    rest = rest + root_tail(root, square, low + p_low)
    large = x > pick(x, 2.0**30, 2.0**60)
    result = log1p_sum(select(large, x, high), select(large, const(0.0, x.dtype), rest), large)
    result = select(t > 0.0, result, select(t.equals(0.0), const(0.0, x.dtype), NAN))
    return select(x < INFINITY, result, x)


def atanh(x: Expr) -> Expr:
    """Inverse hyperbolic tangent."""
    a = abs(x)
    z = x * x
    small = fma(a * z, polynomial(z, form(x).table["atanh"]), a)
    # log(1 + 2 a/(1 - a))/2; 1 - a is exact above 1/2
    inverse = 1.0 / (1.0 - a)
    q = (a + a) * inverse
    result = select(a < 0.5, small, log1p_sum(q, fma(-q, 1.0 - a, a + a) * inverse) * 0.5)
    result = select(a < 1.0, result, select(a.equals(1.0), const(INFINITY, x.dtype), NAN))
    return copysign(result, x)


def logit(x: Expr) -> Expr:
    """log(x/(1 - x)); about 1/2, where that is 0, as 2 atanh(2 x - 1)."""
    off = x - 0.5
    a = off + off
    z = a * a
    near = fma(a * z, polynomial(z, form(x).table["atanh"]), a)
    return select(abs(off) < 0.25, near + near, log(x / (1.0 - x)))


def power(x: Expr, y: Expr) -> Expr:
    """x**y with the special values of C99, F.9.4.4."""
    a = abs(x)
    size = (
        cast(_power_single(cast(a, float64), cast(y, float64)), float32)
        if x.dtype is float32
        else _power(a, y)
    )
    whole = rint(y).equals(y)
    half = y * 0.5
    odd = whole & rint(half).differs(half)
    size = select(a.equals(1.0), const(1.0, x.dtype), size)
    result = select(odd, copysign(size, x), size)
    result = select((x < 0.0) & (x > -INFINITY) & ~whole, const(NAN, x.dtype), result)
    return select(x.equals(1.0) | y.equals(0.0), const(1.0, x.dtype), result)


def _log_limits(a: Expr, result: Expr) -> Expr:
    """log(0) and log(inf), nan kept; `a` is not negative."""
    return select(a.equals(0.0), const(-INFINITY, a.dtype), select(a < INFINITY, result, a))


def _power_single(a: Expr, y: Expr) -> Expr:
    """a**y in float64 to the precision of float32."""
    table = form(a).table
    k, f = split_log(a, denormals=False)
    square = f * f
    log_a = fma(
        k, table["log2"][0], fma(square, fma(f, polynomial(f, table["log_short"]), -0.5), f)
    )
    t = at_least(at_most(y * _log_limits(a, log_a), 200.0), -200.0)
    n = rint(t * table["log2e"][0])
    r = fma(n, -table["log2"][0], t)
    return (fma(r * r, polynomial(r, table["exp_short"]), r) + 1.0) * power_of_two(n)


def _power(a: Expr, y: Expr) -> Expr:
    """a**y in float64: the logarithm as a sum of two numbers, to some 65 bits."""
    high, low = log_double(*split_log(a))
    high = _log_limits(a, high)
    p = y * high
    inside = abs(p) < 800.0
    p_low = select(inside, fma(y, high, -p) + y * low, 0.0)
    k, r, t = reduce_exp(at_least(at_most(p, 710.0), -746.0), p_low)
    return scale((r + t) + 1.0, k)


def log_double(k: Expr, f: Expr):
    """k log 2 + log(1 + f) in float64 as a sum of two, to 65 bits; by 2 atanh(f/(2 + f))."""
    table = form(f).table
    base = f + 2.0
    base_low = f - (base - 2.0)
    inverse = 1.0 / base
    s = f * inverse
    s_low = (fma(-s, base, f) - s * base_low) * inverse
    z = s * s
    z_low = fma(s, s, -z) + (s + s) * s_low
    # u = z/3 + z*z/5 + …
    third, third_low = table["third"]
    u, u_low = two_product(z, const(third, f.dtype))
    u_low = fma(z, third_low, fma(z_low, third, u_low))
    u, rest = fast_two_sum(u, z * z * polynomial(z, table["log_double"]))
    u_low = u_low + rest
    # log(1 + f) = 2 s + 2 s u
    s, s_low = s + s, s_low + s_low
    v, v_low = two_product(s, u)
    v_low = fma(s, u_low, fma(s_low, u, v_low)) + s_low
    log2, log2_low = table["log2_short"]
    high, first = fast_two_sum(k * log2, s)
    high, second = fast_two_sum(high, v)
    return fast_two_sum(high, (first + second) + fma(k, log2_low, v_low))


def ldexp(x: Expr, k: Expr) -> Expr:
    """x * 2**k for integer-valued k of the type of x, rounded once or twice at the denormal end."""
    limit = pick(x, 300.0, 2200.0)
    k = at_least(at_most(k, limit), -limit)
    third = rint(k * (1.0 / 3.0))
    step = power_of_two(third)
    return x * step * step * power_of_two(k - third - third)


def frexp(x: Expr):
    """(m, e): x = m 2**e, 1/2 <= |m| < 1, e an integer as wide as x; zero, inf and nan stay and
    have e = 0.
    """
    f = form(x)
    small = abs(x) < f.least
    lift = f.width + 2
    b = bits(select(small, x * 2.0**lift, x))
    field = (1 << (f.integer.itemsize * 8 - 1)) - (1 << f.width)
    regular = (abs(x) > 0.0) & (abs(x) < INFINITY)
    exponent = ((b & field) >> f.width) - select(
        small, const(lift + f.bias - 1, f.integer), f.bias - 1
    )
    from_bits = (b & ~field) | ((f.bias - 1) << f.width)
    return select(regular, bitcast(from_bits, x.dtype), x), select(regular, exponent, 0)
