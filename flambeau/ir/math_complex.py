"""Elementary functions of complex numbers, pairs of real expressions.

Special values are those of C99, annex G; branch cuts lie where NumPy and PyTorch have them, and the
sign of a zero says on which side of a cut a number is (W. Kahan, Branch cuts for complex elementary
functions, 1987).
"""

from . import math_exponential as real
from . import math_trigonometric as circular
from .loop import Expr, Pair, cast, const, copysign, float32, float64, fma, rint, select
from .loop import sqrt as root_of
from .math_pieces import (
    INFINITY,
    NAN,
    at_least,
    at_most,
    exp_fraction,
    fast_two_sum,
    form,
    is_negative,
    log1p_sum,
    log_sum,
    low_bits,
    pick,
    polynomial,
    power_of_two,
    scale,
    split_log,
    two_product,
    two_sum,
)  # fmt: skip


def _finite(x: Expr) -> Expr:
    return abs(x) < INFINITY


def _is_infinite(x: Expr) -> Expr:
    return abs(x).equals(INFINITY)


def _zero(x: Expr) -> Expr:
    return const(0.0, x.dtype)


def _times_i(z: Pair) -> Pair:
    return Pair(-z.im, z.re)


def _over_i(z: Pair) -> Pair:
    return Pair(z.im, -z.re)


def exp(z: Pair) -> Pair:
    """e**z."""
    x, y = z.re, z.im
    # Beyond the overflow of exp(x), a small cosine may bring the product back.
    k, p = exp_fraction(at_least(at_most(x, pick(x, 130.0, 800.0)), pick(x, -130.0, -800.0)))
    endless = ~_finite(y)
    vanishing = x.equals(-INFINITY) & endless
    re = select(vanishing, _zero(x), scale(p * circular.cos(y), k))
    im = select(vanishing, _zero(x), scale(p * circular.sin(y), k))
    re = select(x.equals(INFINITY) & endless, x, re)
    still = y.equals(0.0)
    return Pair(select(still, scale(p, k), re), select(still, y, im))


def exp2(z: Pair) -> Pair:
    """2**z; nan where the imaginary part is finite and beyond 2**40."""
    x, y = z.re, z.im
    log2, log2_low = form(y).table["log2"]
    angle, low = two_product(y, const(log2, y.dtype))
    n, r, rest = circular.reduce_angle(angle)
    rest = rest + fma(y, log2_low, low)
    near = at_least(at_most(x, pick(x, 250.0, 2000.0)), pick(x, -250.0, -2000.0))
    k = rint(near)
    p = fma(near - k, polynomial(near - k, form(x).table["exp2"]), 1.0)
    re, im = (p * circular.sine_from(low_bits(n) + i, r, rest) for i in (1, 0))
    value = Pair(scale(re, k), scale(im, k))
    nan = const(NAN, x.dtype)
    value = select(abs(y) < 2.0**40, value, Pair(nan, nan))
    still = y.equals(0.0)
    value = Pair(select(still, scale(p, k), value.re), select(still, y, value.im))
    return select(_finite(x) & _finite(y), value, exp(z * 0.6931471805599453))


def expm1(z: Pair) -> Pair:
    """e**z - 1."""
    x, y = z.re, z.im
    grown, less = exp(z), real.expm1(x)
    near = fma(less, circular.cos(y), circular.cosm1(y))
    re = select(abs(x) < 4.0, near, grown.re - 1.0)
    return Pair(select(y.equals(0.0), less, re), grown.im)


def _log_modulus(x: Expr, y: Expr, x_low: Expr | None = None, doubled=False) -> Expr:
    """log|x + x_low + i y|, or with `doubled` log of twice that: the square as a sum of two,
    scaled.
    """
    a, b = abs(x), abs(y)
    large = select(a < b, b, a)
    far, near = large > pick(x, 2.0**60, 2.0**500), large < pick(x, 2.0**-40, 2.0**-450)
    move = pick(x, 90.0, 600.0)
    shift = select(far, const(-move, x.dtype), select(near, const(move, x.dtype), 0.0))
    factor = power_of_two(shift)
    a, b = a * factor, b * factor
    p, p_low = two_product(a, a)
    q, q_low = two_product(b, b)
    h, low = two_sum(p, q)
    low = low + (p_low + q_low)
    if x_low is not None:
        low = low + (x * factor) * (x_low * factor) * 2.0
    h, low = fast_two_sum(h, low)
    k, f = split_log(h, denormals=False)
    k = k - shift * 2.0
    if doubled:
        k = k + 2.0
    result = (
        log_sum(k, fma(low, power_of_two(-(k + shift * 2.0 - (2.0 if doubled else 0.0))), f)) * 0.5
    )
    result = select(h.equals(0.0), const(-INFINITY, x.dtype), select(h < INFINITY, result, h))
    return select(_is_infinite(x) | _is_infinite(y), const(INFINITY, x.dtype), result)


