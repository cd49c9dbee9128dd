"""Bessel functions of any real order, and Struve's (NIST DLMF 10, 11).

Orders of at most 1/2 by N. Temme's series (J. Comp. Phys. 19, 1975; 21, 1976), continued fractions
and Hankel's expansions; higher ones by recurrence upwards, and what decays there by its ratio of
neighbours and the Wronskian. Series lose digits to cancellation, which numbers of twice the
precision have to spare. Bodies take `numbers` to calculate in, which may be jets.
"""

import math

from . import math_exponential as exponential
from .jet import rescaled, slope, value
from .loop import Expr, const, float64, fma, maximum, rint, select, sqrt, trunc
from .math_beta import log_gamma
from .math_integrals import finished, fraction
from .math_pieces import INFINITY, NAN, at_least, at_most, low_bits, scale, wide
from .math_trigonometric import reduce_angle
from .repeat import repeat
from .twofold import Twofold, horner

LARGE = {True: 25.0, False: 14.0}  # where Hankel's expansions are used from, by precision
SERIES = {True: 34.0, False: 18.0}  # where Struve's series is used up to
STEEP = {True: 60.0, False: 16.0}  # where beyond it the series of J is: x*x/v at most
LIMIT = 100_000  # of the order, where it takes a recurrence
TINY = 2.0**-60  # arguments whose square is nothing beside 1
FAR = 1e6  # exponents beyond this, whatever they are combined with, overflow or vanish
# Coefficients of 1/gamma(1 + z), times 10**40
RECIPROCAL_GAMMA = (
    10000000000000000000000000000000000000000, 5772156649015328606065120900824024310422,
    -6558780715202538810770195151453904812798, -420026350340952355290039348754298187114,
    1665386113822914895017007951021052357178, -421977345555443367482083012891873913017,
    -96219715278769735621149216723481989754, 72189432466630995423950103404465727099,
    -11651675918590651121139710840183886668, -2152416741149509728157299630536478065,
    1280502823881161861531986263281643234, -201348547807882386556893914210218184,
    -12504934821426706573453594738330922, 11330272319816958823741296203307449,
    -2056338416977607103450154130020573, 61160951044814158178624986828553,
    50020076444692229300556650480600, -11812745704870201445881265654365,
    1043426711691100510491540332312, 77822634399050712540499373114,
    -36968056186422057081878158781, 5100370287454475979015481323,
    -205832605356650678322242954, -53481225394230179823700173,
    12267786282382607901588938, -1181259301697458769513765,
    11866922547516003325798, 14123806553180317815558,
    -2298745684435370206592, 171440632192733743338,
    1337351730493693115, -2054233551766672789,
)  # fmt: skip


def _over_factorials(numbers, first, step, sign, count):
    return [numbers.ratio(sign**k, math.factorial(first + step * k)) for k in range(count)]


def sine_over(numbers, r):
    """sin(r)/r for |r| < 2.5."""
    return horner(r * r, _over_factorials(numbers, 1, 2, -1, 17))


def _cosine(numbers, r):
    return horner(r * r, _over_factorials(numbers, 0, 2, -1, 18))


def _turned(numbers, k: Expr, r):
    """(cos, sin) of k pi/2 + r, for whole k."""
    bits = low_bits(k)
    swap, minus = (bits & 1).differs(0), (bits & 2).differs(0)
    c, s = _cosine(numbers, r), r * sine_over(numbers, r)
    c, s = numbers.select(swap, -s, c), numbers.select(swap, c, s)
    return numbers.select(minus, -c, c), numbers.select(minus, -s, s)


def _half_turns(numbers, v):
    """(cos, sin) of pi v."""
    quarters = rint(numbers.lead(v) * 2.0)
    return _turned(numbers, _least(quarters), (v - quarters * 0.5) * numbers.constant("pi"))


def _least(k: Expr) -> Expr:
    """The whole number k modulo 4, in [-2, 2]."""
    return k - rint(k * 0.25) * 4.0


