"""The generalized Pareto distribution."""

import math

from . import constraints
from .distribution import Distribution
from .operations import rand, xlog1py

__all__ = ["GeneralizedPareto"]


class GeneralizedPareto(Distribution):
    """What exceeds a high threshold `loc`: heavy tails for a `concentration` above 0, the
    exponential distribution at 0, a bounded support below.
    """

    arg_constraints = {
        "loc": constraints.real,
        "scale": constraints.positive,
        "concentration": constraints.real,
    }
    has_rsample = True

    def __init__(self, loc, scale, concentration, validate_args=None):
        self._take(validate_args, loc=loc, scale=scale, concentration=concentration)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self):
        bounded = self.concentration < 0
        upper = self.loc - self.scale / self.concentration.masked_fill(~bounded, -1.0)
        return constraints.interval(self.loc, upper.masked_fill(~bounded, math.inf))

    @property
    def mean(self):
        mean = self.loc + self.scale / (1 - self.concentration)
        return mean.masked_fill(self.concentration >= 1, math.nan)

    @property
    def mode(self):
        return self.loc

    @property
    def variance(self):
        c = self.concentration
        variance = self.scale.square() / ((1 - c).square() * (1 - 2 * c))
        return variance.masked_fill(c >= 0.5, math.nan)

    def rsample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        return self.icdf(rand(shape, dtype=self.loc.dtype, device=self.loc.device))

    def _concentration_or_1(self):
        """The concentration with 1 for 0, where limits take over; where it is 0."""
        is_zero = self.concentration == 0
        return self.concentration.masked_fill(is_zero, 1.0), is_zero

    def log_prob(self, value):
        self._check(value)
        z = (value - self.loc) / self.scale
        c, is_zero = self._concentration_or_1()
        return -self.scale.log() - z.where(is_zero, xlog1py(1 + 1 / c, c * z))

    def log_survival_function(self, value):
        """The logarithm of the probability of more than `value`."""
        self._check(value)
        z = (value - self.loc) / self.scale
        c, is_zero = self._concentration_or_1()
        return -z.where(is_zero, (c * z).log1p() / c)

    def log_cdf(self, value):
        """The logarithm of `cdf`."""
        return self.cdf(value).log()

    def cdf(self, value):
        return -self.log_survival_function(value).expm1()

    def icdf(self, value):
        log_survival = (-value).log1p()
        c, is_zero = self._concentration_or_1()
        z = (-log_survival).where(is_zero, (-c * log_survival).expm1() / c)
        return self.loc + self.scale * z

    def entropy(self):
        return self.scale.log() + self.concentration + 1