def log(z: Pair) -> Pair:
    """Natural logarithm, cut along the negative real axis."""
    return Pair(_log_modulus(z.re, z.im), circular.atan2(z.im, z.re))


def log2(z: Pair) -> Pair:
    """Logarithm to base 2."""
    return log(z) * const(1.4426950408889634, z.re.dtype)


def log10(z: Pair) -> Pair:
    """Logarithm to base 10."""
    return log(z) * const(0.4342944819032518, z.re.dtype)


def log1p(z: Pair) -> Pair:
    """log(1 + z)."""
    x, y = z.re, z.im
    u, low = two_sum(const(1.0, x.dtype), x)
    low = select(_finite(x), low, 0.0)
    small = (abs(x) < pick(x, 2.0**-13, 2.0**-27)) & (abs(y) < pick(x, 2.0**-13, 2.0**-27))
    # |1 + z|**2 - 1 = 2 x + x*x + y*y
    near = fma(y * 0.5, y, fma(x * 0.5, x, x))
    near = near - near * near
    return Pair(select(small, near, _log_modulus(u, y, low)), circular.atan2(y, u))


def sqrt(z: Pair) -> Pair:
    """Square root with real part >= 0."""
    x, y = z.re, z.im
    a, b = abs(x), abs(y)
    large = select(a < b, b, a)
    far, near = large > pick(x, 2.0**120, 2.0**1000), large < pick(x, 2.0**-100, 2.0**-900)
    down = select(
        far, const(0.0625, x.dtype), select(near, const(pick(x, 2.0**60, 2.0**200), x.dtype), 1.0)
    )
    up = select(
        far, const(4.0, x.dtype), select(near, const(pick(x, 2.0**-30, 2.0**-100), x.dtype), 1.0)
    )
    a, b = a * down, b * down
    t = root_of((a + circular.hypot(a, b)) * 0.5)
    other = b / (t + t)
    # The results are scaled back after the division: it may only underflow there.
    t, other = t * up, select(a.equals(0.0) & b.equals(0.0), _zero(x), other * up)
    right = ~is_negative(x)
    re, im = select(right, t, other), copysign(select(right, other, t), y)
    # y infinite: inf + i y. x infinite: the other part is 0, or nan if y is.
    zero_or_nan = select(y.equals(y), _zero(x), y)
    infinity = const(INFINITY, x.dtype)
    endless = _is_infinite(x)
    re = select(endless, select(right, infinity, zero_or_nan), re)
    im = select(endless, copysign(select(right, zero_or_nan, infinity), y), im)
    beyond = _is_infinite(y)
    return Pair(select(beyond, infinity, re), select(beyond, y, im))


def reciprocal(z: Pair) -> Pair:
    """1/z."""
    x, y = z.re, z.im
    a, b = abs(x), abs(y)
    large = select(a < b, b, a)
    far, near = large > pick(x, 2.0**60, 2.0**500), large < pick(x, 2.0**-60, 2.0**-500)
    one = const(1.0, x.dtype)
    factor = select(far, const(pick(x, 2.0**-80, 2.0**-600), x.dtype),
                    select(near, const(pick(x, 2.0**80, 2.0**600), x.dtype), one))  # fmt: skip
    x, y = x * factor, y * factor
    size = fma(x, x, y * y)
    re, im = x / size * factor, -y / size * factor
    endless = _is_infinite(z.re) | _is_infinite(z.im)
    zero = _zero(x)
    return Pair(select(endless, copysign(zero, x), re), select(endless, copysign(zero, -y), im))


def rsqrt(z: Pair) -> Pair:
    """1/sqrt(z)."""
    return reciprocal(sqrt(z))


def sigmoid(z: Pair) -> Pair:
    """1/(1 + e**-z)."""
    # |1 + e**-z|**2 = (1 - t)**2 + 4 t cos(y/2)**2 for t = exp(-|x|), also near the poles, where
    # 1 + exp(-z) would cancel.
    x, y = z.re, z.im
    a = abs(x)
    t, less = real.exp(-a), -real.expm1(-a)
    cosine, sine = circular.cos(y * 0.5), circular.sin(y * 0.5)
    square = cosine * cosine * 2.0
    below = fma(less, less, t * (square + square))
    re = select(x < 0.0, t * (square - less), fma(t, square, less)) / below
    return Pair(re, t * (sine * cosine * 2.0) / below)


def power(z: Pair, w: Pair) -> Pair:
    """z**w as exp(w log z); 1 where w is 0, and 0 where z is 0 and the real part of w positive."""
    if z.re.dtype is float32:
        wide = _power(*(Pair(cast(v.re, float64), cast(v.im, float64)) for v in (z, w)))
        return Pair(cast(wide.re, float32), cast(wide.im, float32))
    return _power(z, w)


