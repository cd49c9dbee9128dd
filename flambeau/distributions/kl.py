"""Kullback-Leibler divergences.

Between members of one family they are formulas. Between different families they are the mean of
log p, which is minus the entropy of p, minus the mean of log q under p; for that, p supplies a few
means (of x, log x, exp(-t x), ...) and q says how its log density is made of them.
"""

import math
import warnings
from collections.abc import Callable

from .bernoulli import Bernoulli
from .beta import Beta
from .binomial import Binomial
from .categorical import Categorical
from .cauchy import Cauchy
from .continuous_bernoulli import ContinuousBernoulli
from .dirichlet import Dirichlet
from .exp_family import ExponentialFamily
from .exponential import Exponential
from .gamma import Gamma
from .geometric import Geometric
from .gumbel import Gumbel
from .half_normal import HalfNormal
from .independent import Independent
from .laplace import Laplace
from .lowrank_multivariate_normal import LowRankMultivariateNormal
from .multivariate_normal import MultivariateNormal, _batch_mahalanobis, half_log_det, solved
from .normal import Normal
from .one_hot_categorical import OneHotCategorical
from .operations import digamma_rest, full_like, log_poisson, softplus
from .pareto import Pareto
from .poisson import Poisson
from .transformed_distribution import TransformedDistribution
from .uniform import Uniform
from .utils import _sum_rightmost, euler_constant

__all__ = ["kl_divergence", "register_kl"]

_KL_REGISTRY: dict[tuple[type, type], Callable] = {}
_FOUND: dict[tuple[type, type], Callable] = {}


def register_kl(type_p, type_q):
    """A decorator that registers ``function(p, q)`` as the divergence of these classes, and of
    their subclasses where nothing closer is registered.

    Raises TypeError where one is no class. A class may be a base of distributions of another
    library.
    """
    for name, kind in (("type_p", type_p), ("type_q", type_q)):
        if not isinstance(kind, type):
            raise TypeError(f"Expected {name} to be a Distribution subclass but got {kind}")

    def decorate(function):
        _KL_REGISTRY[type_p, type_q] = function
        _FOUND.clear()
        return function

    return decorate


def _dispatch(type_p, type_q):
    """The registered function for the closest classes; None without one.

    Closest is first by p, then by q; a warning says where q first would give another.
    """
    order_p, order_q = type_p.__mro__.index, type_q.__mro__.index
    matches = [(p, q) for p, q in _KL_REGISTRY if issubclass(type_p, p) and issubclass(type_q, q)]
    if not matches:
        return None
    left = min(matches, key=lambda m: (order_p(m[0]), order_q(m[1])))
    right = min(matches, key=lambda m: (order_q(m[1]), order_p(m[0])))
    if _KL_REGISTRY[left] is not _KL_REGISTRY[right]:
        warnings.warn(
            f"Ambiguous kl_divergence({type_p.__name__}, {type_q.__name__}). Please "
            f"register_kl({left[0].__name__}, {right[1].__name__})",
            RuntimeWarning,
            stacklevel=3,
        )
    return _KL_REGISTRY[left]


def kl_divergence(p, q):
    """The divergence of q from p, the mean of ``log p(x) - log q(x)`` under p, of shape
    `batch_shape`.

    Raises NotImplementedError where none is registered for the two classes.
    """
    key = type(p), type(q)
    if key not in _FOUND:
        _FOUND[key] = _dispatch(*key)
    if _FOUND[key] is None:
        raise NotImplementedError(
            f"No KL(p || q) is implemented for p type {p.__class__.__name__} and q type "
            f"{q.__class__.__name__}"
        )
    return _FOUND[key](p, q)


def _of_family(family):
    return register_kl(family, family)


# One family


@_of_family(Bernoulli)
def _bernoulli(p, q):
    heads = p.probs * (softplus(-q.logits) - softplus(-p.logits))
    tails = (1 - p.probs) * (softplus(q.logits) - softplus(p.logits))
    heads = heads.masked_fill(q.probs == 0, math.inf).masked_fill(p.probs == 0, 0.0)
    return heads + tails.masked_fill(q.probs == 1, math.inf).masked_fill(p.probs == 1, 0.0)


