"""Orthogonal polynomials; the degree is an operand too.

Degrees are truncated to integers, those below 0 give 0, and those above `LIMIT` nan: the time that
a recurrence takes is bounded. float32 goes through float64, float64 through numbers of twice the
precision.
"""

from .loop import Expr, Pair, cast, const, copysign, float32, float64, maximum, select, trunc
from .math_pieces import INFINITY, NAN, at_most
from .plane import PlaneNumbers
from .repeat import repeat
from .twofold import Numbers

LIMIT = 100_000


def _degree(n) -> Expr:
    return trunc(cast(n, float64))


def _prepared(x):
    """(numbers, y): what to calculate in, and x as one of these."""
    part = x.re.dtype if isinstance(x, Pair) else x.dtype
    numbers = (PlaneNumbers if isinstance(x, Pair) else Numbers)(part is not float32)
    return numbers, numbers.of(cast(x, float64.to_complex() if isinstance(x, Pair) else float64))


def _edges(x, n: Expr, value):
    """The result in the type of x; 0 for degrees below 0, 1 for 0, nan from nan."""
    value = cast(value, x.dtype)
    one, zero, nan = (x._lift(number) for number in (1.0, 0.0, NAN))
    value = select(n.equals(0.0) & x.equals(x), one, value)
    value = select(n < 0.0, zero, value)
    return select((n <= LIMIT) & n.equals(n), value, nan)


def _odd(n: Expr) -> Expr:
    return trunc(n * 0.5).differs(n * 0.5)


def _grown(x: Expr, n: Expr, value: Expr):
    """`value`; where that overflowed on the way, infinite with the sign of x**n."""
    endless = select((x < 0.0) & _odd(n), const(-INFINITY, float64), INFINITY)
    lost = value.differs(value) & (abs(x) > 1.0)
    far = (abs(x) > 2.0**100) & (abs(value).equals(INFINITY) | (n > 11.0))
    return select(lost | far, endless, value)


def _chebyshev(x, n: Expr, shifted: bool):
    """(numbers, y, T_n(y), U_{n-1}(y)) for y = x or 2 x - 1, as these numbers.

    T_n + U_{n-1} s = (x + s)**n with s*s = x*x - 1, by repeated squaring.
    """
    numbers, y = _prepared(x)
    if shifted:
        y = y * 2.0 - 1.0
    first = n.equals(1.0)  # where squares may overflow
    square = (y - 1.0) * (y + 1.0)
    n = select(n > 0.0, at_most(n, LIMIT), 0.0)

    def step(left, *parts):
        t, u, base, along = numbers.unpack(parts)
        half = trunc(left * 0.5)
        odd = half.differs(left * 0.5)
        times = t * base + u * along * square, t * along + u * base
        t, u = (numbers.select(odd, *pair) for pair in zip(times, (t, u), strict=True))
        double = base * base
        following = numbers.pack(t, u, double + double - 1.0, base * along * 2.0)
        return left > 0.0, [half, *following]

    one = numbers.of(1.0)
    _, *parts = repeat(step, [n, *numbers.pack(one, numbers.of(0.0), y, one)], 17)
    t, u, *_ = numbers.unpack(parts)
    return numbers, y, numbers.select(first, y, t), numbers.select(first, one, u)


def _first(y, t, u):
    return t


def _second(y, t, u):
    return y * u + t


def _third(y, t, u):
    return y * u + t - u


def _fourth(y, t, u):
    return y * u + t + u


def _chebyshev_kind(name, doc, combine, shifted):
    def function(x, n):
        degree = _degree(n)
        numbers, y, t, u = _chebyshev(x, degree, shifted)
        value = numbers.plain(combine(y, t, u))
        if not isinstance(value, Pair):
            size = cast(x, float64)
            value = _grown(size * 2.0 - 1.0 if shifted else size, degree, value)
        return _edges(x, degree, value)

    function.__name__, function.__doc__ = name, doc
    return function


