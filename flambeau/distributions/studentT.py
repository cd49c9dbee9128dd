"""Student's t distribution."""

import math

from . import constraints
from .chi2 import Chi2
from .distribution import Distribution
from .operations import digamma_rest, log_poisson
from .utils import _standard_normal

__all__ = ["StudentT"]


class StudentT(Distribution):
    """Student's t distribution of `df` degrees of freedom, scaled and shifted."""

    arg_constraints = {
        "df": constraints.positive,
        "loc": constraints.real,
        "scale": constraints.positive,
    }
    support = constraints.real
    has_rsample = True

    def __init__(self, df, loc=0.0, scale=1.0, validate_args=None):
        self._take(validate_args, df=df, loc=loc, scale=scale)
        self._chi2 = Chi2(self.df)

    @property
    def mean(self):
        return self.loc.masked_fill(self.df <= 1, math.nan)

    @property
    def mode(self):
        return self.loc

    @property
    def variance(self):
        variance = self.scale.square() * self.df / (self.df - 2)
        infinite, undefined = self.df <= 2, self.df <= 1
        return variance.masked_fill(infinite, math.inf).masked_fill(undefined, math.nan)

    def rsample(self, sample_shape=()):
        normal = _standard_normal(self._extended_shape(sample_shape), self.df.dtype, self.df.device)
        chi2 = self._chi2.rsample(sample_shape)
        return self.loc + self.scale * (normal * (chi2 / self.df).rsqrt())

    def _log_normalizer(self):
        """log of the integral of ``(1 + y ** 2 / df) ** (-(df + 1) / 2)`` over y."""
        a = self.df / 2
        b = a + 0.5
        rest = log_poisson(b, b) - log_poisson(a, a) - (a - 0.5) * (0.5 / a).log1p()
        return 0.5 * (1 + math.log(2 * math.pi)) + rest

    def log_prob(self, value):
        self._check(value)
        y = (value - self.loc) / self.scale
        kernel = -0.5 * (self.df + 1) * (y.square() / self.df).log1p()
        return kernel - self.scale.log() - self._log_normalizer()

    def entropy(self):
        a = self.df / 2
        b = a + 0.5
        spread = b * (digamma_rest(b) - digamma_rest(a) + (0.5 / a).log1p())
        return self.scale.log() + spread + self._log_normalizer()
