"""Determinants, ranks, condition numbers, and the exponential of a matrix."""

from flambeau._base import numpy

from .contraction import adjoint
from .eigenvalues import svdvals
from .family import opaque
from .matrices import check_float, check_matrix, check_square
from .norms import matrix_norm
from .op import composite, find
from .results import named
from .solving import inverse_op, tolerances

# Determinants.


def _cofactors(a):
    """det(A) A^-T by singular values, so that it exists for singular matrices too."""
    if not a.size:
        return numpy.zeros(a.shape, a.dtype)
    u, s, vh = numpy.linalg.svd(a)
    n = s.shape[-1]
    others = numpy.where(numpy.eye(n, dtype=bool), 1, s[..., None, :]).prod(-1)
    turn = numpy.linalg.det(u) * numpy.linalg.det(vh)
    made = (u * others[..., None, :]) @ vh * turn[..., None, None].conj()
    return made.conj().astype(a.dtype)


def _cofactor_gradient(grad, self, result):
    """d(det(A) A^-T), for invertible A."""
    slope = inverse_op(self, "linalg.inv", True)[0].mT.conj()
    c = result.conj()
    total = (grad * c).sum((-2, -1), True)
    return total * slope - c.matmul(grad.mT).matmul(slope)


cofactors_op = opaque(
    "linalg::_cofactors(Tensor self) -> Tensor",
    """The cofactors: the derivative of the determinant.""",
    run=_cofactors,
    grad=dict(self=_cofactor_gradient),
    function=False,
)
det_op = opaque(
    "linalg::_det(Tensor self) -> Tensor",
    """The determinants.""",
    run=lambda a: numpy.linalg.det(a).astype(a.dtype),
    grad=dict(self=lambda grad, self: grad.unsqueeze(-1).unsqueeze(-1) * cofactors_op(self).conj()),
    function=False,
)


def _sign_and_log(a):
    sign, size = numpy.linalg.slogdet(a)
    return sign.astype(a.dtype), size.astype(a.real.dtype)


def _slogdet_gradient(grad_sign, grad_logabsdet, sign, self):
    inverse = adjoint(inverse_op(self, "linalg.slogdet", False)[0])
    g = None if grad_logabsdet is None else grad_logabsdet.to(inverse.layout.dtype)
    if grad_sign is not None and inverse.layout.dtype.kind == "c":
        turn = (grad_sign.conj() * sign).imag * -1j
        g = turn if g is None else g + turn
    if g is None:
        return inverse * 0
    return g.unsqueeze(-1).unsqueeze(-1) * inverse


slogdet_op = opaque(
    "linalg::_slogdet(Tensor self) -> (Tensor sign, Tensor logabsdet)",
    """The signs of determinants, and the logarithms of their magnitudes.""",
    run=_sign_and_log,
    grad=dict(self=_slogdet_gradient),
    function=False,
)


@composite("linalg::det(Tensor A) -> Tensor")
def linalg_det(A):
    """The determinant of square matrices."""
    check_square("linalg.det", A)
    return det_op(A)


@composite("aten::det(Tensor self) -> Tensor")
def det(self):
    """The determinant of square matrices."""
    return linalg_det(self)


@composite("linalg::slogdet(Tensor A) -> (Tensor sign, Tensor logabsdet)")
def linalg_slogdet(A):
    """The sign of the determinant, and the logarithm of its magnitude."""
    check_square("linalg.slogdet", A)
    return named("linalg_slogdet", "sign logabsdet")(*slogdet_op(A))


@composite("aten::slogdet(Tensor self) -> (Tensor sign, Tensor logabsdet)")
def slogdet(self):
    """The sign of the determinant, and the logarithm of its magnitude."""
    return named("slogdet", "sign logabsdet")(*linalg_slogdet(self))


@composite("aten::logdet(Tensor self) -> Tensor")
def logdet(self):
    """The logarithm of the determinant; nan where that is negative."""
    check_square("logdet", self)
    sign, size = slogdet_op(self)
    if self.layout.dtype.kind == "c":
        return sign.log() + size
    return find("where").door(sign == -1.0, float("nan"), size)


# Rank and condition.


def _ranks(values, limit):
    return (values > limit).sum(-1)


