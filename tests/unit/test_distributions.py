"""Distributions against SciPy's, divergences and Jacobians against integrals and derivatives, tails
against values in high precision.
"""

import copy
import itertools
import math
import pickle
import subprocess
import sys

import mpmath
import pytest

import flambeau as ft
from flambeau import distributions as D

constraints, transforms = D.constraints, D.transforms


def double(*values):
    return [ft.tensor(v, dtype=ft.float64) for v in values]


def tensor(values, **kwargs):
    return ft.tensor(values, dtype=ft.float64, **kwargs)


# Distribution, its parameters, SciPy's name and arguments as functions of them.
SCIPY = [
    (D.Bernoulli, (0.3,), "bernoulli", lambda p: (p,)),
    (D.Beta, (0.7, 2.5), "beta", lambda a, b: (a, b)),
    (D.Binomial, (9.0, 0.3), "binom", lambda n, p: (n, p)),
    (D.Cauchy, (0.5, 2.0), "cauchy", lambda m, s: (m, s)),
    (D.Chi2, (3.5,), "chi2", lambda k: (k,)),
    (D.ContinuousBernoulli, (0.8,), "truncexpon", lambda p: (1.0,)),
    (D.Exponential, (2.5,), "expon", lambda r: (0, 1 / r)),
    (D.FisherSnedecor, (5.0, 7.0), "f", lambda a, b: (a, b)),
    (D.Gamma, (2.5, 0.7), "gamma", lambda a, r: (a, 0, 1 / r)),
    (D.GeneralizedPareto, (0.5, 2.0, 0.2), "genpareto", lambda m, s, c: (c, m, s)),
    (D.GeneralizedPareto, (0.5, 2.0, -0.4), "genpareto", lambda m, s, c: (c, m, s)),
    (D.GeneralizedPareto, (0.5, 2.0, 0.0), "genpareto", lambda m, s, c: (c, m, s)),
    (D.Geometric, (0.3,), "geom", lambda p: (p, -1)),
    (D.Gumbel, (0.5, 2.0), "gumbel_r", lambda m, s: (m, s)),
    (D.HalfCauchy, (2.0,), "halfcauchy", lambda s: (0, s)),
    (D.HalfNormal, (2.0,), "halfnorm", lambda s: (0, s)),
    (D.InverseGamma, (3.5, 0.7), "invgamma", lambda a, r: (a, 0, r)),
    (D.Laplace, (0.5, 2.0), "laplace", lambda m, s: (m, s)),
    (D.LogNormal, (0.5, 0.8), "lognorm", lambda m, s: (s, 0, math.exp(m))),
    (D.NegativeBinomial, (4.0, 0.3), "nbinom", lambda n, p: (n, 1 - p)),
    (D.Normal, (0.5, 2.0), "norm", lambda m, s: (m, s)),
    (D.Pareto, (0.5, 3.0), "pareto", lambda s, a: (a, 0, s)),
    (D.Poisson, (2.5,), "poisson", lambda r: (r,)),
    (D.StudentT, (5.0, 0.5, 2.0), "t", lambda k, m, s: (k, m, s)),
    (D.Uniform, (0.5, 2.0), "uniform", lambda a, b: (a, b - a)),
    (D.VonMises, (0.5, 2.0), "vonmises", lambda m, k: (k, m)),
    (D.Weibull, (2.0, 1.5), "weibull_min", lambda s, c: (c, 0, s)),
]
NO_ENTROPY = (D.Poisson, D.NegativeBinomial, D.FisherSnedecor, D.VonMises)
OTHER_MOMENTS = (D.VonMises, D.HalfCauchy, D.Cauchy)  # of the circle; of no finite value


def named(value):
    """The name of a case: the same in every process."""
    if isinstance(value, type):
        return value.__name__
    return None if callable(value) else str(value)[:40]


