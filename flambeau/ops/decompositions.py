"""Factorisations that take a fixed number of steps: Cholesky, LU, QR, L D L^T.

Gradients: Murray, "Differentiation of the Cholesky decomposition" (2016); Roberts and Roberts, "QR
and LQ decomposition matrix backpropagation algorithms for square, wide, and deep matrices" (2020);
all with conjugate transposes for complex matrices.
"""

import math

from flambeau._base import numpy
from flambeau.runtime import lapack

from .contraction import expand_batches, matmul
from .facts import type_name
from .family import opaque
from .joining import cat
from .matrices import (
    adjoint,
    check_float,
    check_input,
    check_matrix,
    check_square,
    each,
    failed,
    identity,
)  # fmt: skip
from .op import composite
from .results import named
from .solving import triangular_op

# Cholesky.


def _cholesky(a, upper, name, check):
    a = numpy.conj(numpy.swapaxes(a, -1, -2)) if upper else a
    try:
        return numpy.linalg.cholesky(a), numpy.zeros(a.shape[:-2], numpy.int32)
    except numpy.linalg.LinAlgError:
        made, info = each(lapack.cholesky, a)
    if check and info.any():
        raise failed(
            name,
            info,
            "The factorization could not be completed because the input is not positive-definite "
            "(the leading minor of order {info} is not positive-definite).",
        )
    return made, info


def _cholesky_gradient(grad_L, L):
    half = adjoint(L).matmul(grad_L)
    phi = half.tril() + adjoint(half.tril(-1))
    inner = triangular_op(adjoint(L), phi, True, True, False)
    return triangular_op(L, inner, False, False, False) * 0.5


cholesky_op = opaque(
    "linalg::_cholesky(Tensor A, bool upper, str name, bool check) -> (Tensor L, Tensor info)",
    """The lower Cholesky factors (`upper`: of the adjoints), and for each the order of the first
    leading minor that is not positive, or 0.""",
    run=_cholesky,
    grad=dict(A=_cholesky_gradient),
    columns=(0,),
    function=False,
)


def _factor(name, a, upper, check):
    check_square(name, a)
    factor, info = cholesky_op(a, upper, name, check)
    return (adjoint(factor) if upper else factor), info


@composite("linalg::cholesky(Tensor A, *, bool upper=False) -> Tensor")
def linalg_cholesky(A, upper):
    """L, lower triangular, with ``A = L @ L.mH`` (`upper`: U with ``A = U.mH @ U``). LinAlgError
    where A is not positive definite.
    """
    return _factor("linalg.cholesky", A, upper, True)[0]


@composite(
    "linalg::cholesky_ex(Tensor A, *, bool upper=False, bool check_errors=False) -> (Tensor L, "
    "Tensor info)"
)
def cholesky_ex(A, upper, check_errors):
    """As `cholesky`, with the order of the first leading minor that is not positive (0: none)."""
    return named("linalg_cholesky_ex", "L info")(
        *_factor("linalg.cholesky_ex", A, upper, check_errors)
    )


@composite("aten::cholesky(Tensor self, bool upper=False) -> Tensor")
def cholesky(self, upper):
    """The Cholesky factor of positive definite matrices."""
    return _factor("cholesky", self, upper, True)[0]


# LU.


def _lu(a, strict):
    packed, pivots, info = each(lapack.lu, a)
    if strict is not None and info.any():
        error = failed(
            strict,
            info,
            "U[{info},{info}] is zero and using it on lu_solve would result in a division by zero. "
            "If you still want to perform the factorization, consider calling linalg.lu(A, pivot) "
            "or linalg.lu_factor_ex(A, pivot)",
        )
        raise RuntimeError(str(error))
    return packed, pivots, info


