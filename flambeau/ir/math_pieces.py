"""What the elementary functions are made of: exponents as bits, sums of two numbers, the cores of
exp and log.
"""

from flambeau.types import DType

from . import coefficients
from .loop import (
    Expr,
    Pair,
    WrongType,
    bitcast,
    cast,
    const,
    float32,
    float64,
    fma,
    int32,
    int64,
    rint,
    select,
)

INFINITY, NAN = float("inf"), float("nan")


class Format:
    """What the bits of a floating type mean, and its coefficients."""

    __slots__ = (
        "bias",
        "exponent",
        "integer",
        "largest",
        "least",
        "magic",
        "one",
        "root_half",
        "sign",
        "table",
        "width",
    )

    def __init__(self, integer, width, bias, root_half, table):
        self.integer, self.width, self.bias, self.table = integer, width, bias, table
        self.root_half = root_half  # the bits of sqrt(1/2)
        self.one = bias << width
        self.exponent = (2 * bias + 1) << width  # its bits
        self.sign = -1 << (integer.itemsize * 8 - 1)
        self.largest = (2.0 - 2.0**-width) * 2.0**bias
        self.least = 2.0 ** (1 - bias)  # the smallest normal number
        # Adding it rounds to an integer, which the last bits then hold.
        self.magic = 1.5 * 2.0**width


_FORMATS = {
    float32: Format(int32, 23, 127, 0x3F3504F3, coefficients.float32),
    float64: Format(int64, 52, 1023, 0x3FE6A09E667F3BCD, coefficients.float64),
}


def form(x: Expr) -> Format:
    """The format of `x`; TypeError unless float32 or float64 (half types are cast on load)."""
    made = _FORMATS.get(x.dtype)
    if made is None:
        raise WrongType(f"elementary functions take float32 or float64, not {x.dtype.name}")
    return made


def pick(x: Expr, single, double):
    """The one of two numbers that suits the type of `x`."""
    return single if x.dtype is float32 else double


def polynomial(x: Expr, numbers) -> Expr:
    """numbers[0] + numbers[1] x + …, by Horner's rule."""
    *rest, last = numbers
    total = const(last, x.dtype)
    for number in reversed(rest):
        total = fma(total, x, number)
    return total


def fast_two_sum(a: Expr, b: Expr):
    """(s, e): s = fl(a + b), s + e = a + b, provided |a| >= |b| or a = 0 (T. Dekker, Numer. Math.
    18, 1971).
    """
    s = a + b
    return s, b - (s - a)


