"""Exponential and elliptic integrals, and Lambert's function (NIST DLMF 6, 8.19, 19, 4.13).

Float32 is computed in float64, float64 in numbers of twice the precision: plain series, continued
fractions and iterations then keep all digits.
"""

from . import math_exponential as exponential
from .loop import Expr, cast, const, float32, float64, maximum, rint, select, sqrt
from .math_pieces import INFINITY, NAN, at_least, at_most, polynomial, scale
from .repeat import repeat
from .twofold import Numbers

STEPS = 400


def numbers_for(x: Expr) -> Numbers:
    """What to calculate in for results of the type of x."""
    return Numbers(x.dtype is not float32)


def _positive(x: Expr, usual: Expr) -> Expr:
    """x, or 1 where it is not `usual`: what loops may run on."""
    return select(usual, x, const(1.0, float64))


def finished(numbers: Numbers, v, done: Expr):
    """v, or nan where a loop was cut short."""
    return numbers.select(done, v, numbers.of(const(NAN, float64)))


def fraction(begin, along, back, wanted: Expr, numbers: Numbers, limit=STEPS, least=2.0**-6):
    """begin + back(1)/(along(1) + back(2)/(along(2) + …)), by convergents p/q; `least` times what
    counts for these numbers is left out.
    """

    def step(n, before, last, *parts):
        p, p_old, q, q_old = numbers.unpack(parts)
        change = abs(last) / abs(numbers.lead(p) * numbers.lead(q_old))
        # Two in a row: every other one may be small.
        proceed = wanted & (maximum(change, before) > least * numbers.least)
        above, below = along(n), back(n)
        p, p_old = p * above + p_old * below, p
        q, q_old = q * above + q_old * below, q
        width = abs(numbers.lead(q))
        factor = select(width > 2.0**300, const(2.0**-300, float64), 1.0)
        factor = select(width < 2.0**-300, 2.0**300, factor)
        made = numbers.pack(*(numbers.scaled(v, factor) for v in (p, p_old, q, q_old)))
        # p/q and p_old/q_old differ by the product of all `back`, over q q_old.
        return proceed, [n + 1.0, change, last * numbers.lead(below) * (factor * factor), *made]

    one, unit = numbers.of(1.0), const(1.0, float64)
    start = numbers.pack(begin, one, one, numbers.of(0.0))
    n, _, _, *parts = repeat(step, [unit, unit, unit, *start], limit)
    p, _, q, _ = numbers.unpack(parts)
    return finished(numbers, p / q, n <= limit)


def _expn_series(n: Expr, x: Expr, wanted: Expr, numbers: Numbers):
    """E_n(x) for n >= 1 and small x (DLMF 8.19.8)."""
    last = n - 1.0
    logarithm = numbers.log(numbers.of(x)) + numbers.constant("euler")

    def step(k, *parts):
        term, total, harmonic = numbers.unpack(parts)
        weight = abs(numbers.lead(term)) * 1e3
        proceed = wanted & ((weight > abs(numbers.lead(total)) * numbers.least) | (k <= 1.0))
        special = k.equals(last)
        other = -term / select(special, const(1.0, float64), k - last)
        total = total + numbers.select(special, term * (harmonic - logarithm), other)
        following = -term * x / (k + 1.0)
        return proceed, [
            k + 1.0,
            *numbers.pack(following, total, harmonic + numbers.of(1.0) / (k + 1.0)),
        ]

    zero = numbers.of(0.0)
    start = numbers.pack(numbers.of(1.0), zero, zero)
    _, *parts = repeat(step, [const(0.0, float64), *start], 80)
    return numbers.unpack(parts)[1]


def _expn_left(n: Expr, x: Expr, wanted: Expr, numbers: Numbers):
    """exp(x) E_n(x) for n <= 0: E_0 = exp(-x)/x, and the recurrence upwards."""
    inverse = numbers.of(1.0) / x

    def step(m, *parts):
        (g,) = numbers.unpack(parts)
        return wanted & (m <= -n), [m + 1.0, *numbers.pack((g * m + 1.0) * inverse)]

    _, *parts = repeat(step, [const(1.0, float64), *numbers.pack(inverse)], STEPS)
    return numbers.unpack(parts)[0]


