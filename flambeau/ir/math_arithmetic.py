"""Division with remainder, whole powers, neighbours: arithmetic on integer and floating
expressions.
"""

from .loop import Expr, bitcast, const, copysign, floor, fma, rem, select, trunc
from .math_pieces import bits
from .repeat import repeat


def fmod(a: Expr, b: Expr) -> Expr:
    """a - trunc(a/b) b, with the sign of a; on integers 0 where b is 0.

    Of floats, trunc(fl(a/b)) is the quotient or one more, as long as it has fewer bits than the
    mantissa. What is left is then a multiple of the operands' last places and below b, so exact,
    and at most one b is missing. The slow primitive is left to larger quotients.
    """
    if a.dtype.kind != "f":
        return rem(a, b)
    size, step = abs(a), abs(b)
    quotient = size / step
    rest = fma(-trunc(quotient), step, size)
    rest = select(rest < 0.0, rest + step, rest)
    rest = copysign(select(size < step, size, rest), a)
    near = quotient < 2.0 ** (23 if a.dtype.itemsize == 4 else 52)
    [result] = repeat(lambda left: (~near, (rem(left, b),)), (select(near, rest, a),), 1)
    return result


def remainder(a: Expr, b: Expr) -> Expr:
    """a - floor(a/b) b: the sign of b, as Python's %; a zero keeps the sign of a."""
    if a.dtype.kind in "ub":
        return rem(a, b)
    part = fmod(a, b)
    return select(_crosses(part, b), part + b, part)


def floor_divide(a: Expr, b: Expr) -> Expr:
    """floor(a/b); for floats that of the exact quotient, a/b where b is 0; on integers 0 where b is
    0.
    """
    if a.dtype.kind in "ub":
        return a / b
    part = fmod(a, b)
    if a.dtype.kind == "i":
        return select(_crosses(part, b), a / b - 1, a / b)
    # (a - part)/b is whole but for rounding (CPython's float_divmod reasons likewise).
    exact = (a - part) / b
    exact = select(_crosses(part, b), exact - 1.0, exact)
    down = floor(exact)
    down = select(exact - down > 0.5, down + 1.0, down)
    down = select(exact.equals(0.0), copysign(const(0.0, a.dtype), a / b), down)
    return select(b.equals(0.0), a / b, down)


def _crosses(part: Expr, b: Expr) -> Expr:
    return part.differs(0) & ((part < 0) ^ (b < 0))


def ipow(x: Expr, n: "Expr | int") -> Expr:
    """x**n of integers, modulo 2**bits. A negative n gives 0, but for x = 1 and -1.

    With a number for n, the products of repeated squaring. Otherwise half the squarings: for odd x,
    2**j-th powers are 1 modulo 2**(j+2), so that their own powers are linear: (1 + v)**m = 1 + m v
    modulo v*v.
    """
    if isinstance(n, int):
        return _fixed_power(x, n)
    width = x.dtype.itemsize * 8
    one, zero = const(1, x.dtype), const(0, x.dtype)
    if x.dtype.kind == "b":
        raise TypeError("ipow of bool")
    steps = max(width // 2 - (x.dtype.kind != "u"), 3)
    total, square, left = one, x, n
    for _ in range(steps):
        total = select((left & 1).differs(0), total * square, total)
        square = square * square
        left = left >> 1
    odd = (x & 1).differs(0)
    total = select(odd, total * ((square - 1) * left + 1), select(left.equals(0), total, zero))
    if x.dtype.kind == "u":
        return total
    sign = select((n & 1).differs(0), const(-1, x.dtype), one)
    below = select(x.equals(1), one, select(x.equals(-1), sign, zero))
    return select(n < 0, below, total)


def _fixed_power(x: Expr, n: int) -> Expr:
    if n < 0:
        one, zero = const(1, x.dtype), const(0, x.dtype)
        sign = const(-1 if n % 2 else 1, x.dtype) if x.dtype.kind != "u" else one
        below = select(x.equals(1), one, zero)
        return below if x.dtype.kind == "u" else select(x.equals(-1), sign, below)
    total = None
    while n:
        if n & 1:
            total = x if total is None else total * x
        n >>= 1
        if n:
            x = x * x
    return const(1, x.dtype) if total is None else total


def nextafter(x: Expr, y: Expr) -> Expr:
    """The number next to x in the direction of y; y where they are equal; nan if either is."""
    b = bits(x)
    up = (x < y) ^ (x < 0.0)
    moved = bitcast(b + select(up, const(1, b.dtype), -1), x.dtype)
    least = copysign(bitcast(const(1, b.dtype), x.dtype), y)
    moved = select(x.equals(0.0), least, moved)
    result = select(x.equals(y), y, moved)
    return select(x.equals(x) & y.equals(y), result, x + y)
