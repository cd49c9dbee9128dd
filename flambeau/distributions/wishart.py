"""The Wishart distribution."""

import math
import warnings

from flambeau.tensor import Size

from . import constraints
from .chi2 import Chi2
from .exp_family import ExponentialFamily
from .multivariate_normal import FromMatrix, half_log_det
from .operations import arange, as_tensor, finfo, randn, tril_indices
from .utils import lazy_property

__all__ = ["Wishart"]


class Wishart(FromMatrix, ExponentialFamily):
    """The sums of x x^T over `df` normal vectors x of mean 0, given by one of three matrices."""

    support = constraints.positive_definite
    has_rsample = True
    _mean_carrier_measure = 0

    def __init__(
        self,
        df,
        covariance_matrix=None,
        precision_matrix=None,
        scale_tril=None,
        validate_args=None,
    ):
        batch_shape = self._take_matrix(
            covariance_matrix,
            precision_matrix,
            scale_tril,
            getattr(df, "shape", ()),
            AssertionError,
        )
        matrix = self._given[1]
        event_shape, n = matrix.shape[-2:], matrix.shape[-1]
        self.df = as_tensor(df, dtype=matrix.dtype, device=matrix.device).expand(batch_shape)
        if (self.df <= n - 1).any():
            raise ValueError(f"Value of df={df} expected to be greater than ndim - 1 = {n - 1}.")
        if (self.df < n).any():
            warnings.warn(
                "Low df values detected. Singular samples are highly likely to occur for "
                "ndim - 1 < df < ndim.",
                stacklevel=2,
            )
        super().__init__(batch_shape, event_shape, validate_args)

    @property
    def arg_constraints(self):
        return {
            "covariance_matrix": constraints.positive_definite,
            "precision_matrix": constraints.positive_definite,
            "scale_tril": constraints.lower_cholesky,
            "df": constraints.greater_than(self.event_shape[-1] - 1),
        }

    def _from_df(self, value):
        return value.reshape((*self._batch_shape, 1, 1))

    @property
    def mean(self):
        return self._from_df(self.df) * self.covariance_matrix

    @property
    def mode(self):
        factor = self.df - self._event_shape[-1] - 1
        return self._from_df(factor.masked_fill(factor <= 0, math.nan)) * self.covariance_matrix

    @property
    def variance(self):
        matrix = self.covariance_matrix
        diagonal = matrix.diagonal(0, -2, -1)
        products = diagonal.unsqueeze(-1) * diagonal.unsqueeze(-2)
        return self._from_df(self.df) * (matrix.square() + products)

    @lazy_property
    def _chi2(self):
        steps = arange(self._event_shape[-1], dtype=self.df.dtype, device=self.df.device)
        return Chi2(self.df.unsqueeze(-1) - steps)

    def _bartlett(self, sample_shape):
        """Bartlett's decomposition: chi and normal numbers make the factor of a draw."""
        n = self._event_shape[-1]
        chi = self._chi2.rsample(sample_shape).sqrt()
        noise = chi.clamp(min=finfo(chi.dtype).eps).diag_embed()
        row, column = tril_indices(n, n, offset=-1)
        shape = sample_shape + self._batch_shape + (n * (n - 1) // 2,)
        noise[..., row, column] = randn(shape, dtype=noise.dtype, device=noise.device)
        factor = self._unbroadcasted_scale_tril @ noise
        return factor @ factor.mT

    def rsample(self, sample_shape=(), max_try_correction=10):
        """Draws; those that rounding made singular are drawn again, so many times at most."""
        shape = Size(sample_shape)
        sample = self._bartlett(shape)
        for _ in range(max_try_correction):
            valid = self.support.check(sample)
            if valid.all():
                break
            sample = sample.where(valid[..., None, None], self._bartlett(shape))
        return sample

    def _log_normalizer_of(self, df, half_log_det_scale):
        n = self._event_shape[-1]
        scale = 0.5 * n * math.log(2) + half_log_det_scale
        return df * scale + (df / 2).mvlgamma(n)

    def log_prob(self, value):
        self._check(value)
        factor, n = self._unbroadcasted_scale_tril, self._event_shape[-1]
        power = (self.df - n - 1) / 2 * value.slogdet().logabsdet
        trace = (self.precision_matrix * value).sum((-2, -1))
        return power - trace / 2 - self._log_normalizer_of(self.df, half_log_det(factor))

    def entropy(self):
        n, df = self._event_shape[-1], self.df
        scale = half_log_det(self._unbroadcasted_scale_tril)
        steps = arange(n, dtype=df.dtype, device=df.device)
        mean_log_det = ((df.unsqueeze(-1) - steps) / 2).digamma().sum(-1) + n * math.log(2)
        mean_power = (df - n - 1) / 2 * (mean_log_det + 2 * scale)
        return self._log_normalizer_of(df, scale) - mean_power + df * n / 2

    @property
    def _natural_params(self):
        return -self.precision_matrix / 2, (self.df - self._event_shape[-1] - 1) / 2

    def _log_normalizer(self, x, y):
        df = 2 * y + self._event_shape[-1] + 1
        return self._log_normalizer_of(df, -0.5 * (-2 * x).slogdet().logabsdet)
