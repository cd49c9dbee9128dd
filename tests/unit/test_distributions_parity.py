"""Every distribution of PyTorch's, and every divergence, beside PyTorch's own."""

import itertools

import pytest

import flambeau as ft

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore:Singular sample detected"),  # PyTorch's, of good samples
]

MATRIX = [[2.0, 0.3, 0.1], [0.3, 1.0, -0.2], [0.1, -0.2, 0.5]]
FACTOR = [[1.4, 0.0, 0.0], [0.2, 1.0, 0.0], [0.1, -0.2, 0.7]]
SHARES = [[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]]


class Both:
    """Makes one distribution twice: lists become float64 tensors, of either framework."""

    def __init__(self, name, *args, **kwargs):
        self.name, self.args, self.kwargs = name, args, kwargs

    def make(self, torch, grad=False):
        def convert(value):
            if isinstance(value, list):
                return torch.tensor(value, dtype=torch.float64, requires_grad=grad)
            return value.make(torch) if isinstance(value, Both) else value

        self.leaves = [convert(a) for a in self.args]
        named = {k: convert(v) for k, v in self.kwargs.items()}
        self.leaves += named.values()
        space = torch.distributions
        for part in self.name.split("."):
            space = getattr(space, part)
        return space(*self.leaves[: len(self.args)], **named)

    def __repr__(self):
        return f"{self.name}({', '.join([*map(repr, self.args), *self.kwargs])})"


CASES = [
    Both("Bernoulli", [0.2, 0.7]),
    Both("Bernoulli", logits=[-3.0, 0.4]),
    Both("Bernoulli", 0.3),
    Both("Beta", [0.7, 3.0], [2.0, 5.0]),
    Both("Beta", 2.0, 3.0),
    Both("Binomial", 10, [0.2, 0.7]),
    Both("Binomial", [5.0, 7.0], logits=[0.3, -1.0]),
    Both("Categorical", SHARES),
    Both("Categorical", logits=[0.1, 0.5, -1.0]),
    Both("Cauchy", [0.5, -1.0], [1.0, 2.5]),
    Both("Chi2", [2.0, 5.5]),
    Both("ContinuousBernoulli", [0.2, 0.9]),
    Both("ContinuousBernoulli", logits=[-3.0, 0.4]),
    Both("Dirichlet", [[0.5, 2.0, 3.0], [1.5, 1.0, 4.0]]),
    Both("Exponential", [0.5, 3.0]),
    Both("FisherSnedecor", [5.0, 3.0], [6.0, 9.0]),
    Both("Gamma", [0.7, 3.0], [2.0, 0.5]),
    Both("Gamma", 2.0, 3.0),
    Both("GeneralizedPareto", [0.0, 1.0, 2.0], [1.0, 2.0, 0.5], [0.2, -0.3, 0.0]),
    Both("Geometric", [0.2, 0.7]),
    Both("Geometric", logits=[-1.0, 0.3]),
    Both("Gumbel", [0.5, -1.0], [1.0, 2.5]),
    Both("HalfCauchy", [0.5, 2.0]),
    Both("HalfNormal", [0.5, 2.0]),
    Both("Independent", Both("Normal", [[0.5, -1.0]], [[1.0, 2.5]]), 1),
    Both("Independent", Both("Bernoulli", [[0.2, 0.7]]), 0),
    Both("InverseGamma", [0.7, 3.0], [2.0, 0.5]),
    Both("Kumaraswamy", [0.7, 3.0], [2.0, 1.5]),
    Both("LKJCholesky", 3, [0.8, 2.0]),
    Both("LKJCholesky", 4),
    Both("Laplace", [0.5, -1.0], [1.0, 2.5]),
    Both("LogNormal", [0.5, -1.0], [1.0, 0.5]),
    Both("LogisticNormal", [0.5, -1.0], [1.0, 0.5]),
    Both("LowRankMultivariateNormal", [0.5, -1.0], [[1.0], [0.5]], [1.0, 2.0]),
    Both("LowRankMultivariateNormal", [[0.5, -1.0]] * 3, [[1.0], [0.5]], [1.0, 2.0]),
    Both(
        "MixtureSameFamily",
        Both("Categorical", [0.2, 0.5, 0.3]),
        Both("Normal", [0.0, 1.0, 4.0], [1.0, 0.5, 2.0]),
    ),
    Both(
        "MixtureSameFamily",
        Both("Categorical", SHARES),
        Both("Independent", Both("Normal", [[[0.0, 1.0]] * 3] * 2, [[[1.0, 0.5]] * 3] * 2), 1),
    ),
    Both("Multinomial", 7, SHARES),
    Both("Multinomial", 3, logits=[0.1, 0.5, -1.0]),
    Both("MultivariateNormal", [0.5, -1.0, 0.0], MATRIX),
    Both("MultivariateNormal", [[0.5, -1.0, 0.0]] * 2, precision_matrix=MATRIX),
    Both("MultivariateNormal", [0.5, -1.0, 0.0], scale_tril=[FACTOR, MATRIX and FACTOR]),
    Both("NegativeBinomial", 4, [0.2, 0.7]),
    Both("NegativeBinomial", [3.0, 2.5], logits=[-1.0, 0.3]),
    Both("Normal", [0.5, -1.0], [1.0, 2.5]),
    Both("Normal", 0.0, 1.0),
    Both("OneHotCategorical", SHARES),
    Both("OneHotCategoricalStraightThrough", logits=[0.1, 0.5, -1.0]),
    Both("Pareto", [0.5, 2.0], [1.5, 3.0]),
    Both("Poisson", [0.5, 20.0]),
    Both("RelaxedBernoulli", [0.7], [0.2, 0.7]),
    Both("relaxed_bernoulli.LogitRelaxedBernoulli", [0.7], logits=[-1.0, 0.3]),
    Both("RelaxedOneHotCategorical", [0.7], SHARES),
    Both("relaxed_categorical.ExpRelaxedCategorical", [0.7], logits=[0.1, 0.5, -1.0]),
    Both("StudentT", [3.0, 5.0], [0.5, -1.0], [1.0, 2.5]),
    Both("Uniform", [0.5, -1.0], [1.0, 2.5]),
    Both("VonMises", [0.5, -1.0], [1.0, 2.5]),
    Both("Weibull", [0.5, 2.0], [1.5, 3.0]),
    Both("Wishart", [5.0, 6.5], MATRIX),
    Both("Wishart", 5.0, precision_matrix=MATRIX),
    Both("Wishart", [5.0], scale_tril=FACTOR),
]
# PyTorch draws LKJ numbers from another distribution, and Wishart numbers that are good once more.
OTHER_DRAWS = {"LKJCholesky", "Wishart"}
# Where PyTorch's value is wrong: nan; polynomials good for float32; float32 in between.
WRONG = {("Kumaraswamy", "mode"), ("VonMises", "variance"), ("VonMises", "stddev")}
WRONG |= {("Multinomial", "entropy"), ("relaxed_bernoulli.LogitRelaxedBernoulli", "has_rsample")}


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def outcome(function, *args):
    """The value, or the type of the exception where a distribution has no such thing."""
    try:
        return function(*args)
    except (NotImplementedError, AttributeError, RuntimeError) as error:
        return type(error)