def _log_reach(numbers, x):
    """log(2/x), also where quotients by x overflow."""
    tiny = numbers.lead(x) < 2.0**-700
    lifted = numbers.scaled(x, select(tiny, const(2.0**600, float64), 1.0))
    return numbers.constant("log2") * select(tiny, const(601.0, float64), 1.0) - numbers.log(lifted)


def _temme(numbers, mu, x, wave: bool, wanted: Expr):
    """(K, x/2 times K of the next order), or Y for a `wave`, for |mu| <= 1/2 and small x."""
    table = [numbers.ratio(c, 10**40) for c in RECIPROCAL_GAMMA]
    square = mu * mu
    even, odd = horner(square, table[::2]), horner(square, table[1::2])
    above, below = even + mu * odd, even - mu * odd  # 1/gamma(1 + mu), 1/gamma(1 - mu)
    reach = _log_reach(numbers, x)
    sigma = mu * reach
    power = numbers.exp(sigma)
    inverse = 1.0 / power
    small = abs(numbers.lead(sigma)) < 0.5
    near = numbers.select(small, sigma, numbers.of(0.0))
    series = horner(near * near, _over_factorials(numbers, 1, 2, 1, 13))
    away = numbers.select(small, numbers.of(1.0), sigma)
    sinh_over = numbers.select(small, series, (power - inverse) * 0.5 / away)
    f = ((power + inverse) * -0.5 * odd + sinh_over * reach * even) / (above * below)
    p, q = power * 0.5 / above, inverse * 0.5 / below
    # 2/mu sin(pi mu/2)**2
    bend = numbers.of(0.0)
    if wave:
        pi = numbers.constant("pi")
        ratio = sine_over(numbers, mu * pi * 0.5)
        bend = mu * ratio * ratio * pi * pi * 0.5
    quarter = x * x * (-0.25 if wave else 0.25)

    def step(k, *parts):
        factor, f, p, q, first, second = numbers.unpack(parts)
        size = numbers.size(factor) * (numbers.size(f) + numbers.size(p) + numbers.size(q))
        least = abs(numbers.lead(first)) + abs(numbers.lead(second))
        f = (f * k + p + q) / (-square + k * k)
        p, q = p / (-mu + k), q / (mu + k)
        factor = factor * quarter / k
        g = f + bend * q
        made = [factor, f, p, q, first + factor * g, second + factor * (p - g * k)]
        return wanted & (size > least * (numbers.least * 2.0**-6)), [k + 1.0, *numbers.pack(*made)]

    start = numbers.pack(numbers.of(1.0), f, p, q, f + bend * q, p)
    _, *parts = repeat(step, [const(1.0, float64), *start], 300)
    first, second = numbers.unpack(parts)[4:]
    if wave:
        scale = -2.0 / numbers.constant("pi")
        first, second = first * scale, second * scale
    return first, second


def _upward(numbers, mu, n: Expr, x, first, second, sign, wanted: Expr):
    """(f, f of the next order, k) of order mu + n, times 2**k, from `first`, of order mu, and x/2
    times that of the next; where x is tiny the second means nothing.
    """
    possible = wanted & (n <= LIMIT)
    # There f grows by (mu + i) 2/x each time: the powers of 2/x, which overflow, come at the end.
    tiny = numbers.lead(x) < TINY
    one, zero = numbers.of(1.0), numbers.of(0.0)
    inverse = numbers.select(tiny, one, 2.0 / numbers.select(tiny, one, x))
    second = second * inverse

    def step(i, k, *parts):
        older, now = numbers.unpack(parts)
        later = (mu + i) * inverse * now
        older = numbers.select(tiny, zero, older)
        later = later + older if sign > 0 else later - older
        large = abs(numbers.lead(later)) > 2.0**300
        factor = select(large, const(2.0**-300, float64), 1.0)
        made = numbers.pack(numbers.scaled(now, factor), numbers.scaled(later, factor))
        return possible & (i <= n), [i + 1.0, select(large, k + 300.0, k), *made]

    start = [const(1.0, float64), const(0.0, float64), *numbers.pack(first, second)]
    i, k, *parts = repeat(step, start, LIMIT)
    first, second = numbers.unpack(parts)
    power, e = numbers.exp_parts(_log_reach(numbers, numbers.select(tiny, x, one)) * n, FAR)
    first = numbers.select(tiny, first * power, first)
    done = ~wanted | (i > n)
    k = select(tiny, k + e, k)
    return finished(numbers, first, done), finished(numbers, second, done), k


