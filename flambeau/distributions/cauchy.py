"""The Cauchy distribution."""

import math

from . import constraints
from .distribution import Distribution
from .operations import full_like, ones_like

__all__ = ["Cauchy"]


class Cauchy(Distribution):
    """The Cauchy (Lorentz) distribution around `loc` with half width `scale` at half height."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(self, loc, scale, validate_args=None):
        self._take(validate_args, loc=loc, scale=scale)

    @property
    def mean(self):
        return full_like(self.loc, math.nan)

    @property
    def mode(self):
        return self.loc

    @property
    def variance(self):
        return full_like(self.loc, math.inf)

    def rsample(self, sample_shape=()):
        eps = self.loc.new_empty(self._extended_shape(sample_shape)).cauchy_()
        return self.loc + eps * self.scale

    def log_prob(self, value):
        self._check(value)
        z = (value - self.loc) / self.scale
        return -math.log(math.pi) - self.scale.log() - z.square().log1p()

    def cdf(self, value):
        self._check(value)
        z = (value - self.loc) / self.scale
        return ones_like(z).atan2(-z) / math.pi  # exact far below, where atan(z) / pi is -1/2

    def icdf(self, value):
        # The cotangent of the smaller tail is exact at both ends, the tangent in the middle.
        side = (value - 0.5).sign()
        tail = side / (math.pi * value.minimum(1 - value)).tan()
        z = tail.where((value - 0.5).abs() > 0.25, (math.pi * (value - 0.5)).tan())
        return self.loc + self.scale * z

    def entropy(self):
        return math.log(4 * math.pi) + self.scale.log()
