"""Mixtures of distributions of one family."""

from flambeau.tensor import no_grad

from . import constraints
from .categorical import Categorical
from .distribution import Distribution

__all__ = ["MixtureSameFamily"]


class MixtureSameFamily(Distribution):
    """Draws from one of the distributions along the last dimension of a batch, chosen by
    `mixture_distribution`.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, mixture_distribution, component_distribution, validate_args=None):
        mixture, component = mixture_distribution, component_distribution
        if not isinstance(mixture, Categorical):
            raise ValueError(
                " The Mixture distribution needs to be an  instance of "
                "torch.distributions.Categorical"
            )
        if not isinstance(component, Distribution):
            raise ValueError(
                "The Component distribution needs to be an instance of "
                "torch.distributions.Distribution"
            )
        batch_shape, count = component.batch_shape[:-1], component.batch_shape[-1]
        for size1, size2 in zip(reversed(mixture.batch_shape), reversed(batch_shape)):
            if size1 != 1 and size2 != 1 and size1 != size2:
                raise ValueError(
                    f"`mixture_distribution.batch_shape` ({mixture.batch_shape}) is not compatible "
                    f"with `component_distribution.batch_shape`({batch_shape})"
                )
        if mixture.logits.shape[-1] != count:
            raise ValueError(
                f"`mixture_distribution component` ({mixture.logits.shape[-1]}) does not equal "
                f"`component_distribution.batch_shape[-1]` ({count})"
            )
        self._mixture_distribution, self._component_distribution = mixture, component
        super().__init__(batch_shape, component.event_shape, validate_args)

    @constraints.dependent_property
    def support(self):
        return constraints.MixtureSameFamilyConstraint(self.component_distribution.support)

    @property
    def mixture_distribution(self):
        """The categorical distribution of the components."""
        return self._mixture_distribution

    @property
    def component_distribution(self):
        """The components, along the last dimension of its batch."""
        return self._component_distribution

    @property
    def _component_dim(self):
        return -1 - len(self._event_shape)

    def _mixed(self, values):
        """The average of `values` of the components, of shape ``batch + (count,) + event``."""
        probs = self.mixture_distribution.probs
        probs = probs.reshape(probs.shape + (1,) * len(self._event_shape))
        return (probs * values).sum(self._component_dim)

    @property
    def mean(self):
        return self._mixed(self.component_distribution.mean)

    @property
    def variance(self):
        parts = self.component_distribution
        apart = parts.mean - self.mean.unsqueeze(self._component_dim)
        return self._mixed(parts.variance + apart.square())

    def sample(self, sample_shape=()):
        with no_grad():
            choice = self.mixture_distribution.expand(self._batch_shape).sample(sample_shape)
            drawn = self.component_distribution.sample(sample_shape)
            rank = len(self._event_shape)
            choice = choice.reshape(choice.shape + (1,) * (rank + 1))
            choice = choice.expand(choice.shape[: choice.dim() - rank] + self._event_shape)
            dim = self._component_dim
            return drawn.gather(dim, choice).squeeze(dim)

    def log_prob(self, value):
        self._check(value)
        log_prob = self.component_distribution.log_prob(value.unsqueeze(self._component_dim))
        return (log_prob + self.mixture_distribution.logits.log_softmax(-1)).logsumexp(-1)

    def cdf(self, value):
        below = self.component_distribution.cdf(value.unsqueeze(self._component_dim))
        return (below * self.mixture_distribution.probs).sum(-1)

    def __repr__(self):
        return (
            f"MixtureSameFamily(\n  {self.mixture_distribution},\n  {self.component_distribution})"
        )