def _series(numbers, v, x, sign, wanted: Expr):
    """(s, k): 2**k s is J for `sign` -1, I exp(-x) for 1."""
    quarter = x * x * (0.25 * sign)

    def step(k, *parts):
        term, total = numbers.unpack(parts)
        proceed = numbers.size(term) > abs(numbers.lead(total)) * (numbers.least * 2.0**-6)
        term = term * quarter / ((v + k) * k)
        return wanted & proceed, [k + 1.0, *numbers.pack(term, total + term)]

    start = numbers.pack(numbers.of(1.0), numbers.of(1.0))
    _, *parts = repeat(step, [const(1.0, float64), *start], 300)
    # Orders that are larger still vanish as well.
    order = numbers.select(numbers.lead(v) < 1e15, v, numbers.of(1e15))
    power = -(order * _log_reach(numbers, x)) - log_gamma(numbers, order + 1.0)
    p, k = numbers.exp_parts(power - x if sign > 0 else power, FAR)
    return p * numbers.unpack(parts)[1], k


def _hankel(numbers, v, x, sign, wanted: Expr):
    """(P, Q) of Hankel's expansion for `sign` -1; for 1 the sum that I exp(-x) has, and 0."""
    square, eighth = v * v * 4.0, 0.125 / x

    def step(k, *parts):
        term, even, odd = numbers.unpack(parts)
        size = numbers.size(term)
        proceed = (size > numbers.least * 2.0**-6) & (k < numbers.lead(x))
        n = k + k
        term = term * (square - (n + n + 1.0) * (n + n + 1.0)) * eighth / (n + 1.0)
        odd = odd + term
        term = term * (square - (n + n + 3.0) * (n + n + 3.0)) * eighth / (n + 2.0)
        term = -term if sign < 0 else term
        return wanted & proceed, [k + 1.0, *numbers.pack(term, even + term, odd)]

    start = numbers.pack(numbers.of(1.0), numbers.of(1.0), numbers.of(0.0))
    _, *parts = repeat(step, [const(0.0, float64), *start], 200)
    _, even, odd = numbers.unpack(parts)
    return even, odd


def _waves(numbers, v, x, wanted: Expr):
    """(J, Y) by Hankel's expansion."""
    p, q = _hankel(numbers, v, x, -1, wanted)
    lead = numbers.lead(x)
    k, r, low = reduce_angle(lead)
    rest = numbers.of(Twofold(r, low) if numbers.precise else r + low) + (x - lead)
    n, mu = _split(numbers, v)
    shift = (mu * 0.5 + 0.25) * numbers.constant("pi")
    c, s = _turned(numbers, k - _least(n), rest - shift)
    size = numbers.sqrt(2.0 / numbers.constant("pi")) / numbers.sqrt(x)
    return size * (p * c - q * s), size * (p * s + q * c)


def _split(numbers, v):
    """(n, mu): v = n + mu, |mu| <= 1/2."""
    n = rint(numbers.lead(v))
    return n, v - n


def _ratio(numbers, v, x, sign, wanted: Expr):
    """f of the next order over f, for J (`sign` -1) or I."""
    inverse = 2.0 / x

    def along(i):
        return (v + (i + 1.0)) * inverse

    def back(i):
        return numbers.of(float(sign))

    return 1.0 / fraction((v + 1.0) * inverse, along, back, wanted, numbers, 10 * LIMIT)


