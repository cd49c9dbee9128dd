"""Norms of vectors and matrices, distances, and limits on norms."""

from flambeau import ir
from flambeau.ir import math
from flambeau.types import by_name

from .arithmetic import masked
from .extremes import larger, smaller
from .family import Fold, reduction
from .family.pointwise import type_name
from .family.reduction import wrap_dim, wrap_dims
from .op import composite, find
from .reductions import keep_dims

FLOAT64 = by_name("float64")
INF = float("inf")


def _magnitude(x):
    if isinstance(x, ir.Pair):
        return math.hypot(x.re, x.im)
    return abs(x)


def _square(x):
    parts = [ir.cast(p, FLOAT64) for p in ir.parts(x)]
    return parts[0] * parts[0] + parts[1] * parts[1] if len(parts) == 2 else parts[0] * parts[0]


def _norm_fold(dtype, ord):
    """The fold of |x|^ord: a maximum, a count, or a sum in float64."""
    real = dtype.to_real()
    if abs(ord) == INF:
        pick, start = (larger, 0.0) if ord > 0 else (smaller, INF)
        return Fold(
            ((start, real),),
            lambda x: (_magnitude(x),),
            lambda a, b: (pick(a[0], b[0]),),
            lambda s, n: (s[0],),
        )
    if ord == 0:
        element, finish = (lambda x: ir.cast(_magnitude(x).differs(0.0), FLOAT64)), (lambda s: s)
    elif ord == 1:
        element, finish = (lambda x: ir.cast(_magnitude(x), FLOAT64)), (lambda s: s)
    elif ord == 2:
        element, finish = _square, ir.sqrt
    else:

        def element(x):
            return math.pow(ir.cast(_magnitude(x), FLOAT64), ir.const(ord, FLOAT64))

        def finish(s):
            return math.pow(s, ir.const(1.0 / ord, FLOAT64))

    return Fold(
        ((0, FLOAT64),),
        lambda x: (element(x),),
        lambda a, b: (a[0] + b[0],),
        lambda s, n: (finish(s[0]),),
    )


def _norm_dtype(source, asked):
    if source.kind not in "fc":
        raise RuntimeError(
            "linalg.vector_norm: Expected a floating point or complex tensor as input. Got "
            f"{type_name(source)}"
        )
    if asked is not None and asked.kind not in "fc":
        raise RuntimeError(
            f"linalg.vector_norm: dtype should be floating point or complex. Got {type_name(asked)}"
        )
    result = asked or source
    return result, (result.to_real(),)


def _norm_grad(grad, self, self_layout, result, ord, dim, keepdim):
    """d|x|/dx for every order; where the norm is not differentiable, the subgradient 0 (shared
    between equal extremes)."""
    n = keep_dims(result, self_layout, dim, keepdim)
    g = keep_dims(grad, self_layout, dim, keepdim)
    x = (
        self
        if result.layout.dtype is self_layout.dtype.to_real()
        else self.to(_as(self_layout, result))
    )
    if ord == 0:
        out = x * 0
    elif ord == 1:
        out = x.sgn() * g
    elif ord == 2:
        out = x * masked(g / n, n != 0)
    elif abs(ord) == INF:
        size = x.abs()
        attain = (size == n).logical_or((size != size).logical_and(n != n))
        counts = attain.sum(wrap_dims(dim, self_layout.ndim), True).to(g.layout.dtype)
        out = masked(x.sgn(), attain) * (g / counts)
    elif ord < 2:
        size = x.abs()
        slope = masked(size.pow(ord - 1.0), size != 0) if ord < 1 else size.pow(ord - 1.0)
        out = x.sgn() * slope * masked(g * n.pow(1.0 - ord), n != 0)
    else:
        size = x.abs()
        out = x * size.pow(ord - 2.0) * masked(g / n.pow(ord - 1.0), n != 0)
    return out.to(self_layout.dtype)


def _as(layout, result):
    return result.layout.dtype.to_complex() if layout.dtype.kind == "c" else result.layout.dtype


vector_norm_ = reduction(
    "linalg::_vector_norm(Tensor self, float ord, int[]? dim, bool keepdim, *, ScalarType? "
    "dtype=None) -> Tensor",
    """The norm sum(|x|^ord)^(1/ord) over `dim`.""",
    fold=_norm_fold,
    dtype=_norm_dtype,
    grad=dict(self=_norm_grad),
    method=False,
    function=False,
)


@composite(
    "linalg::vector_norm(Tensor x, float ord=2, int[]? dim=None, bool keepdim=False, *, "
    "ScalarType? dtype=None) -> Tensor"
)
def vector_norm(x, ord, dim, keepdim, dtype):
    """The norm sum(|x|^ord)^(1/ord) over `dim`; inf and -inf are the largest and smallest
    magnitude, 0 counts."""
    if ord < 0 or ord == INF:
        axes = wrap_dims(dim, x.layout.ndim)
        if any(x.layout.shape[d] == 0 for d in axes):
            raise RuntimeError(
                f"linalg.vector_norm cannot compute the {ord:g} norm on an empty tensor because "
                "the operation does not have an identity"
            )
    return vector_norm_(x, float(ord), dim, keepdim, dtype=dtype)


def _matrix_dims(name, a, dim):
    if a.layout.ndim < 2:
        raise RuntimeError(f"{name}: The input tensor A must have at least 2 dimensions.")
    if len(dim) != 2:
        raise RuntimeError(f"{name}: dim must be a 2-tuple. Got {' '.join(map(str, dim))}")
    first, second = (wrap_dim(d, a.layout.ndim) for d in dim)
    if first == second:
        raise RuntimeError(f"{name}: dims must be different. Got ({dim[0]}, {dim[1]})")
    return first, second


