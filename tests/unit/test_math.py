"""The scalar functions of `flambeau.ir.math` against mpmath, and their special values."""

import fractions
import math as plain

import mpmath
import numpy
import pytest
from mpmath import mp

from flambeau.ir import evaluate, load, math
from flambeau.ir.exact import fma32, fma64
from flambeau.types import by_name

INFINITY, NAN = float("inf"), float("nan")
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, INFINITY, -INFINITY, NAN]
DTYPES = ["float32", "float64"]
BITS = {"float32": 24, "float64": 53}


def apply(name, dtype, *arrays):
    """The function's meaning on arrays of a type."""
    dtype = by_name(dtype)
    body = getattr(math, name)(*(load(i, dtype) for i in range(len(arrays))))
    return evaluate([body], [numpy.asarray(a, dtype.numpy) for a in arrays])[0]


def upper_tail(log_p):
    """y with log erfc(y) = log_p < 0."""
    if mp.isinf(log_p):
        return mp.inf
    y = mp.sqrt(-log_p) if log_p < -1.5 else mpmath.mpf("0.5")
    while True:
        tail = mp.erfc(y)
        step = (mp.log(tail) - log_p) * tail * mp.sqrt(mp.pi) / 2 * mp.exp(y * y)
        y += step
        if abs(step) < mp.eps * 2**20 * abs(y):
            return y


def erfinv(x):
    return mp.erfinv(x) if abs(x) < 0.9 else mp.sign(x) * upper_tail(mp.log1p(-abs(x)))


def ndtri(p):
    if p > 0.5:
        return -ndtri(1 - p)
    if p > 0.05:
        return -mp.sqrt(2) * mp.erfinv(1 - 2 * p)
    return -mp.sqrt(2) * upper_tail(mp.log(2 * p))


def erfcx(x):
    return mp.erfc(x) * mp.exp(x * x)


def log_ndtr(x):
    t = -x / mp.sqrt(2)
    return mp.log(mp.erfc(t) / 2) if t > 0 else mp.log1p(-mp.erfc(-t) / 2)


def scaled_bessel(order):
    return lambda x: mp.besseli(order, x) * mp.exp(-abs(x))