def _flat(numbers, v, x):
    """Where Hankel's expansion holds for the order itself, if x is large."""
    return numbers.lead(v) < sqrt(numbers.lead(x) * 0.125)


def _cylinder(numbers, v, x):
    """((J, k), (Y, m)): the functions are 2**k J and 2**m Y; for v >= 0 and 0 < x < inf."""
    lead = numbers.lead
    large_from = LARGE[numbers.precise]
    near = lead(x) <= large_from
    steep = near | (lead(x) / lead(v) * lead(x) < STEEP[numbers.precise])
    n, mu = _split(numbers, v)
    direct = ~near & _flat(numbers, v, x)
    n, mu = select(direct, const(0.0, float64), n), numbers.select(direct, v, mu)
    small = numbers.select(near, x, numbers.of(1.0))
    large = numbers.select(near, numbers.of(large_from), x)
    y, y_next = _temme(numbers, numbers.select(near, mu, numbers.of(0.0)), small, True, near)
    j_far, y_far = _waves(numbers, mu, large, ~near)
    j_far_next, y_far_next = _waves(numbers, mu + 1.0, large, ~near)
    half = large * 0.5
    y = numbers.select(near, y, y_far)
    y_next = numbers.select(near, y_next, y_far_next * half)
    always = lead(x) > 0.0
    y, y_next, m = _upward(numbers, mu, n, x, y, y_next, -1, always)
    j, k = _series(numbers, v, numbers.select(steep, x, numbers.of(1.0)), -1, steep)
    below = lead(v) <= lead(x)
    forward, _, _ = _upward(numbers, mu, n, large, j_far, j_far_next * half, -1, ~steep & below)
    beyond = ~steep & ~below
    above = numbers.select(beyond, v, numbers.of(large_from + 1.0))
    ratio = _ratio(numbers, above, numbers.select(beyond, x, numbers.of(large_from)), -1, beyond)
    decaying = 2.0 / (numbers.constant("pi") * x * (ratio * y - y_next))
    zero = const(0.0, float64)
    j = numbers.select(steep, j, numbers.select(below, forward, decaying))
    return (j, select(steep, k, select(below, zero, -m))), (y, m)


def _decaying(numbers, mu, x, wanted: Expr):
    """(K, x/2 times K of the next order), times exp(x), for |mu| <= 1/2 and x >= 2, by Temme's
    fraction.
    """
    first = 0.25 - mu * mu
    b = (x + 1.0) * 2.0
    d = 1.0 / b

    def step(i, *parts):
        a, c, older, now, q, b, d, change, h, s = numbers.unpack(parts)
        size = numbers.size(q * change)
        proceed = wanted & ((size > abs(numbers.lead(s)) * (numbers.least * 2.0**-6)) | (i <= 3.0))
        a = a - (i - 1.0) * 2.0
        c = -a * c / i
        later = (older - b * now) / a
        q = q + c * later
        b = b + 2.0
        d = 1.0 / (b + a * d)
        change = (b * d - 1.0) * change
        return proceed, [
            i + 1.0,
            *numbers.pack(a, c, now, later, q, b, d, change, h + change, s + q * change),
        ]

    zero, one = numbers.of(0.0), numbers.of(1.0)
    start = numbers.pack(-first, first, zero, one, first, b, d, d, d, 1.0 + first * d)
    _, *parts = repeat(step, [const(2.0, float64), *start], 300)
    h, s = numbers.unpack(parts)[8:]
    k = numbers.sqrt(numbers.constant("pi") * 0.5 / x) / s
    return k, k * (mu + x + 0.5 - first * h) * 0.5