def _lu_gradient(grad_LU, LU, pivots):
    """For A = P L U. What sticks out of the square part is a triangular solution, whose gradient
    goes first.
    """
    m, n = LU.layout.shape[-2:]
    k = min(m, n)
    g_low, g_up = grad_LU.tril(-1)[..., :, :k], grad_LU.triu()[..., :k, :]
    low, up = LU[..., :k, :k], LU[..., :k, :k]
    rest = None
    if m < n:  # A = [A1, A2], U2 = L^-1 A2
        rest = triangular_op(adjoint(low), g_up[..., :, k:], True, True, True)
        g_low = g_low - rest.matmul(adjoint(LU[..., :k, k:])).tril(-1)
        g_up = g_up[..., :, :k]
    elif m > n:  # A = [A1; A2], L2 = A2 U^-1
        rest = triangular_op(adjoint(up), g_low[..., k:, :], False, False, False)
        g_up = g_up - adjoint(LU[..., k:, :k]).matmul(rest).triu()
        g_low = g_low[..., :k, :]
    eye = identity(LU, k)
    unit = low.tril(-1) + eye
    phi = adjoint(unit).matmul(g_low).tril(-1) + g_up.matmul(adjoint(up.triu())).triu()
    g = triangular_op(adjoint(low), phi, True, True, True)
    g = triangular_op(adjoint(up), g, False, False, False)
    if rest is not None:
        g = cat([g, rest], -1 if m < n else -2)
    return permutation_op(pivots, m).to(g.layout.dtype).matmul(g)


lu_op = opaque(
    "linalg::_lu_factor(Tensor A, str? strict=None) -> (Tensor LU, Tensor pivots, Tensor info)",
    """L and U in one matrix, the row that each row was exchanged with (from 1), the first zero
    pivot; that is an error of the function named `strict`.
    """,
    run=_lu,
    grad=dict(A=_lu_gradient),
    columns=(0,),
    function=False,
)


def _permutation(pivots, n):
    def one(exchanges):
        order = numpy.arange(n)
        for i, p in enumerate(exchanges):
            order[[i, p - 1]] = order[[p - 1, i]]
        return order

    order = numpy.array(
        [one(p) for p in pivots.reshape(math.prod(pivots.shape[:-1]), pivots.shape[-1])],
        numpy.int64,
    )
    rows = order.reshape((*pivots.shape[:-1], n))
    return (rows[..., None, :] == numpy.arange(n)[:, None]).astype(numpy.float64)


permutation_op = opaque(
    "aten::_permutation(Tensor pivots, int n) -> Tensor",
    """The matrices P of A = P L U.""",
    run=_permutation,
    method=False,
    function=False,
)


def _checked_lu(name, a, pivot, strict=False):
    check_matrix(name, a)
    check_float(name, a)
    if not pivot:
        raise RuntimeError("linalg.lu_factor: LU without pivoting is not implemented on the CPU")
    return lu_op(a, f"torch.{name}" if strict else None)


@composite("linalg::lu_factor(Tensor A, *, bool pivot=True) -> (Tensor LU, Tensor pivots)")
def lu_factor(A, pivot):
    """The LU factorisation with row exchanges, packed. LinAlgError where a pivot is zero."""
    packed, pivots, _ = _checked_lu("linalg.lu_factor", A, pivot, strict=True)
    return named("linalg_lu_factor", "LU pivots")(packed, pivots)


@composite(
    "linalg::lu_factor_ex(Tensor A, *, bool pivot=True, bool check_errors=False) -> (Tensor LU, "
    "Tensor pivots, Tensor info)"
)
def lu_factor_ex(A, pivot, check_errors):
    """As `lu_factor`, with the index of the first zero pivot (0: none)."""
    results = _checked_lu("linalg.lu_factor_ex", A, pivot, check_errors)
    return named("linalg_lu_factor_ex", "LU pivots info")(*results)


@composite("aten::lu(Tensor self, bool pivot=True, bool get_infos=False) -> Tensor[]")
def lu(self, pivot, get_infos):
    """The LU factorisation, packed, and the row exchanges; on demand also the index of the first
    zero pivot.
    """
    packed, pivots, info = _checked_lu("linalg.lu_factor", self, pivot)
    return (packed, pivots, info) if get_infos else (packed, pivots)


