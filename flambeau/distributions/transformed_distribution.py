"""Distributions of transformed random numbers."""

import math
from operator import attrgetter

from flambeau.tensor import no_grad

from . import constraints
from .distribution import Distribution
from .independent import Independent
from .transforms import ComposeTransform, Transform
from .utils import _sum_rightmost

__all__ = ["TransformedDistribution"]


def of_base(name):
    """A parameter that is the base distribution's."""
    return property(lambda self: attrgetter(name)(self.base_dist), doc=f"`{name}` of `base_dist`.")


class TransformedDistribution(Distribution):
    """What becomes of draws of `base_distribution` by the transforms, the first one first."""

    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, base_distribution, transforms, validate_args=None):
        base = base_distribution
        if isinstance(transforms, Transform):
            transforms = [transforms]
        elif not isinstance(transforms, list):
            raise ValueError(f"transforms must be a Transform or list, but was {transforms}")
        elif not all(isinstance(t, Transform) for t in transforms):
            raise ValueError("transforms must be a Transform or a list of Transforms")
        self.transforms = transforms
        whole = ComposeTransform(transforms)
        shape, event_dim = base.batch_shape + base.event_shape, len(base.event_shape)
        domain_dim, codomain_dim = whole.domain.event_dim, whole.codomain.event_dim
        if len(shape) < domain_dim:
            raise ValueError(
                f"base_distribution needs to have shape with size at least {domain_dim}, but got "
                f"{shape}."
            )
        forward_shape = whole.forward_shape(shape)
        expanded = whole.inverse_shape(forward_shape)  # the transforms' parameters have a batch too
        if expanded != shape:
            base = base.expand(expanded[: len(expanded) - event_dim])
        if domain_dim > event_dim:
            base = Independent(base, domain_dim - event_dim)
        self.base_dist = base
        cut = len(forward_shape) - max(codomain_dim, event_dim + codomain_dim - domain_dim)
        super().__init__(forward_shape[:cut], forward_shape[cut:], validate_args)

    @constraints.dependent_property(is_discrete=False)
    def support(self):
        if not self.transforms:
            return self.base_dist.support
        support = self.transforms[-1].codomain
        more = len(self.event_shape) - support.event_dim
        return constraints.independent(support, more) if more > 0 else support

    @property
    def has_rsample(self):
        return self.base_dist.has_rsample

    def _forward(self, x):
        for transform in self.transforms:
            x = transform(x)
        return x

    def sample(self, sample_shape=()):
        with no_grad():
            return self._forward(self.base_dist.sample(sample_shape))

    def rsample(self, sample_shape=()):
        return self._forward(self.base_dist.rsample(sample_shape))

    def log_prob(self, value):
        self._check(value)
        event_dim, result, y = len(self.event_shape), 0.0, value
        for transform in reversed(self.transforms):
            x = transform.inv(y)
            change = transform.log_abs_det_jacobian(x, y)
            event_dim += transform.domain.event_dim - transform.codomain.event_dim
            result = result - _sum_rightmost(change, event_dim - transform.domain.event_dim)
            y = x
        base = self.base_dist.log_prob(y)
        return result + _sum_rightmost(base, event_dim - len(self.base_dist.event_shape))

    def _if_falling(self, probability):
        """The other tail's probability where the transforms turn the order around."""
        sign = math.prod(transform.sign for transform in self.transforms)
        if isinstance(sign, int):
            return probability if sign > 0 else 1 - probability
        return probability.where(sign > 0, 1 - probability)

    def cdf(self, value):
        for transform in reversed(self.transforms):
            value = transform.inv(value)
        self.base_dist._check(value)
        return self._if_falling(self.base_dist.cdf(value))

    def icdf(self, value):
        return self._forward(self.base_dist.icdf(self._if_falling(value)))