def _modified(numbers, v, x):
    """((I, k), (K, m)): the functions are 2**k I exp(x) and 2**m K exp(-x); for v >= 0 and
    0 < x < inf.
    """
    lead = numbers.lead
    flat = (lead(x) > 1000.0) & _flat(numbers, v, x)
    wide, pi = numbers.select(flat, x, numbers.of(1000.0)), numbers.constant("pi")
    even, odd = _hankel(numbers, numbers.select(flat, v, numbers.of(0.0)), wide, 1, flat)
    root = 1.0 / numbers.sqrt(wide)
    x = numbers.select(flat, numbers.of(1000.0), x)
    v = numbers.select(flat, numbers.of(1.0), v)
    tiny = lead(x) <= 2.0
    n, mu = _split(numbers, v)
    small = numbers.select(tiny, x, numbers.of(1.0))
    pair = _temme(numbers, mu, small, False, tiny)
    power = numbers.exp(small)
    far_pair = _decaying(numbers, mu, numbers.select(tiny, numbers.of(2.0), x), ~tiny)
    first, second = (
        numbers.select(tiny, a * power, b) for a, b in zip(pair, far_pair, strict=True)
    )
    k_, k_next, m = _upward(numbers, mu, n, x, first, second, 1, lead(x) > 0.0)
    large_from = LARGE[numbers.precise]
    near = (lead(x) <= large_from) | (lead(x) / lead(v) * lead(x) < 400.0)
    i, k = _series(numbers, v, numbers.select(near, x, numbers.of(1.0)), 1, near)
    large = numbers.select(near, numbers.of(large_from), x)
    ratio = _ratio(numbers, v, large, 1, ~near)
    i = numbers.select(near, i, 1.0 / (x * (k_next + ratio * k_)))
    i = numbers.select(flat, (even - odd) * root * numbers.sqrt(0.5 / pi), i)
    k_ = numbers.select(flat, (even + odd) * root * numbers.sqrt(pi * 0.5), k_)
    zero = const(0.0, float64)
    k, m = select(flat, zero, select(near, k, -m)), select(flat, zero, m)
    return (i, k), (k_, m)


def _prepared(numbers, v, x):
    """(usual, size of the order, size of the argument, whether the order stays whole)."""
    order, a = numbers.lead(v), abs(numbers.lead(x))
    usual = (a > 0.0) & (a < INFINITY) & (abs(order) < INFINITY)
    whole = rint(order).equals(order) & numbers.size(v).equals(abs(order))
    one = numbers.of(1.0)
    u = numbers.select(usual, numbers.select(order < 0.0, -v, v) + 0.0, one)  # never -0
    t = numbers.select(usual, numbers.select(numbers.lead(x) < 0.0, -x, x), one)
    return usual, u, t, whole


def _odd(n: Expr) -> Expr:
    return rint(n * 0.5).differs(n * 0.5)


def shifted(numbers, v, k):
    return rescaled(numbers, v, at_most(at_least(k, -2000.0), 2000.0))


def added(numbers, a, k, b, m):
    """(s, n): 2**n s = 2**k a + 2**m b, where one may be beyond all numbers."""
    top = maximum(k, m)
    return shifted(numbers, a, k - top) + shifted(numbers, b, m - top), top


def _edges(numbers, v, x, usual: Expr, whole: Expr, made, at_zero: Expr, at_end: float):
    """`made` with its values at 0 and inf; left of 0, where only whole orders are real, with its
    sign.
    """
    order, lead = numbers.lead(v), numbers.lead(x)
    odd = (lead < 0.0) & _odd(order)
    end = const(at_end, float64)
    edge = select(lead.equals(0.0), at_zero, select(abs(lead).equals(INFINITY), end, NAN))
    edge = select(lead.equals(lead) & order.equals(order), edge, const(NAN, float64))
    made = numbers.select(usual, made, numbers.of(edge))
    made = numbers.select(odd, -made, made)
    return finished(numbers, made, whole | (lead >= 0.0))


