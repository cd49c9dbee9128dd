"""The F distribution."""

import math

from . import constraints
from .dirichlet import log_density
from .distribution import Distribution
from .gamma import Gamma
from .operations import finfo, stack

__all__ = ["FisherSnedecor"]


class FisherSnedecor(Distribution):
    """The quotient of two chi-squared numbers, each divided by its degrees of freedom."""

    arg_constraints = {"df1": constraints.positive, "df2": constraints.positive}
    support = constraints.positive
    has_rsample = True

    def __init__(self, df1, df2, validate_args=None):
        self._take(validate_args, df1=df1, df2=df2)
        self._gamma1, self._gamma2 = (Gamma(df / 2, df) for df in (self.df1, self.df2))

    @property
    def mean(self):
        return (self.df2 / (self.df2 - 2)).masked_fill(self.df2 <= 2, math.nan)

    @property
    def mode(self):
        mode = (self.df1 - 2) / self.df1 * self.df2 / (self.df2 + 2)
        return mode.masked_fill(self.df1 <= 2, math.nan)

    @property
    def variance(self):
        df1, df2 = self.df1, self.df2
        variance = 2 * df2.pow(2) * (df1 + df2 - 2) / (df1 * (df2 - 2).pow(2) * (df2 - 4))
        return variance.masked_fill(df2 <= 4, math.nan)

    def rsample(self, sample_shape=()):
        tiny = finfo(self.df1.dtype).tiny
        quotient = self._gamma1.rsample(sample_shape) / self._gamma2.rsample(sample_shape)
        return quotient.clamp(min=tiny)

    def log_prob(self, value):
        self._check(value)
        # In x = y / (1 + y), which has a beta distribution.
        ratio = self.df1 / self.df2
        y = ratio * value
        shares = stack((y / (1 + y), 1 / (1 + y)), -1)
        log_beta_density = log_density(stack((self.df1, self.df2), -1) / 2, shares)
        return log_beta_density + ratio.log() - 2 * y.log1p()
