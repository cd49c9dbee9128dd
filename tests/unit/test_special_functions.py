"""The functions of `torch.special`: against mpmath, at the ends of their domains, and where PyTorch
is wrong; their derivatives against differences.
"""

import mpmath
import numpy
import pytest
from mpmath import mp

import flambeau as ft
from flambeau import ir
from flambeau.types import by_name

INFINITY, NAN = float("inf"), float("nan")


def value(name, dtype, *arguments):
    """The function on NumPy arrays."""
    given = [ft.tensor(numpy.asarray(a), dtype=getattr(ft, dtype)) for a in arguments]
    return getattr(ft.special, name)(*given).numpy()


def size_of(j, y):
    """The amplitude of a wave with these two components: what errors near its zeros count by."""
    return lambda x: mp.hypot(j(x), y(x))


def j(order):
    return lambda x: mp.besselj(order, x)


def y(order):
    return lambda x: mp.bessely(order, abs(x))


def k_scaled(order):
    return lambda x: mp.besselk(order, x) * mp.exp(x)


def never(x):
    return mp.mpf(0)


# name: reference, amplitude where it oscillates, intervals
ONE = {
    "bessel_j0": (j(0), size_of(j(0), y(0)), [(-20, 20), (20, 1e5)]),
    "bessel_j1": (j(1), lambda x: size_of(j(1), y(1))(x) if abs(x) > 2 else 0, [(-20, 20)]),
    "bessel_y0": (y(0), size_of(j(0), y(0)), [(0, 2), (0, 20), (20, 1e5)]),
    "bessel_y1": (y(1), size_of(j(1), y(1)), [(0, 3), (2, 20)]),
    "modified_bessel_k0": (lambda x: mp.besselk(0, x), never, [(0, 2), (1, 700)]),
    "modified_bessel_k1": (lambda x: mp.besselk(1, x), never, [(0, 2), (1, 700)]),
    "scaled_modified_bessel_k0": (k_scaled(0), never, [(0, 2), (1, 1e5)]),
    "scaled_modified_bessel_k1": (k_scaled(1), never, [(0, 2), (1, 1e5)]),
    "spherical_bessel_j0": (lambda x: mp.sin(x) / x, never, [(-20, 20)]),
    "airy_ai": (
        mp.airyai,
        lambda x: mp.hypot(mp.airyai(x), mp.airybi(x)) if x < 0 else 0,
        [(-20, 2), (1, 100), (-1e5, -20)],
    ),
}
POLYNOMIALS = {
    "chebyshev_polynomial_t": mp.chebyt,
    "chebyshev_polynomial_u": mp.chebyu,
    "chebyshev_polynomial_v": lambda n, x: mp.chebyu(n, x) - mp.chebyu(n - 1, x),
    "chebyshev_polynomial_w": lambda n, x: mp.chebyu(n, x) + mp.chebyu(n - 1, x),
    "hermite_polynomial_h": mp.hermite,
    "hermite_polynomial_he": lambda n, x: mp.hermite(n, x / mp.sqrt(2)) / mp.sqrt(2) ** n,
    "laguerre_polynomial_l": lambda n, x: mp.laguerre(n, 0, x),
    "legendre_polynomial_p": mp.legendre,
}
for _kind in "tuvw":
    POLYNOMIALS[f"shifted_chebyshev_polynomial_{_kind}"] = (
        lambda n, x, plain=POLYNOMIALS[f"chebyshev_polynomial_{_kind}"]: plain(n, 2 * x - 1)
    )


def error(got, want, size, bits):
    """The error in units of the last place of what is larger, the value or the amplitude."""
    scale = max(abs(want), size)
    unit = mp.mpf(2) ** max(mp.mag(scale) - bits, -1074 if bits == 53 else -149)
    return abs(mp.mpf(float(got)) - want) / unit


def worst(got, want, sizes, dtype):
    bits = 53 if dtype == "float64" else 24
    return max(error(g, w, s, bits) for g, w, s in zip(got, want, sizes, strict=True))


LARGEST = {"float32": 2, "float64": 4}


