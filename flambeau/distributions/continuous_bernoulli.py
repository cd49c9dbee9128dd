"""The continuous Bernoulli distribution."""

import math

from . import constraints
from .exp_family import ExponentialFamily
from .operations import rand
from .probabilities import FromProbabilities, either
from .utils import clamp_probs, lazy_property, logits_to_probs

__all__ = ["ContinuousBernoulli"]

# B(2k) / (2k)! for k from 1 on, with B the Bernoulli numbers.
_SERIES = [
    (-1) ** (k + 1) * 2 * sum(n ** (-2 * k) for n in range(1, 60)) / (2 * math.pi) ** (2 * k)
    for k in range(1, 13)
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

    def _log_normalizer(self, x):
        series, small = self._by_series(0, x)
        large = x.abs().masked_fill(small, 1.0)  # the even function A(t) - t / 2
        exact = large / 2 + (-(-large).expm1() / large).log()
        return x / 2 + series.where(small, exact)

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
        return self.logits * value - self._log_normalizer(self.logits)

    def cdf(self, value):
        self._check(value)
        return self._by_falling(value.clamp(0, 1), lambda x, t: (-t * x).expm1() / (-t).expm1())

    def icdf(self, value):
        return self._by_falling(value, lambda u, t: -(u * (-t).expm1()).log1p() / t)

    def _by_falling(self, value, function):
        """``function(value, t)`` for a density that falls as exp(-t x); a rising one is that
        mirrored, a flat one leaves the value."""
        rising, flat = self.logits > 0, self.logits == 0
        t = self.logits.abs().masked_fill(flat, 1.0)
        result = function((1 - value).where(rising, value), t)
        return value.where(flat, (1 - result).where(rising, result))

    def entropy(self):
        return self._log_normalizer(self.logits) - self.logits * self.mean

    @property
    def _natural_params(self):
        return (self.logits,)