def agree(mine, theirs, tolerance=1e-9):
    if theirs in (AttributeError, RuntimeError):
        return  # PyTorch fails at what it says to have
    if isinstance(theirs, type) or theirs is None:
        assert mine is theirs
        return
    if mine.dtype is ft.float32:
        tolerance = 1e-5
    assert tuple(mine.shape) == tuple(theirs.shape)
    assert str(mine.dtype) == str(theirs.dtype)
    theirs = ft.tensor(theirs.detach().tolist(), dtype=mine.dtype)
    assert ft.allclose(mine.detach(), theirs, tolerance, tolerance, equal_nan=True), (mine, theirs)


def agree_on_figures(case, mine, theirs):
    for name in ("mean", "mode", "variance", "stddev"):
        if (case.name, name) not in WRONG:
            agree(outcome(getattr, mine, name), outcome(getattr, theirs, name))
    if (case.name, "entropy") not in WRONG:
        agree(outcome(mine.entropy), outcome(theirs.entropy))


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_properties(torch, case):
    mine, theirs = case.make(ft), case.make(torch)
    assert repr(mine) == repr(theirs)
    assert tuple(mine.batch_shape) == tuple(theirs.batch_shape)
    assert tuple(mine.event_shape) == tuple(theirs.event_shape)
    assert repr(mine.support).replace("\n", "") == repr(theirs.support).replace("\n", "")
    assert repr(mine.arg_constraints) == repr(theirs.arg_constraints)
    for name in ("has_rsample", "has_enumerate_support"):
        if (case.name, name) not in WRONG:
            assert getattr(mine, name) == getattr(theirs, name), name
    agree_on_figures(case, mine, theirs)
    for expand in (True, False):
        agree(outcome(mine.enumerate_support, expand), outcome(theirs.enumerate_support, expand))


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_draws_and_densities(torch, case):
    mine, theirs = case.make(ft), case.make(torch)
    for shape in ((), (3,), (2, 2)):
        ft.manual_seed(1)
        torch.manual_seed(1)
        x, y = mine.sample(shape), theirs.sample(shape)
        assert tuple(x.shape) == tuple(y.shape) and str(x.dtype) == str(y.dtype)
        if case.name not in OTHER_DRAWS:
            agree(x, y)
        x = ft.tensor(y.tolist(), dtype=x.dtype)
        agree(mine.log_prob(x), outcome(theirs.log_prob, y), 1e-6)
        agree(outcome(mine.cdf, x), outcome(theirs.cdf, y), 1e-7)
        p = torch.rand(y.shape, dtype=torch.float64)
        q = ft.tensor(p.tolist(), dtype=ft.float64)
        agree(outcome(mine.icdf, q), outcome(theirs.icdf, p), 1e-6)


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_expanded(torch, case):
    shape = (4, *case.make(ft).batch_shape)
    mine, theirs = case.make(ft).expand(shape), case.make(torch).expand(shape)
    assert repr(mine) == repr(theirs)
    agree_on_figures(case, mine, theirs)
    torch.manual_seed(1)
    y = theirs.sample((2,))
    x = ft.tensor(y.tolist(), dtype=mine.sample((2,)).dtype)
    agree(mine.log_prob(x), outcome(theirs.log_prob, y), 1e-6)


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_gradients(torch, case):
    def gradients(framework, function):
        distribution = case.make(framework, grad=True)
        value = function(distribution)
        leaves = [t for t in case.leaves if getattr(t, "requires_grad", False)]
        if not leaves:
            return []
        return framework.autograd.grad(value.sum(), leaves, allow_unused=True)

    torch.manual_seed(1)
    y = case.make(torch).sample((3,))
    x = ft.tensor(y.tolist(), dtype=case.make(ft).sample().dtype)
    if case.name != "GeneralizedPareto":  # of float64 PyTorch has no density
        mine = gradients(ft, lambda d: d.log_prob(x))
        theirs = gradients(torch, lambda d: d.log_prob(y))
        for a, b in zip(mine, theirs):
            agree(a, b, 1e-6)
    if not case.make(torch).has_rsample or case.name in OTHER_DRAWS:
        return

    def draw(framework, d):
        framework.manual_seed(1)
        return d.rsample((3,)) ** 2

    mine = gradients(ft, lambda d: draw(ft, d))
    theirs = gradients(torch, lambda d: draw(torch, d))
    for a, b in zip(mine, theirs):
        agree(a, b, 2e-4)  # PyTorch approximates what implicit reparameterisation needs


