"""Bessel and Airy functions of real expressions, of order 0 and 1.

All of it is float64; float32 goes through it. Where a function oscillates, errors are small beside
its amplitude; elsewhere beside its value.
"""

from . import math_exponential as exponential
from .loop import Expr, const, fma, select, sqrt
from .math_pieces import (
    INFINITY,
    NAN,
    at_least,
    at_most,
    form,
    low_bits,
    polynomial,
    power_of_two,
    reduce_exp,
    root_tail,
    scale,
    two_product,
    two_sum,
    wide,
)
from .math_trigonometric import cos, reduce_angle, reduce_near, sin, sine_from

QUARTER, QUARTER_LOW = 0.7853981633974483, 3.061616997868383e-17  # pi/4
TWO_OVER_PI = 0.6366197723675814
FARTHEST = 2.0**70  # where the phase of Airy's functions has as many digits as three numbers


def table(x: Expr, name: str) -> Expr:
    """The polynomial `name` of the table at x."""
    return polynomial(x, form(x).table[name])


def ratio(x: Expr, name: str) -> Expr:
    """The rational function `name` of the table at x."""
    return table(x, name) / table(x, name + "/")


def _wave(reduced, low: Expr, phase: Expr, order: int):
    """(cos, sin) of angle + low + phase - (2 order + 1) pi/4, where |phase| is small, of the
    `reduced` angle.
    """
    k, r, rest = reduced
    back = r + phase < 0.0
    step = select(back, const(QUARTER, r.dtype), -QUARTER)
    step_low = select(back, const(QUARTER_LOW, r.dtype), -QUARTER_LOW)
    quarter = low_bits(select(back, k - 1.0, k) - float(order))
    r, lost = two_sum(r + step, phase)
    r, more = two_sum(r, low)
    rest = (rest + lost) + (step_low + more)
    return sine_from(quarter + 1, r, rest), sine_from(quarter, r, rest)


def _oscillating(a: Expr, order: int):
    """(J, Y) for a >= 2, by amplitude and phase (J. Harrison, ARITH 19, 2009)."""
    t = 1.0 / (a * a)
    size = ratio(t, f"amplitude{order}") / sqrt(a)
    phase = ratio(t, f"phase{order}") / a
    across, along = _wave(reduce_angle(a), const(0.0, a.dtype), phase, order)
    endless = a.equals(INFINITY)
    return [select(endless, const(0.0, a.dtype), size * wave) for wave in (across, along)]


def _small_j(x: Expr, order: int) -> Expr:
    z = x * x
    if order == 0:
        return fma(z, table(z, "j0"), 1.0)
    return x * fma(z, table(z, "j1"), 0.5)


def _positive(x: Expr, result: Expr, at_zero: float) -> Expr:
    """`result` for x > 0, its limit at 0, nan below."""
    result = select(x.equals(0.0), const(at_zero, x.dtype), result)
    return select(x < 0.0, const(NAN, x.dtype), result)


@wide
def bessel_j0(x):
    """Bessel function of the first kind, order 0."""
    a = abs(x)
    return select(a < 2.0, _small_j(at_most(a, 2.0), 0), _oscillating(at_least(a, 2.0), 0)[0])


@wide
def bessel_j1(x):
    """Bessel function of the first kind, order 1."""
    a = abs(x)
    value = select(a < 2.0, _small_j(at_most(a, 2.0), 1), _oscillating(at_least(a, 2.0), 1)[0])
    return select(x < 0.0, -value, select(x.equals(0.0), x, value))


@wide
def bessel_y0(x):
    """Bessel function of the second kind, order 0."""
    near = at_most(x, 2.0)
    small = fma(exponential.log(near) * TWO_OVER_PI, _small_j(near, 0), table(near * near, "y0"))
    return _positive(x, select(x < 2.0, small, _oscillating(at_least(x, 2.0), 0)[1]), -INFINITY)


@wide
def bessel_y1(x):
    """Bessel function of the second kind, order 1."""
    near = at_most(x, 2.0)
    smooth = exponential.log(near) * TWO_OVER_PI * _small_j(near, 1)
    small = fma(near, table(near * near, "y1"), smooth) - TWO_OVER_PI / near
    return _positive(x, select(x < 2.0, small, _oscillating(at_least(x, 2.0), 1)[1]), -INFINITY)


def _small_k(x: Expr, order: int) -> Expr:
    """K for 0 < x <= 1."""
    z, logarithm = x * x, exponential.log(x)
    series = polynomial(z * 0.25, (1.0, *form(x).table[f"i{order}"]))
    if order == 0:
        return fma(-logarithm, series, table(z, "k0"))
    return 1.0 / x + x * fma(logarithm * 0.5, series, table(z, "k1"))


def _bessel_k(x: Expr, order: int) -> Expr:
    near, far = at_most(x, 1.0), at_least(at_most(x, 760.0), 1.0)
    size = ratio(1.0 / far, f"k{order}_large") / sqrt(far)
    k, r, t = reduce_exp(-far)
    large = scale(fma(size, r + t, size), k)
    return _positive(x, select(x <= 1.0, _small_k(near, order), large), INFINITY)


def _scaled_k(x: Expr, order: int) -> Expr:
    near, far = at_most(x, 1.0), at_least(x, 1.0)
    size, low = _ratio_pair(1.0 / far, f"k{order}_large")
    root = sqrt(far)
    large = size / root
    large = large + (fma(-large, root, size) + fma(-large, root_tail(root, far), low)) / root
    large = select(far < INFINITY, large, const(0.0, x.dtype))
    k, r, t = reduce_exp(near)
    small = _small_k(near, order)
    small = fma(small, r + t, small) * power_of_two(k)
    return _positive(x, select(x <= 1.0, small, large), INFINITY)


