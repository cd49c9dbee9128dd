"""The Bernoulli distribution."""

import math

from flambeau.tensor import no_grad

from . import constraints
from .exp_family import ExponentialFamily
from .operations import arange, logsigmoid, softplus
from .probabilities import FromProbabilities, either

__all__ = ["Bernoulli"]


class Bernoulli(FromProbabilities, ExponentialFamily):
    """1 with probability `probs`, else 0."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.boolean
    has_enumerate_support = True
    _mean_carrier_measure = 0

    def __init__(self, probs=None, logits=None, validate_args=None):
        self._take(validate_args, **either(probs, logits))

    @property
    def mean(self):
        return self.probs

    @property
    def mode(self):
        return (self.probs >= 0.5).to(self.probs).masked_fill(self.probs == 0.5, math.nan)

    @property
    def variance(self):
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape=()):
        with no_grad():
            return self.probs.expand(self._extended_shape(sample_shape)).bernoulli()

    def log_prob(self, value):
        self._check(value)
        return value * logsigmoid(self.logits) + (1 - value) * logsigmoid(-self.logits)

    def entropy(self):
        odds = self.logits
        return odds.sigmoid() * softplus(-odds) + (-odds).sigmoid() * softplus(odds)

    def enumerate_support(self, expand=True):
        values = arange(2, dtype=self._param.dtype, device=self._param.device)
        return self._enumerated(values, expand)

    @property
    def _natural_params(self):
        return (self.logits,)

    def _log_normalizer(self, x):
        return softplus(x)
