"""Categorical distributions over one-hot vectors."""

from flambeau.tensor import Size

from . import constraints
from .categorical import OverCategories
from .operations import eye, one_hot

__all__ = ["OneHotCategorical", "OneHotCategoricalStraightThrough"]


class OneHotCategorical(OverCategories):
    """The unit vectors, with the probabilities along the last dimension of `probs` or `logits`."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.one_hot
    has_enumerate_support = True

    def __init__(self, probs=None, logits=None, validate_args=None):
        self._take_categories(probs, logits, validate_args)

    @property
    def mean(self):
        return self.probs

    def _as_vector(self, index):
        return one_hot(index, self._event_shape[0]).to(self._param)

    @property
    def mode(self):
        return self._as_vector(self._categorical.mode)

    @property
    def variance(self):
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape=()):
        return self._as_vector(self._categorical.sample(Size(sample_shape)))

    def log_prob(self, value):
        self._check(value)
        return self._categorical.log_prob(value.argmax(-1))

    def entropy(self):
        return self._categorical.entropy()

    def enumerate_support(self, expand=True):
        values = eye(self._event_shape[0], dtype=self._param.dtype, device=self._param.device)
        return self._enumerated(values, expand)


class OneHotCategoricalStraightThrough(OneHotCategorical):
    """One-hot draws that have the gradient of their probabilities (Bengio, Léonard and Courville,
    2013).
    """

    has_rsample = True

    def rsample(self, sample_shape=()):
        return self.sample(sample_shape) + (self.probs - self.probs.detach())
