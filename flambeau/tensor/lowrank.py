"""Factorisations of low rank from random samples of a matrix's range.

N. Halko, P. G. Martinsson and J. A. Tropp, "Finding structure with randomness", SIAM Review 53
(2011), algorithms 4.4 and 5.1.
"""

from flambeau.ops import find

from .chance import randn


def _product(A, M, X):
    """``(A - M) @ X``, without the difference."""
    return A @ X if M is None else A @ X - M @ X


def get_approximate_basis(A, q, niter=2, M=None):
    """Orthonormal columns [..., m, q] that nearly span the range of A - M, [..., m, n].

    `niter` subspace iterations sharpen it where singular values fall slowly.
    """
    qr, niter = find("linalg.qr").door, 2 if niter is None else niter
    A_H = A.mH
    M_H = None if M is None else M.mH
    samples = randn((A.shape[-1], q), dtype=A.dtype, device=A.device)
    basis = qr(_product(A, M, samples))[0]
    for _ in range(niter):
        basis = qr(_product(A_H, M_H, basis))[0]
        basis = qr(_product(A, M, basis))[0]
    return basis


def svd_lowrank(A, q=6, niter=2, M=None):
    """(U, S, V) with ``U @ diag(S) @ V^H`` near the best approximation of A - M by rank `q`.

    A is [..., m, n], `M` of the same shape or one that broadcasts to it. U is [..., m, q], S
    [..., q], V [..., n, q].
    """
    q = 6 if q is None else q
    wide = A.shape[-2] < A.shape[-1]
    if M is not None:
        M = M.expand_as(A) if M.shape != A.shape else M
    if wide:  # the basis is of the shorter side then
        A, M = A.mH, None if M is None else M.mH
    basis = get_approximate_basis(A, q, niter, M)
    inner = _product(A.mH, None if M is None else M.mH, basis).mH
    U, S, Vh = find("linalg.svd").door(inner, full_matrices=False)
    U, V = basis @ U, Vh.mH
    return (V, S, U) if wide else (U, S, V)


def pca_lowrank(A, q=None, center=True, niter=2):
    """Principal components of the rows of A, [..., m, n]: (U, S, V) as of `svd_lowrank`, after the
    mean row is taken off where `center`.

    The columns of V are the directions; ``A @ V[:, :k]`` are coordinates along the first k. `q` is
    6 or the shorter side if None. ValueError for a `q` beyond it, and for a negative `niter`.
    """
    least = min(A.shape[-2:])
    q = min(6, least) if q is None else q
    if not 0 <= q <= least:
        raise ValueError(
            f"q(={q}) must be non-negative integer and not greater than min(m, n)={least}"
        )
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    if center:
        A = A - A.mean(dim=-2, keepdim=True)
    return svd_lowrank(A, q, niter=niter)


__all__ = ["get_approximate_basis", "pca_lowrank", "svd_lowrank"]