@_of_family(Binomial)
def _binomial(p, q):
    if (p.total_count < q.total_count).any():
        raise NotImplementedError(
            "KL between Binomials where q.total_count > p.total_count is not implemented"
        )
    return (p.total_count * _bernoulli(p, q)).masked_fill(p.total_count > q.total_count, math.inf)


@_of_family(Categorical)
def _categorical(p, q):
    terms = p.probs * (p.logits - q.logits)
    return terms.masked_fill(q.probs == 0, math.inf).masked_fill(p.probs == 0, 0.0).sum(-1)


@_of_family(OneHotCategorical)
def _one_hot_categorical(p, q):
    return _categorical(p._categorical, q._categorical)


@_of_family(Cauchy)
def _cauchy(p, q):
    total = (p.scale + q.scale).square() + (p.loc - q.loc).square()
    return total.log() - (4 * p.scale * q.scale).log()


@_of_family(Dirichlet)
def _dirichlet(p, q):
    a, b = p.concentration, q.concentration  # the shares of gamma numbers, without their sum
    return _gamma_shapes(a, b).sum(-1) - _gamma_shapes(a.sum(-1), b.sum(-1))


@_of_family(Beta)
def _beta(p, q):
    return _dirichlet(p._dirichlet, q._dirichlet)


@_of_family(Exponential)
def _exponential(p, q):
    ratio = q.rate / p.rate
    return ratio - 1 - ratio.log()


@_of_family(ExponentialFamily)
def _exponential_family(p, q):
    """The Bregman divergence of the log normaliser."""
    if type(p) is not type(q):
        raise NotImplementedError(
            "The cross KL-divergence between different exponential families cannot be computed "
            "using Bregman divergences"
        )
    params, value, slopes = p._normalizer_and_slopes()
    result = q._log_normalizer(*q._natural_params) - value
    for p_param, q_param, slope in zip(params, q._natural_params, slopes):
        term = (q_param - p_param) * slope
        result = result - _sum_rightmost(term, term.dim() - result.dim())
    return result


@_of_family(Gamma)
def _gamma(p, q):
    return _gamma_shapes(p.concentration, q.concentration, q.rate / p.rate)


def _gamma_shapes(a, b, rate=1.0):
    """The divergence of gamma numbers of shape b and that rate from those of shape a and rate 1."""
    return log_poisson(a, a) - log_poisson(b, a * rate) + (a - b) * digamma_rest(a) - (b / a).log()


@_of_family(Geometric)
def _geometric(p, q):
    return _bernoulli(p, q) / p.probs


@_of_family(Gumbel)
def _gumbel(p, q):
    ratio, shift = p.scale / q.scale, (p.loc - q.loc) / q.scale
    return (
        shift
        - ratio.log()
        + (ratio - 1) * euler_constant
        - 1
        + ((1 + ratio).lgamma() - shift).exp()
    )


@_of_family(Laplace)
def _laplace(p, q):
    ratio, apart = p.scale / q.scale, (p.loc - q.loc).abs()
    return apart / q.scale + ratio * (-apart / p.scale).exp() - 1 - ratio.log()


@_of_family(Normal)
def _normal(p, q):
    ratio = (p.scale / q.scale).square()
    return 0.5 * (ratio + ((p.loc - q.loc) / q.scale).square() - 1 - ratio.log())


@_of_family(HalfNormal)
def _half_normal(p, q):
    return _normal(p.base_dist, q.base_dist)


@_of_family(Pareto)
def _pareto(p, q):
    ratio = q.alpha / p.alpha
    result = q.alpha * (p.scale / q.scale).log() - ratio.log() + ratio - 1
    return result.masked_fill(p.scale < q.scale, math.inf)


@_of_family(Poisson)
def _poisson(p, q):
    return p.rate.xlogy(p.rate) - p.rate.xlogy(q.rate) - (p.rate - q.rate)


@_of_family(Uniform)
def _uniform(p, q):
    result = ((q.high - q.low) / (p.high - p.low)).log()
    return result.masked_fill((q.low > p.low) | (q.high < p.high), math.inf)


