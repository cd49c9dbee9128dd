"""Complex numbers whose parts are any kind of numbers."""

from .loop import Expr, Pair, const, float64, maximum
from .twofold import Numbers


class Plane:
    """re + i im; the other operand may be real."""

    __slots__ = ("im", "re")

    def __init__(self, re, im):
        self.re, self.im = re, im

    def __add__(self, other):
        if isinstance(other, Plane):
            return Plane(self.re + other.re, self.im + other.im)
        return Plane(self.re + other, self.im)

    def __neg__(self):
        return Plane(-self.re, -self.im)

    def __sub__(self, other):
        return self + -other

    def __mul__(self, other):
        if isinstance(other, Plane):
            re = self.re * other.re - self.im * other.im
            return Plane(re, self.re * other.im + self.im * other.re)
        return Plane(self.re * other, self.im * other)

    def __truediv__(self, other):
        if isinstance(other, Plane):
            turned = self * Plane(other.re, -other.im)
            return turned / (other.re * other.re + other.im * other.im)
        return Plane(self.re / other, self.im / other)


class PlaneNumbers(Numbers):
    """`Numbers` for complex calculations."""

    def of(self, x):
        if isinstance(x, Plane):
            return x
        x = x if isinstance(x, Pair) else Pair(const(x, float64), const(0.0, float64))
        return Plane(super().of(x.re), super().of(x.im))

    def pack(self, *numbers) -> list[Expr]:
        return super().pack(*(part for v in numbers for part in (v.re, v.im)))

    def unpack(self, parts) -> list:
        parts = super().unpack(parts)
        return [Plane(*pair) for pair in zip(parts[::2], parts[1::2], strict=True)]

    def lead(self, v):
        return Pair(super().lead(v.re), super().lead(v.im))

    def size(self, v) -> Expr:
        lead = self.lead(v)
        return maximum(abs(lead.re), abs(lead.im))

    def plain(self, v):
        return Pair(super().plain(v.re), super().plain(v.im))

    def scaled(self, v, factor: Expr):
        return Plane(super().scaled(v.re, factor), super().scaled(v.im, factor))

    def select(self, condition: Expr, yes, no):
        return Plane(
            super().select(condition, yes.re, no.re), super().select(condition, yes.im, no.im)
        )
