"""Eigenvalues and singular values.

Gradients: Townsend, "Differentiating the singular value decomposition" (2016); Giles (2008) for
eigenvectors; with conjugate transposes for complex matrices.
"""

from flambeau._base import numpy

from .contraction import matmul
from .family import opaque
from .matrices import (
    LinAlgError,
    adjoint,
    check_float,
    check_matrix,
    check_square,
    identity,
    recorded,
)  # fmt: skip
from .op import composite
from .results import named
from .solving import solve_op

# Eigenvalues.


def _differences(values):
    """E[i, j] = values[j] - values[i], with ones on the diagonal."""
    return values.unsqueeze(-2) - values.unsqueeze(-1) + identity(values, values.layout.shape[-1])


def _off_diagonal(x):
    return x - x.diagonal(0, -2, -1).diag_embed()


def _converged(run, name):
    try:
        return run()
    except numpy.linalg.LinAlgError as error:
        raise LinAlgError(
            f"{name}: The algorithm failed to converge because the input matrix is ill-conditioned "
            "or has too many repeated eigenvalues (error code: 1)."
        ) from error


def _hermitian_gradient(grad_values, grad_vectors, values, vectors):
    if grad_vectors is None:
        return matmul(
            vectors * grad_values.unsqueeze(-2).to(vectors.layout.dtype), adjoint(vectors)
        )
    inner = _off_diagonal(adjoint(vectors).matmul(grad_vectors)) / _differences(values)
    if grad_values is not None:
        inner = inner + grad_values.to(inner.layout.dtype).diag_embed()
    return matmul(vectors, matmul(inner, adjoint(vectors)))


eigh_op = opaque(
    "linalg::_eigh(Tensor A, str UPLO) -> (Tensor values, Tensor vectors)",
    """Eigenvalues in rising order and eigenvectors of Hermitian matrices.""",
    run=lambda a, uplo: tuple(_converged(lambda: numpy.linalg.eigh(a, uplo), "linalg.eigh")),
    grad=dict(A=_hermitian_gradient),
    columns=(1,),
    function=False,
)
eigvalsh_op = opaque(
    "linalg::_eigvalsh(Tensor A, str UPLO) -> Tensor",
    """Eigenvalues of Hermitian matrices in rising order.""",
    run=lambda a, uplo: _converged(lambda: numpy.linalg.eigvalsh(a, uplo), "linalg.eigvalsh"),
    function=False,
)


def _check_hermitian(name, a, uplo):
    check_square(name, a)
    if uplo.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {uplo}")


@composite('linalg::eigh(Tensor A, str UPLO="L") -> (Tensor eigenvalues, Tensor eigenvectors)')
def eigh(A, UPLO):
    """Eigenvalues (real, rising) and orthonormal eigenvectors of Hermitian matrices, of which one
    triangle is read.
    """
    _check_hermitian("linalg.eigh", A, UPLO)
    return named("linalg_eigh", "eigenvalues eigenvectors")(*eigh_op(A, UPLO.upper()))


@composite('linalg::eigvalsh(Tensor A, str UPLO="L") -> Tensor')
def eigvalsh(A, UPLO):
    """The eigenvalues of Hermitian matrices, rising."""
    _check_hermitian("linalg.eigvalsh", A, UPLO)
    return eigh_op(A, UPLO.upper())[0] if recorded(A) else eigvalsh_op(A, UPLO.upper())


def _eig(a, name):
    if not numpy.isfinite(a).all():
        raise RuntimeError(f"torch.{name}: input tensor should not contain infs or NaNs.")
    values, vectors = _converged(lambda: numpy.linalg.eig(a), "linalg.eig")
    result = numpy.result_type(a.dtype, numpy.complex64)
    return values.astype(result), vectors.astype(result)


def _eig_gradient(grad_values, grad_vectors, values, vectors, A_layout):
    vh = adjoint(vectors)
    inner = None
    if grad_vectors is not None:
        overlap = vh.matmul(grad_vectors)
        lengths = overlap.diagonal(0, -2, -1).real.unsqueeze(-2)
        inner = _off_diagonal(
            (overlap - vh.matmul(vectors) * lengths) / _differences(values).conj()
        )
    if grad_values is not None:
        inner = grad_values.diag_embed() if inner is None else inner + grad_values.diag_embed()
    g = solve_op(vh, inner.matmul(vh), "linalg.solve", False)[0]
    return g if A_layout.dtype.kind == "c" else g.real


eig_op = opaque(
    "linalg::_eig(Tensor A, str name) -> (Tensor values, Tensor vectors)",
    """Eigenvalues and eigenvectors of length 1, complex, for the function `name`.""",
    run=_eig,
    grad=dict(A=_eig_gradient),
    columns=(1,),
    function=False,
)


@composite("linalg::eig(Tensor A) -> (Tensor eigenvalues, Tensor eigenvectors)")
def eig(A):
    """Eigenvalues and eigenvectors of square matrices, complex."""
    check_square("linalg.eig", A)
    return named("linalg_eig", "eigenvalues eigenvectors")(*eig_op(A, "linalg.eig"))


@composite("linalg::eigvals(Tensor A) -> Tensor")
def eigvals(A):
    """The eigenvalues of square matrices, complex."""
    check_square("linalg.eigvals", A)
    return eig_op(A, "linalg.eigvals")[0]


