"""Gauss' hypergeometric function on the real line (NIST DLMF 15).

The power series up to 1/2, and from there on Taylor series of the solution of the differential
equation, each of which goes half of the way to the singularity at 1: no connection formula, hence
no degenerate cases (F. Johansson, ACM TOMS 45(3), 2019, has this as his last resort).
"""

from . import math_exponential as exponential
from .jet import slope, value
from .loop import Expr, const, float64, floor, maximum, minimum, rint, select
from .math_beta import log_gamma
from .math_integrals import finished
from .math_pieces import INFINITY, NAN
from .math_special import lgamma
from .repeat import repeat

TERMS = 3000  # of a series
HALVINGS = 1100  # of the distance to 1
SLIGHT = 1e-3
LOST = 2.0**-50  # cancellation that leaves too few digits


def _sum(numbers, a, b, c, x, wanted: Expr):
    """(F, F') by the power series."""

    def step(n, largest, *parts):
        term, total, slope = numbers.unpack(parts)
        largest = maximum(largest, abs(numbers.lead(term)))
        size = numbers.size(term) * (n + 1.0)
        enough = abs(numbers.lead(slope)) * (numbers.least * 2.0**-6)
        term = term * (a + n) * (b + n) / ((c + n) * (n + 1.0))
        slope = slope + term * (n + 1.0)
        term = term * x
        carried = numbers.pack(term, total + term, slope)
        return wanted & (size > enough), [n + 1.0, largest, *carried]

    one, zero = numbers.of(1.0), numbers.of(0.0)
    start = [const(0.0, float64), const(1.0, float64), *numbers.pack(one, one, zero)]
    n, largest, *parts = repeat(step, start, TERMS)
    _, total, slope = numbers.unpack(parts)
    size = abs(numbers.lead(total)) + abs(numbers.lead(slope))
    done = (n < TERMS) & (size > largest * LOST)
    return finished(numbers, total, done), finished(numbers, slope, done)


def _advance(numbers, a, b, c, y, d, w, slope, h, wanted: Expr):
    """(F, F') at y + h, from those at y = 1 - d."""
    scale = h / (y * d)
    along = c - (a + b + 1.0) * y
    bend = d - y

    def step(n, *parts):
        # now and after are the coefficients of h**n, h**(n + 1), with these powers
        now, after, total, rising = numbers.unpack(parts)
        size = numbers.size(after) * (n + 1.0) + numbers.size(now)
        enough = abs(numbers.lead(rising)) * (numbers.least * 2.0**-6)
        later = ((a + n) * (b + n) * now * h - (bend * n + along) * (n + 1.0) * after) * scale
        later = later / ((n + 1.0) * (n + 2.0))
        total, rising = total + later, rising + later * (n + 2.0)
        return wanted & (size > enough), [n + 1.0, *numbers.pack(after, later, total, rising)]

    first = slope * h
    start = [const(0.0, float64), *numbers.pack(w, first, w + first, first)]
    _, *parts = repeat(step, start, 400)
    _, _, total, rising = numbers.unpack(parts)
    return total, rising / h


def _near_one(numbers, a, b, c, d, w, slope, wanted: Expr):
    """F at 1 - d for d < 1/2, from F and F' at 1/2."""

    def step(*parts):
        here, w, slope = numbers.unpack(parts)
        proceed = wanted & (numbers.lead(here) > numbers.lead(d))
        last = numbers.lead(here) * 0.5 <= numbers.lead(d)
        there = numbers.select(last, d, here * 0.5)
        w, slope = _advance(numbers, a, b, c, 1.0 - here, here, w, slope, here - there, proceed)
        return proceed, numbers.pack(there, w, slope)

    parts = repeat(step, numbers.pack(numbers.of(0.5), w, slope), HALVINGS)
    return numbers.unpack(parts)[1]


def _end(numbers, a) -> Expr:
    """Whether a is 0, -1, -2, …, and stays so: the series of it ends."""
    lead = numbers.lead(a)
    return (lead <= 0.0) & rint(lead).equals(lead) & numbers.size(a).equals(abs(lead))


