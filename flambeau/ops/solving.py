"""Inverses and linear systems.

The gradients of inverse and solution are those of Giles, "Collected matrix derivative results for
forward and reverse mode algorithmic differentiation" (2008), with conjugate transposes for complex
matrices.
"""

import math

from flambeau._base import numpy
from flambeau.runtime import lapack

from .contraction import expand_batches, matmul
from .family import opaque
from .family.pointwise import type_name
from .matrices import (
    adjoint,
    check_float,
    check_matrix,
    check_square,
    each,
    failed,
    identity,
    recorded,
)
from .op import composite, find
from .results import named

# Inverses.


def _inverse_of_one(a):
    try:
        return numpy.linalg.inv(a), 0
    except numpy.linalg.LinAlgError:
        return numpy.full(a.shape, numpy.inf, a.dtype), lapack.lu(a)[2]


_SINGULAR = (
    "The diagonal element {info} is zero, the inversion could not be completed because the input "
    "matrix is singular."
)


def _inverse(a, name, check):
    try:
        return numpy.linalg.inv(a), numpy.zeros(a.shape[:-2], numpy.int32)
    except numpy.linalg.LinAlgError:
        made, info = each(_inverse_of_one, a)
    if check and info.any():
        raise failed(name, info, _SINGULAR)
    return made, info


inverse_op = opaque(
    "linalg::_inv(Tensor A, str name, bool check) -> (Tensor inverse, Tensor info)",
    """The inverses, and for each the index (from 1) of the first pivot that is zero, or 0.""",
    run=_inverse,
    grad=dict(
        A=lambda grad_inverse, inverse: (
            -adjoint(inverse).matmul(grad_inverse).matmul(adjoint(inverse))
        )
    ),
    columns=(0,),
    function=False,
)


@composite("linalg::inv(Tensor A) -> Tensor")
def inv(A):
    """The inverse of square matrices. LinAlgError where one is singular."""
    check_square("linalg.inv", A)
    return inverse_op(A, "linalg.inv", True)[0]


@composite("linalg::inv_ex(Tensor A, *, bool check_errors=False) -> (Tensor inverse, Tensor info)")
def inv_ex(A, check_errors):
    """The inverse of square matrices, and for each the index of its first pivot that is zero (0:
    none).
    """
    check_square("linalg.inv_ex", A)
    return named("linalg_inv_ex", "inverse info")(*inverse_op(A, "linalg.inv_ex", check_errors))


@composite("aten::inverse(Tensor self) -> Tensor")
def inverse(self):
    """The inverse of square matrices."""
    return inv(self)


# Solutions.


def _solution_of_one(a, b):
    try:
        return numpy.linalg.solve(a, b), 0
    except numpy.linalg.LinAlgError:
        return numpy.full(b.shape, numpy.nan, b.dtype), lapack.lu(a)[2]


def _solution(a, b, name, check):
    try:
        return numpy.linalg.solve(a, b), numpy.zeros(a.shape[:-2], numpy.int32)
    except numpy.linalg.LinAlgError:
        made, info = each(_solution_of_one, a, b)
    if check and info.any():
        raise failed(name, info, "The solver failed because the input matrix is singular.")
    return made, info


solve_op = opaque(
    "linalg::_solve(Tensor A, Tensor B, str name, bool check) -> (Tensor result, Tensor info)",
    """X with A X = B, for as many matrices B as A; and for each the index of its first pivot that
    is zero.
    """,
    run=_solution,
    grad=dict(
        A=lambda grad_result, A, result: -_solved(adjoint(A), grad_result).matmul(adjoint(result)),
        B=lambda grad_result, A: _solved(adjoint(A), grad_result),
    ),
    columns=(0,),
    function=False,
)


def _solved(a, b):
    return solve_op(a, b, "linalg.solve", True)[0]


def _is_vector(a, b):
    """Whether `b` is a batch of vectors, not of matrices."""
    return b.layout.ndim == 1 or (
        a.layout.ndim - 1 == b.layout.ndim and b.layout.shape == a.layout.shape[:-1]
    )


