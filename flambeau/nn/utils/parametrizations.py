"""Parametrizations: orthogonal matrices, weights of unit spectral norm, magnitude and direction."""

from __future__ import annotations

from typing import Any

from flambeau.tensor import Tensor, no_grad

from .. import operations as ops
from ..functional import normalize
from ..modules import Module
from .parametrize import is_parametrized, register_parametrization
from .renamed_state import add_renaming
from .spectral_norm import check_iterations, dimension_of_outputs, matrix_of
from .weight_norm import norm_except_dim, scaled_direction

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]

_MAPS = ("matrix_exp", "cayley", "householder")
_FIRST_ITERATIONS = 15


def _tensor_of(module: Module, name: str) -> Tensor:
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    return weight


# --- orthogonal ----------------------------------------------------------------------------------


def _has_orthonormal_columns(matrix: Tensor) -> bool:
    rows, columns = matrix.shape[-2:]
    identity = ops.eye(columns, dtype=matrix.dtype, device=matrix.device)
    tolerance = 10.0 * rows * ops.finfo(matrix.dtype).eps
    return ops.allclose(matrix.mH @ matrix, identity, atol=tolerance)


def _orthogonalized(matrix: Tensor) -> Tensor:
    """The Q of the QR decomposition whose R has a positive diagonal, which makes Q unique."""
    factors, tau = ops.geqrf(matrix)
    signs = factors.diagonal(dim1=-2, dim2=-1).sgn()
    return ops.linalg_householder_product(factors, tau) * signs.unsqueeze(-2)


class _Orthogonal(Module):
    """A map from all matrices onto those with orthonormal columns (rows, if they are wide).

    With trivialization (Lezcano-Casado 2019, arXiv:1909.09501) the result is multiplied by a
    constant orthogonal matrix, `base`, so that the free parameters start at zero.
    """

    def __init__(
        self, weight: Tensor, orthogonal_map: str, *, use_trivialization: bool = True
    ) -> None:
        super().__init__()
        if weight.is_complex() and orthogonal_map == "householder":
            raise ValueError("The householder parametrization does not support complex tensors.")
        self.shape = weight.shape
        self.orthogonal_map = orthogonal_map
        self.use_trivialization = use_trivialization
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, X: Tensor) -> Tensor:
        wide = X.size(-2) < X.size(-1)
        free = X.mT if wide else X
        if self.orthogonal_map == "householder":
            result = self._reflections(free)
        else:
            result = self._rotation(free)
        if self.use_trivialization:
            result = self.base @ result
        return result.mT if wide else result

    def _rotation(self, free: Tensor) -> Tensor:
        """The first columns of exp(A) or of the Cayley transform of A, A skew-Hermitian."""
        rows, columns = free.shape[-2:]
        lower = free.tril()
        if rows != columns:
            zeros = lower.new_zeros((*lower.shape[:-1], rows - columns))
            lower = ops.cat([lower, zeros], -1)
        skew = lower - lower.mH
        if self.orthogonal_map == "matrix_exp":
            return ops.matrix_exp(skew)[..., :columns]
        identity = ops.eye(rows, dtype=skew.dtype, device=skew.device)
        half = skew / 2
        return ops.linalg_solve(identity - half, identity + half)[..., :columns]

    def _reflections(self, free: Tensor) -> Tensor:
        """A product of Householder reflections, whose columns get the signs on the diagonal."""
        vectors = free.tril(-1)
        tau = 2.0 / (1.0 + (vectors * vectors).sum(-2))
        signs = free.detach().diagonal(dim1=-2, dim2=-1).trunc()
        return ops.linalg_householder_product(vectors, tau) * signs.unsqueeze(-2)

    def right_inverse(self, Q: Tensor) -> Tensor:
        if Q.shape != self.shape:
            raise ValueError(
                f"Expected a matrix or batch of matrices of shape {self.shape}. "
                f"Got a tensor of shape {Q.shape}."
            )
        if not self.use_trivialization and self.orthogonal_map != "householder":
            raise NotImplementedError(
                "It is not possible to assign to the matrix exponential "
                "or the Cayley parametrizations when use_trivialization=False."
            )
        wide = Q.size(-2) < Q.size(-1)
        with no_grad():
            tall = Q.mT if wide else Q
            if not self.use_trivialization:
                reflectors = _reflectors(tall)
                return reflectors.mT if wide else reflectors
            self.base = _completed(tall)
            # Minus the identity: without reflectors, each column of the product is turned round.
            start = ops.zeros_like(Q)
            start.diagonal(dim1=-2, dim2=-1).fill_(-1.0)
            return start


def _completed(matrix: Tensor) -> Tensor:
    """A square orthogonal matrix whose first columns are those of `matrix`, orthogonalised."""
    rows, columns = matrix.shape[-2:]
    if rows == columns:
        return matrix.clone() if _has_orthonormal_columns(matrix) else _orthogonalized(matrix)
    shape = (*matrix.shape[:-2], rows, rows - columns)
    others = ops.randn(shape, dtype=matrix.dtype, device=matrix.device)
    return _orthogonalized(ops.cat([matrix, others], -1))


def _reflectors(matrix: Tensor) -> Tensor:
    """Householder vectors of the matrix below the diagonal, and signs of its columns on it.

    LAPACK's tau is 0 where it used no reflection. The forward map, which computes tau from the
    vector, reflects there (tau is 2), so the sign is the opposite.
    """
    factors, tau = ops.geqrf(matrix)
    signs = factors.diagonal(dim1=-2, dim2=-1).sgn()
    signs = ops.where(tau == 0, -signs, signs)
    return factors.tril(-1) + _on_diagonal(signs, factors) + factors.triu(1)


