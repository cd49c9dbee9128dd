"""Numbers of twice the precision: a sum of two float64, as one value.

For recurrences and series that lose digits on the way (T. Dekker, Numer. Math. 18, 1971; Y. Hida,
X. Li & D. Bailey, ARITH 15, 2001).
"""

from .loop import Expr, const, float64, fma, select
from .math_pieces import fast_two_sum, two_product, two_sum


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


class Numbers:
    """What to calculate in: float64, or where that is not `precise` enough numbers of twice the
    precision.
    """

    def __init__(self, precise: bool):
        self.precise = precise
        self.least = 2.0**-56 if precise else 2.0**-34  # what no longer counts beside 1

    def of(self, x):
        """An expression, or a number, as one of these."""
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

    def plain(self, v) -> Expr:
        """The number rounded to float64."""
        return v.high + v.low if self.precise else v

    def scaled(self, v, factor: Expr):
        """The product with a power of two, which is exact."""
        return Twofold(v.high * factor, v.low * factor) if self.precise else v * factor

    def select(self, condition: Expr, yes, no):
        if not self.precise:
            return select(condition, yes, no)
        return Twofold(select(condition, yes.high, no.high), select(condition, yes.low, no.low))