@pytest.mark.parametrize("dtype", LARGEST)
@pytest.mark.parametrize("name", ONE)
def test_of_one_argument(name, dtype):
    reference, amplitude, intervals = ONE[name]
    rng = numpy.random.default_rng(1)
    for low, high in intervals:
        x = rng.uniform(low, high, 25).astype(dtype)
        with mp.workdps(40):
            exact = [mp.mpf(float(v)) for v in x]
            want = [reference(v) for v in exact]
            sizes = [amplitude(v) for v in exact]
            assert worst(value(name, dtype, x), want, sizes, dtype) <= LARGEST[dtype]


@pytest.mark.parametrize("dtype", LARGEST)
@pytest.mark.parametrize("name", POLYNOMIALS)
def test_polynomials(name, dtype):
    rng = numpy.random.default_rng(2)
    x, n = rng.uniform(-2, 2, 30).astype(dtype), rng.integers(1, 25, 30)
    with mp.workdps(60):
        want = [POLYNOMIALS[name](int(m), mp.mpf(float(v))) for v, m in zip(x, n, strict=True)]
        assert worst(value(name, dtype, x, n), want, [0] * 30, dtype) <= 1


def test_degrees_of_polynomials():
    x = ft.tensor([0.5, -2.0], dtype=ft.float64)
    for name in POLYNOMIALS:
        f = getattr(ft.special, name)
        assert f(x, -1).tolist() == [0, 0] and f(x, 0.9).tolist() == [1, 1]
        assert f(x, 3.7).tolist() == f(x, 3).tolist() == f(x, ft.tensor([3, 3])).tolist()
        assert f(0.5, ft.tensor(3.0, dtype=ft.float64)).item() == f(x, 3)[0].item()
        assert f(x, 10.0**9).isnan().all()
    # Overflow of what is large, and only of that
    assert ft.special.hermite_polynomial_h(x, 1000).isinf().all()
    assert ft.special.chebyshev_polynomial_t(x, 5001).tolist()[1] == -INFINITY


@pytest.mark.parametrize("dtype", LARGEST)
def test_zeta(dtype):
    rng = numpy.random.default_rng(3)
    for low, high, far in ((1, 3, 3), (2, 30, 5), (1, 4, 1e4)):
        s, q = rng.uniform(low, high, 25).astype(dtype), rng.uniform(0, far, 25).astype(dtype)
        with mp.workdps(60):
            pairs = zip(s, q, strict=True)
            want = [mp.zeta(mp.mpf(float(a)), mp.mpf(float(b))) for a, b in pairs]
            assert worst(value("zeta", dtype, s, q), want, [0] * 25, dtype) <= LARGEST[dtype]


@pytest.mark.parametrize("dtype", LARGEST)
@pytest.mark.parametrize("name", ["gammainc", "gammaincc"])
def test_incomplete_gamma(name, dtype):
    rng = numpy.random.default_rng(4)
    a = numpy.concatenate([rng.uniform(0, 1, 15), rng.uniform(1, 30, 25), rng.uniform(30, 999, 25)])
    x = numpy.concatenate([rng.uniform(0, 1.2, 15), rng.uniform(0, 40, 25)])
    x = numpy.concatenate([x, a[40:] + rng.normal(0, 2, 25) * numpy.sqrt(a[40:])])
    a, x = a.astype(dtype), x.astype(dtype)
    with mp.workdps(50):
        want = []
        for p, q in zip(a, x, strict=True):
            p, q = mp.mpf(float(p)), mp.mpf(float(q))
            ends = (0, q) if name == "gammainc" else (q, mp.inf)
            want.append(mp.gammainc(p, *ends, regularized=True))
        assert worst(value(name, dtype, a, x), want, [0] * 65, dtype) <= LARGEST[dtype]


