"""Draws whose parameters are the elements of tensors, and the derivatives of such draws."""

from flambeau._base import numpy
from flambeau.types import by_name

from .family import opaque
from .op import composite, find
from .random import stream_of

FLOAT64 = by_name("float64")
TINY = {"float64": 2.0**-1022, "float32": 2.0**-126, "float16": 2.0**-14, "bfloat16": 2.0**-126}


def _as(made, like):
    return numpy.asarray(made).astype(numpy.float64).astype(like.dtype)


def _poisson(rate, generator):
    if not (rate >= 0).all():
        raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
    return _as(stream_of(generator).poisson(rate), rate)


poisson = opaque(
    "aten::poisson(Tensor self, Generator? generator=None) -> Tensor",
    """Poisson numbers whose rates are the elements of `self`.""",
    run=_poisson,
    real="poisson_cpu",
    grad=dict(self=lambda grad: grad * 0),
    method=False,
)


def _binomial(count, prob, generator):
    if count.dtype != prob.dtype:
        raise RuntimeError("expected count and prob to have the same dtype")
    if not ((prob >= 0) & (prob <= 1)).all() or not (count >= 0).all():
        raise RuntimeError("binomial expects counts of at least 0 and probabilities in [0, 1]")
    return _as(stream_of(generator).binomial(count, prob), count)


binomial = opaque(
    "aten::binomial(Tensor count, Tensor prob, Generator? generator=None) -> Tensor",
    """How many of `count` trials succeed, each with probability `prob`.""",
    run=_binomial,
    real="binomial_cpu",
    grad=dict(count=lambda grad: grad * 0, prob=lambda grad: grad * 0),
    method=False,
)


def _gamma(alpha, generator):
    made = stream_of(generator).gamma(alpha)
    return numpy.maximum(_as(made, alpha), alpha.dtype.type(TINY[alpha.dtype.name]))


standard_gamma = opaque(
    "aten::_standard_gamma(Tensor self, Generator? generator=None) -> Tensor",
    """Numbers of the gamma distribution with shape `self` and scale 1, never 0; differentiable.""",
    run=_gamma,
    real="_standard_gamma_cpu",
    grad=dict(self=lambda grad, self, result: grad * standard_gamma_grad(self, result)),
    method=False,
)


def _dirichlet(alpha, generator):
    made = stream_of(generator).gamma(alpha.astype(numpy.float64))
    made = numpy.maximum(made, TINY["float64"])
    one, tiny = alpha.dtype.type(1), alpha.dtype.type(TINY[alpha.dtype.name])
    shares = _as(made / made.sum(-1, keepdims=True), alpha)
    return numpy.clip(shares, tiny, numpy.nextafter(one, alpha.dtype.type(0)))


def _dirichlet_gradient(grad, self, result):
    total = self.sum(-1, True).expand(self.layout.shape)
    return dirichlet_grad(result, self, total) * (grad - (result * grad).sum(-1, True))


sample_dirichlet = opaque(
    "aten::_sample_dirichlet(Tensor self, Generator? generator=None) -> Tensor",
    """Points of the simplex, by the Dirichlet distribution of each row; differentiable.""",
    run=_dirichlet,
    real="_sample_dirichlet_cpu",
    grad=dict(self=_dirichlet_gradient),
    method=False,
)

# A draw x of a distribution with parameter a moves by dx/da = -(dF/da)(x) / f(x), with F its
# cumulative distribution and f its density, so that F(x) stays (Figurnov, Mohamed, Mnih 2018). That
# dF/da is an integral of f times the derivative of log f, from the left end to x or, negated, from
# x to the right end: here over the tail that x stands in, where f falls off.

_STEP = 1 / 16


def _nodes(like):
    """Nodes in (0, inf) and weights of double exponential quadrature for integrands that decay
    exponentially: w = exp(t - exp(-t)) (Takahasi and Mori, RIMS 9, 1974)."""
    t = numpy.arange(-4.5, 5.0, _STEP)
    node = numpy.exp(t - numpy.exp(-t))
    weight = node * (1 + numpy.exp(-t)) * _STEP
    return like.new_tensor(node), like.new_tensor(weight)


def _tail_mean(log_density, slope, scale):
    """The integral of exp(log_density(w)) * slope(w) over w > 0, for each element; both fall off
    over a distance of about `scale`."""
    node, weight = _nodes(scale)
    w = node * scale.unsqueeze(-1)
    values = log_density(w).exp() * slope(w)
    return (find("where").door(values.isfinite(), values, 0.0) * weight).sum(-1) * scale


@composite("aten::_standard_gamma_grad(Tensor self, Tensor output) -> Tensor", method=False)
def standard_gamma_grad(self, output):
    """How a draw `output` of the gamma distribution moves with its shape `self`."""
    a, x = self.detach().to(FLOAT64), output.detach().to(FLOAT64)
    centre, a_, x_ = x.log() - a.digamma(), a.unsqueeze(-1), x.unsqueeze(-1)
    scale = 1 / ((a - x).abs() + a.sqrt().minimum(a))
    # t = x exp(-w) below, x exp(w) above.
    below = -_tail_mean(
        lambda w: -a_ * w - x_ * (-w).expm1(), lambda w: centre.unsqueeze(-1) - w, scale
    )
    above = _tail_mean(lambda w: a_ * w - x_ * w.expm1(), lambda w: centre.unsqueeze(-1) + w, scale)
    return (x * find("where").door(x <= a, below, above)).to(output.layout.dtype)


@composite("aten::_dirichlet_grad(Tensor x, Tensor alpha, Tensor total) -> Tensor", method=False)
def dirichlet_grad(x, alpha, total):
    """How a component `x` of a Dirichlet draw moves with its parameter `alpha`, divided by 1 - x;
    `total` is the sum of all parameters."""
    y, a, total_ = (v.detach().to(FLOAT64) for v in (x, alpha, total))
    b = total_ - a
    centre = (total_.digamma() - a.digamma()).unsqueeze(-1)
    log, log_rest = y.log(), (-y).log1p()
    a_, b_, odds_ = (v.unsqueeze(-1) for v in (a, b, log - log_rest))
    width = (a * b / total_).sqrt().minimum(a).minimum(b)
    scale = 1 / ((a * (1 - y) - b * y).abs() + width)
    base = (log * a + log_rest * b).unsqueeze(-1)

    def log_density(sign):  # in the log odds s = odds + sign * w, where f ds = sigmoid^a (1 - )^b
        def at(w):
            s = odds_ + sign * w
            return _log_sigmoid(s) * a_ + _log_sigmoid(-s) * b_ - base

        return at

    def slope(sign):
        return lambda w: _log_sigmoid(odds_ + sign * w) + centre

    below = -_tail_mean(log_density(-1), slope(-1), scale)
    above = _tail_mean(log_density(1), slope(1), scale)
    return (y * find("where").door(y <= a / total_, below, above)).to(x.layout.dtype)


def _log_sigmoid(x):
    return x.clamp_max(0) - (-x.abs()).exp().log1p()