def _singular(a, first, second):
    rest = [d for d in range(a.layout.ndim) if d not in (first, second)]
    return find("linalg.svdvals").door(a.permute((*rest, first, second)))


@composite(
    "linalg::matrix_norm(Tensor A, Any ord='fro', int[2] dim=[-2, -1], bool keepdim=False, *, "
    "ScalarType? dtype=None) -> Tensor"
)
def matrix_norm(A, ord, dim, keepdim, dtype):
    """The norm of matrices in the two dimensions `dim`: "fro", "nuc", inf, -inf, 1, -1, 2 or -2."""
    if A.layout.dtype.kind not in "fc":
        raise RuntimeError(
            "linalg.matrix_norm: Expected a floating point or complex tensor as input. Got "
            f"{type_name(A.layout.dtype)}"
        )
    first, second = _matrix_dims("linalg.matrix_norm", A, dim)
    if ord == "fro":
        return vector_norm_(A, 2.0, (first, second), keepdim, dtype=dtype)
    a = A if dtype is None else A.to(dtype)
    if ord == "nuc" or (not isinstance(ord, str) and abs(ord) == 2):
        values = _singular(a, first, second)
        out = values.sum(-1) if ord == "nuc" else _extreme(values, -1, ord > 0)
        return _kept(out, (first, second)) if keepdim else out
    if isinstance(ord, str) or abs(ord) not in (1, INF):
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    inner, outer = (first, second) if abs(ord) == 1 else (second, first)
    sums = vector_norm_(a, 1.0, (inner,), True)
    out = _extreme(sums, outer, ord > 0, True)
    return out if keepdim else out.squeeze((first, second))


def _extreme(sizes, dim, largest, keepdim=False):
    """The largest magnitude along `dim`, which is 0 where there is none; or the smallest."""
    if not largest:
        return sizes.amin((dim,), keepdim)
    return sizes.amax((dim,), keepdim) if sizes.layout.shape[dim] else sizes.sum((dim,), keepdim)


def _kept(out, dims):
    for d in sorted(dims):
        out = out.unsqueeze(d)
    return out


@composite(
    "linalg::norm(Tensor A, Any ord=None, int[]? dim=None, bool keepdim=False, *, ScalarType? "
    "dtype=None) -> Tensor"
)
def linalg_norm(A, ord, dim, keepdim, dtype):
    """`vector_norm` or `matrix_norm`, by the number of dimensions."""
    if dim is not None and len(dim) not in (1, 2):
        raise RuntimeError(
            f"linalg.norm: If dim is specified, it must be of length 1 or 2. Got {list(dim)}"
        )
    if ord is None:
        return vector_norm(A, 2.0, dim, keepdim, dtype=dtype)
    if (
        isinstance(ord, str)
        or (dim is not None and len(dim) == 2)
        or (dim is None and A.layout.ndim == 2)
    ):
        if dim is None and A.layout.ndim != 2:
            raise RuntimeError(
                "linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got "
                f"{A.layout.ndim}D."
            )
        return matrix_norm(A, ord, dim or (0, 1), keepdim, dtype=dtype)
    if dim is None and A.layout.ndim > 2:
        raise RuntimeError(
            "linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got "
            f"{A.layout.ndim}D."
        )
    return vector_norm(A, ord, dim, keepdim, dtype=dtype)


@composite(
    "aten::norm(Tensor self, Any? p='fro', int[]? dim=None, bool keepdim=False, ScalarType? "
    "dtype=None) -> Tensor"
)
def norm(self, p, dim, keepdim, dtype):
    """The `p`-norm over `dim`; "fro" is the 2-norm, "nuc" the sum of singular values."""
    if p == "nuc":
        return matrix_norm(self, "nuc", dim or tuple(range(self.layout.ndim)), keepdim, dtype=dtype)
    if isinstance(p, str) and p != "fro":
        raise RuntimeError(f"only valid values for p are 'fro', 'nuc' or a number, but got {p}")
    order = 2.0 if p is None or p == "fro" else float(p)
    return vector_norm(self, order, dim, keepdim, dtype=dtype)


@composite("aten::dist(Tensor self, Tensor other, Scalar p=2) -> Tensor")
def dist(self, other, p):
    """The `p`-norm of the difference."""
    return vector_norm(self - other, float(p))


@composite("aten::renorm(Tensor self, Scalar p, int dim, Scalar maxnorm) -> Tensor")
def renorm(self, p, dim, maxnorm):
    """Every slice along `dim` whose `p`-norm exceeds `maxnorm` scaled down to it."""
    if p <= 0:
        raise RuntimeError("renorm: non-positive norm not supported")
    if maxnorm < 0:
        raise RuntimeError("renorm: expected maxnorm to be >= 0 but got " + f"{maxnorm:g}")
    if self.layout.ndim < 2:
        raise RuntimeError(
            f"renorm: input needs at least 2 dimensions, got {self.layout.ndim} dimensions"
        )
    d = wrap_dim(dim, self.layout.ndim)
    others = tuple(k for k in range(self.layout.ndim) if k != d)
    sizes = vector_norm_(self, float(p), others, True)
    over = sizes > maxnorm
    factor = masked(maxnorm / (sizes + 1e-7), over) + over.logical_not().to(sizes.layout.dtype)
    return self * factor


renorm.inplace_form = True