@pytest.mark.parametrize("kind, parameters, name, arguments", SCIPY, ids=named)
def test_closed_forms(kind, parameters, name, arguments):
    stats = pytest.importorskip("scipy.stats")
    mine = kind(*double(*parameters))
    theirs = getattr(stats, name)(*arguments(*parameters))
    if kind is D.ContinuousBernoulli:  # a rising exponential: SciPy's falls
        slope = math.log(parameters[0] / (1 - parameters[0]))
        theirs = stats.truncexpon(slope, 0, 1 / slope)
        assert mine.mean.item() == pytest.approx(1 - theirs.mean(), 1e-12)
        assert mine.variance.item() == pytest.approx(theirs.var(), 1e-12)
        assert mine.entropy().item() == pytest.approx(theirs.entropy(), 1e-12)
        assert mine.cdf(tensor(0.3)).item() == pytest.approx(1 - theirs.cdf(0.7), 1e-12)
        return
    x = mine.sample((20,))
    points = x.tolist()
    log_density = theirs.logpmf if hasattr(theirs.dist, "logpmf") else theirs.logpdf
    assert mine.log_prob(x).tolist() == pytest.approx(list(log_density(points)), 1e-9, 1e-12)
    if kind not in OTHER_MOMENTS:
        assert mine.mean.item() == pytest.approx(theirs.mean(), 1e-9)
        assert mine.variance.item() == pytest.approx(theirs.var(), 1e-9)
    if kind not in NO_ENTROPY:
        assert mine.entropy().item() == pytest.approx(float(theirs.entropy()), 1e-7)
    for method, values, reference in (("cdf", x, theirs.cdf), ("icdf", x * 0 + 0.3, theirs.ppf)):
        if getattr(kind, method) is not getattr(D.Distribution, method):
            try:
                found = getattr(mine, method)(values)
            except NotImplementedError:
                continue
            assert found.tolist() == pytest.approx(list(reference(values.tolist())), 1e-9)


def test_closed_forms_of_vectors_and_matrices():
    stats = pytest.importorskip("scipy.stats")
    loc, matrix = [0.5, -1.0], [[2.0, 0.3], [0.3, 1.0]]
    normal = stats.multivariate_normal(loc, matrix)
    covariance = tensor(matrix)
    for named in (
        {"covariance_matrix": covariance},
        {"precision_matrix": covariance.inverse()},
        {"scale_tril": ft.linalg.cholesky(covariance)},
    ):
        mine = D.MultivariateNormal(tensor(loc), **named)
        x = mine.sample((5,))
        assert mine.log_prob(x).tolist() == pytest.approx(list(normal.logpdf(x.tolist())))
        assert mine.entropy().item() == pytest.approx(normal.entropy())
        assert ft.allclose(mine.covariance_matrix, covariance)
    low = D.LowRankMultivariateNormal(tensor(loc), tensor([[1.0], [0.3]]), tensor([1.0, 0.91]))
    assert ft.allclose(low.covariance_matrix, covariance)
    assert ft.allclose(low.precision_matrix, covariance.inverse())
    assert low.log_prob(x).tolist() == pytest.approx(list(normal.logpdf(x.tolist())))
    wishart, theirs = D.Wishart(tensor(5.5), covariance), stats.wishart(5.5, matrix)
    x = wishart.sample()
    assert wishart.log_prob(x).item() == pytest.approx(theirs.logpdf(x.tolist()))
    assert wishart.entropy().item() == pytest.approx(theirs.entropy())
    dirichlet, theirs = D.Dirichlet(tensor([0.5, 2.0, 3.0])), stats.dirichlet([0.5, 2.0, 3.0])
    x = dirichlet.sample()
    assert dirichlet.log_prob(x).item() == pytest.approx(theirs.logpdf(x.tolist()))
    assert dirichlet.entropy().item() == pytest.approx(theirs.entropy())
    counts, theirs = (
        D.Multinomial(6, tensor([0.2, 0.5, 0.3])),
        stats.multinomial(6, [0.2, 0.5, 0.3]),
    )
    x = counts.sample()
    assert counts.log_prob(x).item() == pytest.approx(theirs.logpmf(x.tolist()))
    assert counts.entropy().item() == pytest.approx(theirs.entropy())


