"""Draws whose parameters are tensors: moments, and how the draws move with their parameters."""

import mpmath
import numpy as np
import pytest

import flambeau


def _moved(cumulative, density, at, x):
    """-(dF/d parameter) / f, by mpmath's numerical derivative."""
    return float(-mpmath.diff(cumulative, at) / density(x))


@pytest.mark.parametrize("alpha", [0.01, 1.0, 60.0])
def test_gamma_draws_move_with_their_shape(alpha):
    with mpmath.workdps(20):
        for x in np.random.default_rng(0).standard_gamma(alpha, 2).clip(1e-25):
            want = _moved(
                lambda a, x=x: mpmath.gammainc(a, 0, x, regularized=True),
                lambda x: mpmath.mpf(x) ** (alpha - 1) * mpmath.exp(-x) / mpmath.gamma(alpha),
                alpha, float(x),
            )  # fmt: skip
            made = [flambeau.tensor([v], dtype=flambeau.float64) for v in (alpha, x)]
            assert flambeau._standard_gamma_grad(*made).item() == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize(("a", "b"), [(0.02, 5.0), (2.0, 5.0)])
def test_dirichlet_draws_move_with_their_parameter(a, b):
    with mpmath.workdps(20):
        for x in np.random.default_rng(0).beta(a, b, 2).clip(1e-9):
            want = _moved(
                lambda p, x=x: mpmath.betainc(p, b, 0, x, regularized=True),
                lambda x: mpmath.mpf(x) ** (a - 1) * (1 - x) ** b / mpmath.beta(a, b),
                a, float(x),
            )  # fmt: skip
            made = [flambeau.tensor([v], dtype=flambeau.float64) for v in (x, a, a + b)]
            assert flambeau._dirichlet_grad(*made).item() == pytest.approx(want, rel=1e-9)


def test_draws_have_the_moments_of_their_distribution():
    flambeau.manual_seed(0)
    n = 10_000
    alpha = flambeau.full((n,), 2.5, requires_grad=True)
    gamma = flambeau._standard_gamma(alpha)
    assert gamma.mean().item() == pytest.approx(2.5, abs=0.08)
    assert gamma.var().item() == pytest.approx(2.5, abs=0.3)
    gamma.sum().backward()  # the mean is alpha
    assert alpha.grad.mean().item() == pytest.approx(1.0, abs=0.03)
    shape = flambeau.tensor([1.0, 2.0, 3.0]).repeat(n, 1).requires_grad_()
    point = flambeau._sample_dirichlet(shape)
    assert point.mean(0).tolist() == pytest.approx([1 / 6, 1 / 3, 1 / 2], abs=0.01)
    point[:, 0].sum().backward()
    assert shape.grad.mean(0).tolist() == pytest.approx([5 / 36, -1 / 36, -1 / 36], abs=0.006)
    counts = flambeau.binomial(flambeau.full((n,), 10.0), flambeau.full((n,), 0.3))
    assert counts.mean().item() == pytest.approx(3.0, abs=0.08)
    assert counts.var().item() == pytest.approx(2.1, abs=0.2)


@pytest.mark.parity
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_draws_are_those_of_pytorch(dtype):
    torch = pytest.importorskip("torch")
    source = np.random.default_rng(0)
    shapes, shares = 10 ** source.uniform(-2, 3, 2000), 10 ** source.uniform(-1, 2, (500, 4))
    trials, chances = np.floor(10 ** source.uniform(0, 3, 2000)), source.uniform(0, 1, 2000)
    draws = [
        ("_standard_gamma", shapes),
        ("_sample_dirichlet", shares),
        ("poisson", shapes),
        ("binomial", trials, chances),
    ]
    for name, *values in draws:
        made = []
        for framework in (flambeau, torch):
            framework.manual_seed(5)
            kind = getattr(framework, dtype)
            arguments = [
                framework.tensor(v.tolist(), dtype=kind).expand(2, *v.shape) for v in values
            ]
            drawn = getattr(framework, name)(*arguments)
            made.append((drawn.tolist(), framework.rand(1).item()))
        assert made[0] == made[1], name


def test_dropout_draws_in_the_order_of_memory():
    drop = flambeau.nn.functional.dropout
    for turned in ((1, 0, 2), (2, 0, 1)):
        x = flambeau.ones(5, 2, 8).permute(turned)
        flambeau.manual_seed(3)
        found = drop(x, 0.3)
        flambeau.manual_seed(3)
        assert flambeau.equal(found, drop(flambeau.ones(5, 2, 8), 0.3).permute(turned))


def test_dropout_in_place_leaves_leaves_alone_outside_training():
    x = flambeau.ones(4, requires_grad=True)
    for name in ("dropout", "alpha_dropout", "feature_alpha_dropout"):
        assert getattr(flambeau.nn.functional, name)(x, 0.5, training=False, inplace=True) is x