# Where PyTorch gives something else: name, arguments, the value.
WRONG_ELSEWHERE = [
    ("i0", (INFINITY,), INFINITY), ("i1", (-INFINITY,), -INFINITY),
    ("ndtr", (-10.0,), 7.61985302416052606597e-24), ("ndtr", (-8.0,), 6.22096057427178412352e-16),
    ("airy_ai", (INFINITY,), 0.0), ("airy_ai", (-INFINITY,), 0.0),
    ("airy_ai", (-2.09,), 0.17005055173203003254), ("bessel_j0", (INFINITY,), 0.0),
    ("bessel_j1", (-INFINITY,), 0.0), ("bessel_y0", (INFINITY,), 0.0),
    ("bessel_y1", (INFINITY,), 0.0), ("modified_bessel_i0", (INFINITY,), INFINITY),
    ("sinc", (INFINITY,), 0.0), ("polygamma", (1, -1.0), INFINITY), ("zeta", (INFINITY, 1.0), 1.0),
    ("logit", (0.5000001,), 3.99999999789462994e-7), ("digamma", (0.0,), -INFINITY),
    ("erfcx", (INFINITY,), 0.0), ("polygamma", (2, INFINITY), 0.0),
    ("polygamma", (171, 3.0), 1.0688636146529578319e227),
    ("i0", (-INFINITY,), INFINITY), ("modified_bessel_i1", (INFINITY,), INFINITY),
    ("sinc", (-INFINITY,), 0.0), ("bessel_j0", (10.0,), -0.2459357644513483352),
    ("bessel_j1", (10.0,), 0.04347274616886143667), ("bessel_y0", (10.0,), 0.055671167283599391424),
    ("bessel_y1", (10.0,), 0.24901542420695388392),
    ("gammainc", (1e5, 100100.0), 0.62444513070440549542),
]  # fmt: skip


@pytest.mark.parametrize("name, arguments, want", WRONG_ELSEWHERE)
def test_right_where_pytorch_is_wrong(name, arguments, want):
    *first, last = arguments
    if name == "polygamma":
        got = ft.special.polygamma(*first, ft.tensor(last, dtype=ft.float64)).item()
    else:
        got = value(name, "float64", *arguments).item()
    assert got == pytest.approx(want, rel=1e-15, abs=0)


def test_lower_tail_in_single_precision():
    got = value("ndtr", "float32", [-5.0, -8.0])
    numpy.testing.assert_allclose(
        got, [2.8665157187919391167e-7, 6.2209605742717841235e-16], rtol=1e-7
    )


ENDS = [
    ("bessel_y0", (0.0,), -INFINITY), ("bessel_y1", (-1.0,), NAN),
    ("modified_bessel_k0", (0.0,), INFINITY), ("modified_bessel_k1", (-1.0,), NAN),
    ("scaled_modified_bessel_k1", (INFINITY,), 0.0), ("spherical_bessel_j0", (0.0,), 1.0),
    ("spherical_bessel_j0", (-INFINITY,), 0.0), ("zeta", (1.0, 2.0), INFINITY),
    ("zeta", (0.5, 2.0), NAN), ("zeta", (3.0, -2.0), INFINITY), ("zeta", (2.5, -0.5), NAN),
    ("zeta", (2.0, INFINITY), 0.0), ("gammainc", (0.0, 0.0), NAN), ("gammainc", (0.0, 1.0), 1.0),
    ("gammainc", (INFINITY, 1.0), 0.0), ("gammainc", (1.0, INFINITY), 1.0),
    ("gammaincc", (INFINITY, INFINITY), NAN), ("gammaincc", (-1.0, 1.0), NAN),
    ("gammaincc", (1e-20, 1e-3), 6.3315393641361493e-20), ("gammainc", (1e300, 1e300), 0.5),
]  # fmt: skip