@_of_family(TransformedDistribution)
def _transformed(p, q):
    if p.transforms != q.transforms or p.event_shape != q.event_shape:
        raise NotImplementedError
    return kl_divergence(p.base_dist, q.base_dist)


@_of_family(Independent)
def _independent(p, q):
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError
    return _sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)


# Multivariate normal distributions: 2 KL = log(det Q / det P) + tr(Q^-1 P) + distance - n


def _square_sum(matrix):
    return matrix.square().sum((-2, -1))


def _check_events(p, q, name):
    if p.event_shape != q.event_shape:
        raise ValueError(
            f"KL-divergence between two {name} with different event shapes cannot be computed"
        )


def _spread(p):
    """Matrices whose products with themselves add up to the covariance of p."""
    if isinstance(p, MultivariateNormal):
        return (p._unbroadcasted_scale_tril,)
    factor, diag = p._parts
    return factor, diag.sqrt().diag_embed()


def _log_det(p):
    if isinstance(p, MultivariateNormal):
        return 2 * half_log_det(p._unbroadcasted_scale_tril)
    return p._log_det()


@register_kl(MultivariateNormal, MultivariateNormal)
@register_kl(LowRankMultivariateNormal, MultivariateNormal)
def _to_multivariate_normal(p, q):
    _check_events(p, q, "Multivariate Normals")
    factor = q._unbroadcasted_scale_tril
    trace = sum(_square_sum(solved(factor, part)) for part in _spread(p))
    distance = _batch_mahalanobis(factor, q.loc - p.loc)
    return 0.5 * (_log_det(q) - _log_det(p) + trace + distance - p.event_shape[0])


@register_kl(MultivariateNormal, LowRankMultivariateNormal)
@register_kl(LowRankMultivariateNormal, LowRankMultivariateNormal)
def _to_low_rank(p, q):
    _check_events(p, q, "(Low Rank) Multivariate Normals")
    half, weight = q._half_inverse(), q._unbroadcasted_cov_diag.rsqrt().unsqueeze(-1)
    trace = sum(_square_sum(part * weight) - _square_sum(half @ part) for part in _spread(p))
    distance = q._mahalanobis(q.loc - p.loc)
    return 0.5 * (_log_det(q) - _log_det(p) + trace + distance - p.event_shape[0])


# Two families. First the means that the first one supplies ...


def _mean_log(p):
    """The mean of log x."""
    if isinstance(p, Beta):
        return p.concentration1.digamma() - (p.concentration1 + p.concentration0).digamma()
    if isinstance(p, Exponential):
        return -p.rate.log() - euler_constant
    if isinstance(p, Gamma):
        return p.concentration.digamma() - p.rate.log()
    if isinstance(p, Pareto):
        return p.scale.log() + p.alpha.reciprocal()
    return (p.high.xlogy(p.high) - p.low.xlogy(p.low)) / (p.high - p.low) - 1  # uniform


def _mean_log_rest(p):
    """The mean of log(1 - x) for a uniform number."""
    return _mean_log(Uniform(1 - p.high, 1 - p.low, validate_args=False))


def _mean_exp(p, t):
    """The mean of exp(-t x)."""
    if isinstance(p, Exponential):
        return p.rate / (p.rate + t)
    if isinstance(p, Gamma):
        return (1 + t / p.rate).pow(-p.concentration)
    if isinstance(p, Normal):
        return (0.5 * (t * p.scale).square() - t * p.loc).exp()
    return ((-t * p.low).exp() - (-t * p.high).exp()) / (t * (p.high - p.low))  # uniform


def _mean_distance(p, centre):
    """The mean of |x - centre| for a normal number."""
    apart = p.loc - centre
    z = apart / p.scale
    folded = math.sqrt(2 / math.pi) * p.scale * (-0.5 * z.square()).exp()
    return folded + apart * (math.sqrt(0.5) * z).erf()


# ... then the mean of the second one's log density.

