"""Continuous relaxations of the Bernoulli distribution."""

from . import constraints
from .operations import logsigmoid, rand
from .probabilities import FromProbabilities, either
from .transformed_distribution import TransformedDistribution, of_base
from .transforms import SigmoidTransform
from .utils import broadcast_all, clamp_probs, probs_to_logits

__all__ = ["LogitRelaxedBernoulli", "RelaxedBernoulli"]


class LogitRelaxedBernoulli(FromProbabilities):
    """The log odds of a relaxed Bernoulli number: logistic noise around `logits`, divided by the
    temperature (Maddison, Mnih and Teh; Jang, Gu and Poole; ICLR 2017).
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.real
    has_rsample = True

    def __init__(self, temperature, probs=None, logits=None, validate_args=None):
        (self._temperature,) = broadcast_all(temperature)
        self._take(validate_args, **either(probs, logits))

    @property
    def temperature(self):
        """What the noisy logits are divided by; it belongs to no batch."""
        return self._temperature

    def rsample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        noise = clamp_probs(rand(shape, dtype=self._param.dtype, device=self._param.device))
        logits = probs_to_logits(self.probs.expand(shape), True)
        return (noise.log() - (-noise).log1p() + logits) / self.temperature

    def log_prob(self, value):
        self._check(value)
        logits, value = broadcast_all(self.logits, value)
        noise = logits - value * self.temperature
        return self.temperature.log() + logsigmoid(noise) + logsigmoid(-noise)


class RelaxedBernoulli(TransformedDistribution):
    """Numbers in (0, 1) that come to lie at 0 and 1 as the temperature falls to 0."""

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.unit_interval
    has_rsample = True
    temperature = of_base("temperature")
    logits = of_base("logits")
    probs = of_base("probs")

    def __init__(self, temperature, probs=None, logits=None, validate_args=None):
        base = LogitRelaxedBernoulli(temperature, probs, logits)
        super().__init__(base, SigmoidTransform(), validate_args=validate_args)