def hyp2f1_body(numbers, a, b, c, x):
    """F(a, b; c; x) where x < 1, or for all x where a or b ends the series."""
    lead = numbers.lead
    ends = _end(numbers, a) | _end(numbers, b)
    short = (_end(numbers, a) & (lead(a) >= lead(c))) | (_end(numbers, b) & (lead(b) >= lead(c)))
    swap = lead(a) > lead(b)
    a, b = numbers.select(swap, b, a), numbers.select(swap, a, b)
    direct = ends | (abs(lead(x)) <= 0.5)
    mirrored = ~direct & (lead(x) < 0.0)
    # Where a or b is nearly 0, so is F - 1, which Euler's large factor would drown.
    slight = minimum(abs(lead(a)), abs(lead(b))) < SLIGHT
    fading = ~direct & ~mirrored & ~slight & (lead(c) < lead(a) + lead(b))
    # Pfaff: (1 - x)**-a F(a, c - b; c; x/(x - 1)).
    # Euler: (1 - x)**(c - a - b) F(c - a, c - b; c; x).
    d = 1.0 - x
    power = numbers.select(mirrored, -a, c - a - b)
    away = numbers.select(mirrored | fading, d, numbers.of(1.0))
    factor = numbers.exp(numbers.log(away) * power)
    first = numbers.select(fading, c - a, a)
    second = numbers.select(mirrored | fading, c - b, b)
    y, d = numbers.select(mirrored, x / -d, x), numbers.select(mirrored, 1.0 / d, d)
    far = ~direct & (lead(y) > 0.5)
    start = numbers.select(far, numbers.of(0.5), y)
    inside = direct | (abs(lead(start)) <= 0.5)
    w, slope = _sum(numbers, first, second, c, start, inside)
    d = numbers.select(far, d, numbers.of(0.5))
    beyond = _near_one(numbers, first, second, c, d, w, slope, far)
    value = numbers.select(far, beyond, w) * factor
    value = numbers.select(~ends & lead(x).equals(1.0), _at_one(numbers, a, b, c), value)
    pole = _end(numbers, c) & ~short
    value = numbers.select(pole, numbers.of(const(INFINITY, float64)), value)
    return numbers.select(ends | (lead(x) <= 1.0), value, numbers.of(const(NAN, float64)))


def _at_one(numbers, a, b, c):
    """Gauss' sum; inf where it diverges."""
    s = c - a - b
    parts = c, s, c - a, c - b
    leads = [numbers.lead(v) for v in parts]
    positive = (leads[0] > 0.0) & (leads[1] > 0.0) & (leads[2] > 0.0) & (leads[3] > 0.0)
    one = numbers.of(1.0)
    logs = [log_gamma(numbers, numbers.select(positive, v, one)) for v in parts]
    value = numbers.exp(logs[0] + logs[1] - logs[2] - logs[3])
    other = const(1.0, float64)
    for lead in leads:
        odd = (lead < 0.0) & floor(lead * 0.5).differs(floor(lead) * 0.5)
        other = select(odd, -other, other)
    size = lgamma(leads[0]) + lgamma(leads[1]) - lgamma(leads[2]) - lgamma(leads[3])
    value = numbers.select(positive, value, numbers.of(other * exponential.exp(size)))
    return numbers.select(leads[1] > 0.0, value, numbers.of(const(INFINITY, float64)))


def hyp2f1(a: Expr, b: Expr, c: Expr, x: Expr) -> Expr:
    """Gauss' hypergeometric function F(a, b; c; x); nan above 1, but where the series ends."""
    return value(hyp2f1_body, a, b, c, x, precise=True)


def hyp2f1_slope(a: Expr, b: Expr, c: Expr, x: Expr, orders) -> Expr:
    """The derivative of `hyp2f1` of these orders in a, b, c and x."""
    return slope(hyp2f1_body, orders, a, b, c, x)
