"""The functions of `flambeau.special` that PyTorch does not have: against mpmath, at the ends of
their domains, and their derivatives against differences.
"""

import numpy
import pytest
from mpmath import mp

import flambeau as ft
from flambeau._base import knobs

INFINITY, NAN = float("inf"), float("nan")
INTERPRETED = knobs.backend == "interpret"  # then derivatives are checked along one direction
source = numpy.random.default_rng(5)


def uniform(low, high, count=6):
    return source.uniform(low, high, count)


def spread(low, high, count=6):
    """Evenly on a logarithmic scale."""
    return numpy.exp(source.uniform(numpy.log(low), numpy.log(high), count))


def joined(*parts):
    return numpy.concatenate(parts)


def amplitude(v, x):
    return mp.hypot(mp.besselj(v, x), mp.bessely(v, x)) if x > abs(v) else 0


def inverse(function, low, high):
    """Where `function`, of which only the last argument is unknown, has a value: by halving."""

    def found(*arguments):
        *others, wanted = arguments
        ends = [mp.mpf(low), mp.mpf(high)]
        for _ in range(130):
            middle = (ends[0] + ends[1]) / 2
            ends[function(*others, middle) > wanted] = middle
        return ends[0]

    return found


def lower(a, u):
    return mp.gammainc(a, 0, mp.exp(u), regularized=True)


def upper(a, u):
    return -mp.gammainc(a, mp.exp(u), mp.inf, regularized=True)


def beta(a, b, x):
    return mp.betainc(a, b, 0, x, regularized=True)


def beta_of_odds(a, b, u):
    return beta(a, b, 1 / (1 + mp.exp(-u)))


orders = joined(uniform(0, 5), numpy.arange(6.0), uniform(-4, 40), uniform(0, 150))
places = joined(uniform(0, 30), uniform(0, 60), uniform(0, 60), uniform(0, 200))
sides = joined(uniform(0, 9), spread(1e-2, 1e2)), joined(uniform(0, 9), spread(1e-2, 1e2))
within = joined(uniform(0, 1), spread(1e-8, 1))
parameters = [joined(uniform(-3, 3), uniform(-8, 8)) for _ in range(2)]
near_one = joined(uniform(-6, 1), 1 - spread(1e-9, 1))
elliptic = joined(uniform(-1, 1), 1 - spread(1e-12, 1), -spread(1e-5, 1e20))
# name: reference, arguments, and the size that errors count by where that is not the value
FUNCTIONS = {
    "jv": (mp.besselj, (orders, places), amplitude),
    "yv": (mp.bessely, (orders, places), amplitude),
    "iv": (mp.besseli, (orders, places)),
    "ive": (lambda v, x: mp.besseli(v, x) * mp.exp(-x), (orders, places)),
    "kv": (mp.besselk, (orders, places)),
    "kve": (lambda v, x: mp.besselk(v, x) * mp.exp(x), (orders, places)),
    "struve": (mp.struveh, (numpy.abs(orders) % 40, places % 60), amplitude),
    "betaln": (lambda a, b: mp.log(mp.beta(a, b)), sides),
    "betainc": (beta, (*sides, within)),
    "betaincinv": (
        lambda *a: 1 / (1 + mp.exp(-inverse(beta_of_odds, -600, 600)(*a))),
        (*(s[::3] + 0.1 for s in sides), within[::3]),
    ),
    "gammaincinv": (
        lambda *a: mp.exp(inverse(lower, -1700, 9)(*a)),
        (sides[0][::2] + 0.02, within[::2]),
    ),
    "gammainccinv": (
        lambda a, y: mp.exp(inverse(upper, -1700, 9)(a, -y)),
        (sides[0][::2] + 0.02, within[::2]),
    ),
    "hyp2f1": (mp.hyp2f1, (*parameters, numpy.abs(parameters[0] + 0.5), near_one)),
    "expn": (mp.expint, (numpy.arange(18) % 9 - 2, joined(uniform(0, 2), uniform(0, 9, 12)))),
    "expi": (mp.ei, (joined(uniform(-60, 0), uniform(0, 1), uniform(0, 80), [0.372507410781366]),)),
    "ellipk": (mp.ellipk, (elliptic,)),
    "ellipe": (mp.ellipe, (elliptic,)),
    "lambertw": (mp.lambertw, (joined(uniform(-0.3678, 1), spread(1e-30, 1e30)),)),
}


def value(name, *arguments, dtype="float64"):
    given = [ft.tensor(numpy.asarray(a), dtype=getattr(ft, dtype)) for a in arguments]
    return getattr(ft.special, name)(*given).numpy()