@composite(
    "linalg::matrix_rank(Tensor A, Any tol=None, bool hermitian=False, *, Any atol=None, Any "
    "rtol=None) -> Tensor"
)
def matrix_rank(A, tol, hermitian, atol, rtol):
    """How many singular values exceed ``max(atol, rtol * largest)`` (or `tol`)."""
    check_matrix("linalg.matrix_rank", A)
    check_float("linalg.matrix_rank", A)
    A = A.detach()
    if tol is not None:
        atol, rtol = tol, 0.0
    atol, rtol = tolerances(A, atol, rtol)
    if 0 in A.layout.shape[-2:]:
        return A.new_zeros(A.layout.shape[:-2], dtype=find("_iota").door(1).layout.dtype)
    values = find("linalg.eigvalsh").door(A).abs() if hermitian else svdvals(A)
    atol, rtol = (_last(x) for x in (atol, rtol))
    limit = values.amax(-1, True) * rtol
    limit = find("maximum").door(limit, atol) if hasattr(atol, "layout") else limit.clamp_min(atol)
    return _ranks(values, limit)


def _last(x):
    return x.unsqueeze(-1) if hasattr(x, "layout") else x


@composite("linalg::cond(Tensor A, Any p=None) -> Tensor")
def cond(A, p):
    """The condition number in the norm `p`: by default the largest singular value over the
    smallest.
    """
    check_matrix("linalg.cond", A)
    check_float("linalg.cond", A)
    if p is None or p in (2, -2):
        values = svdvals(A)
        if not values.layout.shape[-1]:
            return values.new_zeros(values.layout.shape[:-1])
        largest, smallest = values[..., 0], values[..., -1]
        return smallest / largest if p == -2 else largest / smallest
    check_square(f"linalg.cond(ord={p})", A)
    if not A.layout.shape[-1]:
        return A.new_zeros(A.layout.shape[:-2], dtype=A.layout.dtype.to_real())
    inverse, info = inverse_op(A, "linalg.cond", False)
    size = matrix_norm(A, p) * matrix_norm(inverse, p)
    return find("where").door(info != 0, float("inf"), size)


# The exponential: Higham, "The scaling and squaring method for the matrix exponential revisited"
# (2005).

_PADE = (
    64764752532480000,
    32382376266240000,
    7771770303897600,
    1187353796428800,
    129060195264000,
    10559470521600,
    670442572800,
    33522128640,
    1323241920,
    40840800,
    960960,
    16380,
    182,
    1,
)


def _exponential(a):
    n = a.shape[-1]
    if not a.size:
        return numpy.zeros(a.shape, a.dtype)
    wide = a.astype(numpy.result_type(a.dtype, numpy.float64))
    size = numpy.abs(wide).sum(-2).max()
    if not numpy.isfinite(size):
        return numpy.full(a.shape, numpy.nan, a.dtype)
    halvings = max(0, int(numpy.ceil(numpy.log2(size / 5.37)))) if size > 0 else 0
    x = wide / 2.0**halvings
    x2 = x @ x
    even, odd = numpy.zeros_like(x), numpy.zeros_like(x)
    power = numpy.broadcast_to(numpy.eye(n, dtype=x.dtype), x.shape)
    for k in range(0, 14, 2):
        even, odd = even + _PADE[k] * power, odd + _PADE[k + 1] * power
        power = power @ x2
    odd = x @ odd
    out = numpy.linalg.solve(even - odd, even + odd)
    for _ in range(halvings):
        out = out @ out
    return out.astype(a.dtype)


def _exponential_gradient(grad, self):
    """The upper right block of exp([[A^H, G], [0, A^H]]): Najfeld and Havel (1995)."""
    n = self.layout.shape[-1]
    a = adjoint(self)
    top = find("cat").door([a, grad], -1)
    bottom = find("cat").door([a.new_zeros(a.layout.shape), a], -1)
    return exponential_op(find("cat").door([top, bottom], -2))[..., :n, n:]


exponential_op = opaque(
    "linalg::_matrix_exp(Tensor self) -> Tensor",
    """The exponential of square matrices.""",
    run=_exponential,
    grad=dict(self=_exponential_gradient),
    function=False,
)


@composite("linalg::matrix_exp(Tensor self) -> Tensor", rounds_once=True)
def linalg_matrix_exp(self):
    """The exponential of square matrices."""
    check_square("linalg.matrix_exp", self)
    return exponential_op(self)


@composite("aten::matrix_exp(Tensor self) -> Tensor")
def matrix_exp(self):
    """The exponential of square matrices."""
    return linalg_matrix_exp(self)