chebyshev_t = _chebyshev_kind("chebyshev_t", "Chebyshev polynomial T_n.", _first, False)
chebyshev_u = _chebyshev_kind("chebyshev_u", "Chebyshev polynomial U_n.", _second, False)
chebyshev_v = _chebyshev_kind("chebyshev_v", "Chebyshev polynomial V_n.", _third, False)
chebyshev_w = _chebyshev_kind("chebyshev_w", "Chebyshev polynomial W_n.", _fourth, False)
shifted_chebyshev_t = _chebyshev_kind("shifted_chebyshev_t", "T_n(2 x - 1).", _first, True)
shifted_chebyshev_u = _chebyshev_kind("shifted_chebyshev_u", "U_n(2 x - 1).", _second, True)
shifted_chebyshev_v = _chebyshev_kind("shifted_chebyshev_v", "V_n(2 x - 1).", _third, True)
shifted_chebyshev_w = _chebyshev_kind("shifted_chebyshev_w", "W_n(2 x - 1).", _fourth, True)


STEPS = 4  # of a recurrence between two looks at its size


def _recurrence(x, n, following, grows=False, mirrored=False):
    """p_n/f_n, where p_0 = 1, p_{-1} = 0, p_{k+1} = following(y, k, p_k, p_{k-1}), and f_n = n! if
    it `grows`, else 1. Where it is `mirrored`, it grows to the left.

    All three are kept within bounds by common powers of two: the quotient may overflow only if it
    is too large itself.
    """
    numbers, y = _prepared(x)
    degree = _degree(n)
    # Odd ones are linear so close to 0: their last bits need not be denormal.
    plain = const(1.0, float64)
    tiny = _odd(degree) & (numbers.size(y) < 2.0**-700) & (not mirrored)
    y = numbers.scaled(y, select(tiny, 2.0**500, plain))
    last = select(degree <= LIMIT, degree, 0.0)

    def step(k, *parts):
        now, before, below = numbers.unpack(parts)
        proceed = k < last
        for _ in range(STEPS):
            going = k < last
            later = following(y, k, now, before)
            before = numbers.select(going, now, before)
            now = numbers.select(going, later, now)
            if grows:
                below = numbers.select(going, below * (k + 1.0), below)
            k = k + 1.0
        size = maximum(numbers.size(now), numbers.size(below))
        factor = select(size > 2.0**300, const(2.0**-300, float64), 1.0)
        factor = select(size > 2.0**600, 2.0**-600, factor)
        factor = select(size > 2.0**900, 2.0**-900, factor)
        return proceed, [
            k,
            *numbers.pack(*(numbers.scaled(v, factor) for v in (now, before, below))),
        ]

    first = numbers.pack(numbers.of(1.0), numbers.of(0.0), numbers.of(1.0))
    _, *parts = repeat(step, [const(0.0, float64), *first], LIMIT)
    now, _, below = numbers.unpack(parts)
    value = numbers.plain(now / below)
    if not isinstance(value, Pair):
        endless = copysign(const(INFINITY, float64), numbers.lead(now))
        lost = value.differs(value) & (abs(numbers.lead(now)) < INFINITY)
        lost = numbers.lead(below).equals(0.0) | lost
        value = select(lost, endless, value)
    value = value * select(tiny, 2.0**-500, plain)
    if not isinstance(value, Pair):
        value = _grown(cast(-x if mirrored else x, float64), degree, value)
    return _edges(x, degree, value)


def hermite_h(x, n):
    """Hermite polynomial H_n, of the weight exp(-x*x)."""

    def following(y, k, now, before):
        return y * now * 2.0 - before * (k + k)

    return _recurrence(x, n, following)


def hermite_he(x, n):
    """Hermite polynomial He_n, of the weight exp(-x*x/2)."""
    return _recurrence(x, n, lambda y, k, now, before: y * now - before * k)


def laguerre(x, n, order=0):
    """Laguerre polynomial L_n, generalised to whole `order`."""

    def following(y, k, now, before):
        return -(y - (k + k + (order + 1.0))) * now - before * (k * (k + float(order)))

    return _recurrence(x, n, following, True, True)


def gegenbauer(x, n, order):
    """Gegenbauer polynomial C_n of parameter `order`: 1/2 gives Legendre's, 1 Chebyshev's U."""

    def following(y, k, now, before):
        return y * now * ((k + order) * 2.0) - before * (k * (k + (2.0 * order - 1.0)))

    return _recurrence(x, n, following, True)


def legendre(x, n):
    """Legendre polynomial P_n."""
    return gegenbauer(x, n, 0.5)