def _power(z: Pair, w: Pair) -> Pair:
    logarithm = log(z)
    straight = w.im.equals(0.0)
    # A real exponent must not turn an infinite logarithm into nan.
    product = w * logarithm
    re = select(straight, w.re * logarithm.re, product.re)
    im = select(straight, w.re * logarithm.im, product.im)
    result = exp(Pair(re, im))
    nothing = z.re.equals(0.0) & z.im.equals(0.0) & (w.re > 0.0)
    result = select(nothing, Pair(_zero(z.re), _zero(z.re)), result)
    return select(w.re.equals(0.0) & straight, Pair(const(1.0, z.re.dtype), _zero(z.re)), result)


def _hyperbolic(x: Expr):
    """(sinh x, cosh x, k, p): the first two where |x| is below the overflow, exp|x| = p 2**k
    anyhow.
    """
    a = abs(x)
    k, p = exp_fraction(at_most(a, pick(x, 130.0, 800.0)))
    half = scale(p, k - 1.0)
    z = x * x
    small = fma(a * z, polynomial(z, form(x).table["sinh"]), a)
    below = 0.25 / half
    return copysign(select(a < 1.0, small, half - below), x), half + below, k, p


def sinh(z: Pair) -> Pair:
    """Hyperbolic sine."""
    x, y = z.re, z.im
    first, second, k, p = _hyperbolic(x)
    cosine, sine = circular.cos(y), circular.sin(y)
    large = abs(x) > pick(x, 80.0, 690.0)
    re = select(
        large, scale(p * cosine, k - 1.0) * copysign(const(1.0, x.dtype), x), first * cosine
    )
    im = select(large, scale(p * sine, k - 1.0), second * sine)
    re = select((x.equals(0.0) | _is_infinite(x)) & ~_finite(y), x, re)
    still = y.equals(0.0)
    return Pair(select(still & _is_infinite(x), x, re), select(still, y, im))


def cosh(z: Pair) -> Pair:
    """Hyperbolic cosine."""
    x, y = z.re, z.im
    first, second, k, p = _hyperbolic(x)
    cosine, sine = circular.cos(y), circular.sin(y)
    large = abs(x) > pick(x, 80.0, 690.0)
    one = const(1.0, x.dtype)
    re = select(large, scale(p * cosine, k - 1.0), second * cosine)
    im = select(large, scale(p * sine, k - 1.0) * copysign(one, x), first * sine)
    re = select(_is_infinite(x) & (~_finite(y) | y.equals(0.0)), abs(x), re)
    flat = copysign(_zero(x), x) * copysign(one, y)
    return Pair(re, select(x.equals(0.0) | y.equals(0.0), flat, im))


def tanh(z: Pair) -> Pair:
    """Hyperbolic tangent."""
    x, y = z.re, z.im
    a = abs(x)
    large = a > pick(x, 12.0, 24.0)
    first, second, _, _ = _hyperbolic(at_most(at_least(x, -40.0), 40.0))
    cosine, sine = circular.cos(y), circular.sin(y)
    below = fma(first, first, cosine * cosine)
    tail = real.exp(a * -2.0)
    far = select(_finite(y), sine * cosine * 4.0, _zero(x)) * tail
    re = select(large, copysign(const(1.0, x.dtype), x), first * second / below)
    im = select(large, far, sine * cosine / below)
    return Pair(select(x.equals(0.0), x, re), select(y.equals(0.0), y, im))


def sin(z: Pair) -> Pair:
    """Sine."""
    return _over_i(sinh(_times_i(z)))


def cos(z: Pair) -> Pair:
    """Cosine."""
    return cosh(_times_i(z))


def tan(z: Pair) -> Pair:
    """Tangent."""
    return _over_i(tanh(_times_i(z)))


def sinc(z: Pair) -> Pair:
    """sin(pi z)/(pi z)."""
    whole = rint(z.re)
    r, half = z.re - whole, whole * 0.5
    sign = select(rint(half).equals(half), const(1.0, r.dtype), -1.0)
    pi, pi_low = form(r).table["pi"]
    height, low = two_product(z.im, const(pi, r.dtype))
    low = fma(z.im, pi_low, low)
    first, second, _, _ = _hyperbolic(height)
    first, second = fma(low, second, first), fma(low, first, second)
    sine, cosine = circular.sinpi_fraction(r), circular.sinpi_fraction(0.5 - abs(r))
    wave = Pair(sine * second, select(z.im.equals(0.0), z.im, cosine * first)) * sign
    result = wave * reciprocal(z * 3.141592653589793)
    return select(z.im.equals(0.0), Pair(circular.sinc(z.re), z.im), result)