def _check_system(name, a, b, left):
    check_square(name, a)
    if a.layout.dtype is not b.layout.dtype:
        raise RuntimeError(
            f"{name}: Expected A and B to have the same dtype, but found A of type "
            f"{type_name(a.layout.dtype)} and B of type {type_name(b.layout.dtype)} instead"
        )
    (m, n), (rows, columns) = a.layout.shape[-2:], b.layout.shape[-2:]
    if (rows if left else columns) != n:
        raise RuntimeError(
            f"{name}: Incompatible shapes of A and B for the equation "
            f"{'AX = B' if left else 'XA = B'} ({m}x{n} and {rows}x{columns})"
        )


def spread(a, b):
    """Both with the common batch of the two."""
    x, y = a.layout.shape, b.layout.shape
    batch = expand_batches(x[:-2], y[:-2])
    return a.expand((*batch, *x[-2:])), b.expand((*batch, *y[-2:]))


def _solve(name, A, B, left, check):
    check_matrix(name.removeprefix("torch."), A)
    vector = _is_vector(A, B)
    if vector and not left:
        raise RuntimeError(
            "linalg.solve: Vector broadcasting of the left hand side is not supported for "
            "left=False. In this case linalg.solve is equivalent to B / A.squeeze(-1)"
        )
    b = B.unsqueeze(-1) if vector else B
    _check_system("linalg.solve", A, b, left)
    a, b = spread(A, b)
    if not left:
        a, b = a.mT, b.mT
    out, info = solve_op(a, b, name, check)
    out = out if left else out.mT
    return out.squeeze(-1) if vector else out, info


@composite("linalg::solve(Tensor A, Tensor B, *, bool left=True) -> Tensor")
def solve(A, B, left):
    """X with ``A X = B`` (``X A = B`` where not `left`); B may be vectors. LinAlgError where A is
    singular.
    """
    return _solve("torch.linalg.solve", A, B, left, True)[0]


@composite(
    "linalg::solve_ex(Tensor A, Tensor B, *, bool left=True, bool check_errors=False) -> (Tensor "
    "result, Tensor info)"
)
def solve_ex(A, B, left, check_errors):
    """As `solve`, with the index of the first zero pivot for each matrix."""
    return named("linalg_solve_ex", "result info")(
        *_solve("torch.linalg.solve_ex", A, B, left, check_errors)
    )


# Triangular systems.


def _triangular(a, b, upper, left, unit):
    return each(lambda x, y: (lapack.triangular(x, y, upper, left, unit), 0), a, b)[0]


def _triangular_gradient(grad, A, result, upper, left, unit):
    back = triangular_op(adjoint(A), grad, not upper, left, unit)
    product = -back.matmul(adjoint(result)) if left else -adjoint(result).matmul(back)
    return product.triu(int(unit)) if upper else product.tril(-int(unit))


triangular_op = opaque(
    "linalg::_solve_triangular(Tensor A, Tensor B, bool upper, bool left, bool unit) -> Tensor",
    """X with A X = B or X A = B for a triangle of A, for as many matrices B as A.""",
    run=_triangular,
    grad=dict(
        A=_triangular_gradient,
        B=lambda grad, A, upper, left, unit: triangular_op(adjoint(A), grad, not upper, left, unit),
    ),
    columns=(0,),
    function=False,
)


@composite(
    "linalg::solve_triangular(Tensor A, Tensor B, *, bool upper, bool left=True, bool "
    "unitriangular=False) -> Tensor"
)
def solve_triangular(A, B, upper, left, unitriangular):
    """X with ``A X = B`` (``X A = B`` where not `left`) for triangular A: the other triangle is not
    read, nor the diagonal with `unitriangular`.
    """
    check_matrix("linalg.solve_triangular", A)
    check_matrix("linalg.solve_triangular", B, "B")
    _check_system("linalg.solve_triangular", A, B, left)
    return triangular_op(*spread(A, B), upper, left, unitriangular)


@composite(
    "aten::triangular_solve(Tensor self, Tensor A, bool upper=True, bool transpose=False, bool "
    "unitriangular=False) -> (Tensor solution, Tensor cloned_coefficient)"
)
def triangular_solve(self, A, upper, transpose, unitriangular):
    """X with ``A X = self`` (of the transpose of A where `transpose`) for triangular A, and a copy
    of A.
    """
    a, up = (A.mT, not upper) if transpose else (A, upper)
    out = solve_triangular(a, self, upper=up, unitriangular=unitriangular)
    return named("triangular_solve", "solution cloned_coefficient")(out, A.clone())