def errors(name, dtype, bits):
    """In units of the last place."""
    reference, arguments, *sizes = FUNCTIONS[name]
    arguments = [numpy.asarray(a, dtype) for a in arguments]
    got = value(name, *arguments, dtype=dtype)
    with mp.workdps(60 if name not in ("kv", "kve", "struve") else 110):
        for result, *row in zip(got, *arguments, strict=True):
            exact = [mp.mpf(float(v)) for v in row]
            want = mp.re(reference(*exact))
            if abs(want) > numpy.finfo(dtype).max:
                assert numpy.isinf(result)
                continue
            size = max(abs(want), *(s(*exact) for s in sizes), mp.mpf(0))
            unit = mp.mpf(2) ** max(mp.mag(size) - bits, -1074 if bits == 53 else -149)
            yield float(abs(float(result) - want) / unit), row


@pytest.mark.parametrize("dtype, bits, most", [("float64", 53, 4), ("float32", 24, 2)])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_against_mpmath(name, dtype, bits, most):
    assert max(errors(name, dtype, bits)) <= (most,)


def test_the_other_branch_of_lambert():
    z = -joined(uniform(0, 0.367), spread(1e-300, 0.3), [numpy.exp(-1) - 1e-9])
    got = ft.special.lambertw(ft.tensor(z), -1).numpy()
    want = [float(mp.lambertw(mp.mpf(v), -1).real) for v in z]
    numpy.testing.assert_allclose(got, want, rtol=3e-16)
    assert ft.special.lambertw(ft.tensor([0.0, 0.1, -0.4]), -1).tolist()[0] == -INFINITY
    assert ft.special.lambertw(ft.tensor([0.1, -0.4]), -1).isnan().all()


ENDS = [
    ("jv", (0.0, 0.0), 1.0), ("jv", (2.5, 0.0), 0.0), ("jv", (-0.5, 0.0), INFINITY),
    ("jv", (1.0, INFINITY), 0.0), ("jv", (0.5, -1.0), NAN), ("jv", (3.0, -2.0), -0.1289432494744),
    ("jv", (-3.0, 2.0), -0.1289432494744), ("yv", (1.0, 0.0), -INFINITY), ("yv", (1.0, -1.0), NAN),
    ("iv", (0.0, INFINITY), INFINITY), ("ive", (0.0, INFINITY), 0.0), ("iv", (1e9, 30.0), 0.0),
    ("kv", (0.0, 0.0), INFINITY), ("kv", (2.0, INFINITY), 0.0), ("kv", (1e7, 30.0), NAN),
    ("kve", (2.0, -1.0), NAN), ("jv", (NAN, 1.0), NAN), ("struve", (1.0, INFINITY), 2 / numpy.pi),
    ("struve", (0.0, -1.0), -0.56865662704828795), ("struve", (-2.0, 1.0), NAN),
    ("betaln", (0.0, 1.0), INFINITY), ("betaln", (-0.5, 2.0), float(mp.log(4))),
    ("betainc", (0.0, 1.0, 0.5), 1.0), ("betainc", (1.0, 0.0, 0.5), 0.0),
    ("betainc", (2.0, 3.0, 1.0), 1.0), ("betainc", (-1.0, 3.0, 0.5), NAN),
    ("betainc", (1.0, 3.0, 1.5), NAN), ("betaincinv", (2.0, 3.0, 0.0), 0.0),
    ("betaincinv", (2.0, 3.0, 1.5), NAN), ("gammaincinv", (2.0, 0.0), 0.0),
    ("gammaincinv", (2.0, 1.0), INFINITY), ("gammainccinv", (2.0, 0.0), INFINITY),
    ("gammainccinv", (-2.0, 0.5), NAN), ("hyp2f1", (1.0, 2.0, 4.5, 1.0), 7 / 3),
    ("hyp2f1", (1.0, 2.0, 3.0, 1.0), INFINITY), ("hyp2f1", (0.5, 1.0, 2.0, 1.5), NAN),
    ("hyp2f1", (-2.0, 1.0, 2.0, 3.0), 1.0), ("hyp2f1", (1.0, 1.0, -1.0, 0.5), INFINITY),
    ("expn", (0.5, 1.0), NAN), ("expn", (3.0, 0.0), 0.5), ("expn", (1.0, 0.0), INFINITY),
    ("expn", (2.0, -1.0), NAN), ("expi", (0.0,), -INFINITY), ("expi", (-INFINITY,), 0.0),
    # parameters next to 0, and what overflows there (mpmath, 60 digits)
    ("betainc", (24.5, 1e-217, 0.9999), 5.457347239477772496e-217),
    ("betainc", (0.5, 1e-30, 0.9), 3.63689291846413418e-30),
    ("betainc", (15.0, 1e-8, 0.998), 2.9908647014137080807e-8),
    ("hyp2f1", (17.94554975267983, 1e-20, 0.1, 0.9015800289886284), 1.06730654352168083),
    ("hyp2f1", (17.9, 1e-123, 0.5, 0.7), 1.0), ("yv", (2.0, 1e-200), -INFINITY),
    ("yv", (27.0, 2.2e-251), -INFINITY), ("kv", (19.0, 2.2e-137), INFINITY),
    ("kve", (-46.0, 5.7e-107), INFINITY),
    ("ellipk", (1.0,), INFINITY), ("ellipk", (1.5,), NAN), ("ellipk", (-INFINITY,), 0.0),
    ("ellipe", (1.0,), 1.0), ("lambertw", (-0.5,), NAN), ("lambertw", (INFINITY,), INFINITY),
    ("lambertw", (0.0,), 0.0), ("lambertw", (1e-320,), 1e-320),
]  # fmt: skip


