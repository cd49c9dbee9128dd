"""The binomial distribution."""

from flambeau.tensor import no_grad

from . import constraints
from .operations import arange, binomial, log_poisson
from .probabilities import FromProbabilities, either

__all__ = ["Binomial"]


class Binomial(FromProbabilities):
    """How many of `total_count` trials succeed, each with probability `probs`."""

    arg_constraints = {
        "total_count": constraints.nonnegative_integer,
        "probs": constraints.unit_interval,
        "logits": constraints.real,
    }
    has_enumerate_support = True

    def __init__(self, total_count=1, probs=None, logits=None, validate_args=None):
        self._take(validate_args, total_count=total_count, **either(probs, logits))
        self.total_count = self.total_count.type_as(self._param)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self):
        return constraints.integer_interval(0, self.total_count)

    @property
    def mean(self):
        return self.total_count * self.probs

    @property
    def mode(self):
        return ((self.total_count + 1) * self.probs).floor().minimum(self.total_count)

    @property
    def variance(self):
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        with no_grad():
            return binomial(self.total_count.expand(shape), self.probs.expand(shape))

    def log_prob(self, value):
        self._check(value)
        # Poisson numbers of successes and failures, given their sum. Beyond the bound, where
        # probabilities leave the range of float32, each trial costs what the logit exceeds.
        n, logits = self.total_count, self.logits.clamp(-80, 80)
        excess = self.logits - logits
        parts = log_poisson(value, n * logits.sigmoid())
        parts = parts + log_poisson(n - value, n * (-logits).sigmoid()) - log_poisson(n, n)
        return parts + value * excess.clamp(max=0) - (n - value) * excess.clamp(min=0)

    def _common_count(self, method):
        count = int(self.total_count.max())
        if not self.total_count.min() == count:
            raise NotImplementedError(f"Inhomogeneous total count not supported by `{method}`.")
        return count

    def entropy(self):
        self._common_count("entropy")
        log_prob = self.log_prob(self.enumerate_support(False))
        return -(log_prob.exp() * log_prob).sum(0)

    def enumerate_support(self, expand=True):
        count = self._common_count("enumerate_support")
        values = arange(1 + count, dtype=self._param.dtype, device=self._param.device)
        return self._enumerated(values, expand)