@composite(
    "aten::lu_unpack(Tensor LU_data, Tensor LU_pivots, bool unpack_data=True, bool "
    "unpack_pivots=True) -> (Tensor P, Tensor L, Tensor U)",
    method=False,
)
def lu_unpack(LU_data, LU_pivots, unpack_data, unpack_pivots):
    """(P, L, U) from packed factors; what is not asked for is empty."""
    shape = LU_data.layout.shape
    if len(shape) < 2:
        raise RuntimeError(
            "torch.lu_unpack: Expected tensor with 2 or more dimensions. Got size: "
            f"{list(shape)} instead"
        )
    m, n = LU_data.layout.shape[-2:]
    k = min(m, n)
    p = low = up = LU_data.new_empty((0,))
    if unpack_pivots:
        if LU_pivots.layout.dtype.name != "int32":
            raise RuntimeError(
                "torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 "
                "dtype.\n"
                "Note: this function is intended to be used with the output produced by "
                "torch.linalg.lu_factor"
            )
        if LU_pivots.layout.shape[-1:] != (k,):
            raise RuntimeError(
                f"torch.lu_unpack: LU_pivots must have {k} elements for each matrix, but got size "
                f"{list(LU_pivots.layout.shape)}"
            )
        p = permutation_op(LU_pivots, m).to(LU_data.layout.dtype)
    if unpack_data:
        unit = _rectangle(identity(LU_data, k), m - k)
        low, up = LU_data[..., :, :k].tril(-1) + unit, LU_data[..., :k, :].triu()
    return named("lu_unpack", "P L U")(p, low, up)


def _rectangle(eye, more):
    """A unit matrix with `more` rows of zeros below it."""
    return cat([eye, eye.new_zeros((more, eye.layout.shape[1]))], 0) if more else eye


@composite("linalg::lu(Tensor A, *, bool pivot=True) -> (Tensor P, Tensor L, Tensor U)")
def linalg_lu(A, pivot):
    """A permutation, a unit lower and an upper triangular matrix whose product is A."""
    packed, pivots, _ = _checked_lu("linalg.lu", A, pivot)
    return named("linalg_lu", "P L U")(*lu_unpack(packed, pivots))


# QR.


def _qr(a, mode):
    m, n = a.shape[-2:]
    k = m if mode == "complete" else min(m, n)
    if mode == "r":
        return numpy.empty((0,), a.dtype), numpy.linalg.qr(a, "r") if a.size else numpy.zeros(
            (*a.shape[:-2], k, n), a.dtype
        )
    if not a.size:
        q = numpy.zeros((*a.shape[:-2], m, k), a.dtype)
        q[...] = numpy.eye(m, k)
        return q, numpy.zeros((*a.shape[:-2], k, n), a.dtype)
    q, r = numpy.linalg.qr(a, mode)
    return q, r


def _or_zeros(grad, like):
    return like.new_zeros(like.layout.shape) if grad is None else grad


def _qr_gradient(grad_Q, grad_R, Q, R, A_layout, mode):
    m, n = A_layout.shape[-2:]
    if mode == "r":
        raise RuntimeError(
            "The derivative of linalg.qr depends on Q, which is not computed when mode='r'. "
            "Please use linalg.qr(A, mode='reduced') if you are going to require gradients."
        )
    if mode == "complete" and m > n:
        raise RuntimeError(
            "The QR decomposition is not differentiable when mode='complete' and nrows > ncols"
        )
    g_q, g_r = _or_zeros(grad_Q, Q), _or_zeros(grad_R, R)
    wide = None
    if m < n:  # A = [X, Y], R = [U, V]: X = Q U, V = Q^H Y
        g_v = g_r[..., :, m:]
        wide = Q.matmul(g_v)
        g_q = g_q + Q.matmul(R[..., :, m:]).matmul(adjoint(g_v))  # Y = Q V
        g_r, R = g_r[..., :, :m], R[..., :, :m]
    phi = (g_r.matmul(adjoint(R)) - adjoint(Q).matmul(g_q)).triu()
    inner = phi + adjoint(phi) - _real_diagonal(phi)
    g = triangular_op(adjoint(R), g_q + Q.matmul(inner), False, False, False)
    return g if wide is None else cat([g, wide], -1)


def _real_diagonal(x):
    d = x.diagonal(0, -2, -1)
    return ((d + d.conj()) * 0.5 if d.layout.dtype.kind == "c" else d).diag_embed()


qr_op = opaque(
    "linalg::_qr(Tensor A, str mode) -> (Tensor Q, Tensor R)",
    """Orthonormal Q and upper triangular R with A = Q R.""",
    run=_qr,
    grad=dict(A=_qr_gradient),
    columns=(0, 1),
    function=False,
)