def _arc(x: Expr, y: Expr):
    """(d, h) for x, y >= 0: asin(x + i y) = atan2(x, d) + i h, acos = atan2(d, x) - i h.

    T. Hull, T. Fairgrieve & P. Tang, ACM TOMS 23(3), 1997; their formulas for the critical regions
    serve everywhere but far away.
    """
    limit = pick(x, 2.0**50, 2.0**400)
    far = ~((x < limit) & (y < limit))
    u, v = at_most(x, limit), at_most(y, limit)
    less = u - 1.0
    r, s = circular.hypot(u + 1.0, v), circular.hypot(less, v)
    a = (r + s) * 0.5
    inside = u < 1.0
    # a - 1 = (v*v/(r + u + 1) + v*v/(s + 1 - u))/2 = v*v q inside, and a - u likewise
    outer = r + (u + 1.0)
    gap = s + abs(less)
    first = 1.0 / outer
    second = select(gap.equals(0.0), _zero(x), 1.0 / gap)
    q = (first + second) * 0.5
    v_tiny = v * v
    a_less = select(inside, v * (v * q), (v_tiny * first + gap) * 0.5)
    grown = select(inside, v * root_of(q * (a + 1.0)), root_of(a_less * (a + 1.0)))
    h = log1p_sum(a_less + grown)
    h = select(a_less + grown < pick(x, 2.0**-26, 2.0**-55), a_less + grown, h)
    reach = a + u
    d = select(
        inside | gap.equals(0.0),
        root_of(reach * 0.5 * fma(v_tiny, first, gap)),
        v * root_of(reach * q),
    )
    unsure = ~(x.equals(x) & y.equals(y))
    h_far = _log_modulus(x, y, doubled=True)
    h = select(far, h_far, h)
    endless = _is_infinite(x) | _is_infinite(y)
    h = select(unsure & ~endless, x + y, h)
    return select(far, y, select(unsure, x + y, d)), h


def asin(z: Pair) -> Pair:
    """Inverse sine, cut along the real axis outside [-1, 1]."""
    x, y = abs(z.re), abs(z.im)
    d, h = _arc(x, y)
    angle = circular.atan2(x, d)
    angle = select(z.re.equals(0.0), _zero(x), angle)
    return Pair(copysign(angle, z.re), copysign(h, z.im))


def acos(z: Pair) -> Pair:
    """Inverse cosine, cut along the real axis outside [-1, 1]."""
    x, y = abs(z.re), abs(z.im)
    d, h = _arc(x, y)
    angle = circular.atan2(d, z.re)
    angle = select(z.re.equals(0.0), const(1.5707963267948966, x.dtype), angle)
    return Pair(angle, copysign(h, -z.im))


def asinh(z: Pair) -> Pair:
    """Inverse hyperbolic sine, cut along the imaginary axis outside [-i, i]."""
    return _over_i(asin(_times_i(z)))


def acosh(z: Pair) -> Pair:
    """Inverse hyperbolic cosine, cut along the real axis below 1."""
    turned = acos(z)
    return Pair(abs(turned.im), copysign(turned.re, z.im))


def atanh(z: Pair) -> Pair:
    """Inverse hyperbolic tangent, cut along the real axis outside [-1, 1]."""
    x, y = abs(z.re), abs(z.im)
    limit = pick(x, 2.0**50, 2.0**400)
    far = ~((x < limit) & (y < limit))
    u, v = at_most(x, limit), at_most(y, limit)
    less = 1.0 - u
    size = fma(less, less, v * v)
    # log(|1 + z|/|1 - z|)/2; at a distance v from the pole that is log(2/v)/2
    pole = less.equals(0.0) & (v < pick(x, 2.0**-50, 2.0**-400))
    argument = select(pole, v, u * 4.0 / size)
    grown = log1p_sum(argument, doubled=pole)
    grown = select(~pole & (argument < pick(x, 2.0**-26, 2.0**-55)), argument, grown)
    re = select(pole, fma(grown, -0.5, 0.6931471805599453), grown * 0.25)
    re = select(pole & v.equals(0.0), const(INFINITY, x.dtype), re)
    re = select(far, reciprocal(Pair(x, y)).re, re)
    angle = circular.atan2(v + v, fma(less, u + 1.0, -(v * v))) * 0.5
    angle = select(far, const(1.5707963267948966, x.dtype), angle)
    endless = _is_infinite(x) | _is_infinite(y)
    re = select(endless, _zero(x), re)
    re = select(x.equals(0.0), _zero(x), re)
    angle = select(x.equals(x) | _is_infinite(y), angle, x)
    angle = select(y.equals(y), angle, y)
    return Pair(copysign(re, z.re), copysign(angle, z.im))


def atan(z: Pair) -> Pair:
    """Inverse tangent, cut along the imaginary axis outside [-i, i]."""
    return _over_i(atanh(_times_i(z)))
