"""The half-Cauchy distribution."""

import math

from . import constraints
from .cauchy import Cauchy
from .operations import as_tensor, full_like, zeros_like
from .transformed_distribution import TransformedDistribution, of_base
from .transforms import AbsTransform

__all__ = ["HalfCauchy"]


class HalfCauchy(TransformedDistribution):
    """The absolute value of a Cauchy number around 0."""

    arg_constraints = {"scale": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True
    scale = of_base("scale")

    def __init__(self, scale, validate_args=None):
        base = Cauchy(0, scale, validate_args=False)
        super().__init__(base, AbsTransform(), validate_args=validate_args)

    @property
    def mean(self):
        return full_like(self.scale, math.inf)

    variance = mean

    @property
    def mode(self):
        return zeros_like(self.scale)

    def log_prob(self, value):
        value = as_tensor(value, dtype=self.scale.dtype, device=self.scale.device)
        self._check(value)
        log_prob = self.base_dist.log_prob(value) + math.log(2)
        return log_prob.masked_fill(value < 0, -math.inf)

    def cdf(self, value):
        self._check(value)
        return (value / self.scale).atan() * (2 / math.pi)

    def icdf(self, value):
        upper = (math.pi / 2 * (1 - value)).tan().reciprocal()  # exact close to 1
        return self.scale * upper.where(value > 0.5, (math.pi / 2 * value).tan())

    def entropy(self):
        return self.base_dist.entropy() - math.log(2)