MOMENTS = [
    D.Beta(*double([0.7, 3.0], [2.0, 5.0])),
    D.Binomial(9, tensor([0.2, 0.7])),
    D.Dirichlet(tensor([0.5, 2.0, 3.0])),
    D.FisherSnedecor(*double([5.0, 7.0], [16.0, 19.0])),
    D.Gamma(*double([0.7, 3.0], [2.0, 0.5])),
    D.InverseGamma(*double([7.7, 9.0], [2.0, 0.5])),
    D.Kumaraswamy(*double([0.7, 3.0], [2.0, 1.5])),
    D.MixtureSameFamily(
        D.Categorical(tensor([0.2, 0.5, 0.3])), D.Normal(*double([0.0, 1.0, 4.0], [1.0, 0.5, 2.0]))
    ),
    D.Multinomial(7, tensor([0.2, 0.5, 0.3])),
    D.MultivariateNormal(tensor([0.5, -1.0]), tensor([[2.0, 0.3], [0.3, 1.0]])),
    D.NegativeBinomial(4, tensor([0.2, 0.6])),
    D.Poisson(tensor([0.5, 20.0])),
    D.StudentT(*double([9.0, 12.0], [0.5, -1.0], [1.0, 2.5])),
    D.Wishart(tensor(5.0), tensor([[2.0, 0.3], [0.3, 1.0]])),
]


@pytest.mark.parametrize("distribution", MOMENTS, ids=lambda d: type(d).__name__)
def test_draws_have_the_moments(distribution):
    ft.manual_seed(0)
    n = 40_000
    x = distribution.sample((n,))
    assert distribution.support.check(x).all()
    error = 5 * distribution.stddev / math.sqrt(n)
    assert ((x.mean(0) - distribution.mean).abs() < error).all()
    assert ft.allclose(x.var(0), distribution.variance, rtol=0.15)


@pytest.mark.parametrize("dim, concentration", [(2, 1.0), (3, 0.6), (4, 3.0)])
def test_lkj_marginals(dim, concentration):
    """A correlation r of an LKJ matrix is 2 b - 1 with b of a symmetric beta distribution."""
    ft.manual_seed(0)
    lkj = D.LKJCholesky(dim, tensor(concentration))
    factor = lkj.sample((20_000,))
    assert lkj.support.check(factor).all()
    r = (factor @ factor.mT)[:, dim - 1, 0]
    a = concentration + dim / 2 - 1
    assert r.mean().abs() < 0.03
    assert r.var().item() == pytest.approx(1 / (2 * a + 1), 0.06)


@pytest.mark.parametrize(
    "make, parameter",
    [
        (lambda a: D.Gamma(a, tensor(1.0)), 0.8),
        (lambda a: D.Beta(a, tensor(2.0)), 1.5),
        (lambda a: D.Chi2(a), 3.0),
        (lambda a: D.StudentT(a), 4.0),
        (lambda a: D.InverseGamma(a, tensor(1.0)), 4.0),
    ],
)
def test_gradients_through_draws(make, parameter):
    """A draw stays at its quantile as the parameter moves."""
    stats = pytest.importorskip("scipy.stats")
    name = {"Gamma": "gamma", "Beta": "beta", "Chi2": "chi2", "InverseGamma": "invgamma"}
    a = tensor([parameter] * 20, requires_grad=True)
    ft.manual_seed(3)
    distribution = make(a)
    x = distribution.rsample()
    (slope,) = ft.autograd.grad(x.sum(), a)
    if isinstance(distribution, D.StudentT):  # two sources of chance: only the mean is determined
        assert slope.isfinite().all()
        return
    reference = getattr(stats, name[type(distribution).__name__])
    more = (2.0,) if isinstance(distribution, D.Beta) else ()
    step, points = 1e-5, x.detach().numpy()
    quantile = reference.cdf(points, parameter, *more)
    ahead = reference.ppf(quantile, parameter + step, *more)
    behind = reference.ppf(quantile, parameter - step, *more)
    expected = (ahead - behind) / (2 * step)
    assert slope.tolist() == pytest.approx(list(expected), 1e-4, 1e-6)


ACROSS = [
    D.Beta(*double(0.7, 2.0)),
    D.ContinuousBernoulli(tensor(0.8)),
    D.ContinuousBernoulli(tensor(0.5)),
    D.Exponential(tensor(1.5)),
    D.Gamma(*double(2.5, 2.0)),
    D.Gumbel(*double(0.5, 1.5)),
    D.Laplace(*double(0.3, 0.8)),
    D.Normal(*double(0.5, 1.2)),
    D.Pareto(*double(0.5, 3.5)),
    D.Pareto(*double(0.2, 0.5)),
    D.Uniform(*double(0.0, 1.0)),
    D.Uniform(*double(0.2, 0.9)),
    D.Uniform(*double(-1.0, 3.0)),
    D.Cauchy(*double(0.5, 1.2)),
]


def _ends(distribution):
    support = distribution.support
    low = getattr(support, "lower_bound", -math.inf)
    return float(low), float(getattr(support, "upper_bound", math.inf))


