"""The multivariate normal distribution."""

import math

from . import constraints
from .distribution import Distribution
from .operations import broadcast_shapes, cholesky, cholesky_inverse, eye, solve_triangular
from .utils import _standard_normal, lazy_property

__all__ = ["MultivariateNormal"]

LOG_TAU = math.log(2 * math.pi)


def _batch_mv(matrix, vector):
    """The products of a batch of matrices and a batch of vectors."""
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def solved(factor, right):
    """The solution X of ``factor @ X = right``, batches broadcast."""
    batch = broadcast_shapes(factor.shape[:-2], right.shape[:-2])
    factor, right = (m.expand(batch + m.shape[-2:]) for m in (factor, right))
    return solve_triangular(factor, right, upper=False)


def _batch_mahalanobis(factor, x):
    """|L^-1 x| ** 2 for lower triangular L [*batch, n, n] and vectors x [*more, *batch, n].

    The vectors of one matrix are the columns of one system, however many there are.
    """
    more = x.dim() - factor.dim() + 1
    if more <= 0:
        return solved(factor, x.unsqueeze(-1)).square().sum((-2, -1))
    columns = x.flatten(0, more - 1).movedim(0, -1)
    squares = solved(factor, columns).square().sum(-2).movedim(-1, 0)
    return squares.reshape(x.shape[:more] + squares.shape[1:])


def half_log_det(factor):
    """The logarithm of the determinant of a triangular factor."""
    return factor.diagonal(0, -2, -1).log().sum(-1)


def _precision_to_scale_tril(precision):
    """The Cholesky factor of the inverse: L^-T is the flipped factor of the flipped matrix."""
    flipped = cholesky(precision.flip((-2, -1)))
    unit = eye(precision.shape[-1], dtype=precision.dtype, device=precision.device)
    return solved(flipped.flip((-2, -1)).mT, unit)


class FromMatrix(Distribution):
    """Has one of `covariance_matrix`, `precision_matrix` and `scale_tril` (the Cholesky factor of
    the covariance), and the others when they are asked for.
    """

    def _take_matrix(self, covariance_matrix, precision_matrix, scale_tril, batch_shape, error):
        """Keeps the given matrix for a batch; answers the shape of the whole batch."""
        given = {
            "covariance_matrix": covariance_matrix,
            "precision_matrix": precision_matrix,
            "scale_tril": scale_tril,
        }
        given = {name: matrix for name, matrix in given.items() if matrix is not None}
        if len(given) != 1:
            raise error(
                "Exactly one of covariance_matrix or precision_matrix or scale_tril may be "
                "specified."
            )
        ((name, matrix),) = given.items()
        if matrix.dim() < 2:
            raise ValueError(
                f"{name} matrix must be at least two-dimensional, with optional leading batch "
                "dimensions"
            )
        batch_shape = broadcast_shapes(matrix.shape[:-2], batch_shape)
        setattr(self, name, matrix.expand((*batch_shape, -1, -1)))
        self._given = name, matrix
        return batch_shape

    @lazy_property
    def _unbroadcasted_scale_tril(self):
        """The Cholesky factor of the covariance, for as many matrices as were given."""
        name, matrix = self._given
        if name == "scale_tril":
            return matrix
        return cholesky(matrix) if name == "covariance_matrix" else _precision_to_scale_tril(matrix)

    def _for_batch(self, matrix):
        return matrix.expand(self._batch_shape + matrix.shape[-2:])

    @lazy_property
    def scale_tril(self):
        """The Cholesky factor of the covariance matrix."""
        return self._for_batch(self._unbroadcasted_scale_tril)

    @lazy_property
    def covariance_matrix(self):
        """The covariance matrix."""
        return self._for_batch(self._unbroadcasted_scale_tril @ self._unbroadcasted_scale_tril.mT)

    @lazy_property
    def precision_matrix(self):
        """The inverse of the covariance matrix."""
        return self._for_batch(cholesky_inverse(self._unbroadcasted_scale_tril))


class MultivariateNormal(FromMatrix):
    """Normal vectors of mean `loc`, given by one of three matrices."""

    arg_constraints = {
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self,
        loc,
        covariance_matrix=None,
        precision_matrix=None,
        scale_tril=None,
        validate_args=None,
    ):
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        batch_shape = self._take_matrix(
            covariance_matrix, precision_matrix, scale_tril, loc.shape[:-1], ValueError
        )
        self.loc = loc.expand((*batch_shape, -1))
        super().__init__(batch_shape, self.loc.shape[-1:], validate_args)

    @property
    def mean(self):
        return self.loc

    mode = mean

    @property
    def variance(self):
        variance = self._unbroadcasted_scale_tril.square().sum(-1)
        return variance.expand(self._batch_shape + self._event_shape)

    def rsample(self, sample_shape=()):
        eps = _standard_normal(self._extended_shape(sample_shape), self.loc.dtype, self.loc.device)
        return self.loc + _batch_mv(self._unbroadcasted_scale_tril, eps)

    def log_prob(self, value):
        self._check(value)
        factor = self._unbroadcasted_scale_tril
        distance = _batch_mahalanobis(factor, value - self.loc)
        return -0.5 * (self._event_shape[0] * LOG_TAU + distance) - half_log_det(factor)

    def entropy(self):
        entropy = 0.5 * self._event_shape[0] * (1 + LOG_TAU)
        return (entropy + half_log_det(self._unbroadcasted_scale_tril)).expand(self._batch_shape)