DIVERGENCES = [
    Both("Bernoulli", [0.2, 0.7]),
    Both("Beta", [0.7, 3.0], [2.0, 5.0]),
    Both("Binomial", 10, [0.2, 0.7]),
    Both("Categorical", SHARES),
    Both("Cauchy", [0.5, -1.0], [1.0, 2.5]),
    Both("ContinuousBernoulli", [0.2, 0.9]),
    Both("Dirichlet", [[0.5, 2.0, 3.0], [1.5, 1.0, 4.0]]),
    Both("Exponential", [0.5, 3.0]),
    Both("Gamma", [0.7, 3.0], [2.0, 0.5]),
    Both("Chi2", [2.0, 5.5]),
    Both("Geometric", [0.2, 0.7]),
    Both("Gumbel", [0.5, -1.0], [1.0, 2.5]),
    Both("HalfNormal", [0.5, 2.0]),
    Both("Independent", Both("Normal", [[0.5, -1.0]], [[1.0, 2.5]]), 1),
    Both("Laplace", [0.5, -1.0], [1.0, 2.5]),
    Both("LogNormal", [0.5, -1.0], [1.0, 0.5]),
    Both("LowRankMultivariateNormal", [0.5, -1.0, 0.0], [[1.0], [0.5], [0.2]], [1.0, 2.0, 0.5]),
    Both("MultivariateNormal", [0.5, -1.0, 0.0], MATRIX),
    Both("MultivariateNormal", [[0.5, -1.0, 0.0]] * 2, precision_matrix=MATRIX),
    Both("Normal", [0.5, -1.0], [1.0, 2.5]),
    Both("OneHotCategorical", SHARES),
    Both("Pareto", [0.5, 2.0], [1.5, 3.0]),
    Both("Pareto", [0.1, 1.0], [0.5, 2.5]),
    Both("Poisson", [0.5, 20.0]),
    Both("Uniform", [0.25, 0.1], [0.5, 0.9]),
    Both("Uniform", [-1.0, 3.0], [0.5, 5.0]),
]


@pytest.mark.parametrize("p, q", [*itertools.product(DIVERGENCES, repeat=2)], ids=repr)
def test_divergences(torch, p, q):
    def divergence(framework):
        kl = framework.distributions.kl_divergence
        try:
            return kl(p.make(framework), q.make(framework))
        except (NotImplementedError, ValueError, RuntimeError) as error:
            return type(error)

    mine, theirs = divergence(ft), divergence(torch)
    agree(mine, theirs, 1e-8)


def test_the_same_names(torch):
    theirs = set(torch.distributions.__all__)
    assert theirs == set(ft.distributions.__all__)
    for name in ("constraints", "transforms", "utils", "kl", "constraint_registry"):
        public = getattr(torch.distributions, name).__all__
        assert [n for n in public if not hasattr(getattr(ft.distributions, name), n)] == []