def _cholesky_solve_gradient(grad, input2, result, upper):
    """With Y = A^-1 G: -(Y X^H + X Y^H) L. Also what is not read has a gradient then, as in
    PyTorch.
    """
    product = cholesky_solve(grad, input2, upper).matmul(adjoint(result))
    both = product + adjoint(product)
    total = -input2.triu().matmul(both) if upper else -both.matmul(input2.tril())
    return total.sum_to_size(input2.layout.shape)


@composite(
    "aten::cholesky_solve(Tensor self, Tensor input2, bool upper=False) -> Tensor",
    grad=dict(
        self=lambda grad, self_layout, input2, upper: cholesky_solve(
            grad, input2, upper
        ).sum_to_size(self_layout.shape),
        input2=_cholesky_solve_gradient,
    ),
)
def cholesky_solve(self, input2, upper):
    """X with ``A X = self``, where `input2` is the Cholesky factor of A."""
    if input2.layout.ndim >= 2 and input2.layout.shape[-1] != input2.layout.shape[-2]:
        rows, columns = input2.layout.shape[-2:]
        raise RuntimeError(
            f"A must be batches of square matrices, but they are {rows} by {columns} matrices"
        )
    check_square("cholesky_solve", input2)
    b, factor = self, input2
    first = adjoint(factor) if upper else factor
    half = solve_triangular(first, b, upper=False)
    return solve_triangular(adjoint(first), half, upper=True)


@composite("aten::cholesky_inverse(Tensor self, bool upper=False) -> Tensor")
def cholesky_inverse(self, upper):
    """The inverse of a matrix whose Cholesky factor is `self`."""
    check_square("cholesky_inverse", self)
    return cholesky_solve(identity(self, self.layout.shape[-1]), self, upper)


# With the LU factors.


def _check_pivots(LU, pivots, B):
    if B.layout.ndim < 2:
        raise RuntimeError("linalg.lu_solve: The input tensor B must have at least 2 dimensions.")
    if pivots.layout.dtype.name != "int32":
        raise RuntimeError("linalg.lu_solve: pivots should be a Tensor of scalar type torch.int32")
    if pivots.layout.shape[-1:] != LU.layout.shape[-1:]:
        raise RuntimeError(
            "linalg.lu_solve: Number of pivots per batch should be same as the dimension of the "
            "matrix"
        )
    if pivots.layout.shape != LU.layout.shape[:-1]:
        raise RuntimeError(
            "linalg.lu_solve: Expected LU.shape[:-1] and pivots.shape to be the same, but got "
            f"pivots with shape {list(pivots.layout.shape)} instead"
        )


@composite(
    "linalg::lu_solve(Tensor LU, Tensor pivots, Tensor B, *, bool left=True, bool adjoint=False) "
    "-> Tensor"
)
def lu_solve(LU, pivots, B, left, adjoint_):
    """X with ``A X = B`` (or ``X A = B``; with `adjoint` of its conjugate transpose) from the LU
    factors of A.
    """
    check_square("torch.linalg.lu_solve", LU, "LU")
    _check_pivots(LU, pivots, B)
    _check_system("linalg.lu_solve", LU, B, left)
    if not left:
        return adjoint(lu_solve(LU, pivots, adjoint(B), left=True, adjoint=not adjoint_))
    permutation = find("_permutation").door(pivots, LU.layout.shape[-1]).to(LU.layout.dtype)
    if adjoint_:
        half = solve_triangular(adjoint(LU), B, upper=False)
        return matmul(
            permutation, solve_triangular(adjoint(LU), half, upper=True, unitriangular=True)
        )
    half = solve_triangular(LU, matmul(permutation.mT, B), upper=False, unitriangular=True)
    return solve_triangular(LU, half, upper=True)


@composite("aten::lu_solve(Tensor self, Tensor LU_data, Tensor LU_pivots) -> Tensor")
def aten_lu_solve(self, LU_data, LU_pivots):
    """X with ``A X = self`` from the LU factors of A."""
    return lu_solve(LU_data, LU_pivots, self)


# Least squares and the pseudoinverse.