@composite('linalg::qr(Tensor A, str mode="reduced") -> (Tensor Q, Tensor R)')
def linalg_qr(A, mode):
    """Q, with orthonormal columns, and upper triangular R with ``A = Q R``. `mode`: "reduced",
    "complete" (Q is square) or "r" (only R).
    """
    check_matrix("linalg.qr", A)
    check_float("linalg.qr", A)
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', "
            "or 'complete'"
        )
    return named("linalg_qr", "Q R")(*qr_op(A, mode))


@composite("aten::qr(Tensor self, bool some=True) -> (Tensor Q, Tensor R)")
def qr(self, some):
    """The QR factorisation; Q is square where not `some`."""
    return named("qr", "Q R")(*linalg_qr(self, "reduced" if some else "complete"))


def _reflectors_of_one(a):
    h, tau = numpy.linalg.qr(a, "raw")
    return numpy.ascontiguousarray(h.T), tau, 0


geqrf_op = opaque(
    "aten::_geqrf(Tensor self) -> (Tensor a, Tensor tau)",
    """R, and below it the reflectors whose product is Q.""",
    run=lambda a: each(_reflectors_of_one, a)[:2],
    method=False,
    columns=(0,),
    function=False,
)


@composite("aten::geqrf(Tensor self) -> (Tensor a, Tensor tau)")
def geqrf(self):
    """R of the QR factorisation, with the Householder vectors below its diagonal, and their
    factors.
    """
    check_input("torch.geqrf", self)
    check_float("geqrf", self)
    return named("geqrf", "a tau")(*geqrf_op(self.detach()))


def _reflect(vectors, tau, x, indices, flipped):
    """The product of the reflectors I - tau v v^H (of their adjoints where `flipped`) and `x`, last
    index first.
    """
    m, n = vectors.layout.shape[-2:]
    k = min(m, n)
    low = vectors[..., :k].tril(-1) + _rectangle(identity(vectors, k), m - k)
    for i in indices:
        v = low[..., :, i : i + 1]
        factor = tau[..., i, None, None]
        factor = factor.conj() if flipped else factor
        x = x - matmul(v * factor, matmul(adjoint(v), x))
    return x


@composite("linalg::householder_product(Tensor input, Tensor tau) -> Tensor")
def householder_product(input, tau):
    """The first columns of the product of the Householder reflectors that `geqrf` gives."""
    check_input("torch.linalg.householder_product", input)
    m, n = input.layout.shape[-2:]
    if m < n:
        raise RuntimeError(
            "torch.linalg.householder_product: input.shape[-2] must be greater than or equal to "
            "input.shape[-1]"
        )
    if n < tau.layout.shape[-1]:
        raise RuntimeError(
            "torch.linalg.householder_product: input.shape[-1] must be greater than or equal to "
            "tau.shape[-1]"
        )
    eye = _rectangle(identity(input, n), m - n).expand(input.layout.shape)
    return _reflect(input, tau, eye, range(tau.layout.shape[-1] - 1, -1, -1), False) + input * 0


@composite("aten::orgqr(Tensor self, Tensor input2) -> Tensor")
def orgqr(self, input2):
    """As `linalg.householder_product`."""
    return householder_product(self, input2)


def _check_ormqr(a, tau, other, left):
    for x, least, name in ((a, 2, "input"), (other, 2, "other"), (tau, 1, "tau")):
        if x.layout.ndim < least:
            raise RuntimeError(f"torch.ormqr: {name} must have at least {least} dimensions.")
        if x.layout.dtype is not a.layout.dtype:
            raise RuntimeError(
                f"torch.ormqr: Expected input and {name} to have the same dtype, but input has "
                f"dtype {type_name(a.layout.dtype)} and {name} has dtype "
                f"{type_name(x.layout.dtype)}"
            )
    side = -2 if left else -1
    rows = other.layout.shape[side]
    if tau.layout.shape[-1] != min(rows, a.layout.shape[-1]):
        raise RuntimeError(
            f"torch.ormqr: tau.shape[-1] must be equal to min(other.shape[{side}], input.shape[-1])"
        )
    if a.layout.shape[-2] != rows:
        raise RuntimeError(f"torch.ormqr: other.shape[{side}] must be equal to input.shape[-2]")