def _integral(function, low, high):
    """By the double exponential rule (Takahasi and Mori, 1974), all points at once."""
    if low == -math.inf:
        return _integral(lambda x: function(-x), -high, math.inf)
    furthest = 4 if high == math.inf else 3  # where finite ends are not yet reached
    t = ft.linspace(-furthest, furthest, 4001, dtype=ft.float64)
    near, slope = math.pi / 2 * t.sinh(), math.pi / 2 * t.cosh()
    if high == math.inf:
        x, step = low + near.exp(), slope * near.exp()
    else:
        share = ft.sigmoid(2 * near)
        x = low + (high - low) * share
        step = 2 * (high - low) * slope * share * ft.sigmoid(-2 * near)
    return (function(x) * step).sum().item() * furthest / 2000


@pytest.mark.parametrize(
    "p, q", [*itertools.product(ACROSS, repeat=2)], ids=lambda d: type(d).__name__
)
def test_divergences_are_integrals(p, q):
    try:
        found = D.kl_divergence(p, q).item()
    except NotImplementedError:
        return
    (p_low, p_high), (q_low, q_high) = _ends(p), _ends(q)
    if p_low < q_low or p_high > q_high:
        assert found == math.inf
        return
    if isinstance(p, D.Pareto) and p.alpha < 1 and not isinstance(q, D.Pareto):
        assert found == math.inf
        return

    def integrand(x):
        log_p = p.log_prob(x)
        inside = log_p.abs() < 700
        return ft.where(inside, log_p.exp() * (log_p - q.log_prob(x)), 0)

    middle = p.icdf(tensor(0.5)).item() if not isinstance(p, D.Beta | D.Gamma) else 0.5
    below, above = _integral(integrand, p_low, middle), _integral(integrand, middle, p_high)
    assert found == pytest.approx(below + above, 1e-5, 1e-6)


