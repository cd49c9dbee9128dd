"""Numbers of twice the precision: a sum of two float64, as one value.

For recurrences and series that lose digits on the way (T. Dekker, Numer. Math. 18, 1971; Y. Hida,
X. Li & D. Bailey, ARITH 15, 2001).
"""

from .loop import Expr, const, fma, select
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

    def times_power(self, factor: Expr) -> "Twofold":
        """The product with a power of two, which is exact."""
        return Twofold(self.high * factor, self.low * factor)

    def total(self) -> Expr:
        return self.high + self.low


def choose(condition: Expr, yes, no):
    """`yes` where `condition`, else `no`; both of one kind."""
    if not isinstance(yes, Twofold):
        return select(condition, yes, no)
    return Twofold(select(condition, yes.high, no.high), select(condition, yes.low, no.low))