def _growth_at_zero(order: Expr, whole: Expr) -> Expr:
    """J and I at 0: 1 for order 0, 0 for others, infinite for broken orders below 0."""
    value = select(order.equals(0.0), const(1.0, float64), 0.0)
    down = rint(order - 0.5)  # floor, of what is not whole
    sign = select(_odd(down + 1.0), const(-INFINITY, float64), INFINITY)
    return select((order < 0.0) & ~whole, sign, value)


def jv_body(numbers, v, x):
    usual, u, t, whole = _prepared(numbers, v, x)
    (j, k), (y, m) = _cylinder(numbers, u, t)
    c, s = _half_turns(numbers, u)
    order = numbers.lead(v)
    # Of a whole order, J needs no Y, which may be nan.
    mirrored = (order < 0.0) & ~whole
    both, n = added(numbers, j * c, k, -(y * s), m)
    made = numbers.select(mirrored, both, numbers.select(order < 0.0, j * c, j))
    made = shifted(numbers, made, select(mirrored, n, k))
    return _edges(numbers, v, x, usual, whole, made, _growth_at_zero(order, whole), 0.0)


def yv_body(numbers, v, x):
    usual, u, t, whole = _prepared(numbers, v, x)
    (j, k), (y, m) = _cylinder(numbers, u, t)
    c, s = _half_turns(numbers, u)
    order = numbers.lead(v)
    both, n = added(numbers, j * s, k, y * c, m)
    made = numbers.select(order < 0.0, both, y)
    made = shifted(numbers, made, select(order < 0.0, n, m))
    at_zero = const(-INFINITY, float64)
    made = _edges(numbers, v, x, usual, whole, made, at_zero, 0.0)
    return finished(numbers, made, numbers.lead(x) >= 0.0)


def _iv_body(numbers, v, x, scaled: bool):
    usual, u, t, whole = _prepared(numbers, v, x)
    (i, k), (other, m) = _modified(numbers, u, t)
    power, e = numbers.exp_parts(-t, FAR)
    _, s = _half_turns(numbers, u)
    extra = other * s * (2.0 / numbers.constant("pi"))
    if scaled:
        extra, m = extra * power * power, m + e + e
    else:
        i, k, extra, m = i / power, k - e, extra * power, m + e
    order = numbers.lead(v)
    mirrored = (order < 0.0) & ~whole
    both, n = added(numbers, i, k, extra, m)
    made = shifted(numbers, numbers.select(mirrored, both, i), select(mirrored, n, k))
    end = 0.0 if scaled else INFINITY
    return _edges(numbers, v, x, usual, whole, made, _growth_at_zero(order, whole), end)


def iv_body(numbers, v, x):
    return _iv_body(numbers, v, x, False)


def ive_body(numbers, v, x):
    return _iv_body(numbers, v, x, True)


def _kv_body(numbers, v, x, scaled: bool):
    usual, u, t, whole = _prepared(numbers, v, x)
    _, (k, m) = _modified(numbers, u, t)
    if not scaled:
        power, e = numbers.exp_parts(-t, FAR)
        k, m = k * power, m + e
    made = shifted(numbers, k, m)
    made = _edges(numbers, v, x, usual, whole, made, const(INFINITY, float64), 0.0)
    return finished(numbers, made, numbers.lead(x) >= 0.0)


def kv_body(numbers, v, x):
    return _kv_body(numbers, v, x, False)


def kve_body(numbers, v, x):
    return _kv_body(numbers, v, x, True)


def _struve_series(numbers, v, x, wanted: Expr):
    """(s, k): 2**k s is H (DLMF 11.2.1), for v > -3/2."""
    quarter = x * x * -0.25

    def step(k, *parts):
        term, total = numbers.unpack(parts)
        proceed = numbers.size(term) > abs(numbers.lead(total)) * (numbers.least * 2.0**-6)
        term = term * quarter / ((v + (k + 0.5)) * (k + 0.5))
        return wanted & proceed, [k + 1.0, *numbers.pack(term, total + term)]

    one = numbers.of(1.0)
    _, *parts = repeat(step, [const(1.0, float64), *numbers.pack(one, one)], 500)
    power = -(v + 1.0) * _log_reach(numbers, x) - log_gamma(numbers, v + 1.5)
    p, k = numbers.exp_parts(power, FAR)
    half_root = numbers.sqrt(numbers.constant("pi")) * 0.5  # gamma(3/2)
    return p * numbers.unpack(parts)[1] / half_root, k