def _expn(n: Expr, x: Expr, numbers: Numbers) -> Expr:
    """E_n(x) in float64 for whole n and 0 < x < inf."""
    x = at_most(x, 1000.0)  # where it vanishes
    left = n < 1.0
    near = ~left & (x <= 2.0)
    far = ~left & ~near
    small = at_most(x, 2.0)
    series = numbers.plain(_expn_series(n, small, near, numbers))
    y = select(far, x, 3.0)
    order = select(far, n, 1.0)
    begin = numbers.sum(y, order)

    def along(i):
        return begin + (i + i)

    def back(i):
        return numbers.sum(order, i - 1.0) * -i

    huge = n > 1e40
    tail = fraction(begin, along, back, far & ~huge, numbers)
    tail = numbers.of(1.0) / numbers.select(huge, begin, tail)
    p, k = numbers.exp_parts(numbers.of(-x))
    tail = scale(numbers.plain(p * tail), k)
    below = scale(numbers.plain(p * _expn_left(n, x, left, numbers)), k)
    below = select(below.equals(below), below, INFINITY)  # else it overflowed on the way
    return select(near, series, select(left, below, tail))


def expn(n: Expr, x: Expr) -> Expr:
    """The exponential integral E_n(x) of whole order n from -`STEPS` on; nan for others, and left
    of 0.
    """
    dtype, numbers = x.dtype, numbers_for(x)
    n, x = cast(n, float64), cast(x, float64)
    usual = (x > 0.0) & (x < INFINITY)
    value = _expn(select(abs(n) < INFINITY, n, 1.0), _positive(x, usual), numbers)
    at_zero = select(n > 1.0, 1.0 / (n - 1.0), INFINITY)
    value = select(usual, value, select(x.equals(0.0), at_zero, const(0.0, float64)))
    allowed = rint(n).equals(n) & (x >= 0.0) & (n >= -float(STEPS))
    return cast(select(allowed, value, const(NAN, float64)), dtype)


def _expi_series(x: Expr, wanted: Expr, numbers: Numbers):
    """euler + log x + x + x**2/(2 2!) + …"""

    def step(k, *parts):
        power, total = numbers.unpack(parts)
        proceed = wanted & (numbers.lead(power) > abs(numbers.lead(total)) * numbers.least)
        power = power * x / k
        return proceed, [k + 1.0, *numbers.pack(power, total + power / k)]

    start = numbers.constant("euler") + numbers.log(numbers.of(x))
    begin = numbers.pack(numbers.of(1.0), start)
    _, *parts = repeat(step, [const(1.0, float64), *begin], STEPS)
    return numbers.unpack(parts)[1]


def _expi_tail(x: Expr, wanted: Expr, numbers: Numbers):
    """x exp(-x) Ei(x) for large x: 1 + 1!/x + 2!/x**2 + …"""

    def step(k, *parts):
        term, total = numbers.unpack(parts)
        proceed = wanted & (numbers.lead(term) > numbers.least) & (k < x)
        term = term * k / x
        return proceed, [k + 1.0, *numbers.pack(term, total + term)]

    begin = numbers.pack(numbers.of(1.0), numbers.of(1.0))
    _, *parts = repeat(step, [const(1.0, float64), *begin], STEPS)
    return numbers.unpack(parts)[1]


def expi(x: Expr) -> Expr:
    """The exponential integral Ei(x), the principal value of that of exp(t)/t up to x."""
    dtype, numbers = x.dtype, numbers_for(x)
    x = cast(x, float64)
    usual = (abs(x) > 0.0) & (abs(x) < INFINITY)
    a = _positive(abs(x), usual)
    right, border = usual & (x > 0.0), 44.0 if numbers.precise else 24.0
    near = right & (a < border)
    series = numbers.plain(_expi_series(at_most(a, border), near, numbers))
    far = at_most(at_least(a, border), 750.0)
    p, k = numbers.exp_parts(numbers.of(far))
    tail = scale(numbers.plain(p * _expi_tail(far, right & ~near, numbers) / far), k)
    one = const(1.0, float64)
    value = select(near, series, tail)
    value = select(usual & (x < 0.0), -_expn(one, select(right, one, a), numbers), value)
    end = select(x.equals(0.0), const(-INFINITY, float64), select(x > 0.0, x, const(0.0, float64)))
    return cast(select(x.equals(x), select(usual, value, end), x), dtype)