@wide
def bessel_k0(x):
    """Modified Bessel function of the second kind, order 0."""
    return _bessel_k(x, 0)


@wide
def bessel_k1(x):
    """Modified Bessel function of the second kind, order 1."""
    return _bessel_k(x, 1)


@wide
def bessel_k0e(x):
    """exp(x) times `bessel_k0`."""
    return _scaled_k(x, 0)


@wide
def bessel_k1e(x):
    """exp(x) times `bessel_k1`."""
    return _scaled_k(x, 1)


@wide
def spherical_j0(x):
    """sin(x)/x."""
    value = select(x.equals(0.0), const(1.0, x.dtype), sin(x) / x)
    return select(abs(x).equals(INFINITY), const(0.0, x.dtype), value)


@wide
def spherical_j1(x):
    """(sin(x)/x - cos(x))/x."""
    near = at_least(at_most(x, 1.5), -1.5)
    small = near * table(near * near, "spherical_j1")
    large = (sin(x) / x - cos(x)) / x
    large = select(abs(x).equals(INFINITY), const(0.0, x.dtype), large)
    return select(abs(x) <= 1.5, small, large)


@wide
def spherical_quotient(x):
    """3/x times `spherical_j1`."""
    near = at_most(abs(x), 1.5)
    far = at_least(abs(x), 1.5)
    return select(abs(x) < 1.5, table(near * near, "spherical_j1"), spherical_j1(far) / far) * 3.0


def _airy_angle(a: Expr):
    """2/3 a**(3/2) as a sum of two, and sqrt(a)."""
    root = sqrt(a)
    p, low = two_product(a, root)
    low = fma(a, root_tail(root, a), low)
    third, third_low = form(a).table["third"]
    angle, rest = two_product(p, const(third, a.dtype))
    rest = rest + fma(p, third_low, low * third)
    return angle + angle, rest + rest, root


def _airy_turns(a: Expr):
    """(k, r, low): 2/3 a**(3/2) = k pi/2 + r + low modulo 2 pi, r a small number, for a < 2**70.

    The angle has up to 106 bits before the point: it is the product of two numbers of three parts.
    """
    root = sqrt(a)
    p, p_low = two_product(root, root)
    off, twice = (a - p) - p_low, root + root
    second = off / twice
    q, q_low = two_product(twice, second)
    third = ((off - q) - q_low - second * second) / twice
    number, number_low = form(a).table["third"]
    part = a * number
    rest = fma(part, -3.0, a) * 2.0  # a few units in the last place of `part`: products are exact
    part, more, least = part + part, rest * number, rest * number_low
    high, middle = two_product(part, root)
    b, b_low = two_product(part, second)
    c, c_low = two_product(more, root)
    low = b_low + c_low + fma(part, third, fma(more, second, least * root))
    middle, lost = two_sum(middle, b)
    middle, lost_too = two_sum(middle, c)
    k, r, r_low = reduce_angle(high)
    n, s, s_low = reduce_angle(middle)
    r, e = two_sum(r, s)
    return k + n, r, (e + (low + lost + lost_too)) + (r_low + s_low)


def _ratio_pair(x: Expr, name: str):
    """`ratio` as a sum of two, each part as exact as `_table_pair` is."""
    above, above_low = _table_pair(x, name)
    below, below_low = _table_pair(x, f"{name}/")
    size = above / below
    return size, (fma(-size, below, above) + fma(-size, below_low, above_low)) / below


def _table_pair(x: Expr, name: str):
    """`table` as a sum of two, the last steps of Horner's rule being exact."""
    first, second, *others = form(x).table[name]
    total, low = polynomial(x, others), const(0.0, x.dtype)
    for number in (second, first):
        p, p_low = two_product(total, x)
        low = fma(low, x, p_low)
        total, rest = two_sum(p, const(number, x.dtype))
        low = low + rest
    return total, low


def _airy(x: Expr, prime: bool) -> Expr:
    name = "airy_prime" if prime else "airy"
    angle, low, root = _airy_angle(at_most(at_least(abs(x), 1.0), 1e200))
    power = sqrt(root)
    # On the right it decays, on the left it is a wave.
    size, size_low = _ratio_pair(1.0 / angle, f"{name}_large")
    if prime:
        size, size_low = size * power, size_low * power
    else:
        size, whole = size / power, size
        size_low = (fma(-size, power, whole) + size_low) / power
    k, r, t = reduce_exp(-at_most(angle, 760.0), select(angle < 760.0, -low, 0.0))
    right = scale(fma(size, r + t, size_low) + size, k)
    right = select(angle < 760.0, right, const(0.0, x.dtype))
    a = at_most(at_least(abs(x), 1.0), 1e200)
    inverse = 1.0 / a
    t = inverse * inverse * inverse
    size = ratio(t, f"{name}_amplitude")
    size = size * power if prime else size / power
    k, r, low = _airy_turns(a)
    more, r, rest = reduce_near(r)
    phase = -ratio(t, f"{name}_phase") / (a * root)
    left = size * _wave((k + more, r, rest), low, phase, int(prime))[0]
    left = select(a < FARTHEST, left, const(NAN, x.dtype))
    middle = table(at_least(at_most(x, 1.0), -1.0), name)
    result = select(abs(x) <= 1.0, middle, select(x < 0.0, left, right))
    end = const(NAN if prime else 0.0, x.dtype)
    return select(x.equals(-INFINITY), end, select(x.equals(x), result, x))


@wide
def airy_ai(x):
    """Airy function Ai."""
    return _airy(x, False)


@wide
def airy_ai_prime(x):
    """Derivative of the Airy function Ai."""
    return _airy(x, True)
