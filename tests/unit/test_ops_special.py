"""Special functions: against mpmath, and gradients against differences."""

import mpmath
import numpy as np
import pytest

import flambeau as ft

FUNCTIONS = {
    "ndtr": mpmath.ncdf,
    "log_ndtr": lambda x: mpmath.log(mpmath.ncdf(x)),
    "erfcx": lambda x: mpmath.exp(x * x) * mpmath.erfc(x),
    "i0e": lambda x: mpmath.exp(-abs(x)) * mpmath.besseli(0, x),
    "i1": lambda x: mpmath.besseli(1, x),
    "i1e": lambda x: mpmath.exp(-abs(x)) * mpmath.besseli(1, x),
    "entr": lambda x: -x * mpmath.log(x) if x > 0 else -mpmath.inf if x < 0 else mpmath.mpf(0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values(name):
    points = [-3.5, -1.0, 0.0, 0.25, 2.0, 5.0]
    with mpmath.workdps(40):
        want = [float(FUNCTIONS[name](mpmath.mpf(p))) for p in points]
    got = getattr(ft.special, name)(ft.tensor(points, dtype=ft.float64)).numpy()
    np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("name", [*FUNCTIONS, "ndtri"])
def test_gradients(name):
    x = ft.tensor([0.2, 0.5, 0.9], dtype=ft.float64).requires_grad_(True)
    assert ft.autograd.gradcheck(getattr(ft.special, name), (x,))


def test_other_names():
    x = ft.tensor([0.3])
    assert ft.special.expit(x) == x.sigmoid()
    assert ft.special.xlog1py(ft.zeros(1), ft.tensor([-1.0])) == 0
