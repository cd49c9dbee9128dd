"""The LKJ distribution of correlation matrices."""

import math

from . import constraints
from .beta import Beta
from .distribution import Distribution
from .operations import arange, finfo, randn
from .utils import broadcast_all

__all__ = ["LKJCholesky"]


class LKJCholesky(Distribution):
    """Cholesky factors of `dim` by `dim` correlation matrices, whose density is in proportion to
    ``det(matrix) ** (concentration - 1)`` (Lewandowski, Kurowicka and Joe, Journal of Multivariate
    Analysis 100, 2009).
    """

    arg_constraints = {"concentration": constraints.positive}
    support = constraints.corr_cholesky

    def __init__(self, dim, concentration=1.0, validate_args=None):
        if dim < 2:
            raise ValueError(
                f"Expected dim to be an integer greater than or equal to 2. Found dim={dim}."
            )
        self.dim = dim
        (self.concentration,) = broadcast_all(concentration)
        # Of the first row, a single 1, any number would do.
        row = arange(dim, dtype=self.concentration.dtype, device=self.concentration.device).clamp(1)
        rest = self.concentration.unsqueeze(-1) + 0.5 * (dim - 1 - row)
        self._beta = Beta(0.5 * row, rest)
        super().__init__(self.concentration.shape, (dim, dim), validate_args)

    def sample(self, sample_shape=()):
        """By the onion method: row by row, a radius and a direction."""
        radius = self._beta.sample(sample_shape).unsqueeze(-1)
        shape = self._extended_shape(sample_shape)
        normal = randn(shape, dtype=radius.dtype, device=radius.device).tril(-1)
        direction = normal / normal.square().sum(-1, True).sqrt()
        direction[..., 0, :] = 0.0
        rows = radius.sqrt() * direction
        rest = (1 - rows.square().sum(-1)).clamp(min=finfo(rows.dtype).tiny)
        return rows + rest.sqrt().diag_embed()

    def log_prob(self, value):
        self._check(value)
        n, a = self.dim - 1, self.concentration + 0.5 * (self.dim - 1)
        order = arange(2, self.dim + 1, device=self.concentration.device)
        powers = 2 * (self.concentration - 1).unsqueeze(-1) + self.dim - order
        diagonal = value.diagonal(0, -1, -2)[..., 1:]
        normalizer = 0.5 * n * math.log(math.pi) + (a - 0.5).mvlgamma(n) - n * a.lgamma()
        return (powers * diagonal.log()).sum(-1) - normalizer