# A distribution in float32, a method, its argument, and the value to 15 digits.
erfc, exp, log = mpmath.erfc, mpmath.exp, mpmath.log
TAILS = [
    (D.Normal(0.0, 1.0), "cdf", -12.0, lambda x: erfc(-x / mpmath.sqrt(2)) / 2),
    (D.Normal(0.0, 1.0), "icdf", 1e-30, lambda p: -11.464024988166),
    (D.Normal(0.0, 1e-25), "log_prob", 1e-25, lambda x: -0.5 - log(1e-25) - log(2 * mpmath.pi) / 2),
    (D.LogNormal(0.0, 1.0), "cdf", 1e-5, lambda x: erfc(-log(x) / mpmath.sqrt(2)) / 2),
    (D.HalfNormal(1.0), "cdf", 1e-10, lambda x: mpmath.erf(x / mpmath.sqrt(2))),
    (D.HalfNormal(1.0), "icdf", 1e-10, lambda p: mpmath.sqrt(2) * mpmath.erfinv(p)),
    (D.Laplace(0.0, 1.0), "cdf", -50.0, lambda x: exp(x) / 2),
    (D.Laplace(0.0, 1.0), "icdf", 1e-20, lambda p: log(2 * p)),
    (D.Cauchy(0.0, 1.0), "cdf", -1e12, lambda x: -1 / (mpmath.pi * x)),
    (D.Cauchy(0.0, 1.0), "icdf", 1e-12, lambda p: -1 / mpmath.tan(mpmath.pi * p)),
    (D.HalfCauchy(1.0), "cdf", 1e-12, lambda x: 2 / mpmath.pi * x),
    (D.HalfCauchy(1.0), "icdf", 1e-12, lambda p: mpmath.pi / 2 * p),
    (D.Exponential(1.0), "cdf", 1e-12, lambda x: -mpmath.expm1(-x)),
    (D.Weibull(1.0, 2.0), "cdf", 1e-8, lambda x: -mpmath.expm1(-(x**2))),
    (D.Pareto(1.0, 1e-6), "cdf", 3.0, lambda x: -mpmath.expm1(-1e-6 * log(x))),
    (D.GeneralizedPareto(0.0, 1.0, 0.5), "cdf", 1e-12, lambda x: x),
    (D.Gumbel(0.0, 1.0), "cdf", -4.0, lambda x: exp(-exp(-x))),
    (D.Gumbel(0.0, 1.0), "cdf", -40.0, lambda x: 0.0),
    (D.InverseGamma(2.0, 1.0), "cdf", 0.05, lambda x: mpmath.gammainc(2, 1 / x)),
    (D.Kumaraswamy(2.0, 3.0), "log_prob", 1e-6, lambda x: log(6 * x)),
    (D.Kumaraswamy(2.0, 3.0), "cdf", 1e-6, lambda x: 3 * x * x),
    (D.Kumaraswamy(2.0, 3.0), "icdf", 1e-12, lambda p: mpmath.sqrt(p / 3)),
    (D.ContinuousBernoulli(0.5), "icdf", 1e-8, lambda p: p),
    (
        D.ContinuousBernoulli(logits=5.0),
        "cdf",
        1e-8,
        lambda x: mpmath.expm1(5 * x) / mpmath.expm1(5),
    ),
    (D.ContinuousBernoulli(logits=-80.0), "log_prob", 0.5, lambda x: log(80) - 40),
    (D.VonMises(0.0, 1e6), "log_prob", 1e-3, lambda x: _von_mises(x, 1e6)),
    (D.Poisson(1e7), "log_prob", 10003000.0, lambda k: _poisson(k, 10**7)),
    (D.Gamma(1e6, 1.0), "log_prob", 1001000.0, lambda x: log(1e6 / x) + _poisson(10**6, x)),
    (D.Gamma(1e6, 2.0), "entropy", None, lambda: _gamma_entropy(10**6, 2)),
    (
        D.Binomial(2**20, 0.25),
        "log_prob",
        262000.0,
        lambda k: _binomial(k, 2**20, mpmath.mpf(0.25)),
    ),
    (D.Binomial(4, logits=200.0), "log_prob", 3.0, lambda k: log(4) - 200),
    (
        D.NegativeBinomial(2.0**20, 0.75),
        "log_prob",
        3146000.0,
        lambda k: _negative_binomial(k, 2**20),
    ),
    (D.Beta(2.0**20, 2.0**22), "log_prob", 0.2, lambda x: _beta(x, 2**20, 2**22)),
    (D.StudentT(1e8), "log_prob", 1.0, lambda x: -(x**2) / 2 - log(2 * mpmath.pi) / 2),
    (D.Bernoulli(logits=-20.0), "log_prob", 0.0, lambda x: -exp(-20)),
    (D.Bernoulli(logits=-20.0), "entropy", None, lambda: 21 * exp(-20)),
    (D.Geometric(1e-6), "entropy", None, lambda: 1 - log(mpmath.mpf(1e-6))),
    (D.relaxed_bernoulli.LogitRelaxedBernoulli(1.0, logits=0.0), "log_prob", -200.0, lambda x: x),
]


def _von_mises(x, kappa):
    with mpmath.workdps(40):
        scaled = mpmath.besseli(0, kappa) * exp(-kappa)
        return kappa * (mpmath.cos(x) - 1) - log(2 * mpmath.pi * scaled)


def _poisson(count, mean):
    with mpmath.workdps(40):
        return count * log(mean) - mean - mpmath.loggamma(count + 1)


def _gamma_entropy(a, rate):
    with mpmath.workdps(40):
        return a - log(rate) + mpmath.loggamma(a) + (1 - a) * mpmath.digamma(a)


def _binomial(k, n, p):
    with mpmath.workdps(40):
        ways = mpmath.loggamma(n + 1) - mpmath.loggamma(k + 1) - mpmath.loggamma(n - k + 1)
        return ways + k * log(p) + (n - k) * log(1 - p)


def _negative_binomial(k, n):
    with mpmath.workdps(40):
        return _binomial(k, n + k, mpmath.mpf(0.75)) + log(mpmath.mpf(n) / (n + k))


def _beta(x, a, b):
    with mpmath.workdps(40):
        return log(a + b - 1) + _binomial(a - 1, a + b - 2, x)


@pytest.mark.parametrize("distribution, method, argument, exact", TAILS, ids=named)
def test_tails(distribution, method, argument, exact):
    arguments = () if argument is None else (ft.tensor(argument),)
    reference = exact(*(mpmath.mpf(a.item()) for a in arguments))
    found = getattr(distribution, method)(*arguments)
    assert found.item() == pytest.approx(float(reference), 4e-6, 1e-45)


