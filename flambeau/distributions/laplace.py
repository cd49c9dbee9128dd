"""The Laplace distribution."""

from . import constraints
from .distribution import Distribution
from .operations import finfo

__all__ = ["Laplace"]


class Laplace(Distribution):
    """Density in proportion to ``exp(-|x - loc| / scale)``."""

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(self, loc, scale, validate_args=None):
        self._take(validate_args, loc=loc, scale=scale)

    @property
    def mean(self):
        return self.loc

    mode = mean

    @property
    def variance(self):
        return 2 * self.scale.pow(2)

    @property
    def stddev(self):
        return 2**0.5 * self.scale

    def rsample(self, sample_shape=()):
        u = self.loc.new_empty(self._extended_shape(sample_shape))
        u.uniform_(finfo(u.dtype).eps - 1, 1)
        return self.loc - self.scale * u.sign() * (-u.abs()).log1p()

    def log_prob(self, value):
        self._check(value)
        return -(2 * self.scale).log() - (value - self.loc).abs() / self.scale

    def cdf(self, value):
        self._check(value)
        z = (value - self.loc) / self.scale
        tail = 0.5 * (-z.abs()).exp()
        return tail.where(z < 0, 1 - tail)

    def icdf(self, value):
        tail = value.minimum(1 - value)
        return self.loc - self.scale * (value - 0.5).sign() * (2 * tail).log()

    def entropy(self):
        return 1 + (2 * self.scale).log()
