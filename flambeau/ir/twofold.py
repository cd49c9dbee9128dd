"""Numbers of twice the precision: a sum of two float64, as one value.

For recurrences and series that lose digits on the way (T. Dekker, Numer. Math. 18, 1971; Y. Hida,
X. Li & D. Bailey, ARITH 15, 2001).
"""

import math

from . import math_exponential as exponential
from .loop import Expr, const, float64, fma, rint, select, sqrt
from .math_pieces import (
    at_least,
    at_most,
    fast_two_sum,
    power_of_two,
    scale,
    split_log,
    two_product,
    two_sum,
)

# To some 120 bits: whole numbers over 10**36
CONSTANTS = {
    "log2": 693147180559945309417232121458176568,
    "pi": 3141592653589793238462643383279502884,
    "e": 2718281828459045235360287471352662498,
    "euler": 577215664901532860606512090082402431,
    "airy": 355028053887817239260063186004183176,
    "airy_slope": 258819403792806798405183560189203963,
    "half_log_tau": 918938533204672741780329736405617640,
}
SHORT = 0.693147180559890330187045037746429443359375  # log 2 to 42 bits
TERMS = 14  # of the exponential series, for arguments below 1/45


def double(numerator: int, denominator: int = 1):
    """A rational number as a sum of two float64."""
    high = numerator / denominator
    p, q = high.as_integer_ratio()
    return high, (numerator * q - p * denominator) / (denominator * q)


class Twofold:
    """high + low, |low| at most half a unit in the last place of high."""

    __slots__ = ("high", "low")

    def __init__(self, high: Expr, low: Expr | None = None):
        self.high = high
        self.low = const(0.0, high.dtype) if low is None else low

    def __add__(self, other):
        if not isinstance(other, Twofold):
            s, e = two_sum(self.high, self.high._lift(other))
            return Twofold(*fast_two_sum(s, e + self.low))
        s, e = two_sum(self.high, other.high)
        t, f = two_sum(self.low, other.low)
        s, e = fast_two_sum(s, e + t)
        return Twofold(*fast_two_sum(s, e + f))

    __radd__ = __add__

    def __neg__(self):
        return Twofold(-self.high, -self.low)

    def __sub__(self, other):
        return self + -other

    def __rsub__(self, other):
        return -self + other

    def __mul__(self, other):
        if not isinstance(other, Twofold):
            other = self.high._lift(other)
            p, e = two_product(self.high, other)
            return Twofold(*fast_two_sum(p, fma(self.low, other, e)))
        p, e = two_product(self.high, other.high)
        e = fma(self.high, other.low, fma(self.low, other.high, e))
        return Twofold(*fast_two_sum(p, e))

    __rmul__ = __mul__

    def __truediv__(self, other):
        if not isinstance(other, Twofold):
            other = Twofold(self.high._lift(other))
        inverse = 1.0 / other.high
        q = self.high * inverse
        rest = fma(-q, other.high, self.high) + fma(-q, other.low, self.low)
        return Twofold(*fast_two_sum(q, rest * inverse))

    def __rtruediv__(self, other):
        return Twofold(self.high._lift(other)) / self


def twofold(numerator: int, denominator: int = 1) -> Twofold:
    """A rational constant."""
    high, low = double(numerator, denominator)
    return Twofold(const(high, float64), const(low, float64))


def constant(name: str) -> Twofold:
    return twofold(CONSTANTS[name], 10**36)


def horner(x, numbers):
    """numbers[0] + numbers[1] x + …"""
    *rest, total = numbers
    for number in reversed(rest):
        total = total * x + number
    return total


def exp_parts(x: Twofold):
    """(p, k) with exp(x) = p 2**k, for |x| < 2**20."""
    k = rint(x.high * (1.0 / math.log(2)))
    rest = twofold(CONSTANTS["log2"] * 2**60 - int(SHORT * 2**60) * 10**36, 2**60 * 10**36)
    r = (Twofold(fma(k, -SHORT, x.high), x.low) - rest * k) * (1.0 / 16.0)
    p = horner(r, [twofold(1, math.factorial(n)) for n in range(TERMS)])
    for _ in range(4):
        p = p * p
    return p, k