def _struve_tail(numbers, v, x, wanted: Expr):
    """(s, k): 2**k s is H - Y for large x (DLMF 11.6.1)."""
    inverse = 4.0 / (x * x)

    def step(k, *parts):
        term, total = numbers.unpack(parts)
        following = term * (v - (k + 0.5)) * (k + 0.5) * inverse
        size = numbers.size(following)
        proceed = (size > abs(numbers.lead(total)) * (numbers.least * 2.0**-6)) & (
            (size < numbers.size(term)) | (k < numbers.lead(v))
        )
        return wanted & proceed, [k + 1.0, *numbers.pack(following, total + following)]

    one = numbers.of(1.0)
    _, *parts = repeat(step, [const(0.0, float64), *numbers.pack(one, one)], 500)
    power = (1.0 - v) * _log_reach(numbers, x) - log_gamma(numbers, v + 1.5)
    p, k = numbers.exp_parts(power, FAR)
    factor = (v + 0.5) / numbers.sqrt(numbers.constant("pi"))
    return p * numbers.unpack(parts)[1] * factor, k


def _struve_sum(numbers, v, x, wanted: Expr):
    """(s, k): 2**k s is H over J of order v + 1/2 for x < v, where no term is negative (DLMF
    11.4.19): backwards, as are the ratios of neighbours.
    """
    inverse, half = 2.0 / x, x * 0.5

    def step(i, k, *parts):
        ratio, total = numbers.unpack(parts)
        ratio = 1.0 / ((v + (i + 1.5)) * inverse - ratio)
        unit = scale(const(1.0, float64), at_least(-k, -2000.0))
        total = total * ratio * half / (i + 1.0) + unit / (i + 0.5)
        large = numbers.lead(total) > 2.0**300
        total = numbers.scaled(total, select(large, const(2.0**-300, float64), 1.0))
        k = select(large, k + 300.0, k)
        return possible & (i >= 0.0), [i - 1.0, k, *numbers.pack(ratio, total)]

    zero = numbers.of(0.0)
    # Beyond these, each is at most a quarter of the one before.
    count = trunc(numbers.lead(x) / numbers.lead(v) * numbers.lead(x)) + 64.0
    possible = wanted & (count < LIMIT)
    start = [count, const(0.0, float64), *numbers.pack(zero, zero)]
    i, k, *parts = repeat(step, start, LIMIT)
    total = numbers.unpack(parts)[1] * numbers.sqrt(half / numbers.constant("pi"))
    return finished(numbers, total, ~wanted | (i < 0.0)), k