def _elliptic(m: Expr, second: bool) -> Expr:
    """By the arithmetic-geometric mean (DLMF 19.8)."""
    dtype, numbers = m.dtype, numbers_for(m)
    m = cast(m, float64)
    usual = (m < 1.0) & (m > -INFINITY)
    m_ = select(usual, m, 0.0)
    start = numbers.sqrt(numbers.sum(-m_, 1.0))

    def step(power, *parts):
        a, b, total = numbers.unpack(parts)
        c = (a - b) * 0.5
        proceed = abs(numbers.lead(c)) > numbers.lead(a) * 2.0**-54
        following = numbers.pack((a + b) * 0.5, numbers.sqrt(a * b), total - c * c * power)
        return proceed, [power + power, *following]

    first = numbers.pack(numbers.of(1.0), start, numbers.of(1.0) - m_ * 0.5)
    _, *parts = repeat(step, [const(1.0, float64), *first], 16)
    a, _, total = numbers.unpack(parts)
    value = numbers.constant("pi") * 0.5 / a
    value = numbers.plain(value * total if second else value)
    low = const(INFINITY if second else 0.0, float64)
    value = select(m.equals(-INFINITY), low, value)
    value = select(m.equals(1.0), const(1.0 if second else INFINITY, float64), value)
    return cast(select(m <= 1.0, value, const(NAN, float64)), dtype)


def ellipk(m: Expr) -> Expr:
    """The complete elliptic integral of the first kind of the parameter m <= 1."""
    return _elliptic(m, False)


def ellipe(m: Expr) -> Expr:
    """The complete elliptic integral of the second kind of the parameter m <= 1."""
    return _elliptic(m, True)


# W(z) in powers of sqrt(2 (e z + 1)): DLMF 4.13.6
AT_BRANCH = (
    -1.0, 1.0, -1 / 3, 11 / 72, -43 / 540, 769 / 17280, -221 / 8505, 680863 / 43545600,
    -1963 / 204120, 226287557 / 37623398400, -5776369 / 1515591000,
)  # fmt: skip


def lambertw(z: Expr, branch: int) -> Expr:
    """The real solution w of w exp(w) = z: the greater one for branch 0, the other, which exists
    for -1/e <= z < 0, for branch -1. (R. Iacono & J. Boyd, Adv. Comput. Math. 43, 2017.)
    """
    dtype, numbers = z.dtype, numbers_for(z)
    z = cast(z, float64)
    off = numbers.of(at_most(z, 1e300)) * numbers.constant("e") + 1.0
    off = numbers.plain(off)
    tiny = abs(z) < 2.0**-27
    usual = (z < 0.0) & (off > 0.0) if branch else (abs(z) > 0.0) & (off > 0.0) & (z < INFINITY)
    y = select(usual, z, const(-0.25, float64) if branch else const(1.0, float64))
    p = sqrt(at_least(off + off, 0.0))
    p = -p if branch else p
    series = polynomial(p, AT_BRANCH)
    if branch:
        logarithm = exponential.log(-y)
        guess = logarithm - exponential.log(at_least(-logarithm, 1.0))
    else:
        logarithm = exponential.log1p(at_least(y, 0.0))
        guess = logarithm * (1.0 - exponential.log1p(logarithm) / (2.0 + logarithm))
        left = y * (1.0 + y * (4 / 3)) / (1.0 + y * (7 / 3 + y * (5 / 6)))
        guess = select(y < 0.0, left, guess)
    w = select(abs(p) < 0.7, series, guess)
    close = abs(p) < 0.02
    w = select(close, const(-2.0 if branch else 1.0, float64), w)
    for _ in range(4):
        w = w / (w + 1.0) * (1.0 + exponential.log(abs(y)) - exponential.log(abs(w)))
    size = select(y < 0.0, const(-1.0, float64), 1.0)
    rest = numbers.log(numbers.of(w * size)) - numbers.log(numbers.of(y * size)) + w
    w = select(close, series, w - numbers.plain(rest) * w / (w + 1.0))
    if branch:
        end = const(-INFINITY, float64)
        w = select(z.equals(0.0), end, w)
    else:
        w = select(tiny, z - z * z, select(z < INFINITY, w, z))
    return cast(
        select((off >= 0.0) & (z <= 0.0) if branch else (off >= 0.0) | (z > 0.0), w, NAN), dtype
    )
