"""Complex functions of `flambeau.ir.math` against mpmath; special values and cuts as in NumPy."""

import itertools

import mpmath
import numpy
import pytest
from mpmath import mp

from flambeau.ir import Pair, evaluate, load, math
from flambeau.types import by_name

DTYPES = ["complex64", "complex128"]
INFINITY, NAN = float("inf"), float("nan")


def apply(name, dtype, *arrays):
    dtype = by_name(dtype)
    body = getattr(math, name)(*(load(i, dtype) for i in range(len(arrays))))
    [result] = evaluate([body], [numpy.asarray(a, dtype.numpy) for a in arrays])
    if not isinstance(body, Pair):
        return result
    made = numpy.empty(numpy.shape(result[0]), dtype.numpy)
    made.real, made.imag = result
    return made


# name: reference, the largest error in units of the last place of the modulus
CASES = {
    "exp": (mp.exp, 2), "expm1": (mp.expm1, 2), "log": (mp.log, 1.5),
    "log1p": (lambda z: mp.log(1 + z), 1.5), "log10": (mp.log10, 2), "sqrt": (mp.sqrt, 1.5),
    "rsqrt": (lambda z: 1 / mp.sqrt(z), 2.5), "reciprocal": (lambda z: 1 / z, 1.5),
    "sin": (mp.sin, 2.2), "cos": (mp.cos, 2.2), "tan": (mp.tan, 2.2),
    "sinh": (mp.sinh, 2.2), "cosh": (mp.cosh, 2.2), "tanh": (mp.tanh, 2.2),
    "asin": (mp.asin, 2), "acos": (mp.acos, 2), "atan": (mp.atan, 2),
    "asinh": (mp.asinh, 2), "acosh": (mp.acosh, 2), "atanh": (mp.atanh, 2),
    "sigmoid": (lambda z: 1 / (1 + mp.exp(-z)), 4),
}  # fmt: skip


def points(dtype, count=40):
    """The plane: all magnitudes, near 0, the unit circle, its points on the axes."""
    rng = numpy.random.default_rng(0)

    def spread(low, high):
        return 10.0 ** rng.uniform(low, high, count) * rng.choice([-1, 1], count)

    circle = numpy.exp(1j * rng.uniform(-numpy.pi, numpy.pi, count)) * (1 + spread(-16, -1))
    near = 1 + spread(-17, -1) + 1j * spread(-17, -1)
    groups = [
        spread(-20, 18) + 1j * spread(-20, 18), spread(-20, 1) + 1j * spread(-20, 1), circle, near,
        -near, 1j * near, rng.uniform(-30, 30, count) + 1j * rng.uniform(-30, 30, count),
    ]  # fmt: skip
    return numpy.concatenate(groups).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_error_stays_below_its_bound(name, dtype):
    function, bound = CASES[name]
    z = points(dtype)
    limits = numpy.finfo(dtype)
    worst = 0.0, None
    for a, b in zip(z.tolist(), apply(name, dtype, z).tolist(), strict=True):
        if abs(a.real) > 1e4 and name in ("exp", "expm1", "sinh", "cosh", "tanh", "sigmoid"):
            continue  # mpmath takes long
        if abs(a.imag) > 1e4 and name in ("sin", "cos", "tan"):
            continue
        with mp.workprec(330):
            reference = mpmath.mpc(function(mpmath.mpc(a)))
            size = abs(reference)
            if size > float(limits.max) / 2:
                continue
            gap = abs(mpmath.mpc(b) - reference) / max(size, float(limits.tiny))
        worst = max(worst, (float(gap / float(limits.eps)), str(a)))
    assert worst[0] <= bound, worst


