"""The Dirichlet distribution."""

from . import constraints
from .exp_family import ExponentialFamily
from .operations import digamma_rest, log_poisson, one_hot, sample_dirichlet

__all__ = ["Dirichlet"]


def log_density(concentration, shares):
    """The logarithm of the density of `shares`, which sum to 1, along the last dimension: those of
    gamma numbers, given their sum.
    """
    total = concentration.sum(-1)
    parts = log_poisson(concentration - 1, total.unsqueeze(-1) * shares).sum(-1)
    return parts - log_poisson(total - 1, total) + (concentration.shape[-1] - 1) * total.log()


class Dirichlet(ExponentialFamily):
    """Points of the simplex with density in proportion to the product of x ** (concentration - 1).

    Draws are differentiable by implicit reparameterisation.
    """

    arg_constraints = {"concentration": constraints.independent(constraints.positive, 1)}
    support = constraints.simplex
    has_rsample = True

    def __init__(self, concentration, validate_args=None):
        if concentration.dim() < 1:
            raise ValueError("`concentration` parameter must be at least one-dimensional.")
        self.concentration = concentration
        super().__init__(concentration.shape[:-1], concentration.shape[-1:], validate_args)

    def rsample(self, sample_shape=()):
        return sample_dirichlet(self.concentration.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value):
        self._check(value)
        return log_density(self.concentration, value)

    @property
    def mean(self):
        return self.concentration / self.concentration.sum(-1, True)

    @property
    def mode(self):
        """Where all concentrations are below 1, the density is infinite at every corner: the
        first.
        """
        excess = (self.concentration - 1).clamp(min=0.0)
        mode = excess / excess.sum(-1, True)
        at_corners = (self.concentration < 1).all(-1, True)
        corner = one_hot(at_corners[..., 0].long() * 0, excess.shape[-1]).to(mode)
        return corner.where(at_corners, mode)

    @property
    def variance(self):
        total = self.concentration.sum(-1, True)
        return self.concentration * (total - self.concentration) / (total.pow(2) * (total + 1))

    def entropy(self):
        a, n = self.concentration, self._event_shape[0]
        total = a.sum(-1)
        parts = ((1 - a) * digamma_rest(a) - log_poisson(a, a)).sum(-1)
        return (
            parts
            - (n - total) * digamma_rest(total)
            + log_poisson(total, total)
            - (n - 1) * total.log()
        )

    @property
    def _natural_params(self):
        return (self.concentration,)

    def _log_normalizer(self, x):
        return x.lgamma().sum(-1) - x.sum(-1).lgamma()
