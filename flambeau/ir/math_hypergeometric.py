"""Gauss' hypergeometric function on the real line (NIST DLMF 15).

The power series up to 1/2, and from there on two series about 1 (15.8.4) or about infinity
(15.8.3). Where those have poles that cancel, F is what its neighbours tell.
"""

import math

from .jet import slope, value
from .loop import Expr, const, float64, floor, maximum, rint, select
from .math_beta import log_gamma
from .math_integrals import finished
from .math_orders import FAR, added, shifted, sine_over
from .math_pieces import INFINITY, NAN, at_least, scale
from .repeat import repeat

TERMS = 3000  # of a series
JUMPS = 300.0  # terms, after which not even a pole brings the rest back
LOST = 2.0**-48, 2.0**-40  # cancellation that leaves too few digits, of a series and of both
APART = 2.0**-22  # from whole numbers, where two poles cancel
FURTHEST = 0.97  # where the power series may still end in time


def _sum(numbers, a, b, c, x, wanted: Expr):
    """(F, the size of its greatest term) by the power series; nan where it takes too long."""

    def step(n, largest, *parts):
        term, total = numbers.unpack(parts)
        largest = maximum(largest, abs(numbers.lead(term)))
        size = numbers.size(term) * (n + 1.0)
        enough = abs(numbers.lead(total)) * (numbers.least * 2.0**-6)
        above, below = term * (a + n) * x * (b + n), (c + n) * (n + 1.0)
        over = numbers.size(above).equals(0.0)  # before a pole
        term = numbers.select(over, above, above / numbers.select(over, one, below))
        # Where c + n is almost 0, terms grow once more.
        jumps = (n + lead <= 1.0) & (n < JUMPS) & (size > 0.0)
        return wanted & ((size > enough) | jumps), [
            n + 1.0,
            largest,
            *numbers.pack(term, total + term),
        ]

    one, lead = numbers.of(1.0), numbers.lead(c)
    start = [const(0.0, float64), const(1.0, float64), *numbers.pack(one, one)]
    n, largest, *parts = repeat(step, start, TERMS)
    return finished(numbers, numbers.unpack(parts)[1], n < TERMS), largest


def _reciprocal_gamma(numbers, z):
    """(r, g): 1/gamma(z) = r exp(g), for any z; r is 0 at the poles."""
    left, n = numbers.lead(z) < 0.5, rint(numbers.lead(z))
    g = log_gamma(numbers, numbers.select(left, 1.0 - z, z))
    f = z - n
    r = f * sine_over(numbers, f * numbers.constant("pi"))
    r = numbers.select((rint(n * 0.5) * 2.0).differs(n), -r, r)
    return numbers.select(left, r, numbers.of(1.0)), numbers.select(left, g, -g)


def _gammas(numbers, below, above):
    """(r, g): the quotient of the gammas of `above` by those of `below`, two each, is r exp(g)."""
    operands = (*below, *above)

    def step(i, *parts):
        r, g = numbers.unpack(parts)
        z = operands[-1]
        for n, operand in enumerate(operands[:-1]):
            z = numbers.select(i.equals(float(n)), operand, z)
        of_z, log_of_z = _reciprocal_gamma(numbers, z)
        divided = i >= float(len(below))
        r = numbers.select(divided, r / of_z, r * of_z)
        return i < len(operands), [
            i + 1.0,
            *numbers.pack(r, g + log_of_z * select(divided, -one, one)),
        ]

    one = const(1.0, float64)
    start = [const(0.0, float64), *numbers.pack(numbers.of(1.0), numbers.of(0.0))]
    _, *parts = repeat(step, start, len(operands))
    return numbers.unpack(parts)


def _size(size: Expr, k: Expr) -> Expr:
    return scale(size, at_least(k, -2000.0))


# Offsets of b, and weights: what F is between its neighbours, to the fourth power of the distance
NEIGHBOURS = ((-2.0, -1), (-1.0, 4), (1.0, 4), (2.0, -1))