@composite(
    "aten::ormqr(Tensor self, Tensor input2, Tensor input3, bool left=True, bool transpose=False) "
    "-> Tensor"
)
def ormqr(self, input2, input3, left, transpose):
    """The product of Q, given by its reflectors, and a matrix."""
    _check_ormqr(self, input2, input3, left)
    count = input2.layout.shape[-1]
    if not left:  # C Q = (Q^H C^H)^H
        return adjoint(ormqr(self, input2, adjoint(input3), True, not transpose))
    order = range(count) if transpose else range(count - 1, -1, -1)
    return _reflect(self, input2, input3, order, transpose)


# L D L^T.


@composite("linalg::ldl_factor(Tensor self, *, bool hermitian=False) -> (Tensor LD, Tensor pivots)")
def ldl_factor(self, hermitian):
    """The factorisation of symmetric (or Hermitian) matrices, packed, and its exchanges."""
    return named("linalg_ldl_factor", "LD pivots")(
        *ldl_factor_ex(self, hermitian=hermitian, check_errors=True)[:2]
    )


@composite(
    "linalg::ldl_factor_ex(Tensor self, *, bool hermitian=False, bool check_errors=False) -> "
    "(Tensor LD, Tensor pivots, Tensor info)"
)
def ldl_factor_ex(self, hermitian, check_errors):
    """As `ldl_factor`, with the index of the first zero block of D (0: none)."""
    check_square("torch.linalg.ldl_factor_ex", self)
    results = ldl_op(self.detach(), hermitian, check_errors)
    return named("linalg_ldl_factor_ex", "LD pivots info")(*results)


def _ldl(a, hermitian, strict):
    results = each(lambda x: lapack.symmetric(x, hermitian), a)
    if strict and results[2].any():
        raise failed(
            "torch.linalg.ldl_factor_ex",
            results[2],
            "The factorization could not be completed because the input is singular "
            "(D[{info},{info}] is zero).",
        )
    return results


ldl_op = opaque(
    "linalg::_ldl(Tensor self, bool hermitian, bool strict=False) -> "
    "(Tensor LD, Tensor pivots, Tensor info)",
    """L D L^T by Bunch and Kaufman's pivoting; where `strict`, a zero block is an error.""",
    run=_ldl,
    columns=(0,),
    function=False,
)


def _ldl_solution(factors, pivots, b, hermitian):
    if not b.size:
        return numpy.zeros(b.shape, b.dtype)
    return each(
        lambda x, p, y: (lapack.symmetric_solve(x, p[:, 0], y, hermitian), 0),
        factors,
        pivots[..., None],
        b,
    )[0]


ldl_solve_op = opaque(
    "linalg::_ldl_solve(Tensor LD, Tensor pivots, Tensor B, bool hermitian) -> Tensor",
    """The solution of a linear system from L D L^T.""",
    run=_ldl_solution,
    columns=(0,),
    function=False,
)


@composite(
    "linalg::ldl_solve(Tensor LD, Tensor pivots, Tensor B, *, bool hermitian=False) -> Tensor"
)
def ldl_solve(LD, pivots, B, hermitian):
    """X with ``A X = B`` from the factorisation of A."""
    check_square("torch.linalg.ldl_solve", LD, "LD")
    if B.layout.ndim < 2:
        raise RuntimeError(
            "torch.linalg.ldl_solve: Expected B to have at least 2 dimensions, but it has "
            f"{B.layout.ndim} dimensions instead"
        )
    if LD.layout.dtype is not B.layout.dtype:
        raise RuntimeError(
            f"torch.linalg.ldl_solve: LD dtype {LD.layout.dtype} does not match b dtype "
            f"{B.layout.dtype}"
        )
    if B.layout.shape[-2] != LD.layout.shape[-1]:
        rows, columns = B.layout.shape[-2:]
        raise RuntimeError(
            "linalg.ldl_solve: Incompatible shapes of A and B for the equation AX = B "
            f"({LD.layout.shape[-2]}x{LD.layout.shape[-1]} and {rows}x{columns})"
        )
    batch = expand_batches(LD.layout.shape[:-2], B.layout.shape[:-2])
    factors = LD.expand((*batch, *LD.layout.shape[-2:]))
    right = B.expand((*batch, *B.layout.shape[-2:]))
    return ldl_solve_op(
        factors.detach(),
        pivots.expand((*batch, pivots.layout.shape[-1])),
        right.detach(),
        hermitian,
    )