@pytest.mark.parametrize("dtype", DTYPES)
def test_powers(dtype):
    rng = numpy.random.default_rng(1)
    z = (10.0 ** rng.uniform(-5, 5, 200) * numpy.exp(1j * rng.uniform(-3.1, 3.1, 200))).astype(
        dtype
    )
    w = (rng.uniform(-4, 4, 200) + 1j * rng.uniform(-3, 3, 200)).astype(dtype)
    w[:50] = w[:50].real
    for a, b, c in zip(z.tolist(), w.tolist(), apply("pow", dtype, z, w).tolist(), strict=True):
        with mp.workprec(200):
            reference = mpmath.mpc(a) ** mpmath.mpc(b)
            gap = abs(mpmath.mpc(c) - reference) / abs(reference) / float(numpy.finfo(dtype).eps)
        # exp(w log z) in the numbers' own precision, or for complex64 in float64
        assert gap <= (1 if dtype == "complex64" else 1 + 3 * abs(b) * 12), (a, b, c)


@pytest.mark.parametrize("dtype", DTYPES)
def test_powers_at_zero(dtype):
    z, w = [0, 0, 0, 2, INFINITY], [2, 1 + 1j, 0, 0, -1]
    assert apply("pow", dtype, z, w).tolist() == [0, 0, 1, 1, 0]


def agree(a, b):
    with numpy.errstate(all="ignore"):
        close = (a == b) | (abs(a - b) <= 1e-12 * numpy.maximum(1, abs(b)))
    signs = (numpy.signbit(a) == numpy.signbit(b)) | ((abs(b) < 1e-14) & (b != 0))
    return (numpy.isnan(a) & numpy.isnan(b)) | (close & signs)


NUMPY = {
    "exp": "exp", "log": "log", "sqrt": "sqrt", "sinh": "sinh", "cosh": "cosh", "tanh": "tanh",
    "sin": "sin", "cos": "cos", "tan": "tan", "asin": "arcsin", "acos": "arccos", "atan": "arctan",
    "asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh",
}  # fmt: skip


@pytest.mark.parametrize("name", NUMPY)
def test_special_values_and_sides_of_cuts(name):
    values = [0.0, -0.0, 1.0, -1.0, 0.5, -2.0, 2.0, INFINITY, -INFINITY, NAN]
    z = numpy.array([complex(a, b) for a, b in itertools.product(values, values)])
    with numpy.errstate(all="ignore"):
        expected = getattr(numpy, NUMPY[name])(z)
    y = apply(name, "complex128", z)
    # C99 leaves the signs open beside nan and of two infinities.
    vague = numpy.isnan(z) | numpy.isnan(expected) | (numpy.isinf(z.real) & numpy.isinf(z.imag))
    for part in (y, expected):
        part.real[vague], part.imag[vague] = abs(part.real[vague]), abs(part.imag[vague])
    bad = ~(agree(y.real, expected.real) & agree(y.imag, expected.imag))
    assert not bad.any(), list(zip(z[bad], y[bad], expected[bad], strict=True))[:5]


def test_overflow_only_where_the_result_does():
    big = numpy.array([1e300 + 1e300j, -3e307 + 1e-300j, 1e-310 + 1e-310j, 5e-324 + 0j])
    expected = [complex(mp.sqrt(mpmath.mpc(z))) for z in big.tolist()]
    assert numpy.allclose(apply("sqrt", "complex128", big), expected, rtol=1e-14, atol=0)
    expected = [complex(1 / mpmath.mpc(z)) for z in big[:3].tolist()]
    assert numpy.allclose(
        apply("reciprocal", "complex128", big[:2]), expected[:2], rtol=1e-14, atol=0
    )
    for name in ("log", "asinh", "acosh", "asin"):
        expected = [complex(getattr(mp, name)(mpmath.mpc(z))) for z in big[:2].tolist()]
        assert numpy.allclose(apply(name, "complex128", big[:2]), expected, rtol=1e-14, atol=0)
    near = numpy.array([710.2 + 1.5707963267948966j, -745.0 + 1j])
    with mp.workprec(200):
        expected = [complex(mp.exp(mpmath.mpc(z))) for z in near.tolist()]
    assert numpy.allclose(apply("exp", "complex128", near), expected, rtol=1e-13, atol=0)
    assert apply("abs", "complex128", [3e300 + 4e300j, 3e-320 + 4e-320j]).tolist() == [
        5e300,
        5e-320,
    ]