def log_twofold(x: Twofold) -> Twofold:
    """log(x) for x > 0, with an absolute error of some 2**-100: a float64, and one step of
    Newton's.
    """
    k, f = split_log(x.high)
    y = exponential.log1p(f)
    near, power = exp_parts(Twofold(-y))
    half = rint(k * 0.5)
    down = power_of_two(-half), power_of_two(half - k)
    reduced = Twofold(x.high * down[0] * down[1], x.low * down[0] * down[1])
    u = reduced * near * power_of_two(power) - 1.0
    return constant("log2") * k + (u - u.high * u.high * 0.5 + y)


def root(x: Twofold) -> Twofold:
    """sqrt(x) for x >= 0."""
    r = sqrt(x.high)
    p, low = two_product(r, r)
    rest = ((x.high - p) - low) + x.low
    return Twofold(*fast_two_sum(r, rest / select(r > 0.0, r + r, 1.0)))


class Numbers:
    """What to calculate in: float64, or where that is not `precise` enough numbers of twice the
    precision.
    """

    def __init__(self, precise: bool):
        self.precise = precise
        self.least = 2.0**-56 if precise else 2.0**-34  # what no longer counts beside 1

    def of(self, x):
        """An expression, or a number, as one of these."""
        if isinstance(x, Twofold):
            return x
        x = const(x, float64)
        return Twofold(x) if self.precise else x

    def sum(self, a: Expr, b):
        """a + b, exact where these are twofold."""
        return Twofold(*two_sum(a, a._lift(b))) if self.precise else a + b

    def pack(self, *numbers) -> list[Expr]:
        """The expressions that these consist of, for a loop to carry."""
        if not self.precise:
            return list(numbers)
        return [part for v in numbers for part in (v.high, v.low)]

    def unpack(self, parts) -> list:
        if not self.precise:
            return list(parts)
        return [Twofold(*pair) for pair in zip(parts[::2], parts[1::2], strict=True)]

    def lead(self, v) -> Expr:
        """The number to about the precision of float64."""
        return v.high if self.precise else v

    def size(self, v) -> Expr:
        """How much there is to lose: the absolute value."""
        return abs(self.lead(v))

    def plain(self, v) -> Expr:
        """The number rounded to float64; where that overflowed, the lower half means nothing."""
        if not self.precise:
            return v
        return select(abs(v.high).equals(math.inf), v.high, v.high + v.low)

    def scaled(self, v, factor: Expr):
        """The product with a power of two, which is exact."""
        return Twofold(v.high * factor, v.low * factor) if self.precise else v * factor

    def constant(self, name: str):
        """One of `CONSTANTS`."""
        number = constant(name)
        return number if self.precise else number.high

    def ratio(self, numerator: int, denominator: int):
        """A rational constant."""
        number = twofold(numerator, denominator)
        return number if self.precise else number.high

    def exp_parts(self, v, bound=1400.0):
        """(p, k) with exp(v) = p 2**k, p about 1; arguments beyond `bound` count as that. `scale`
        takes k of the least bound.
        """
        if not self.precise:
            k, p = exponential.exp_fraction(at_most(at_least(v, -bound), bound))
            return p, k
        inside = abs(v.high) < bound
        high = at_most(at_least(v.high, -bound), bound)
        return exp_parts(Twofold(high, select(inside, v.low, 0.0)))

    def exp(self, v):
        """e**v."""
        if not self.precise:
            return exponential.exp(v)
        p, k = self.exp_parts(v)
        return Twofold(scale(p.high, k), scale(p.low, k))

    def log(self, v):
        """Natural logarithm of a positive number."""
        return log_twofold(v) if self.precise else exponential.log(v)

    def sqrt(self, v):
        return root(v) if self.precise else sqrt(v)

    def select(self, condition: Expr, yes, no):
        if not self.precise:
            return select(condition, yes, no)
        return Twofold(select(condition, yes.high, no.high), select(condition, yes.low, no.low))
