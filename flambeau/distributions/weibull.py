"""The Weibull distribution."""

from . import constraints
from .exponential import Exponential
from .operations import ones_like
from .transformed_distribution import TransformedDistribution
from .transforms import AffineTransform, PowerTransform
from .utils import broadcast_all, euler_constant

__all__ = ["Weibull"]


class Weibull(TransformedDistribution):
    """``cdf(x) = 1 - exp(-(x / scale) ** concentration)``."""

    arg_constraints = {"scale": constraints.positive, "concentration": constraints.positive}
    support = constraints.positive

    def __init__(self, scale, concentration, validate_args=None):
        self.scale, self.concentration = broadcast_all(scale, concentration)
        self.concentration_reciprocal = self.concentration.reciprocal()
        base = Exponential(ones_like(self.scale), validate_args=validate_args)
        transforms = [
            PowerTransform(exponent=self.concentration_reciprocal),
            AffineTransform(loc=0, scale=self.scale),
        ]
        super().__init__(base, transforms, validate_args=validate_args)

    @property
    def mean(self):
        return self.scale * (1 + self.concentration_reciprocal).lgamma().exp()

    @property
    def mode(self):
        share = ((self.concentration - 1) / self.concentration).clamp(min=0)
        return self.scale * share.pow(self.concentration_reciprocal)

    @property
    def variance(self):
        log_mean = (1 + self.concentration_reciprocal).lgamma()
        log_square = (1 + 2 * self.concentration_reciprocal).lgamma()
        # The difference of the exponentials, which nearly cancels for high concentrations.
        return self.scale.square() * (2 * log_mean).exp() * (log_square - 2 * log_mean).expm1()

    def entropy(self):
        c = self.concentration_reciprocal
        return euler_constant * (1 - c) + (self.scale * c).log() + 1
