"""The continuous Bernoulli distribution."""

from . import constraints
from .exp_family import ExponentialFamily
from .operations import logsigmoid, rand
from .probabilities import FromProbabilities, either
from .utils import clamp_probs, lazy_property, log_complement, logits_to_probs

__all__ = ["ContinuousBernoulli"]

# B(2k) / (2k)! for k from 1 on, with B the Bernoulli numbers.
_SERIES = [
    0.08333333333333333,
    -0.001388888888888889,
    3.306878306878307e-05,
    -8.267195767195768e-07,
    2.08767569878681e-08,
    -5.284190138687493e-10,
    1.3382536530684679e-11,
    -3.3896802963225827e-13,
    8.586062056277845e-15,
    -2.174868698558062e-16,
]


class ContinuousBernoulli(FromProbabilities, ExponentialFamily):
    """Density in proportion to ``probs ** x * (1 - probs) ** (1 - x)`` on [0, 1] (Loaiza-Ganem and
    Cunningham, NeurIPS 2019).

    In the log odds t this is ``exp(t x - A(t))`` with ``A(t) = log((exp(t) - 1) / t)``, so the
    mean and the variance are the derivatives of A. Around 0 these are summed from their series,
    which needs no `lims`: the argument is there for PyTorch's sake.
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.unit_interval
    has_rsample = True
    _mean_carrier_measure = 0

    def __init__(self, probs=None, logits=None, lims=(0.499, 0.501), validate_args=None):
        self._lims = lims
        self._take(validate_args, **either(probs, logits))
        if probs is not None:
            self.probs = clamp_probs(self.probs)

    @lazy_property
    def probs(self):
        """The parameter, in (0, 1); not the mean."""
        return clamp_probs(logits_to_probs(self.logits, True))

    def _by_series(self, derivative, t):
        """That derivative of A(t) - t / 2, and where |t| is small enough for it to be exact."""
        small = t.abs() < 1
        x = t.where(small, 0.0)
        total = 0.0 * x
        for k in range(len(_SERIES), 0, -1):
            factor = (1 / (2 * k), 1.0, 2 * k - 1)[derivative]
            total = total * x * x + _SERIES[k - 1] * factor
        return total * x ** (2 - derivative), small

    def _even_normalizer(self, t):
        """A(t) - max(t, 0)."""
        series, small = self._by_series(0, t)
        large = t.abs().masked_fill(small, 1.0)
        return (series - t.abs() / 2).where(small, log_complement(-large) - large.log())

    def _log_normalizer(self, x):
        return (x + x.abs()) / 2 + self._even_normalizer(x)  # smooth at 0

    @property
    def mean(self):
        t = self.logits
        series, small = self._by_series(1, t)
        large = t.masked_fill(small, 1.0)
        return 0.5 + series.where(small, 0.5 / (large / 2).tanh() - 1 / large)

    @property
    def variance(self):
        t = self.logits
        series, small = self._by_series(2, t)
        large = t.masked_fill(small, 1.0)
        return series.where(small, large.pow(-2) - 0.25 / (large / 2).sinh().square())

    def rsample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        return self.icdf(rand(shape, dtype=self._param.dtype, device=self._param.device))

    def log_prob(self, value):
        self._check(value)
        t = self.logits
        top = (1 + t.sign()) / 2  # where the density is highest
        return t * (value - top) - self._even_normalizer(t)

    def cdf(self, value):
        self._check(value)
        x, t = value.clamp(0, 1), self._slope()
        falling = (-t * x).expm1() / (-t).expm1()
        rising = (t * (x - 1)).exp() * falling
        return x.where(self.logits == 0, rising.where(self.logits > 0, falling))

    def icdf(self, value):
        t = self._slope()
        falling = -(value * (-t).expm1()).log1p() / t
        log_odds = value.log() + t + log_complement(-t)  # log(value * (exp(t) - 1))
        rising = -logsigmoid(-log_odds) / t
        return value.where(self.logits == 0, rising.where(self.logits > 0, falling))

    def _slope(self):
        """|t|, with 1 for 0, where the density is flat."""
        return self.logits.abs().masked_fill(self.logits == 0, 1.0)

    def entropy(self):
        return self._log_normalizer(self.logits) - self.logits * self.mean

    @property
    def _natural_params(self):
        return (self.logits,)