# The ends of the range of exponents, and switches between formulas (Arb, to 53 bits)
HARD = [
    ("airy_ai", (-1000000000000000.0,), -7.183314472912152e-05),
    ("airy_ai", (-7e+20,), -1.4371518657576047e-06), ("gammaln", (-5e-324,), 744.4400719213812),
    ("gammaln", (-3e-322,), 740.3291980572079),
    ("hermite_polynomial_h", (1.590827681622569, 282.0), -INFINITY),
    ("hermite_polynomial_h", (2e+31, 121.0), INFINITY),
    ("hermite_polynomial_h", (0.00636575397707392, 280.0), INFINITY),
    ("hermite_polynomial_he", (5e-324, 173.0), 9.733215428827953e-167),
    ("legendre_polynomial_p", (1.8e+27, 165.0), INFINITY),
    ("chebyshev_polynomial_t", (-5.5e+154, 1.0), -5.5e+154),
    ("shifted_chebyshev_polynomial_u", (2.5e+246, 1.0), 1e+247),
    ("shifted_chebyshev_polynomial_t", (-1.6e+308, 9.0), -INFINITY),
    ("scaled_modified_bessel_k0", (1.5,), 0.9582100532948965),
    ("gammaincc", (0.06447895110579534, 0.9999999999792063), 0.015064318954801028),
    ("gammaincc", (3e-161, 1.45), 3.2333231960692975e-162), ("gammainc", (25.0, 7e+185), 1.0),
    ("gammaincc", (2.5e+150, 2.7e+182), 0.0),
    ("modified_bessel_k1", (1e-300,), 9.999999999999999e+299),
]  # fmt: skip


@pytest.mark.parametrize("name, arguments, want", HARD)
def test_hard_points(name, arguments, want):
    got = value(name, "float64", *arguments).item()
    assert got == want or abs(got - want) <= 4 * numpy.spacing(abs(want))


@pytest.mark.parametrize("name, arguments, want", ENDS)
def test_ends_of_domains(name, arguments, want):
    got = value(name, "float64", *arguments).item()
    assert got == pytest.approx(want, rel=1e-14, nan_ok=True)


def test_zeta_left_of_zero():
    with mp.workdps(40):
        want = mp.zeta(3, mp.mpf("0.25")) + sum((mp.mpf("0.25") - k) ** -3 for k in range(1, 8))
    assert value("zeta", "float64", 3.0, -6.75).item() == pytest.approx(float(want), rel=4e-16)
    assert value("zeta", "float64", 2.0, -1e15 - 0.5).item() == pytest.approx(numpy.pi**2)


@pytest.mark.parametrize("name", ONE)
def test_derivatives_of_one_argument(name):
    x = ft.tensor([0.3, 0.9, 1.7, 2.6], dtype=ft.float64, requires_grad=True)
    f = getattr(ft.special, name)
    assert ft.autograd.gradcheck(f, (x,)) and ft.autograd.gradgradcheck(f, (x,))


@pytest.mark.parametrize("name", POLYNOMIALS)
def test_derivatives_of_polynomials(name):
    x = ft.tensor([0.3, -0.9, 1.7, 1.0, -1.0], dtype=ft.float64, requires_grad=True)
    n = ft.tensor([0.0, 1, 2, 3.5, 6], dtype=ft.float64)

    def f(x):
        return getattr(ft.special, name)(x, n)

    assert ft.autograd.gradcheck(f, (x,)) and ft.autograd.gradgradcheck(f, (x,))


@pytest.mark.parametrize("name", ["zeta", "gammainc", "gammaincc"])
def test_derivatives_in_both_arguments(name):
    a = ft.tensor([1.5, 2.7, 12.0, 40.0], dtype=ft.float64, requires_grad=True)
    x = ft.tensor([0.5, 4.7, 14.0, 39.0], dtype=ft.float64, requires_grad=True)
    f = getattr(ft.special, name)
    assert ft.autograd.gradcheck(f, (a, x)) and ft.autograd.gradgradcheck(f, (a, x))


def test_derivative_of_incomplete_gamma_in_a():
    a = ft.tensor([1e6, 0.0, 1.0, 1.0], dtype=ft.float64, requires_grad=True)
    x = ft.tensor([1.0003e6, 0.5, 0.0, INFINITY], dtype=ft.float64)
    (slope,) = ft.autograd.grad(ft.special.gammainc(a, x).sum(), a)
    assert slope[1].item() == pytest.approx(-float(mpmath.e1(0.5)), rel=1e-14)
    assert slope[2:].tolist() == [0, 0]
    assert slope[0].item() == pytest.approx(-3.8133e-4, rel=1e-4)