ANY = (-INFINITY, INFINITY)
MODEST = (-1200, 1200)  # mpmath takes long beyond
# name: reference, domain, intervals of interest, largest errors in units of the last place
CASES = {
    "exp": (mp.exp, MODEST, [(-1, 1), (-110, 90), (-750, 711)], 1.05, 1.05),
    "exp2": (lambda x: mpmath.mpf(2) ** x, MODEST, [(-1, 1), (-152, 130), (-1080, 1025)], 1.1, 1.1),
    "expm1": (mp.expm1, MODEST, [(-1, 1), (-0.01, 0.01), (-40, 90)], 1.5, 1.5),
    "log": (mp.log, (0, INFINITY), [(0.5, 2), (0.99, 1.01)], 1, 1),
    "log1p": (mp.log1p, (-1, INFINITY), [(-1, 1), (-0.01, 0.01)], 1.5, 1.5),
    "log2": (lambda x: mp.log(x) / mp.ln2, (0, INFINITY), [(0.5, 2), (0.99, 1.01)], 0.8, 0.8),
    "log10": (mp.log10, (0, INFINITY), [(0.5, 2), (0.99, 1.01)], 0.8, 0.8),
    "sqrt": (mp.sqrt, (0, INFINITY), [(0, 4)], 0.51, 0.51),
    "rsqrt": (lambda x: 1 / mp.sqrt(x), (1e-44, INFINITY), [(1, 4)], 1.5, 1.5),
    "sigmoid": (
        lambda x: 1 / (1 + mp.exp(-x)),
        MODEST,
        [(-5, 5), (-105, 20), (-750, 40)],
        1.8,
        1.8,
    ),
    "sinh": (mp.sinh, MODEST, [(-1.2, 1.2), (-90, 90), (-711, 711)], 1.6, 1.6),
    "cosh": (mp.cosh, MODEST, [(-1.2, 1.2), (-90, 90), (-711, 711)], 1.5, 1.5),
    "tanh": (mp.tanh, MODEST, [(-1.2, 1.2), (-25, 25)], 1.4, 1.4),
    "asinh": (mp.asinh, ANY, [(-1.2, 1.2), (-3, 3)], 1.2, 1.2),
    "acosh": (mp.acosh, (1, INFINITY), [(1, 1.2), (1, 3), (1, 1.001)], 1.5, 1.5),
    "atanh": (mp.atanh, (-1, 1), [(-1, 1), (0.4, 0.6), (0.9, 1)], 1, 1),
    "sin": (mp.sin, ANY, [(-4, 4), (-1e5, 1e5), (1e5, 1e7)], 1.6, 1.4),
    "cos": (mp.cos, ANY, [(-4, 4), (-1e5, 1e5), (1e5, 1e7)], 1.6, 1.4),
    "tan": (mp.tan, ANY, [(-4, 4), (-1e5, 1e5), (1e5, 1e7)], 3, 2.1),
    "asin": (mp.asin, (-1, 1), [(-1, 1), (0.45, 0.55), (0.99, 1)], 1, 1),
    "acos": (mp.acos, (-1, 1), [(-1, 1), (0.45, 0.55), (0.99, 1)], 1.3, 1.3),
    "atan": (mp.atan, ANY, [(-1, 1), (0.5, 1.5), (-10, 10)], 1.3, 1.3),
    "sinc": (mp.sincpi, (-1e6, 1e6), [(-5, 5)], 2.5, 2.5),
    "erf": (mp.erf, MODEST, [(-1.2, 1.2), (-6, 6)], 1.3, 1.3),
    "erfc": (mp.erfc, (-30, 30), [(-1, 1), (0, 10.2), (9, 27.5)], 2.3, 2.1),
    "erfcx": (erfcx, (-27, 1e6), [(-1, 1), (0, 10), (-10, 0)], 2, 2.1),
    "ndtr": (mp.ncdf, (-40, 40), [(-1, 1), (-15, 8), (-39, 0)], 2.3, 2),
    "log_ndtr": (log_ndtr, (-1000, 40), [(-1, 1), (-15, 8), (-39, 0)], 3.3, 2.1),
    "erfinv": (erfinv, (-1, 1), [(-1, 1), (0.74, 0.76), (0.99, 1)], 2.1, 1.5),
    "ndtri": (ndtri, (0, 1), [(0, 1), (0.09, 0.11), (0.89, 0.91), (0, 1e-4)], 2.2, 2),
    "lgamma": (mp.loggamma, (1e-30, 1e30), [(0, 5), (0.5, 2.1), (2, 10)], 2, 2.1),
    "digamma": (mp.digamma, (1e-30, 1e30), [(0, 5), (1.4, 1.5), (2, 10)], 2, 2.2),
    "i0": (lambda x: mp.besseli(0, x), (-700, 700), [(-10, 10), (-90, 90)], 3, 2),
    "i0e": (scaled_bessel(0), (-700, 700), [(-10, 10), (-90, 90)], 2, 2),
    "i1": (lambda x: mp.besseli(1, x), (-700, 700), [(-10, 10), (-90, 90)], 2.5, 2),
    "i1e": (scaled_bessel(1), (-700, 700), [(-10, 10), (-90, 90)], 2.6, 2),
}
SLOW = {"erfinv", "ndtri", "lgamma", "digamma", "i0", "i0e", "i1", "i1e", "log_ndtr", "erfcx"}


def points(dtype, domain, intervals, count, seed=0):
    """Arguments: any bits, the intervals, all magnitudes near 0, within the domain."""
    rng = numpy.random.default_rng(seed)
    kind = by_name(dtype).numpy
    integer = numpy.int32 if dtype == "float32" else numpy.int64
    info = numpy.iinfo(integer)
    groups = [rng.integers(info.min, info.max, count, integer, endpoint=True).view(kind)]
    groups += [rng.uniform(low, high, count) for low, high in intervals]
    small = 2.0 ** rng.uniform(-60, 3, count)
    groups += [small, -small]
    least, largest = numpy.finfo(kind).smallest_subnormal, numpy.finfo(kind).max
    groups.append(numpy.array([least, -least, largest, -largest, 1, -1, 2]))
    with numpy.errstate(all="ignore"):
        x = numpy.concatenate([numpy.asarray(g).astype(kind) for g in groups])
    low, high = domain
    return x[(x >= max(low, -largest)) & (x <= min(high, largest)) & (x != 0)]


