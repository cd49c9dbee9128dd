"""The negative binomial distribution."""

from flambeau.tensor import no_grad

from . import constraints
from .gamma import Gamma
from .operations import log_poisson, logsigmoid, poisson
from .probabilities import FromProbabilities, either

__all__ = ["NegativeBinomial"]


class NegativeBinomial(FromProbabilities):
    """The number of successes, of probability `probs` each, before `total_count` failures."""

    arg_constraints = {
        "total_count": constraints.greater_than_eq(0),
        "probs": constraints.half_open_interval(0.0, 1.0),
        "logits": constraints.real,
    }
    support = constraints.nonnegative_integer

    def __init__(self, total_count, probs=None, logits=None, validate_args=None):
        self._take(validate_args, total_count=total_count, **either(probs, logits))
        self.total_count = self.total_count.type_as(self._param)

    @property
    def mean(self):
        return self.total_count * self.logits.exp()

    @property
    def mode(self):
        return ((self.total_count - 1) * self.logits.exp()).floor().clamp(min=0.0)

    @property
    def variance(self):
        return self.mean / (-self.logits).sigmoid()

    @property
    def _gamma(self):
        """The mixing distribution: this is a Poisson number of gamma rate."""
        return Gamma(self.total_count, (-self.logits).exp(), validate_args=False)

    def sample(self, sample_shape=()):
        with no_grad():
            return poisson(self._gamma.sample(sample_shape))

    def log_prob(self, value):
        self._check(value)
        # As the binomial distribution: of all trials, the last one is a failure.
        n, logits = self.total_count, self.logits.clamp(-80, 80)
        excess, trials = self.logits - logits, n + value
        parts = log_poisson(value, trials * logits.sigmoid())
        parts = parts + log_poisson(n - 1, trials * (-logits).sigmoid())
        parts = parts - log_poisson(trials - 1, trials) + logsigmoid(-logits)
        parts = parts.masked_fill(trials == 0, 0.0)
        return parts + value * excess.clamp(max=0) - n * excess.clamp(min=0)