@pytest.mark.parametrize("name, arguments, want", ENDS)
def test_ends_of_domains(name, arguments, want):
    assert value(name, *arguments).item() == pytest.approx(want, rel=1e-12, abs=0, nan_ok=True)


# Neighbours of poles and of whole numbers, and the ends of the range of exponents (Arb, to 53 bits)
HARD = [
    ("jv", (-7.450580596923827e-09, 5e-324), 1.0000055473898992),
    ("jv", (-16.351593636024422, 2.278275564609988e-121), INFINITY),
    ("jv", (0.25, 1.5e+308), 6.197857768359072e-155),
    ("jv", (-2.5, 1e-120), 2.3936536824085963e+300),
    ("jv", (1000000000.0, 1e+20), 7.095457758496106e-12),
    ("jv", (-0.0, 2465.0), 0.005734665593527436), ("yv", (-2.0, 5e-293), -INFINITY),
    ("yv", (-1.5, 3e-220), 0.0), ("yv", (0.9, 1.556e-321), -3.3862441552936973e+288),
    ("yv", (-375.5586226807459, 12.0), -INFINITY), ("yv", (3.5, 1e-80), -1.1968268412042982e+281),
    ("iv", (-1e-266, 1.6e-314), 1.0), ("iv", (-100.5, 3516.0), INFINITY),
    ("iv", (-3.5, 1e-60), -1.1968268412042982e+211), ("iv", (1900.0, 2000.0), INFINITY),
    ("ive", (-1e-157, 7.8e+104), 1.4284425043933802e-53), ("kv", (3648.0, 3282.625), 0.0),
    ("kv", (0.0, 1e-320), 736.9431724066324), ("kv", (2.5, 1e-100), 3.759942411946501e+250),
    ("kv", (0.7, 1e+150), 0.0), ("kve", (0.7, 1.75e+135), 2.9959938268054813e-68),
    ("kve", (-0.5, 1e-310), 1.253314137315502e+155),
    ("struve", (776.9, 720.3), 6.424999444454911e+74),
    ("struve", (150.0, 100.0), 1.7522647868174217e-09),
    ("struve", (60.5, 62.0), 3820017.9658032777), ("struve", (2365.0, 2491.5), INFINITY),
    ("betaln", (5e-324, 1.5e-323), 744.7277539938331),
    ("betaln", (1e-200, 1e+200), 460.51701859880916),
    ("betaincinv", (11.0, 8.8e14, 0.99999), 3.542101596266777e-14),
    ("gammaincinv", (2e16, 0.3), 19999999925838568.0), ("gammainccinv", (1e226, 0.3), 1e226),
    ("betainc", (19.0, 2e-246, 0.9999995), 2.2027117320782092e-245),
    ("betainc", (3.0, 1e-09, 0.99999999), 1.692068061639789e-08),
    ("betainc", (0.5, 1e-07, 0.9999999999990905), 2.911213904310964e-06),
    ("betainc", (1e+252, 5e-324, 1e-16), 0.0),
    ("betainc", (20.0, 3200000000000000.0, 6.6e-15), 0.6255896980827536),
    ("betainc", (1.5e-323, 5e-324, 0.75), 0.25), ("betainc", (1.5e-323, 290.0, 3e-09), 1.0),
    ("betainc", (1000000000.0, 1000000000.0, 0.50001), 0.814453315231583),
    ("hyp2f1", (19.0, 0.765625, 0.765625, -1.6e+16), 1.3234889800848426e-308),
    ("hyp2f1", (-4.3125, -5.6875, -5.6875, 0.9999999999999998), 3.119058155550082e-68),
    ("hyp2f1", (0.0, -2.75, -4.75, 0.9999999), 1.0),
    ("hyp2f1", (-1.9525, 5e-24, 1.5, -5700000000000000.0), 7988703.395770282),
    ("hyp2f1", (-5.607, -1.881, -10.488, 0.9999999999999432), -6.488684890938758e+34),
    ("hyp2f1", (-1.25, 2.5, -3.5, 0.75), 213.2309698390025),
    ("hyp2f1", (-17.0119, -9.5, -26.5119, 0.999999999992724), 1.480186942419302e-07),
    ("hyp2f1", (2.5, 0.5, 4.0, -1e+200), 1.3581221810508402e-100),
    ("hyp2f1", (-5.0, 1.0, 1.0, 0.99997), 2.429999999989669e-23),
    ("hyp2f1", (1.0, 2.0, 4.0, 0.9999999990686774), 2.999999892184052), ("expi", (-7e+158,), 0.0),
    ("expi", (1e+100,), INFINITY), ("expn", (9.0, 7e+251), 0.0),
    ("expn", (-22.0, 2.3e-308), INFINITY), ("lambertw", (1.6e+308,), 703.110697926952),
]  # fmt: skip


