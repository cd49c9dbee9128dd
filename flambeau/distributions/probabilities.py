"""What distributions have in common that are given by probabilities or by logits."""

from .distribution import Distribution
from .utils import lazy_property, logits_to_probs, probs_to_logits


def either(probs, logits):
    """The one of the two that is given, with its name. Raises ValueError unless it is one."""
    if (probs is None) == (logits is None):
        raise ValueError("Either `probs` or `logits` must be specified, but not both.")
    return {"logits": logits} if probs is None else {"probs": probs}


class FromProbabilities(Distribution):
    """Has `probs` or `logits`, and the other when it is asked for."""

    _is_binary = True  # logits are log odds, not logarithms of parts of a whole

    @lazy_property
    def logits(self):
        """Log odds (binary), or logarithms of the probabilities."""
        return probs_to_logits(self.probs, self._is_binary)

    @lazy_property
    def probs(self):
        """Probabilities."""
        return logits_to_probs(self.logits, self._is_binary)

    @property
    def _param(self):
        return next(self.__dict__[name] for name in self.__dict__ if name in ("probs", "logits"))

    @property
    def param_shape(self):
        """The shape of `probs` and `logits`."""
        return self._param.size()

    def _new(self, *args, **kwargs):
        return self._param.new(*args, **kwargs)