def error(y, reference, bits):
    """|y - reference| in units of the last place of the reference in this format."""
    least, bias = {24: (-149, 127), 53: (-1074, 1023)}[bits]
    if reference == 0 or mp.isinf(reference):
        return 0.0 if y == reference else INFINITY
    size = mp.mag(reference)  # reference in [1/2, 1) 2**size
    if not plain.isfinite(y):
        overflows = abs(reference) > mpmath.mpf(2) ** bias * (2 - mpmath.mpf(2) ** (1 - bits))
        return 0.0 if overflows and (y > 0) == (reference > 0) else INFINITY
    if size > bias + 1:
        return INFINITY
    return float(abs(mpmath.mpf(y) - reference) * mpmath.mpf(2) ** -max(size - bits, least))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_error_stays_below_its_bound(name, dtype):
    function, domain, intervals, *bounds = CASES[name]
    x = points(dtype, domain, intervals, 60 if name in SLOW else 400)
    y = apply(name, dtype, x)
    with mp.workprec(180):
        worst = max(
            (error(float(b), mp.re(function(mpmath.mpf(float(a)))), BITS[dtype]), float(a))
            for a, b in zip(x, y, strict=True)
        )
    assert worst[0] <= bounds[dtype == "float64"], worst


def angles_near_quarter_turns():
    rng = numpy.random.default_rng(1)
    turns = numpy.round(10.0 ** rng.uniform(0, 300, 150))
    # The last ones are the hardest of all float64 (J.-M. Muller et al., Handbook, 2010) and float32
    hard = [6381956970095103 * 2.0**797, 16367173 * 2.0**72, 5.319372648326541e255]
    return numpy.concatenate([turns * (numpy.pi / 2), hard])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_angles_of_any_size_near_multiples_of_a_quarter_turn(name, dtype):
    with numpy.errstate(over="ignore"):
        x = angles_near_quarter_turns().astype(dtype)
    x = x[numpy.isfinite(x)]
    y = apply(name, dtype, x)
    with mp.workprec(1400):
        worst = max(
            (error(float(b), getattr(mp, name)(mpmath.mpf(float(a))), BITS[dtype]), float(a))
            for a, b in zip(x, y, strict=True)
        )
    assert worst[0] <= (3 if dtype == "float32" else 2.1), worst


def pairs(dtype, count=400):
    rng = numpy.random.default_rng(2)
    span = 85 if dtype == "float32" else 700
    a = 2.0 ** rng.uniform(-30, 30, count)
    b = rng.uniform(-span, span, count) / numpy.log(a)
    near = 1 + rng.uniform(-1, 1, count) * 2.0 ** rng.uniform(-20, -2, count)
    c = numpy.clip(rng.uniform(-span, span, count) / numpy.log(near), -1e15, 1e15)
    return numpy.concatenate([a, near]).astype(dtype), numpy.concatenate([b, c]).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_powers_are_nearly_rounded_right(dtype):
    x, y = pairs(dtype)
    result = apply("pow", dtype, x, y)
    with mp.workprec(200):
        for a, b, r in zip(x.tolist(), y.tolist(), result.tolist(), strict=True):
            assert error(r, mpmath.mpf(a) ** mpmath.mpf(b), BITS[dtype]) <= 1, (a, b, r)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["hypot", "atan2"])
def test_functions_of_two(name, dtype):
    rng = numpy.random.default_rng(3)
    limit = 37 if dtype == "float32" else 300
    a, b = (10.0 ** rng.uniform(-limit, limit, 200) for _ in range(2))
    x = numpy.concatenate([a, a, rng.uniform(-1, 1, 200)]).astype(dtype)
    y = numpy.concatenate([b, a * rng.uniform(-3, 3, 200), rng.uniform(-1, 1, 200)]).astype(dtype)
    result = apply(name, dtype, x, y)
    with mp.workprec(200):
        for a, b, r in zip(x.tolist(), y.tolist(), result.tolist(), strict=True):
            assert error(r, getattr(mp, name)(a, b), BITS[dtype]) <= 1.5, (a, b, r)