def test_a_flat_continuous_bernoulli_has_its_slope():
    logits = tensor(0.0, requires_grad=True)
    (slope,) = ft.autograd.grad(D.ContinuousBernoulli(logits=logits).log_prob(tensor(0.75)), logits)
    assert slope.item() == pytest.approx(0.25)


TRANSFORMS = [
    (transforms.ExpTransform(), [0.3, -1.0]),
    (transforms.SigmoidTransform(), [0.3, -1.0]),
    (transforms.SoftplusTransform(), [0.3, -1.0]),
    (transforms.TanhTransform(), [0.3, -1.0]),
    (transforms.PowerTransform(tensor(2.5)), [0.3, 1.7]),
    (transforms.AffineTransform(1.0, -2.5), [0.3, -1.0]),
    (transforms.AffineTransform(tensor([1.0, 2.0]), tensor([0.5, -3.0]), event_dim=1), [0.3, -1.0]),
    (transforms.StickBreakingTransform(), [0.3, -1.0, 0.6]),
    (transforms.CorrCholeskyTransform(), [0.3, -1.0, 0.6, 0.1, -0.4, 0.9]),
    (transforms.CumulativeDistributionTransform(D.Normal(*double(0.0, 1.0))), [0.3, -1.0]),
    (transforms.IndependentTransform(transforms.ExpTransform(), 1), [0.3, -1.0]),
    (transforms.ComposeTransform([transforms.ExpTransform(), transforms.TanhTransform()]), [0.3]),
    (
        transforms.CatTransform(
            [transforms.ExpTransform(), transforms.TanhTransform()], 0, lengths=[1, 2]
        ),
        [0.3, -1.0, 0.6],
    ),
    (
        transforms.StackTransform([transforms.ExpTransform(), transforms.TanhTransform()]),
        [0.3, -1.0],
    ),
    (transforms.ReshapeTransform((4,), (2, 2)), [0.3, -1.0, 0.6, 0.1]),
]


@pytest.mark.parametrize("transform, values", TRANSFORMS, ids=lambda v: type(v).__name__)
def test_transforms(transform, values):
    x = tensor(values)
    y = transform(x)
    assert transform.domain.check(x).all() and transform.codomain.check(y).all()
    assert transform.forward_shape(x.shape) == y.shape
    assert transform.inverse_shape(y.shape) == x.shape
    assert ft.allclose(transform.inv(y), x)
    change = transform.log_abs_det_jacobian(x, y)
    assert ft.allclose(transform.inv.log_abs_det_jacobian(y, x), -change)
    jacobian = ft.autograd.functional.jacobian(transform, x)
    if isinstance(transform, transforms.CorrCholeskyTransform):  # below the diagonal
        rows, columns = ft.tril_indices(4, 4, -1)
        jacobian = jacobian[rows, columns]
    elif isinstance(transform, transforms.StickBreakingTransform):  # the last share is the rest
        jacobian = jacobian[:-1]
    expected = jacobian.reshape(x.numel(), x.numel()).det().abs().log()
    assert ft.allclose(change.sum(), expected)
    cached = transform.with_cache()
    y = cached(x)
    assert cached.inv(y) is x or isinstance(transform, transforms.ComposeTransform)
    assert transform == pickle.loads(pickle.dumps(transform)) or transform != transform.inv


CONSTRAINED = [
    constraints.real,
    constraints.positive,
    constraints.greater_than(2.0),
    constraints.less_than(-1.0),
    constraints.unit_interval,
    constraints.interval(-2.0, 5.0),
    constraints.half_open_interval(-2.0, 5.0),
    constraints.simplex,
    constraints.independent(constraints.positive, 1),
    constraints.cat([constraints.positive, constraints.real], dim=-1, lengths=[2, 1]),
    constraints.stack([constraints.positive] * 3, dim=-1),
    constraints.lower_cholesky,
    constraints.positive_definite,
    constraints.corr_cholesky,
]


@pytest.mark.parametrize("constraint", CONSTRAINED, ids=repr)
@pytest.mark.parametrize("registry", [D.biject_to, D.transform_to])
def test_transforms_lead_to_the_constrained_set(constraint, registry):
    square = constraint in (constraints.lower_cholesky, constraints.positive_definite)
    if square and registry is D.biject_to:
        with pytest.raises(NotImplementedError, match="Cannot transform _"):
            registry(constraint)
        return
    ft.manual_seed(0)
    x = ft.randn((5, 3, 3) if square else (5, 3), dtype=ft.float64)
    transform = registry(constraint)
    y = transform(x)
    assert constraint.check(y).all()
    assert ft.allclose(transform(transform.inv(y)), y)