_LOG_DENSITIES = {
    Beta: lambda p, q: (
        (q.concentration1 - 1) * _mean_log(p)
        + (q.concentration0 - 1) * _mean_log_rest(p)
        - q._log_normalizer(q.concentration1, q.concentration0)
    ),
    ContinuousBernoulli: lambda p, q: p.mean * q.logits - q._log_normalizer(q.logits),
    Exponential: lambda p, q: q.rate.log() - q.rate * p.mean,
    Gamma: lambda p, q: (
        q.concentration * q.rate.log()
        - q.concentration.lgamma()
        + (q.concentration - 1) * _mean_log(p)
        - q.rate * p.mean
    ),
    Gumbel: lambda p, q: (
        -q.scale.log()
        - (p.mean - q.loc) / q.scale
        - (q.loc / q.scale).exp() * _mean_exp(p, 1 / q.scale)
    ),
    Laplace: lambda p, q: -(2 * q.scale).log() - _mean_distance(p, q.loc) / q.scale,
    Normal: lambda p, q: (
        -0.5 * math.log(2 * math.pi)
        - q.scale.log()
        - 0.5 * (p.variance + (p.mean - q.loc).square()) / q.scale.square()
    ),
    Pareto: lambda p, q: q.alpha.log() + q.alpha * q.scale.log() - (q.alpha + 1) * _mean_log(p),
    Poisson: lambda p, q: p.mean * q.rate.log() - q.rate,  # of 0 and 1, whose factorials are 1
    Uniform: lambda p, q: -(q.high - q.low).log(),
}
_BOUNDED_BELOW = (Beta, ContinuousBernoulli, Exponential, Gamma, Pareto, Uniform)
_ACROSS = {
    Bernoulli: (Poisson,),
    Beta: (ContinuousBernoulli, Exponential, Gamma, Normal, Uniform),
    ContinuousBernoulli: (Exponential, Normal, Uniform),
    Exponential: (Gamma, Gumbel, Normal),
    Gamma: (Exponential, Gumbel, Normal),
    Gumbel: (Normal,),
    Laplace: (Normal,),
    Normal: (Gumbel, Laplace),
    Pareto: (Exponential, Gamma, Normal),
    Uniform: (Beta, ContinuousBernoulli, Exponential, Gamma, Gumbel, Normal, Pareto),
}
# Where p can draw what q cannot.
_INFINITE = {
    Beta: (Pareto,),
    ContinuousBernoulli: (Pareto,),
    Exponential: (Beta, ContinuousBernoulli, Pareto, Uniform),
    Gamma: (Beta, ContinuousBernoulli, Pareto, Uniform),
    Gumbel: _BOUNDED_BELOW,
    Laplace: _BOUNDED_BELOW,
    Normal: _BOUNDED_BELOW,
    Pareto: (Beta, ContinuousBernoulli, Uniform),
    Poisson: (Bernoulli, Binomial),
}


def _ends(distribution):
    """The ends of the support, for the families above."""
    support = distribution.support
    return (
        getattr(support, "lower_bound", -math.inf),
        getattr(support, "upper_bound", math.inf),
    )


def _across(p, q):
    """Minus the entropy of p and the mean of log q, which are -inf where p leaves q's support."""
    family = next(kind for kind in type(q).__mro__ if kind in _LOG_DENSITIES)
    result = -p.entropy() - _LOG_DENSITIES[family](p, q)
    if isinstance(p, Uniform) or isinstance(q, Uniform):
        (p_low, p_high), (q_low, q_high) = _ends(p), _ends(q)
        return result.masked_fill((p_low < q_low) | (p_high > q_high), math.inf)
    if isinstance(p, Pareto):  # whose mean and variance may be infinite
        return result.masked_fill(p.alpha <= (2 if isinstance(q, Normal) else 1), math.inf)
    return result


def _infinite(p, q):
    shape = (p.mean + q.mean).shape
    return full_like(p.mean.expand(shape), math.inf)


for _table, _function in ((_ACROSS, _across), (_INFINITE, _infinite)):
    for _p, _families in _table.items():
        for _q in _families:
            register_kl(_p, _q)(_function)