def same(a, b, bound=1e-6):
    """Equal up to rounding, signs of zeros and nan included."""
    a, b = numpy.asarray(a, numpy.float64), numpy.asarray(b, numpy.float64)
    with numpy.errstate(all="ignore"):
        close = (a == b) | (abs(a - b) <= bound * abs(b)) | (abs(b) > 1e39) & numpy.isinf(a)
    signs = numpy.signbit(a) == numpy.signbit(b)
    return (numpy.isnan(a) & numpy.isnan(b)) | (close & signs)


UNARY_OF_NUMPY = {
    "exp": "exp",
    "exp2": "exp2",
    "expm1": "expm1",
    "log": "log",
    "log1p": "log1p",
    "log2": "log2",
    "log10": "log10",
    "sqrt": "sqrt",
    "sin": "sin",
    "cos": "cos",
    "tan": "tan",
    "asin": "arcsin",
    "acos": "arccos",
    "atan": "arctan",
    "sinh": "sinh",
    "cosh": "cosh",
    "tanh": "tanh",
    "asinh": "arcsinh",
    "acosh": "arccosh",
    "atanh": "arctanh",
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", UNARY_OF_NUMPY)
def test_special_values(name, dtype):
    least = float(numpy.finfo(dtype).smallest_subnormal)
    x = numpy.array([*SPECIAL, least, -least], dtype)
    with numpy.errstate(all="ignore"):
        expected = getattr(numpy, UNARY_OF_NUMPY[name])(x.astype(numpy.float64)).astype(dtype)
    assert same(apply(name, dtype, x), expected).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["power", "arctan2", "hypot", "fmod", "nextafter"])
def test_special_pairs(name, dtype):
    values = [*SPECIAL, 1e30, -1e30, 2.5, -2.5, 1e-30, -1e-30, 2.0**23 + 1, 2.0**24, 4e-46]
    x, y = (v.ravel() for v in numpy.meshgrid(numpy.array(values, dtype), values))
    y = y.astype(dtype)
    ours = {"power": "pow", "arctan2": "atan2"}.get(name, name)
    with numpy.errstate(all="ignore"):
        expected = getattr(numpy, name)(x, y)
    assert same(apply(ours, dtype, x, y), expected, 2e-6).all()


EDGES = {
    "sigmoid": [(0.0, 0.5), (INFINITY, 1.0), (-INFINITY, 0.0), (NAN, NAN), (-1000.0, 0.0)],
    "rsqrt": [(0.0, INFINITY), (-0.0, -INFINITY), (INFINITY, 0.0), (-1.0, NAN), (NAN, NAN)],
    "erf": [(0.0, 0.0), (-0.0, -0.0), (INFINITY, 1.0), (-INFINITY, -1.0), (NAN, NAN)],
    "erfc": [(0.0, 1.0), (INFINITY, 0.0), (-INFINITY, 2.0), (NAN, NAN)],
    "erfcx": [(0.0, 1.0), (INFINITY, 0.0), (-INFINITY, INFINITY), (NAN, NAN)],
    "erfinv": [
        (0.0, 0.0),
        (-0.0, -0.0),
        (1.0, INFINITY),
        (-1.0, -INFINITY),
        (1.5, NAN),
        (-1.5, NAN),
        (NAN, NAN),
    ],
    "ndtr": [(0.0, 0.5), (INFINITY, 1.0), (-INFINITY, 0.0), (NAN, NAN)],
    "ndtri": [(0.5, 0.0), (0.0, -INFINITY), (1.0, INFINITY), (-0.1, NAN), (1.1, NAN), (NAN, NAN)],
    "log_ndtr": [(-INFINITY, -INFINITY), (INFINITY, -0.0), (NAN, NAN), (0.0, plain.log(0.5))],
    "lgamma": [
        (0.0, INFINITY),
        (-0.0, INFINITY),
        (1.0, 0.0),
        (2.0, 0.0),
        (-1.0, INFINITY),
        (-7.0, INFINITY),
        (INFINITY, INFINITY),
        (-INFINITY, INFINITY),
        (NAN, NAN),
        (1e30, 1e30 * (plain.log(1e30) - 1)),
    ],
    "digamma": [
        (0.0, -INFINITY),
        (-0.0, INFINITY),
        (-1.0, NAN),
        (-INFINITY, NAN),
        (INFINITY, INFINITY),
        (NAN, NAN),
    ],
    "i0": [(1e16, INFINITY), (0.0, 1.0), (INFINITY, INFINITY), (-INFINITY, INFINITY), (NAN, NAN)],
    "i0e": [(0.0, 1.0), (INFINITY, 0.0), (-INFINITY, 0.0), (NAN, NAN)],
    "i1": [
        (1e16, INFINITY),
        (0.0, 0.0),
        (-0.0, -0.0),
        (INFINITY, INFINITY),
        (-INFINITY, -INFINITY),
        (NAN, NAN),
    ],
    "i1e": [(0.0, 0.0), (-0.0, -0.0), (INFINITY, 0.0), (-INFINITY, -0.0), (NAN, NAN)],
    "sinc": [(0.0, 1.0), (-0.0, 1.0), (INFINITY, 0.0), (-INFINITY, 0.0), (NAN, NAN)],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EDGES)
