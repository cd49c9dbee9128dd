"""The Kumaraswamy distribution."""

import math

from . import constraints
from .operations import ones_like, zeros_like
from .transformed_distribution import TransformedDistribution
from .transforms import AffineTransform, PowerTransform
from .uniform import Uniform
from .utils import broadcast_all, euler_constant, log_complement

__all__ = ["Kumaraswamy"]


class Kumaraswamy(TransformedDistribution):
    """``cdf(x) = 1 - (1 - x ** concentration1) ** concentration0`` on [0, 1]: like the beta
    distribution, with an inverse in closed form (Journal of Hydrology 46, 1980).
    """

    arg_constraints = {
        "concentration1": constraints.positive,
        "concentration0": constraints.positive,
    }
    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, concentration1, concentration0, validate_args=None):
        a, b = broadcast_all(concentration1, concentration0)
        self.concentration1, self.concentration0 = a, b
        base = Uniform(zeros_like(b), ones_like(b), validate_args=validate_args)
        transforms = [
            PowerTransform(exponent=b.reciprocal()),
            AffineTransform(loc=1.0, scale=-1.0),
            PowerTransform(exponent=a.reciprocal()),
        ]
        super().__init__(base, transforms, validate_args=validate_args)

    def _moment(self, n):
        a, b = 1 + n / self.concentration1, self.concentration0
        return b * (a.lgamma() + b.lgamma() - (a + b).lgamma()).exp()

    @property
    def mean(self):
        return self._moment(1)

    @property
    def mode(self):
        """nan where the density is not bounded, or flat."""
        a, b = self.concentration1, self.concentration0
        return ((a - 1) / (a * b - 1)).pow(1 / a).masked_fill((a < 1) | (b < 1), math.nan)

    @property
    def variance(self):
        return self._moment(2) - self.mean.pow(2)

    def _log_rest(self, value):
        """log(1 - value ** concentration1)."""
        return log_complement(self.concentration1 * value.log())

    def log_prob(self, value):
        self._check(value)
        a, b = self.concentration1, self.concentration0
        powers = (a - 1).xlogy(value) + (b - 1) * self._log_rest(value)
        return a.log() + b.log() + powers

    def cdf(self, value):
        self._check(value)
        return -(self.concentration0 * self._log_rest(value)).expm1()

    def icdf(self, value):
        rest = (-value).log1p() / self.concentration0
        return (-rest.expm1()).pow(1 / self.concentration1)

    def entropy(self):
        a, b = self.concentration1, self.concentration0
        harmonic = (b + 1).digamma() + euler_constant
        return 1 - 1 / b + (1 - 1 / a) * harmonic - a.log() - b.log()