def struve_body(numbers, v, x):
    lead, order = numbers.lead(x), numbers.lead(v)
    usual, _, t, whole = _prepared(numbers, v, x)
    usual = usual & (order > -1.5)
    v = numbers.select(usual, v, numbers.of(1.0))
    least = SERIES[numbers.precise]
    near = numbers.lead(t) < least
    within = ~near & (numbers.lead(t) < order)
    one, large = numbers.of(1.0), numbers.of(least)
    series, k = _struve_series(numbers, v, numbers.select(near, t, one), near)
    far, u = numbers.select(near, large, t), numbers.select(near, one, v)
    total, more = _struve_sum(numbers, numbers.select(within, v, large), far, within)
    out = ~near & ~within
    tail, e = _struve_tail(numbers, numbers.select(out, u, one), numbers.select(out, t, large), out)
    down = numbers.lead(u) < 0.0
    of = numbers.select(within, u + 0.5, numbers.select(down, -u, u))
    (j, j_e), (y, m) = _cylinder(numbers, of, far)
    c, s = _half_turns(numbers, u)
    mirrored, n = added(numbers, y * c, m, -(j * s), j_e)
    y, m = numbers.select(down, mirrored, y), select(down, n, m)
    both, n = added(numbers, tail, e, y, m)
    made = numbers.select(near, series, numbers.select(within, j * total, both))
    made = shifted(numbers, made, select(near, k, select(within, j_e + more, n)))
    two_over_pi, zero = const(2.0 / math.pi, float64), const(0.0, float64)
    border = select(order < 1.0, zero, select(order.equals(1.0), two_over_pi, INFINITY))
    start = select(order > -1.0, zero, select(order.equals(-1.0), two_over_pi, INFINITY))
    made = numbers.select(usual, made, numbers.of(select(lead.equals(0.0), start, border)))
    made = numbers.select((lead < 0.0) & ~_odd(order), -made, made)
    return finished(numbers, made, (whole | (lead >= 0.0)) & (order > -1.5) & lead.equals(lead))


def _function(body, doc):
    """The function, and its derivatives."""

    def function(v: Expr, x: Expr) -> Expr:
        return value(body, v, x)

    def derivative(v: Expr, x: Expr, orders) -> Expr:
        return slope(body, orders, v, x)

    name = body.__name__.removesuffix("_body")
    function.__name__, function.__doc__ = name, doc
    derivative.__name__ = f"{name}_slope"
    derivative.__doc__ = f"The derivative of `{name}` of these orders in v and x."
    return function, derivative


jv, jv_slope = _function(jv_body, "Bessel function of the first kind, of real order v.")
yv, yv_slope = _function(yv_body, "Bessel function of the second kind, of real order v.")
iv, iv_slope = _function(iv_body, "Modified Bessel function of the first kind, of real order v.")
ive, ive_slope = _function(ive_body, "exp(-|x|) times `iv`.")
kv, kv_slope = _function(kv_body, "Modified Bessel function of the second kind, of real order v.")
kve, kve_slope = _function(kve_body, "exp(x) times `kv`.")


def struve(v: Expr, x: Expr) -> Expr:
    """Struve's function H of order v > -3/2."""
    return value(struve_body, v, x)


def struve_slope(v: Expr, x: Expr, orders) -> Expr:
    """The derivative of `struve` of these orders in v and x."""
    return slope(struve_body, orders, v, x)


def _quotient(x: Expr, n: float, of, sign: int) -> Expr:
    """0F1(n + 1; sign x*x/4), which is the function `of` order n and argument |x| over its first
    term (x/2)**n/gamma(n + 1); `sign` is -1 for J, 1 for I.
    """
    a = abs(x)
    near, far = at_most(a, 2.0), at_least(a, 2.0)
    far = at_most(far, 1e3) if of is iv else far  # where it is infinite
    square, series = near * near * (0.25 * sign), const(1.0, float64)
    for k in range(14, 0, -1):
        series = fma(series, square * (1.0 / (k * (n + k))), 1.0)
    if of is ive:
        series = series * exponential.exp(-near)
    order = const(n, float64)
    large = of(order, far) * exponential.power(2.0 / far, order) * math.gamma(n + 1.0)
    return select(a < 2.0, series, large)


def jv_quotient(x: Expr, n: float) -> Expr:
    """`jv` over the first term of its series, which is an entire function of x."""
    return wide(lambda x: _quotient(x, n, jv, -1))(x)


def iv_quotient(x: Expr, n: float) -> Expr:
    """`iv` over the first term of its series."""
    return wide(lambda x: _quotient(x, n, iv, 1))(x)


def ive_quotient(x: Expr, n: float) -> Expr:
    """`ive` over the first term of the series of `iv`."""
    return wide(lambda x: _quotient(x, n, ive, 1))(x)