def two_sum(a: Expr, b: Expr):
    """(s, e): s = fl(a + b), s + e = a + b (Knuth, The Art of Computer Programming, 2, 4.2.2)."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def two_product(a: Expr, b: Expr):
    """(p, e): p = fl(a b), p + e = a b."""
    p = a * b
    return p, fma(a, b, -p)


def at_most(x: Expr, bound: float) -> Expr:
    """min(x, bound), nan kept; the form that is one instruction."""
    limit = const(bound, x.dtype)
    return select(limit < x, limit, x)


def at_least(x: Expr, bound: float) -> Expr:
    limit = const(bound, x.dtype)
    return select(x < limit, limit, x)


def bits(x: Expr) -> Expr:
    return bitcast(x, form(x).integer)


def low_bits(k: Expr) -> Expr:
    """An integer whose last bits are those of the integer-valued `k`, below 2**22; nan gives
    something.
    """
    return bits(k + form(k).magic)


def power_of_two(k: Expr) -> Expr:
    """2**k for integer-valued k of a normal result."""
    f = form(k)
    return bitcast(bits(k + (f.magic + f.bias)) << f.width, k.dtype)


def power_halves(i: Expr, dtype: DType):
    """Two numbers whose product is 2**k, as bits, where the last bits of the integer `i` are k plus
    twice the bias. The first has the exponent floor(k/2).
    """
    f = _FORMATS[dtype]
    first = i << (f.width - 1) & f.exponent
    return first, (i << f.width) - first


def scale_by(x: Expr, i: Expr) -> Expr:
    """x * 2**k, k given as to `power_halves`; see `scale`."""
    first, second = power_halves(i, x.dtype)
    return x * bitcast(first, x.dtype) * bitcast(second, x.dtype)


def scale(x: Expr, k: Expr) -> Expr:
    """x * 2**k, rounded once if x is in [1/2, 2], for results that may be denormal or infinite."""
    return scale_by(x, bits(k + (form(k).magic + 2 * form(k).bias)))


def is_negative(x: Expr) -> Expr:
    """Whether the sign bit is set: true of -0."""
    return bits(x) < 0


def reduce_exp(x: Expr, low: Expr | None = None):
    """(k, r, t) with exp(x + low) = 2**k (1 + r + t), |r| <= 0.35, t smaller (W. Cody & W. Waite,
    1980).
    """
    table = form(x).table
    log2, log2_low = table["log2"]
    k = rint(x * table["log2e"][0])
    exact = fma(k, -log2, x)
    r = fma(k, -log2_low, exact)
    rest = fma(k, -log2_low, exact - r)
    if low is not None:
        r, rest = fast_two_sum(r, rest + low)
    return k, r, fma(r * r, polynomial(r, table["expm1"]), rest)


def exp_rest(x: Expr, offset: float = 0.0, table="exp", short=False):
    """(i, k, q) with exp(x) = 2**k (1 + q), q about in [-0.3, 0.42]; the last bits of the integer i
    are k + offset. `short`: k is small.
    """
    f = form(x)
    log2, log2_low = f.table["log2"]
    moved = fma(x, f.table["log2e"][0], f.magic + offset)
    k = moved - (f.magic + offset)
    r = fma(k, -log2, x)
    if not short:
        r = fma(k, -log2_low, r)
    return bits(moved), k, fma(r * r, polynomial(r, f.table[table]), r)


def exp_fraction(x: Expr):
    """(k, p) with exp(x) = p 2**k, p about in [0.7, 1.42]."""
    _, k, q = exp_rest(x)
    return k, q + 1.0


def exp2_fraction(x: Expr):
    """(k, p) with 2**x = p 2**k, p about in [0.7, 1.42]."""
    k = rint(x)
    r = x - k
    return k, fma(r, polynomial(r, form(x).table["exp2"]), 1.0)


def split_log(x: Expr, denormals=True):
    """(k, f) with x = 2**k (1 + f), 1 + f in [sqrt(1/2), sqrt(2)), for positive finite x."""
    f = form(x)
    if denormals:
        small = x < f.least
        lift = f.width + 2
        x = select(small, x * 2.0**lift, x)
        offset = select(small, const(float(lift), x.dtype), 0.0)
    shifted = bits(x) + (f.one - f.root_half)
    fraction = bitcast((shifted & ((1 << f.width) - 1)) + f.root_half, x.dtype) - 1.0
    return exponent(shifted) - offset if denormals else exponent(shifted), fraction


def exponent(shifted: Expr) -> Expr:
    """The exponent in bits of a positive number."""
    f = _FORMATS[float32 if shifted.dtype is int32 else float64]
    if shifted.dtype is int32:
        return cast(shifted >> f.width, float32) - float(f.bias)
    # Few machines convert int64 vectors: paste the exponent below 2**52 instead.
    pasted = bitcast((shifted >> f.width) | ((f.bias + f.width) << f.width), float64)
    return pasted - (2.0**f.width + f.bias)


def log_terms(f: Expr):
    """(square/2, rest) with log(1 + f) = f - square/2 + rest, rest of the order of f**3."""
    table = form(f).table
    half = f * f * 0.5
    if f.dtype is float32:
        return half, f * f * f * polynomial(f, table["log"])
    s = f / (f + 2.0)
    z = s * s
    return half, s * fma(z, polynomial(z, table["log_ratio"]), half)


def log_sum(k: Expr, f: Expr, unit: float = 1.0) -> Expr:
    """k log 2 + log(1 + f), k counted in powers of two."""
    table = form(f).table
    log2, log2_low = (unit * part for part in table["log2"])
    if f.dtype is float32:
        # k log2_low is below the rounding of the result.
        rest = fma(f, polynomial(f, table["log"]), -0.5)
        return fma(k, log2, fma(f * f, rest, f))
    half, rest = log_terms(f)
    return fma(k, log2, f - (half - fma(k, log2_low, rest)))


def log_pair(k: Expr, f: Expr):
    """k log 2 + log(1 + f) as a sum of two, some five bits better than one number."""
    log2, log2_low = form(f).table["log2_short"]
    half, rest = log_terms(f)
    h = f * 0.5
    high, first = fast_two_sum(k * log2, f)
    high, second = fast_two_sum(high, -half)
    low = (first + second) - fma(f, h, -half) + fma(k, log2_low, rest)
    return fast_two_sum(high, low)


def log_edges(x: Expr, result: Expr, above: Expr) -> Expr:
    """`result`, but for nan, inf, and where `above`, the distance from the pole, is +0 or less."""
    f = form(x)
    # The sign's bit everywhere makes nan of -inf.
    pole = bitcast((bits(above) >> (f.integer.itemsize * 8 - 1)) | (f.sign | f.exponent), x.dtype)
    return select(above <= 0.0, pole, select(x < INFINITY, result, x))


def log1p_sum(x: Expr, low: Expr | None = None, doubled: Expr | None = None) -> Expr:
    """log(1 + x + low), or where `doubled` log(2 x), for finite x > -1."""
    u, c = two_sum(const(1.0, x.dtype), x)
    if low is not None:
        c = c + low
    if doubled is not None:
        u, c = select(doubled, x, u), select(doubled, const(0.0, x.dtype), c)
    k, f = split_log(u, denormals=False)
    f = fma(c, power_of_two(-at_most(k, 64.0)), f)
    if doubled is not None:
        k = k + select(doubled, const(1.0, x.dtype), 0.0)
    return log_sum(k, f)


def root_tail(root: Expr, square: Expr, low: Expr | None = None) -> Expr:
    """sqrt(square + low) - root, where root = fl(sqrt(square))."""
    rest = fma(-root, root, square)
    if low is not None:
        rest = rest + low
    return rest / (root + root + form(root).least)


def wide(function):
    """`function` computed in float64, its result in the type of its arguments."""

    def through(*args):
        if any(isinstance(a, Pair) for a in args):
            raise WrongType(f"{function.__name__} takes real numbers")
        return cast(function(*(cast(a, float64) for a in args)), args[0].dtype)

    through.__name__ = through.__qualname__ = function.__name__
    through.__doc__ = function.__doc__
    return through


def wide_pair(function):
    """The same for functions of one complex number."""

    def through(z):
        return cast(function(cast(z, float64.to_complex())), z.dtype)

    through.__name__ = through.__qualname__ = function.__name__
    through.__doc__ = function.__doc__
    return through