def _on_diagonal(values: Tensor, like: Tensor) -> Tensor:
    result = ops.zeros_like(like)
    result.diagonal(dim1=-2, dim2=-1).copy_(values)
    return result


def orthogonal(
    module: Module,
    name: str = "weight",
    orthogonal_map: str | None = None,
    *,
    use_trivialization: bool = True,
) -> Module:
    """Keep a matrix, or each of a batch (…, m, n), orthogonal (unitary, if complex).

    Columns are orthonormal if m >= n, rows otherwise. `orthogonal_map` is "matrix_exp" or "cayley",
    of a skew-Hermitian matrix, or "householder", a product of reflections; by default "matrix_exp"
    for square or complex matrices, else "householder". The value at first is the present one, made
    orthogonal by a QR decomposition if it is not (without trivialization: for "householder" only).
    Errors: ValueError for other maps, fewer than two dimensions, "householder" of complex tensors.
    """
    weight = _tensor_of(module, name)
    if weight.dim() < 2:
        raise ValueError(
            f"Expected a matrix or batch of matrices. Got a tensor of {weight.dim()} dimensions."
        )
    if orthogonal_map is None:
        square = weight.size(-2) == weight.size(-1)
        orthogonal_map = "matrix_exp" if square or weight.is_complex() else "householder"
    if orthogonal_map not in _MAPS:
        raise ValueError(
            'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". '
            f"Got: {orthogonal_map}"
        )
    parametrization = _Orthogonal(weight, orthogonal_map, use_trivialization=use_trivialization)
    return register_parametrization(module, name, parametrization, unsafe=True)


# --- weight norm ---------------------------------------------------------------------------------


class _WeightNorm(Module):
    """Magnitude times direction."""

    original_aliases = ("_g", "_v")

    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        return scaled_direction(weight_v, weight_g, self.dim)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return norm_except_dim(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Express a weight by its norms, ``original0``, and its directions, ``original1``.

    Norms are over all dimensions but `dim`, over all with None (Salimans & Kingma 2016,
    arXiv:1602.07868). The two are also readable as ``name_g`` and ``name_v``, and states that call
    them so load. Errors: RuntimeError if the tensor is parametrized already. Returns the module.
    """
    if is_parametrized(module, name):
        raise RuntimeError(
            f"weight_norm has to be the first parametrization of a tensor, and {name} of "
            f"{type(module).__name__} is parametrized already"
        )
    register_parametrization(module, name, _WeightNorm(dim), unsafe=True)
    new = f"parametrizations.{name}.original"
    add_renaming(module, {f"{name}_g": f"{new}0", f"{name}_v": f"{new}1"})
    return module


# --- spectral norm -------------------------------------------------------------------------------


class _SpectralNorm(Module):
    """Division by an estimate of the largest singular value, improved by power iteration."""

    def __init__(
        self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12
    ) -> None:
        super().__init__()
        count = weight.dim()
        if not -count <= dim < count:
            raise IndexError(
                "Dimension out of range (expected to be in range of "
                f"[-{count}, {count - 1}] but got {dim})"
            )
        check_iterations(n_power_iterations)
        self.dim = dim % count
        self.eps = eps
        if count == 1:
            return
        self.n_power_iterations = n_power_iterations
        with no_grad():
            matrix = matrix_of(weight, self.dim)
            for buffer, length in zip(("_u", "_v"), matrix.shape):
                start = matrix.new_empty(length).normal_(0, 1)
                self.register_buffer(buffer, normalize(start, dim=0, eps=eps))
            self._iterate(matrix, _FIRST_ITERATIONS)

    def _iterate(self, matrix: Tensor, count: int) -> None:
        with no_grad():
            for _ in range(count):
                self._u.copy_(normalize(ops.mv(matrix, self._v), dim=0, eps=self.eps))
                self._v.copy_(normalize(ops.mv(matrix.mH, self._u), dim=0, eps=self.eps))

    def forward(self, weight: Tensor) -> Tensor:
        if weight.dim() == 1:
            return normalize(weight, dim=0, eps=self.eps)
        matrix = matrix_of(weight, self.dim)
        if self.training:
            self._iterate(matrix, self.n_power_iterations)
        # Clones, because backward of this value must not see the steps of the next one.
        left, right = self._u.clone(), self._v.clone()
        return weight / ops.vdot(left, ops.mv(matrix, right))

    def right_inverse(self, value: Tensor) -> Tensor:
        return value


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """Divide a weight by its largest singular value (Miyato et al. 2018, arXiv:1802.05957).

    A weight of more than two dimensions counts as a matrix whose rows are its outputs, dimension
    `dim` (0, and 1 for transposed convolutions); a vector is divided by its norm. In training mode
    each reading makes `n_power_iterations` steps of power iteration. States of the older
    ``nn.utils.spectral_norm`` load. Returns the module.
    """
    weight = _tensor_of(module, name)
    if dim is None:
        dim = dimension_of_outputs(module)
    first = not is_parametrized(module, name)
    parametrization: Any = _SpectralNorm(weight, n_power_iterations, dim, eps)
    register_parametrization(module, name, parametrization)
    if first and weight.dim() > 1:
        new = f"parametrizations.{name}"
        names = {f"{name}_orig": f"{new}.original"}
        names |= {f"{name}{suffix}": f"{new}.0.{suffix}" for suffix in ("_u", "_v")}
        add_renaming(module, names)
    return module