ANALYTIC = {
    "airy_ai": mp.airyai,
    "digamma": mp.digamma,
    "erf": mp.erf,
    "erfc": mp.erfc,
    "erfcx": lambda z: mp.exp(z * z) * mp.erfc(z),
    "log_ndtr": lambda z: mp.log(mp.erfc(-z / mp.sqrt(2)) / 2),
    "ndtr": lambda z: mp.erfc(-z / mp.sqrt(2)) / 2,
    "sinc": lambda z: mp.sin(mp.pi * z) / (mp.pi * z),
    "spherical_bessel_j0": lambda z: mp.sin(z) / z,
}


def complex_points(count, largest):
    """In all directions, some of them close to an axis."""
    rng = numpy.random.default_rng(6)
    size = numpy.exp(rng.uniform(numpy.log(1e-3), numpy.log(largest), count))
    angle = rng.uniform(-numpy.pi, numpy.pi, count)
    angle[::4] = (
        rng.choice([0, 0.5, 1, -0.5], count)[::4] * numpy.pi + rng.normal(0, 1e-3, count)[::4]
    )
    return size * numpy.exp(1j * angle)


@pytest.mark.parametrize("dtype, unit", [("complex128", 2.0**-52), ("complex64", 2.0**-23)])
@pytest.mark.parametrize("name", ANALYTIC)
def test_of_complex_numbers(name, dtype, unit):
    z = complex_points(60, 25 if dtype == "complex128" else 8).astype(dtype)
    with mp.workdps(300):
        want = [ANALYTIC[name](mp.mpc(complex(v))) for v in z]
    got = value(name, dtype, z)
    errors = [abs(mp.mpc(complex(g)) - w) / abs(w) for g, w in zip(got, want, strict=True)]
    assert max(errors) <= 8 * unit


@pytest.mark.parametrize("name", POLYNOMIALS)
def test_polynomials_of_complex_numbers(name):
    z, n = complex_points(40, 4), numpy.arange(40) % 11 + 1
    with mp.workdps(40):
        want = [POLYNOMIALS[name](int(m), mp.mpc(v)) for v, m in zip(z, n, strict=True)]
    got = getattr(ft.special, name)(ft.tensor(z), ft.tensor(n)).tolist()
    assert max(abs(mp.mpc(g) - w) / abs(w) for g, w in zip(got, want, strict=True)) <= 2.0**-52


@pytest.mark.parametrize("name", [*ANALYTIC, "expit", "exp2", "expm1", "log1p", "logit"])
def test_derivatives_in_the_complex_plane(name):
    z = [0.3 + 0.4j, -1.2 + 0.7j, 2.5 - 1.1j, 0.01 + 0.02j]
    z = ft.tensor(z, dtype=ft.complex128, requires_grad=True)
    f = getattr(ft.special, name)
    assert ft.autograd.gradcheck(f, (z,)) and ft.autograd.gradgradcheck(f, (z,))


@pytest.mark.parametrize(
    "name", ["xlogy", "xlog1py", "hermite_polynomial_h", "legendre_polynomial_p"]
)
def test_derivatives_of_two_complex_arguments(name):
    f = getattr(ft.special, name)
    z = ft.tensor([0.3 + 0.4j, -1.2 + 0.7j], dtype=ft.complex128, requires_grad=True)
    n = ft.tensor([3.0, 4.0], dtype=ft.complex128 if name[0] == "x" else ft.float64)
    if name[0] == "x":
        n.requires_grad_(True)
    assert ft.autograd.gradcheck(f, (z, n)) and ft.autograd.gradgradcheck(f, (z, n))


def test_edges_of_complex_arguments():
    def at(name, z):
        return value(name, "complex128", z).item()

    assert at("erf", complex(INFINITY, 1)) == 1 and at("erf", 1e200 + 1e200j).real == 1
    assert at("erf", 1e5j).imag == INFINITY and at("erfc", -1e200 + 1e-200j) == 2
    assert at("sinc", complex(INFINITY, 0)) == 0 and at("erf", -0.5) == -0.5204998778130465
    assert numpy.isnan(at("ndtr", complex(1, INFINITY)).real)
    softened = ft.special.softmax(ft.tensor([1 + 2j, 3 - 1j]), 0)
    assert (softened.sum() - 1).abs() < 1e-6