def _pseudoinverse(a, atol, rtol, hermitian):
    if not a.size:
        return numpy.zeros((*a.shape[:-2], a.shape[-1], a.shape[-2]), a.dtype)
    if hermitian:
        values, vectors = numpy.linalg.eigh(a)
        u, s, vh = vectors, values, numpy.conj(numpy.swapaxes(vectors, -1, -2))
    else:
        u, s, vh = numpy.linalg.svd(a, full_matrices=False)
    size = numpy.abs(s)
    limit = numpy.maximum(
        numpy.asarray(atol)[..., None], numpy.asarray(rtol)[..., None] * size.max(-1, keepdims=True)
    )
    with numpy.errstate(divide="ignore"):
        inverted = numpy.where(size > limit, 1 / s, 0).astype(s.dtype)
    made = numpy.conj(numpy.swapaxes((u * inverted[..., None, :]) @ vh, -1, -2))
    return numpy.ascontiguousarray(made)


def _pinv_gradient(grad, A, result):
    """Golub & Pereyra (1973), "The differentiation of pseudo-inverses and nonlinear least squares
    problems".
    """
    m, n = A.layout.shape[-2:]
    p, ph, gh = result, adjoint(result), adjoint(grad)
    if m <= n:
        k = gh.matmul(p)
        kph = k.matmul(ph)
        return (
            kph
            - adjoint(p.matmul(k))
            - A.matmul(p).matmul(kph)
            + ph.matmul(p).matmul(gh - k.matmul(A))
        )
    k = p.matmul(gh)
    phk = ph.matmul(k)
    return (
        (gh - A.matmul(k)).matmul(p).matmul(ph)
        + phk
        - adjoint(k.matmul(p))
        - phk.matmul(p).matmul(A)
    )


pinv_op = opaque(
    "linalg::_pinv(Tensor A, Tensor|Scalar atol, Tensor|Scalar rtol, bool hermitian) -> Tensor",
    """The pseudoinverse, singular values up to max(atol, rtol * the largest) taken as 0.""",
    run=_pseudoinverse,
    grad=dict(A=_pinv_gradient),
    function=False,
)


def tolerances(a, atol, rtol):
    """(atol, rtol), where not given 0 and eps * the larger dimension (0 beside an `atol` that is
    not 0).
    """
    default = max(a.layout.shape[-2:]) * float(numpy.finfo(a.layout.dtype.to_real().numpy).eps)
    if rtol is None:
        if hasattr(atol, "layout"):
            rtol = find("where").door(atol > 0, 0.0, default)
        else:
            rtol = 0.0 if atol else default
    return (0.0 if atol is None else atol), rtol


@composite(
    "linalg::pinv(Tensor A, Any rcond=None, bool hermitian=False, *, Any atol=None, Any rtol=None) "
    "-> Tensor"
)
def pinv(A, rcond, hermitian, atol, rtol):
    """The Moore-Penrose pseudoinverse; singular values up to ``max(atol, rtol * largest)`` count as
    0.
    """
    if A.layout.ndim < 2 or A.layout.dtype.kind not in "fc":
        raise RuntimeError(
            f"linalg.pinv({type_name(A.layout.dtype)}{{{list(A.layout.shape)}}}): expected a "
            "tensor with 2 or more dimensions of float, double, cfloat or cdouble types"
        )
    check_float("linalg.pinv", A)
    if hermitian:
        check_square("linalg.pinv", A)
    return pinv_op(A, *tolerances(A, atol, rtol if rcond is None else rcond), hermitian)


@composite("aten::pinverse(Tensor self, float rcond=1e-15) -> Tensor")
def pinverse(self, rcond):
    """The pseudoinverse; singular values up to `rcond` times the largest count as 0."""
    return pinv(self, rcond)


def _least_squares_of_one(a, b, rcond):
    x, _, rank, s = numpy.linalg.lstsq(a, b, rcond=rcond)
    return x.astype(b.dtype), numpy.array(rank), s, 0


def _least_squares(a, b, rcond):
    m, n = a.shape[-2:]
    if not a.size or not b.size:
        s = numpy.zeros((*a.shape[:-2], min(m, n)), a.real.dtype)
        return (
            numpy.zeros((*a.shape[:-2], n, b.shape[-1]), a.dtype),
            numpy.zeros(a.shape[:-2], numpy.int64),
            s,
        )
    x, rank, s, _ = each(lambda p, q: _least_squares_of_one(p, q, rcond), a, b)
    return x, rank.astype(numpy.int64), s