def _far(numbers, a, b, c, x, wanted: Expr):
    """(F, k): 2**k F is F(a, b; c; x) for x < -1 and 1/2 < x <= 1; nan where too few digits are
    left.

    With s = c - a - b and d = 1 - x, F is gamma(c) times the sum of gamma(s) F(a, b; 1 - s; d)/
    (gamma(c - a) gamma(c - b)), and of the same with c - a, c - b, -s for a, b, s, times d**s. Left
    of 0, with s = b - a and d = 1/(1 - x), c - b and b change places, and all is times d**a.
    """
    lead, zero = numbers.lead, const(0.0, float64)
    left, end = wanted & (lead(x) < 0.0), wanted & lead(x).equals(1.0)
    d = 1.0 - numbers.select(wanted, x, numbers.of(0.5))
    d = numbers.select(left, 1.0 / d, d)
    logarithm = numbers.log(numbers.select(end, numbers.of(1.0), d))
    s = lead(numbers.select(left, b - a, c - a - b))
    apart = end | (abs(s - rint(s)) >= APART)

    def step(i, top, cancelled, *parts):
        total, change = numbers.unpack(parts)
        place, other = floor(i * 0.5), (rint(i * 0.5) * 2.0).differs(i)
        offset, weight, part = zero, numbers.of(1.0), zero
        for n, (steps, sixths) in enumerate(NEIGHBOURS):
            here = ~apart & place.equals(float(n))
            offset = select(here, steps * APART, offset)
            weight = numbers.select(here, numbers.ratio(sixths, 6), weight)
            part = select(here, math.copysign(0.5, sixths), part)
        b_ = b + offset
        first, second = numbers.select(left, c - b_, b_), numbers.select(left, b_, c - b_)
        p, u = numbers.select(other, c - a, a), numbers.select(other, a, c - a)
        q, v = numbers.select(other, second, first), numbers.select(other, first, second)
        s = numbers.select(left, b_ - a, c - a - b_)
        power = numbers.select(
            left, numbers.select(other, b_, a), numbers.select(other, s, s * 0.0)
        )
        s = numbers.select(other, -s, s)
        r, g = _gammas(numbers, (u, v), (c, s))
        size, k = numbers.exp_parts(g + logarithm * power, FAR)
        series, largest = _sum(numbers, p, q, 1.0 - s, d, wanted)
        # Of what ends in a pole nothing is left, whatever its series is; and at 1 of the second.
        none = numbers.size(r).equals(0.0) | (end & other)
        factor = numbers.select(none, numbers.of(0.0), size * r)
        made = factor * numbers.select(none, numbers.of(0.0), series)
        lost = abs(lead(factor)) * select(none, zero, largest)
        k = select(none, -FAR, k)
        change, _ = added(numbers, change, top, made * part, k)
        total, above = added(numbers, total, top, made * weight, k)
        cancelled = _size(cancelled, top - above) + _size(lost, k - above)
        count = select(apart, const(2.0, float64), 2.0 * len(NEIGHBOURS))
        return wanted & (i < count), [i + 1.0, above, cancelled, *numbers.pack(total, change)]

    nothing = numbers.of(0.0)
    start = [zero, const(-FAR, float64), zero, *numbers.pack(nothing, nothing)]
    _, k, cancelled, *parts = repeat(step, start, 2 * len(NEIGHBOURS))
    total, change = numbers.unpack(parts)
    right = abs(lead(total)) > maximum(cancelled * LOST[1], abs(lead(change)) * 2.0**20)
    right = right & (abs(s) < 2.0**40)  # of larger ones no neighbours are told apart
    return finished(numbers, total, right), k


def _end(numbers, a) -> Expr:
    """Whether a is 0, -1, -2, …, and stays so: the series of it ends."""
    lead = numbers.lead(a)
    return (lead <= 0.0) & rint(lead).equals(lead) & numbers.size(a).equals(abs(lead))


def _is_negative(z: Expr) -> Expr:
    """Whether gamma(z) is below 0, for z that is no pole."""
    return (z < 0.0) & (rint(floor(z) * 0.5) * 2.0).differs(floor(z))


def hyp2f1_body(numbers, a, b, c, x):
    """F(a, b; c; x) where x < 1, or for all x where a or b ends the series."""
    lead, one = numbers.lead, numbers.of(1.0)
    ends = _end(numbers, a) | _end(numbers, b)
    short = (_end(numbers, a) & (lead(a) >= lead(c))) | (_end(numbers, b) & (lead(b) >= lead(c)))
    swap = lead(a) > lead(b)
    a, b = numbers.select(swap, b, a), numbers.select(swap, a, b)
    end = lead(x).equals(1.0) & ~ends
    diverges = end & (lead(c - a - b) <= 0.0)
    far = (lead(x) < -1.0) | ((lead(x) > 0.5) & (lead(x) < 1.0)) | (end & ~diverges)
    made, k = _far(numbers, a, b, c, x, far)
    made = shifted(numbers, made, k)
    near = ends | ~(far & (lead(made).equals(lead(made)) | (abs(lead(x)) > FURTHEST)))
    # Pfaff: F(a, b; c; x) = (1 - x)**-a F(a, c - b; c; x/(x - 1)).
    mirrored = ~ends & (lead(x) < -0.5)
    d = numbers.select(mirrored, 1.0 - x, one)
    y = numbers.select(mirrored, x / -d, x)
    y = numbers.select(near & (ends | (abs(lead(y)) < 1.0)), y, numbers.of(0.0))
    series, largest = _sum(numbers, a, numbers.select(mirrored, c - b, b), c, y, near)
    series = finished(numbers, series, near & (abs(lead(series)) > largest * LOST[0]))
    series = series * numbers.exp(numbers.log(d) * -a)
    value = numbers.select(lead(series).equals(lead(series)), series, made)
    # With an equal pair of parameters F is a power.
    allowed = (lead(x) < 1.0) & ~_end(numbers, c)
    equal_a, equal_b = (numbers.size(c - v).equals(0.0) & allowed for v in (a, b))
    base = numbers.select(equal_a | equal_b, 1.0 - x, one)
    power, k = numbers.exp_parts(numbers.log(base) * numbers.select(equal_a, -b, -a), FAR)
    value = numbers.select(equal_a | equal_b, shifted(numbers, power, k), value)
    pole = diverges | (_end(numbers, c) & ~short)
    negative = _is_negative(lead(a)).differs(_is_negative(lead(b))).differs(_is_negative(lead(c)))
    infinite = select(negative & diverges, const(-INFINITY, float64), INFINITY)
    value = numbers.select(pole, numbers.of(infinite), value)
    return numbers.select(ends | (lead(x) <= 1.0), value, numbers.of(const(NAN, float64)))


def hyp2f1(a: Expr, b: Expr, c: Expr, x: Expr) -> Expr:
    """Gauss' hypergeometric function F(a, b; c; x); nan above 1, but where the series ends."""
    return value(hyp2f1_body, a, b, c, x, precise=True)


def hyp2f1_slope(a: Expr, b: Expr, c: Expr, x: Expr, orders) -> Expr:
    """The derivative of `hyp2f1` of these orders in a, b, c and x."""
    return slope(hyp2f1_body, orders, a, b, c, x)