# Second derivatives where first ones, or their parts, cancel: name, x, both derivatives.
CANCELLING = [
    ("bessel_j1", 1e-9, 0.5, -3.75e-10), ("bessel_j1", 0.0, 0.5, 0.0),
    ("i1", 1e-9, 0.5, 3.75e-10), ("i1", 0.0, 0.5, 0.0), ("sinc", 0.0, 0.0, -(numpy.pi**2) / 3),
    ("sinc", 1e-9, -(numpy.pi**2) / 3 * 1e-9, -(numpy.pi**2) / 3),
    ("spherical_bessel_j0", 0.0, 0.0, -1 / 3), ("i1e", 1e-9, 0.5 - 1e-9, -1.0),
    ("erfcx", 1e8, -5.641895835477562e-17, 1.1283791670955125e-24),
    ("log_ndtr", -1e5, 100000.00001, -0.9999999999), ("log_ndtr", 40.0, 0.0, 0.0),
    ("expm1", -50.0, 1.9287498479639178e-22, 1.9287498479639178e-22),
]  # fmt: skip


@pytest.mark.parametrize("name, x, first, second", CANCELLING)
def test_derivatives_that_would_cancel(name, x, first, second):
    x = ft.tensor(x, dtype=ft.float64, requires_grad=True)
    (slope,) = ft.autograd.grad(getattr(ft.special, name)(x), x, create_graph=True)
    (bend,) = ft.autograd.grad(slope, x)
    assert slope.item() == pytest.approx(first, rel=1e-14, abs=1e-300)
    assert bend.item() == pytest.approx(second, rel=2e-9, abs=1e-300)


@pytest.mark.parametrize("name", ["erfc", "erfcx", "expit", "i1e", "log_ndtr", "ndtr", "sinc"])
def test_single_precision_on_many_numbers(name):
    """Against float64, which other tests hold against mpmath."""
    x = ft.randn(100_000, generator=ft.Generator().manual_seed(1)) * 2
    f = getattr(ft.special, name)
    want = f(x.double()).numpy()
    unit = numpy.spacing(numpy.abs(want).astype(numpy.float32))
    assert (numpy.abs(f(x).numpy() - want) / unit).max() < 2


def test_what_is_refused():
    whole, complex_ = ft.ones(2, dtype=ft.int64), ft.ones(2, dtype=ft.complex64)
    with pytest.raises(NotImplementedError, match="\"igamma_cpu\" not implemented for 'Long'"):
        ft.igamma(whole, whole)
    with pytest.raises(RuntimeError, match="may not be a boolean tensor"):
        ft.special.multigammaln(whole.bool(), 2)
    with pytest.raises(RuntimeError, match="can't be cast to the desired output type Long"):
        whole.polygamma_(1)
    for name in (*ONE, "entr", "ndtri", "i1e"):
        if name not in ANALYTIC:
            with pytest.raises(NotImplementedError, match="not implemented for 'ComplexFloat'"):
                getattr(ft.special, name)(complex_)
        assert getattr(ft.special, name)(whole).dtype is ft.float32
        half = getattr(ft.special, name)(ft.ones(2, dtype=ft.float16))
        assert half.dtype is ft.float16


def test_loops_run_until_every_lane_is_done():
    """Collatz' sequences, whose lengths differ wildly, against Python's."""
    int64 = by_name("int64")

    def length(x):
        one = ir.const(1, int64)

        def step(v, count):
            half = ir.select((v & one).equals(0), v >> one, v * 3 + 1)
            return v.differs(1), [half, count + 1]

        return ir.repeat(step, [x, ir.const(0, int64)], 200)[1]

    def counted(v):
        count = 0
        while v != 1:
            v, count = v // 2 if v % 2 == 0 else 3 * v + 1, count + 1
        return count

    numbers = numpy.arange(1, 60)
    [meaning] = ir.evaluate([length(ir.load(0, int64))], [numbers])
    assert meaning.tolist() == [counted(int(v)) for v in numbers]