lstsq_op = opaque(
    "linalg::_lstsq(Tensor A, Tensor B, float rcond) -> (Tensor solution, Tensor rank, Tensor "
    "values)",
    """The least squares solution, the rank and the singular values of A.""",
    run=_least_squares,
    columns=(0,),
    function=False,
)
_DRIVERS = ("gels", "gelsy", "gelsd", "gelss")


@composite(
    "linalg::lstsq(Tensor self, Tensor b, float? rcond=None, *, str? driver=None) -> (Tensor "
    "solution, Tensor residuals, Tensor rank, Tensor singular_values)"
)
def lstsq(self, b, rcond, driver):
    """X that makes ``|self X - b|`` least; the residuals, ranks and singular values too, where
    `driver` gives them.
    """
    check_matrix("torch.linalg.lstsq", self, "input")
    check_float("torch.linalg.lstsq", self)
    driver = driver or "gelsy"
    if driver not in _DRIVERS:
        raise RuntimeError(
            "torch.linalg.lstsq: parameter `driver` should be one of (gels, gelsy, gelsd, gelss)"
        )
    vector = _is_vector(self, b)
    right = b.unsqueeze(-1) if vector else b
    m, n = self.layout.shape[-2:]
    if right.layout.shape[-2] != m:
        raise RuntimeError(
            f"torch.linalg.lstsq: input.size(-2) should match other.size({-1 if vector else -2})"
        )
    a, right = spread(self, right)
    eps = float(numpy.finfo(a.layout.dtype.to_real().numpy).eps) * max(m, n)
    solution, rank, values = lstsq_op(a.detach(), right.detach(), eps if rcond is None else rcond)
    if recorded(self, b):
        solution = matmul(pinv_op(a, 0.0, eps if rcond is None else rcond, False), right)
    residuals = solution.reshape((-1,))[:0].abs()  # empty, but part of the graph, as in PyTorch
    if m > n and driver != "gelsy" and (driver == "gels" or bool((rank == n).all())):
        residuals = (matmul(a, solution) - right).abs().square().sum(-2)
    nothing = (rank.new_empty((0,)), a.new_empty((0,), dtype=a.layout.dtype.to_real()))
    return named("linalg_lstsq", "solution residuals rank singular_values")(
        solution.squeeze(-1) if vector else solution,
        residuals.squeeze(-1)
        if vector and residuals.layout.ndim > a.layout.ndim - 2
        else residuals,
        nothing[0] if driver == "gels" else rank,
        values if driver in ("gelsd", "gelss") else nothing[1],
    )


# Tensors as matrices.


@composite("linalg::tensorinv(Tensor self, int ind=2) -> Tensor")
def tensorinv(self, ind):
    """The inverse of the linear map that `tensordot` with `self` over its last dimensions is."""
    if ind <= 0:
        raise RuntimeError("Expected a strictly positive integer for 'ind'")
    shape = self.layout.shape
    first, last = shape[:ind], shape[ind:]
    if math.prod(first) != math.prod(last):
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[ind:]) == "
            f"prod(self.shape[:ind]), but got {math.prod(last)} != {math.prod(first)}"
        )
    return inv(self.reshape((math.prod(first), math.prod(last)))).reshape((*last, *first))


@composite("linalg::tensorsolve(Tensor self, Tensor other, int[]? dims=None) -> Tensor")
def tensorsolve(self, other, dims):
    """X with ``tensordot(self, X, X.ndim) = other``; `dims` of `self` are moved to its end
    first.
    """
    n = self.layout.ndim
    if dims:
        self = self.movedim(list(dims), list(range(n - len(dims), n)))
    shape = self.layout.shape[other.layout.ndim :]
    size = math.prod(shape)
    if size != math.prod(self.layout.shape[: other.layout.ndim]):
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == "
            f"prod(self.shape[:other.ndim]), but got {size} != "
            f"{math.prod(self.layout.shape[: other.layout.ndim])}"
        )
    return solve(self.reshape((size, size)), other.reshape((-1,))).reshape(shape)
