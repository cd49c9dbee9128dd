"""The multinomial distribution."""

from flambeau.tensor import Size

from . import constraints
from .binomial import Binomial
from .categorical import OverCategories
from .operations import log_poisson, ones_like

__all__ = ["Multinomial"]


class Multinomial(OverCategories):
    """How often each category comes up in `total_count` draws."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}

    def __init__(self, total_count=1, probs=None, logits=None, validate_args=None):
        if not isinstance(total_count, int):
            raise NotImplementedError("inhomogeneous total_count is not supported")
        self.total_count = total_count
        self._take_categories(probs, logits, validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self):
        return constraints.multinomial(self.total_count)

    @property
    def mean(self):
        return self.total_count * self.probs

    @property
    def variance(self):
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape=()):
        shape = Size(sample_shape)
        drawn = self._categorical.sample((self.total_count, *shape)).movedim(0, -1)
        counts = drawn.new_zeros(self._extended_shape(shape))
        return counts.scatter_add_(-1, drawn, ones_like(drawn)).type_as(self.probs)

    def log_prob(self, value):
        self._check(value)
        # Poisson numbers, given their sum; the excess is of probabilities that float32 calls 0.
        logits, n = self.logits.clamp(min=-80), value.sum(-1)
        excess = ((self.logits - logits) * value).masked_fill(value == 0, 0.0)
        parts = log_poisson(value, n.unsqueeze(-1) * logits.exp()) + excess
        return parts.sum(-1) - log_poisson(n, n)

    def entropy(self):
        """The terms in the counts are expectations of a binomial number for each category."""
        n = self.probs.new_tensor(float(self.total_count))
        counts = Binomial(self.total_count, self.probs)
        values = counts.enumerate_support(expand=False)
        log_factorials = (counts.log_prob(values).exp() * (values + 1).lgamma()).sum((0, -1))
        return n * self._categorical.entropy() - (n + 1).lgamma() + log_factorials
