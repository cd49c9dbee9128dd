"""The Poisson distribution."""

from flambeau.tensor import no_grad

from . import constraints
from .exp_family import ExponentialFamily
from .operations import log_poisson, poisson

__all__ = ["Poisson"]


class Poisson(ExponentialFamily):
    """The number of independent events where `rate` are expected."""

    arg_constraints = {"rate": constraints.nonnegative}
    support = constraints.nonnegative_integer

    def __init__(self, rate, validate_args=None):
        self._take(validate_args, rate=rate)

    @property
    def mean(self):
        return self.rate

    variance = mean

    @property
    def mode(self):
        return self.rate.floor()

    def sample(self, sample_shape=()):
        with no_grad():
            return poisson(self.rate.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value):
        self._check(value)
        return log_poisson(value.type_as(self.rate), self.rate)

    @property
    def _natural_params(self):
        return (self.rate.log(),)

    def _log_normalizer(self, x):
        return x.exp()
