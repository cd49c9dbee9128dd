"""The inverse gamma distribution."""

import math

from . import constraints
from .gamma import Gamma
from .operations import digamma_rest, gammaincc, log_poisson
from .transformed_distribution import TransformedDistribution, of_base
from .transforms import PowerTransform

__all__ = ["InverseGamma"]


class InverseGamma(TransformedDistribution):
    """The reciprocal of a gamma number."""

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.positive
    has_rsample = True
    concentration = of_base("concentration")
    rate = of_base("rate")

    def __init__(self, concentration, rate, validate_args=None):
        base = Gamma(concentration, rate, validate_args=validate_args)
        reciprocal = PowerTransform(-base.rate.new_ones(()))
        super().__init__(base, reciprocal, validate_args=validate_args)

    @property
    def mean(self):
        mean = self.rate / (self.concentration - 1)
        return mean.masked_fill(self.concentration <= 1, math.inf)

    @property
    def mode(self):
        return self.rate / (self.concentration + 1)

    @property
    def variance(self):
        a = self.concentration
        variance = self.rate.square() / ((a - 1).square() * (a - 2))
        return variance.masked_fill(a <= 2, math.inf)

    def cdf(self, value):
        self._check(value)
        return gammaincc(self.concentration, self.rate / value)

    def entropy(self):
        a = self.concentration
        return self.rate.log() - log_poisson(a, a) - (1 + a) * digamma_rest(a) - 2 * a.log()