@pytest.mark.parametrize("name, arguments, want", HARD)
def test_hard_points(name, arguments, want):
    got = value(name, *arguments).item()
    assert got == want or abs(got - want) <= 4 * numpy.spacing(abs(want))


def row(*values):
    return ft.tensor(values, dtype=ft.float64, requires_grad=True)


DERIVATIVES = {
    **{
        name: [row(0.4, 3), row(2.5, 30)]
        for name in ("jv", "yv", "iv", "kv", "ive", "kve", "struve")
    },
    "betaln": [row(0.5, 2, 30), row(1.5, 0.3, 7)],
    "betainc": [row(0.5, 30), row(1.5, 7), row(0.2, 0.8)],
    "betaincinv": [row(0.5, 30), row(1.5, 7), row(0.2, 0.8)],
    "gammaincinv": [row(0.5, 2, 30), row(0.2, 0.9, 0.8)],
    "gammainccinv": [row(0.5, 2, 30), row(0.2, 0.9, 0.8)],
    "hyp2f1": [row(0.5, -2), row(1.5, 0.3), row(1.2, 2.3), row(0.8, -3)],
    "expi": [row(-2, 0.5, 50)],
    "ellipk": [row(-2, 0.5, 0, 0.9)],
    "ellipe": [row(-2, 0.5, 0, 0.9)],
    "lambertw": [row(-0.2, 0.5, 30)],
}


@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivatives(name):
    f, arguments = getattr(ft.special, name), DERIVATIVES[name]
    for check in (ft.autograd.gradcheck, ft.autograd.gradgradcheck):
        assert check(f, arguments, fast_mode=INTERPRETED)


@pytest.mark.parametrize("name", ["kve", "betaln", "gammaincinv"])
def test_forward_mode(name):
    arguments = DERIVATIVES[name]
    steps = tuple(ft.ones_like(a) * (k + 1) for k, a in enumerate(arguments))
    f = getattr(ft.special, name)
    _, along = ft.func.jvp(f, tuple(a.detach() for a in arguments), steps)
    gradients = ft.autograd.grad(f(*arguments).sum(), arguments)
    want = sum(g * s for g, s in zip(gradients, steps, strict=True))
    numpy.testing.assert_allclose(along.numpy(), want.numpy(), rtol=1e-12)


def test_derivative_of_expn():
    x = row(0.5, 2, 4, 3)
    f = lambda x: ft.special.expn(ft.tensor([0.0, 1, 2, 7]), x)  # noqa: E731
    assert ft.autograd.gradcheck(f, (x,)) and ft.autograd.gradgradcheck(f, (x,))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_refused(name):
    count = len(FUNCTIONS[name][1])
    with pytest.raises(NotImplementedError, match="not implemented for 'ComplexFloat'"):
        getattr(ft.special, name)(*[ft.ones(2, dtype=ft.complex64)] * count)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_any_arguments_end(name):
    """No argument makes a loop endless, and none that is nan gives a number."""
    hard = [0.0, -0.0, 1e-320, 1e-9, 0.5, 1, 3, 1e3, 1e9, 1e300, INFINITY, NAN]
    hard = numpy.array([*hard, *(-v for v in hard)])
    count = len(FUNCTIONS[name][1])
    grid = [g.ravel() for g in numpy.meshgrid(*[hard] * min(count, 2))]
    grid += [numpy.full_like(grid[0], 0.25)] * (count - len(grid))
    got = value(name, *grid)
    assert numpy.isnan(got[numpy.isnan(grid).any(0)]).all()
