"""A few eigenpairs of a large Hermitian matrix: `torch.lobpcg`.

A. V. Knyazev, "Toward the optimal preconditioned eigensolver", SIAM J. Sci. Comput. 23 (2001). When
a pair is exact enough is as J. A. Duersch et al. have it, "A robust and efficient implementation of
LOBPCG", SIAM J. Sci. Comput. 40 (2018).
"""

import itertools
import types

from flambeau._base import numpy
from flambeau.ops import find

from .autograd import engine
from .autograd.function import Function
from .autograd.grad_mode import enable_grad, is_grad_enabled
from .chance import randn
from .creation import eye


def lobpcg(
    A, k=None, B=None, X=None, n=None, iK=None, niter=None, tol=None, largest=None, method=None,
    tracker=None, ortho_iparams=None, ortho_fparams=None, ortho_bparams=None,
):  # fmt: skip
    """The `k` largest (or smallest: ``largest=False``) eigenvalues [..., k] of a Hermitian matrix A
    [..., m, m], and their eigenvectors [..., m, k].

    With a positive definite `B`, those of ``A x = e B x``. `X` [..., m, n] are n >= k first
    guesses, drawn where none are given; `iK` is a preconditioner, near the inverse of A. The
    iteration ends after `niter` steps (1000; -1: never), or when ``|A x - e B x| < tol |x| (|A| +
    |e| |B|)`` for each pair; `tol` is the square root of the dtype's epsilon. ``tracker(state)`` is
    called at each step, and may set ``state.bvars["force_stop"]``. Both of PyTorch's methods,
    "basic" and "ortho", are one here, whose bases are always orthonormal: their parameters are not
    read. Gradients flow to A and B, where the eigenvalues are distinct. ValueError if m < 3 n.
    """
    if method not in (None, "basic", "ortho"):
        raise ValueError(f"lobpcg: method must be 'basic' or 'ortho', got {method!r}")
    if A.ndim < 2 or A.shape[-1] != A.shape[-2]:
        raise ValueError(f"lobpcg: A must be square matrices, got the shape {tuple(A.shape)}")
    if not (A.is_floating_point() or A.is_complex()):
        raise ValueError(f"lobpcg: A must be of a floating point dtype, got {A.dtype}")
    if k is None:
        k = 1 if X is None else X.shape[-1]
    n = X.shape[-1] if X is not None else k if n is None else n
    m = A.shape[-1]
    if m < 3 * n:
        raise ValueError(
            f"LPBPCG algorithm is not applicable when the number of A rows (={m}) is smaller than "
            f"3 x the number of requested eigenpairs (={n})"
        )
    if not 0 < k <= n:
        raise ValueError(f"lobpcg: k must be from 1 to the number of first guesses ({n}), got {k}")
    if X is None:
        X = randn((*A.shape[:-2], m, n), dtype=A.dtype, device=A.device)
    if tol is None:
        tol = float(numpy.finfo(A.dtype.to_real().numpy).eps) ** 0.5
    options = {
        "niter": 1000 if niter is None else niter,
        "tol": tol,
        "largest": largest is None or largest,
        "tracker": tracker,
    }
    return _Eigenpairs.apply(A, B, X, iK, k, options)


class _Eigenpairs(Function):
    """The pairs that the iteration finds, and how they change with the matrices."""

    @staticmethod
    def forward(ctx, A, B, X, iK, k, options):
        batch = A.shape[:-2]
        parts = [None if t is None else _matrices(t, batch) for t in (A, B, X, iK)]
        found = [
            _pairs(*(None if part is None else part[i] for part in parts), k, options)
            for i in range(len(parts[0]))
        ]
        stack = find("stack").door
        values, vectors = (stack(each) for each in zip(*found, strict=True))
        values = values.reshape(*batch, k)
        vectors = vectors.reshape(*batch, A.shape[-1], k)
        ctx.save_for_backward(A, B, values, vectors)
        return values, vectors

    @staticmethod
    def backward(ctx, grad_values, grad_vectors):
        A, B, values, vectors = ctx.saved_tensors
        pairs = values.detach(), vectors.detach()
        wanted = [t for t, need in zip((A, B), ctx.needs_input_grad) if need]
        second = is_grad_enabled()
        with enable_grad():
            # Newton's method squares the error, of derivatives too: a step from the constants has
            # the first ones right, another one all up to the third.
            for _ in range(2 if second else 1):
                pairs = _newton(A, B, *pairs)
            grads = iter(
                engine.grad(pairs, wanted, (grad_values, grad_vectors), create_graph=second)
            )
        first, other = (next(grads) if need else None for need in ctx.needs_input_grad[:2])
        return first, other, None, None, None, None


