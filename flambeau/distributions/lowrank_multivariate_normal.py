"""Multivariate normal distributions whose covariance is of low rank but for its diagonal."""

from . import constraints
from .distribution import Distribution
from .multivariate_normal import LOG_TAU, _batch_mahalanobis, _batch_mv, half_log_det, solved
from .operations import broadcast_tensors, cholesky
from .utils import _standard_normal, lazy_property

__all__ = ["LowRankMultivariateNormal"]


def _plus_unit(matrix):
    return matrix + matrix.new_ones(matrix.shape[-1]).diag()


class LowRankMultivariateNormal(Distribution):
    """Normal vectors of mean `loc` and covariance ``cov_factor @ cov_factor.mT + diag(cov_diag)``.

    Inverse and determinant cost only as much as the rank of `cov_factor`, by Woodbury's formula
    and the matrix determinant lemma, on its *capacitance* ``1 + W^T D^-1 W``.
    """

    arg_constraints = {
        "loc": constraints.real_vector,
        "cov_factor": constraints.independent(constraints.real, 2),
        "cov_diag": constraints.independent(constraints.positive, 1),
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc, cov_factor, cov_diag, validate_args=None):
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        event_shape = loc.shape[-1:]
        if cov_factor.dim() < 2:
            raise ValueError(
                "cov_factor must be at least two-dimensional, with optional leading batch "
                "dimensions"
            )
        if cov_factor.shape[-2:-1] != event_shape:
            raise ValueError(
                f"cov_factor must be a batch of matrices with shape {event_shape[0]} x m"
            )
        if cov_diag.shape[-1:] != event_shape:
            raise ValueError(f"cov_diag must be a batch of vectors with shape {event_shape}")
        try:
            columns = broadcast_tensors(loc.unsqueeze(-1), cov_factor, cov_diag.unsqueeze(-1))
        except RuntimeError as error:
            raise ValueError(
                f"Incompatible batch shapes: loc {loc.shape}, cov_factor {cov_factor.shape}, "
                f"cov_diag {cov_diag.shape}"
            ) from error
        self.loc, self.cov_factor, self.cov_diag = (
            columns[0][..., 0],
            columns[1],
            columns[2][..., 0],
        )
        self._unbroadcasted_cov_factor, self._unbroadcasted_cov_diag = cov_factor, cov_diag
        super().__init__(self.loc.shape[:-1], event_shape, validate_args)

    @property
    def _parts(self):
        """W and D, for as many matrices as were given."""
        return self._unbroadcasted_cov_factor, self._unbroadcasted_cov_diag

    @lazy_property
    def _capacitance_tril(self):
        factor, diag = self._parts
        return cholesky(_plus_unit((factor.mT / diag.unsqueeze(-2)) @ factor))

    def _log_det(self):
        return 2 * half_log_det(self._capacitance_tril) + self._unbroadcasted_cov_diag.log().sum(-1)

    def _mahalanobis(self, x):
        factor, diag = self._parts
        projected = _batch_mv(factor.mT / diag.unsqueeze(-2), x)
        return (x.square() / diag).sum(-1) - _batch_mahalanobis(self._capacitance_tril, projected)

    def _half_inverse(self):
        """The matrix A of ``precision = D^-1 - A^T A``."""
        factor, diag = self._parts
        return solved(self._capacitance_tril, factor.mT / diag.unsqueeze(-2))

    @property
    def mean(self):
        return self.loc

    mode = mean

    @lazy_property
    def variance(self):
        factor, diag = self._parts
        variance = factor.square().sum(-1) + diag
        return variance.expand(self._batch_shape + self._event_shape)

    def _for_batch(self, matrix):
        return matrix.expand(self._batch_shape + self._event_shape + self._event_shape)

    @lazy_property
    def scale_tril(self):
        """The Cholesky factor of the covariance matrix."""
        factor, diag = self._parts
        scale = diag.sqrt().unsqueeze(-1)
        scaled = factor / scale
        return self._for_batch(scale * cholesky(_plus_unit(scaled @ scaled.mT)))

    @lazy_property
    def covariance_matrix(self):
        """The covariance matrix."""
        factor, diag = self._parts
        return self._for_batch(factor @ factor.mT + diag.diag_embed())

    @lazy_property
    def precision_matrix(self):
        """The inverse of the covariance matrix."""
        half = self._half_inverse()
        inverse = self._unbroadcasted_cov_diag.reciprocal().diag_embed()
        return self._for_batch(inverse - half.mT @ half)

    def rsample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        factor, diag = self._parts
        options = self.loc.dtype, self.loc.device
        common = _standard_normal(shape[:-1] + factor.shape[-1:], *options)
        own = _standard_normal(shape, *options)
        return self.loc + _batch_mv(factor, common) + diag.sqrt() * own

    def log_prob(self, value):
        self._check(value)
        distance = self._mahalanobis(value - self.loc)
        return -0.5 * (self._event_shape[0] * LOG_TAU + self._log_det() + distance)

    def entropy(self):
        entropy = 0.5 * (self._event_shape[0] * (1 + LOG_TAU) + self._log_det())
        return entropy.expand(self._batch_shape)