# Singular values.


def _svd(a, full_matrices):
    m, n = a.shape[-2:]
    if not a.size:
        k = min(m, n)
        u = numpy.zeros((*a.shape[:-2], m, m if full_matrices else k), a.dtype)
        vh = numpy.zeros((*a.shape[:-2], n if full_matrices else k, n), a.dtype)
        u[...], vh[...] = numpy.eye(*u.shape[-2:]), numpy.eye(*vh.shape[-2:])
        return u, numpy.zeros((*a.shape[:-2], k), a.real.dtype), vh
    return tuple(_decomposed(lambda: numpy.linalg.svd(a, full_matrices=full_matrices)))


def _decomposed(run):
    try:
        return run()
    except numpy.linalg.LinAlgError as error:
        raise LinAlgError(
            "linalg.svd: The algorithm failed to converge because the input matrix contained "
            "non-finite values."
        ) from error


def _skew(x):
    return x - adjoint(x)


def _svd_gradient(grad_U, grad_S, grad_Vh, U, S, Vh):
    k = S.layout.shape[-1]
    m, n = U.layout.shape[-2], Vh.layout.shape[-1]
    u, vh = U[..., :, :k], Vh[..., :k, :]
    g_u = None if grad_U is None else grad_U[..., :, :k]
    g_v = None if grad_Vh is None else grad_Vh[..., :k, :]
    if g_u is None and g_v is None:
        return matmul(u * grad_S.unsqueeze(-2).to(u.layout.dtype), vh)
    gaps = _differences(S * S)
    rows, columns = S.unsqueeze(-1), S.unsqueeze(-2)
    inner = 0
    if g_u is not None:
        turn_u = _skew(adjoint(u).matmul(g_u))
        inner = turn_u * columns / gaps
    if g_v is not None:
        turn_v = _skew(vh.matmul(adjoint(g_v)))
        inner = inner + rows * turn_v / gaps
    if grad_S is not None:
        inner = inner + grad_S.to(inner.layout.dtype).diag_embed()
    if u.layout.dtype.kind == "c" and g_u is not None and g_v is not None:
        inner = inner + (turn_u.diagonal(0, -2, -1) / (2 * S)).diag_embed()
    out = matmul(u, matmul(inner, vh))
    if m > k and g_u is not None:
        rest = g_u / columns
        out = out + matmul(rest - matmul(u, adjoint(u).matmul(rest)), vh)
    if n > k and g_v is not None:
        rest = g_v / rows
        out = out + matmul(u, rest - matmul(rest.matmul(adjoint(vh)), vh))
    return out


svd_op = opaque(
    "linalg::_svd(Tensor A, bool full_matrices) -> (Tensor U, Tensor S, Tensor Vh)",
    """The singular value decomposition A = U diag(S) Vh.""",
    run=_svd,
    grad=dict(A=_svd_gradient),
    columns=(0, 2),
    function=False,
)
svdvals_op = opaque(
    "linalg::_svdvals(Tensor A) -> Tensor",
    """Singular values, falling.""",
    run=lambda a: (
        _decomposed(lambda: numpy.linalg.svd(a, compute_uv=False))
        if a.size
        else numpy.zeros((*a.shape[:-2], min(a.shape[-2:])), a.real.dtype)
    ),
    function=False,
)


@composite(
    "linalg::svd(Tensor A, bool full_matrices=True, *, str? driver=None) -> (Tensor U, Tensor S, "
    "Tensor Vh)"
)
def linalg_svd(A, full_matrices, driver):
    """U and Vh with orthonormal columns and rows, and singular values S (falling), with ``A = U @
    diag(S) @ Vh``.
    """
    check_matrix("linalg.svd", A)
    check_float("linalg.svd", A)
    _check_driver(driver)
    return named("linalg_svd", "U S Vh")(*svd_op(A, full_matrices))


def _check_driver(driver):
    if driver is not None:
        raise RuntimeError(
            "torch.linalg.svd: keyword argument `driver=` is only supported on CUDA inputs with "
            "cuSOLVER backend."
        )


@composite("linalg::svdvals(Tensor A, *, str? driver=None) -> Tensor")
def svdvals(A, driver):
    """The singular values, falling."""
    check_matrix("linalg.svd", A)
    check_float("linalg.svd", A)
    _check_driver(driver)
    return svd_op(A, False)[1] if recorded(A) else svdvals_op(A)


@composite(
    "aten::svd(Tensor self, bool some=True, bool compute_uv=True) -> (Tensor U, Tensor S, Tensor V)"
)
def svd(self, some, compute_uv):
    """``self = U @ diag(S) @ V.mH``; U and V are square where not `some`, and zero where not
    `compute_uv`.
    """
    check_matrix("linalg.svd", self)
    check_float("linalg.svd", self)
    made = named("svd", "U S V")
    m, n = self.layout.shape[-2:]
    if not compute_uv:
        batch = self.layout.shape[:-2]
        return made(self.new_zeros((*batch, m, m)), svdvals(self), self.new_zeros((*batch, n, n)))
    u, s, vh = svd_op(self, not some)
    return made(u, s, adjoint(vh))
