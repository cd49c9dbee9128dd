"""The gamma distribution."""

from . import constraints
from .exp_family import ExponentialFamily
from .operations import as_tensor, digamma_rest, finfo, gammainc, log_poisson, standard_gamma

__all__ = ["Gamma"]


class Gamma(ExponentialFamily):
    """Density in proportion to ``x ** (concentration - 1) * exp(-rate * x)``.

    Draws are differentiable by implicit reparameterisation.
    """

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True
    _mean_carrier_measure = 0

    def __init__(self, concentration, rate, validate_args=None):
        self._take(validate_args, concentration=concentration, rate=rate)

    @property
    def mean(self):
        return self.concentration / self.rate

    @property
    def mode(self):
        return ((self.concentration - 1) / self.rate).clamp(min=0)

    @property
    def variance(self):
        return self.concentration / self.rate.pow(2)

    def rsample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        value = standard_gamma(self.concentration.expand(shape)) / self.rate.expand(shape)
        value.detach().clamp_(min=finfo(value.dtype).tiny)  # beside the gradient: never 0
        return value

    def log_prob(self, value):
        value = as_tensor(value, dtype=self.rate.dtype, device=self.rate.device)
        self._check(value)
        return self.rate.log() + log_poisson(self.concentration - 1, self.rate * value)

    def cdf(self, value):
        self._check(value)
        return gammainc(self.concentration, self.rate * value)

    def entropy(self):
        a = self.concentration
        return (1 - a) * digamma_rest(a) - log_poisson(a, a) - self.rate.log()

    @property
    def _natural_params(self):
        return self.concentration - 1, -self.rate

    def _log_normalizer(self, x, y):
        return (x + 1).lgamma() - (x + 1) * (-y).log()
