"""Continuous relaxations of the categorical distribution."""

from . import constraints
from .categorical import OverCategories
from .operations import rand
from .transformed_distribution import TransformedDistribution, of_base
from .transforms import ExpTransform
from .utils import broadcast_all, clamp_probs

__all__ = ["ExpRelaxedCategorical", "RelaxedOneHotCategorical"]


class ExpRelaxedCategorical(OverCategories):
    """The logarithm of a relaxed one-hot vector: Gumbel noise on `logits`, divided by the
    temperature and normalised (Maddison, Mnih and Teh; Jang, Gu and Poole; ICLR 2017).
    """

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, temperature, probs=None, logits=None, validate_args=None):
        (self._temperature,) = broadcast_all(temperature)
        self._take_categories(probs, logits, validate_args)

    @property
    def temperature(self):
        """What the noisy logits are divided by; it belongs to no batch."""
        return self._temperature

    def rsample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        uniform = clamp_probs(rand(shape, dtype=self._param.dtype, device=self._param.device))
        return ((self.logits - (-uniform.log()).log()) / self.temperature).log_softmax(-1)

    def log_prob(self, value):
        self._check(value)
        logits, value = broadcast_all(self.logits, value)
        n = self.temperature.new_tensor(float(self._event_shape[0]))
        scores = (logits - value * self.temperature).log_softmax(-1)
        return scores.sum(-1) + n.lgamma() + (n - 1) * self.temperature.log()


class RelaxedOneHotCategorical(TransformedDistribution):
    """Points of the simplex that come to lie at its corners as the temperature falls to 0."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.simplex
    has_rsample = True
    temperature = of_base("temperature")
    logits = of_base("logits")
    probs = of_base("probs")

    def __init__(self, temperature, probs=None, logits=None, validate_args=None):
        base = ExpRelaxedCategorical(temperature, probs, logits, validate_args=validate_args)
        super().__init__(base, ExpTransform(), validate_args=validate_args)