def _matrices(t, batch):
    """The matrices of a batch one behind the other."""
    return t.expand(*batch, *t.shape[-2:]).reshape(-1, *t.shape[-2:])


def _newton(A, B, values, vectors):
    """A step of Newton's method for ``A x = e B x`` and ``x^H B x = 1``."""
    x, e = vectors.mT.unsqueeze(-1), values[..., None, None]  # one matrix for each pair
    A = A.unsqueeze(-3)
    B = eye(A.shape[-1], dtype=A.dtype, device=A.device) if B is None else B
    B = B.unsqueeze(-3) if B.ndim > 2 else B
    Bx = B @ x
    cat = find("cat").door
    shifted = A - e * B
    left = cat((shifted, -Bx.mH), -2)
    right = cat((-Bx, Bx.new_zeros((*Bx.shape[:-2], 1, 1))), -2)
    missing = cat((-(shifted @ x), ((x.mH @ Bx) - 1) / 2), -2)
    step = find("linalg.solve").door(cat((left, right), -1), missing)
    change = step[..., -1, 0]
    change = change.real if change.is_complex() else change
    return values + change, vectors + step[..., :-1, 0].mT


def _pairs(A, B, X, iK, k, options):
    """The first k eigenpairs of one matrix."""
    eigh, cat = find("linalg.eigh").door, find("cat").door
    count, sign = X.shape[-1], -1 if options["largest"] else 1
    size = float(A.norm()) / A.shape[-1] ** 0.5
    size_B = 1.0 if B is None else float(B.norm()) / A.shape[-1] ** 0.5
    state = types.SimpleNamespace(
        A=A, B=B, iK=iK, S=None, R=None, fparams={"tol": options["tol"]}, bparams={},
        iparams={"m": A.shape[-1], "n": count, "k": k, "niter": options["niter"]},
        ivars={"istep": 0, "converged_count": 0}, tvars={}, bvars={"force_stop": False},
    )  # fmt: skip
    directions = _orthonormal(X, B, None)
    if directions.shape[-1] < count:
        raise ValueError("lobpcg: the first guesses are linearly dependent")
    X = X[:, :0]
    for step in itertools.count():
        # The best vectors of the space that the old ones and the new directions span.
        S = cat((X, directions), -1)
        E, Z = eigh((S.mH @ A @ S) * sign)
        E, Z = E[:count] * sign, Z[:, :count]
        moved = directions @ Z[X.shape[-1] :]
        X = X @ Z[: X.shape[-1]] + moved
        R = A @ X - (X if B is None else B @ X) * E
        error = R.norm(dim=0) / (X.norm(dim=0) * (size + E.abs() * size_B))
        open_ = [i for i, v in enumerate(error.tolist()) if not v < options["tol"]]
        state.X, state.E, state.R, state.S = X, E, R, S
        state.tvars["rerr"] = error
        state.ivars.update(istep=step, converged_count=open_[0] if open_ else count)
        if options["tracker"] is not None:
            options["tracker"](state)
        if not open_ or open_[0] >= k or step == options["niter"] or state.bvars["force_stop"]:
            return E[:k], X[:, :k]
        R, moved = R[:, open_], moved[:, open_] if step else moved[:, :0]
        directions = _orthonormal(cat((R if iK is None else iK @ R, moved), -1), B, X)


def _orthonormal(Y, B, X):
    """A B-orthonormal basis of the span of Y, without what lies in that of X (orthonormal, too).

    By the eigenvectors of the Gram matrix (A. Stathopoulos and K. Wu, SIAM J. Sci. Comput. 23
    (2002)), twice, because rounding spoils the first result.
    """
    eps = float(numpy.finfo(Y.dtype.to_real().numpy).eps)
    for _ in range(2):
        if X is not None:
            Y = Y - X @ (X.mH @ (Y if B is None else B @ Y))
        gram = Y.mH @ (Y if B is None else B @ Y)
        scale = gram.diagonal().real if gram.is_complex() else gram.diagonal()
        scale = scale.clamp_min(0).sqrt()
        kept = [i for i, v in enumerate(scale.tolist()) if v > 0]
        Y, scale = Y[:, kept] / scale[kept], scale[kept]
        gram = gram[kept][:, kept] / scale / scale[:, None]
        weights, basis = find("linalg.eigh").door(gram)
        good = [i for i, v in enumerate(weights.tolist()) if v > eps * len(kept)]
        Y = (Y @ basis[:, good]) / weights[good].sqrt()
    return Y


__all__ = ["lobpcg"]