def test_edges(name, dtype):
    x, expected = (numpy.array(v, dtype) for v in zip(*EDGES[name], strict=True))
    assert same(apply(name, dtype, x), expected).all(), (x, apply(name, dtype, x))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["lgamma", "digamma"])
def test_gamma_left_of_zero_to_an_absolute_bound(name, dtype):
    x = numpy.random.default_rng(4).uniform(-20, -1e-3, 300).astype(dtype)
    y = apply(name, dtype, x)
    function = mp.digamma if name == "digamma" else lambda x: mp.log(abs(mp.gamma(x)))
    with mp.workprec(150):
        for a, b in zip(x.tolist(), y.tolist(), strict=True):
            reference = function(mpmath.mpf(a))
            # What one rounding of the argument can do, the conditioning of the function
            distance = abs(a - round(a)) or 1
            bound = 8 * (1 + abs(reference) + 1 / distance) * 2.0 ** -BITS[dtype]
            assert abs(b - reference) <= bound, (a, b, reference)


@pytest.mark.parametrize("dtype", DTYPES)
def test_exponents_taken_apart_and_put_together(dtype):
    kind = by_name(dtype)
    x = points(dtype, ANY, [(-4, 4)], 300)
    m, e = evaluate(list(math.frexp(load(0, kind))), [x])
    expected = numpy.frexp(x)
    assert (m == expected[0]).all() and (e == expected[1]).all()
    for steps in (-2100, -160, -30, -1, 0, 1, 30, 160, 2100):
        with numpy.errstate(all="ignore"):
            expected = numpy.ldexp(m, steps)
        assert same(apply("ldexp", dtype, m, numpy.full(m.shape, steps)), expected, 1e-3).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_division_of_floats_as_in_python(dtype):
    rng = numpy.random.default_rng(5)
    x = numpy.concatenate([rng.normal(0, 50, 300), rng.integers(-9, 9, 300)]).astype(dtype)
    y = numpy.concatenate([rng.normal(0, 3, 300), rng.integers(-4, 4, 300)]).astype(dtype)
    x, y = x[y != 0], y[y != 0]
    exact = [(fractions.Fraction(a), fractions.Fraction(b)) for a, b in zip(x.tolist(), y.tolist())]
    quotient = numpy.array([float(a // b) for a, b in exact], dtype)
    rest = numpy.array([float(a % b) for a, b in exact])
    assert (apply("floor_divide", dtype, x, y) == quotient).all()
    # The remainder, exact but for the last addition, may round to the divisor.
    assert numpy.isclose(apply("remainder", dtype, x, y), rest, rtol=0, atol=1e-6).all()
    assert (apply("floor_divide", dtype, [1, -1, 0], [0, 0, 0])[:2] == [INFINITY, -INFINITY]).all()


INTEGERS = ["uint8", "int8", "int16", "int32", "int64"]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_division_of_integers_as_in_python(dtype):
    info = numpy.iinfo(dtype)
    rng = numpy.random.default_rng(6)
    x = rng.integers(info.min, info.max, 500, dtype, endpoint=True)
    y = rng.integers(max(info.min, -9), 9, 500, dtype)
    x, y = x[y != 0], y[y != 0]
    inside = ~((x == info.min) & (y == -1)) if info.min else y != 0
    x, y = x[inside], y[inside]
    for name, function in (("floor_divide", int.__floordiv__), ("remainder", int.__mod__)):
        expected = [function(a, b) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
        assert apply(name, dtype, x, y).tolist() == expected


@pytest.mark.parametrize("dtype", INTEGERS)
def test_whole_powers_wrap(dtype):
    info = numpy.iinfo(dtype)
    rng = numpy.random.default_rng(7)
    x = rng.integers(info.min, info.max, 400, dtype, endpoint=True)
    x[:100] = rng.integers(-3 if info.min else 0, 3, 100)
    n = rng.integers(0, info.max, 400, dtype, endpoint=True)
    n[::2] = rng.integers(0, 70, 200)
    modulus = 1 << info.bits
    expected = [pow(a, b, modulus) for a, b in zip(x.tolist(), n.tolist(), strict=True)]
    expected = [e - modulus if e > info.max else e for e in expected]
    assert apply("ipow", dtype, x, n).tolist() == expected
    kind = by_name(dtype)
    fixed = evaluate([math.ipow(load(0, kind), 5)], [x])[0]
    assert [int(v) % modulus for v in fixed] == [pow(a, 5, modulus) for a in x.tolist()]
    if info.min:
        below = apply("ipow", dtype, [1, -1, -1, 2, 0], [-3, -3, -2, -1, -1])
        assert below.tolist() == [1, -1, 1, 0, 0]


def exact_fma(a, b, c, dtype):
    """By fractions: rounded once to nearest, ties to even."""
    total = fractions.Fraction(a) * fractions.Fraction(b) + fractions.Fraction(c)
    bits, least = (24, -149) if dtype == "float32" else (53, -1074)
    if total == 0:
        return 0.0
    top = abs(total.numerator).bit_length() - total.denominator.bit_length()
    exponent = top if abs(total) >= fractions.Fraction(2) ** top else top - 1
    unit = fractions.Fraction(2) ** max(exponent - bits + 1, least)
    return float(round(total / unit) * unit)


@pytest.mark.parametrize("dtype", DTYPES)
def test_fused_multiply_add_rounds_once(dtype):
    rng = numpy.random.default_rng(8)
    span = (-75, -60) if dtype == "float32" else (-540, -520)

    def numbers(low, high, count=400):
        mantissa = rng.uniform(1, 2, count) * rng.choice([-1, 1], count)
        return numpy.ldexp(mantissa, rng.integers(low, high, count)).astype(dtype)

    a, b, c = numbers(-5, 5), numbers(-5, 5), numbers(-40, 10)
    d, e = numbers(*span), numbers(*span)
    a, b, c = (numpy.concatenate(v) for v in ((a, a, d, d), (b, b, e, e), (c, -a * b, -d * e, d)))
    fma = fma32 if dtype == "float32" else fma64
    expected = [exact_fma(*v, dtype) for v in zip(a.tolist(), b.tolist(), c.tolist(), strict=True)]
    assert (fma(a, b, c) == numpy.array(expected)).all()
    few = [fma(a[k : k + 8], b[k : k + 8], c[k : k + 8]) for k in range(0, len(a), 8)]
    assert (numpy.concatenate(few) == numpy.array(expected)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_fused_multiply_add_of_hard_numbers(dtype):
    a, b, c = (v.ravel() for v in numpy.meshgrid(*[numpy.array(SPECIAL, dtype)] * 3))
    with numpy.errstate(invalid="ignore"):
        result = (fma32 if dtype == "float32" else fma64)(a, b, c)
        expected = a * b + c  # exact for these
    numpy.testing.assert_array_equal(result, expected)
    assert (numpy.signbit(result) == numpy.signbit(expected))[~numpy.isnan(expected)].all()