def test_what_is_invalid_is_refused():
    nan = ft.tensor([0.5, math.nan])
    with pytest.raises(ValueError, match=r"(?s)Expected parameter loc .* constraint Real\(\)"):
        D.Normal(nan, 1.0)
    with pytest.raises(ValueError, match=r"(?s)scale .*GreaterThan\(lower_bound=0.0\).*-1"):
        D.Normal(0.0, -1.0)
    with pytest.raises(ValueError, match="Either `probs` or `logits`"):
        D.Bernoulli()
    with pytest.raises(ValueError, match="within the support"):
        D.Exponential(1.0).log_prob(ft.tensor(-1.0))
    with pytest.raises(ValueError, match="not broadcastable"):
        D.Normal(ft.zeros(3), 1.0).log_prob(ft.zeros(2))
    with pytest.raises(ValueError, match="right-most size"):
        D.Dirichlet(ft.ones(3)).log_prob(ft.ones(2))
    with pytest.raises(ValueError, match="must be a Tensor"):
        D.Normal(0.0, 1.0).log_prob(0.0)
    with pytest.raises(ValueError, match="Exactly one of"):
        D.MultivariateNormal(ft.zeros(2))
    with pytest.raises(NotImplementedError, match="No KL"):
        D.kl_divergence(D.Cauchy(0.0, 1.0), D.Normal(0.0, 1.0))
    assert D.Normal(nan, 1.0, validate_args=False).loc is not None
    D.Distribution.set_default_validate_args(False)
    try:
        assert D.Exponential(-1.0).log_prob(ft.tensor(-1.0)).isnan()
    finally:
        D.Distribution.set_default_validate_args(True)


class Shifted(D.Normal):
    """A subclass with a constructor of its own, and state."""

    def __init__(self, loc):
        self.origin = loc
        super().__init__(loc + 1.0, 2.0)


def test_subclasses():
    with pytest.raises(NotImplementedError, match="Subclass Shifted of Normal that defines a cus"):
        Shifted(ft.zeros(2)).expand((3, 2))

    class Plain(D.Normal):
        pass

    class Expanding(Shifted):
        def expand(self, batch_shape, _instance=None):
            new = self._get_checked_instance(Expanding, _instance)
            new.origin = self.origin.expand(batch_shape)
            return super().expand(batch_shape, _instance=new)

    assert type(Plain(0.0, 1.0).expand((2,))) is Plain
    wide = Expanding(ft.zeros(2)).expand((3, 2))
    assert wide.origin.shape == wide.loc.shape == wide.sample().shape == (3, 2)


def test_registered_divergences():
    class First(D.Normal):
        pass

    class Second(First):
        pass

    D.register_kl(First, First)(lambda p, q: "first")
    assert D.kl_divergence(Second(0.0, 1.0), Second(0.0, 1.0)) == "first"
    D.register_kl(First, Second)(lambda p, q: "left")
    D.register_kl(Second, First)(lambda p, q: "right")
    with pytest.warns(RuntimeWarning, match=r"Ambiguous kl_divergence\(Second, Second\)"):
        assert D.kl_divergence(Second(0.0, 1.0), Second(0.0, 1.0)) == "right"
    with pytest.raises(TypeError, match="Distribution subclass"):
        D.register_kl(3, D.Normal)


@pytest.mark.parametrize("distribution", [d for d in MOMENTS if d.has_rsample], ids=str)
def test_copies(distribution):
    for twin in (copy.deepcopy(distribution), pickle.loads(pickle.dumps(distribution))):
        assert repr(twin) == repr(distribution)
        assert ft.equal(twin.mean, distribution.mean)


def test_imported_on_first_use():
    code = "import sys, flambeau; assert 'flambeau.distributions' not in sys.modules"
    code += "; flambeau.distributions.Normal(0.0, 1.0)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_divergences_of_bases_of_other_libraries():
    class Base:
        """What another library's distributions have in common."""

    class Mine(D.Normal, Base):
        pass

    D.register_kl(Base, Base)(lambda p, q: "ours")
    assert D.kl_divergence(Mine(0.0, 1.0), Mine(0.0, 1.0)).item() == 0  # Normal is nearer
