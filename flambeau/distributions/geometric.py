"""The geometric distribution."""

from flambeau.tensor import no_grad

from . import constraints
from .operations import finfo, xlog1py, zeros_like
from .probabilities import FromProbabilities, either

__all__ = ["Geometric"]


class Geometric(FromProbabilities):
    """The number of failures before the first success, which has probability `probs`."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.nonnegative_integer

    def __init__(self, probs=None, logits=None, validate_args=None):
        self._take(validate_args, **either(probs, logits))
        if self._validate_args and probs is not None and not (self.probs > 0).all():
            value = self.probs
            raise ValueError(
                f"Expected parameter probs ({type(value).__name__} of shape {tuple(value.shape)}) "
                f"of distribution {self!r} to be positive but found invalid values:\n"
                f"{value.detach()[value <= 0]}"
            )

    @property
    def mean(self):
        return 1 / self.probs - 1

    @property
    def mode(self):
        return zeros_like(self.probs)

    @property
    def variance(self):
        return (1 / self.probs - 1) / self.probs

    def sample(self, sample_shape=()):
        with no_grad():
            u = self.probs.new_empty(self._extended_shape(sample_shape))
            u.uniform_(finfo(u.dtype).tiny, 1)
            return (u.log() / (-self.probs).log1p()).floor()

    def log_prob(self, value):
        self._check(value)
        return xlog1py(value, -self.probs) + self.probs.log()

    def entropy(self):
        return -self.probs.log() - xlog1py(1 - self.probs, -self.probs) / self.probs
