"""Maps between sets of numbers, with inverses and the logarithms of their Jacobians."""

import functools
import math
import operator
from numbers import Number

from flambeau.tensor import Size

from . import constraints
from .operations import (
    broadcast_shapes,
    cat,
    cholesky,
    eye,
    finfo,
    full_like,
    logsigmoid,
    pad,
    softplus,
    stack,
)
from .transform import (
    ComposeTransform,
    IndependentTransform,
    Transform,
    identity_transform,
    require_dims,
    with_event_dim,
)
from .utils import (
    _sum_rightmost,
    broadcast_all,
    lazy_property,
    tril_matrix_to_vec,
    vec_to_tril_matrix,
)

__all__ = [
    "AbsTransform",
    "AffineTransform",
    "CatTransform",
    "ComposeTransform",
    "CorrCholeskyTransform",
    "CumulativeDistributionTransform",
    "ExpTransform",
    "IndependentTransform",
    "LowerCholeskyTransform",
    "PositiveDefiniteTransform",
    "PowerTransform",
    "ReshapeTransform",
    "SigmoidTransform",
    "SoftmaxTransform",
    "SoftplusTransform",
    "StackTransform",
    "StickBreakingTransform",
    "TanhTransform",
    "Transform",
    "identity_transform",
]


class ReshapeTransform(Transform):
    """Events of shape `in_shape` in the shape `out_shape`, of as many elements."""

    bijective = True

    def __init__(self, in_shape, out_shape, cache_size=0):
        super().__init__(cache_size)
        self.in_shape, self.out_shape = Size(in_shape), Size(out_shape)
        if self.in_shape.numel() != self.out_shape.numel():
            raise ValueError("in_shape, out_shape have different numbers of elements")

    @constraints.dependent_property
    def domain(self):
        return constraints.independent(constraints.real, len(self.in_shape))

    @constraints.dependent_property
    def codomain(self):
        return constraints.independent(constraints.real, len(self.out_shape))

    def _call(self, x):
        return x.reshape(_exchanged(x.shape, self.in_shape, self.out_shape))

    def _inverse(self, y):
        return y.reshape(_exchanged(y.shape, self.out_shape, self.in_shape))

    def log_abs_det_jacobian(self, x, y):
        return x.new_zeros(_exchanged(x.shape, self.in_shape, ()))

    def forward_shape(self, shape):
        return _exchanged(shape, self.in_shape, self.out_shape)

    def inverse_shape(self, shape):
        return _exchanged(shape, self.out_shape, self.in_shape)


def _exchanged(shape, old, new):
    """`shape` with `new` in place of `old` at its end."""
    require_dims(shape, len(old))
    cut = len(shape) - len(old)
    if shape[cut:] != old:
        raise ValueError(f"Shape mismatch: expected {shape[cut:]} but got {old}")
    return shape[:cut] + new


class _Plain(Transform):
    """Without parameters: all of one class are equal."""

    def __eq__(self, other):
        return isinstance(other, type(self))


class _Rising(_Plain):
    """A rising bijection of real numbers."""

    domain = constraints.real
    bijective = True
    sign = 1


class ExpTransform(_Rising):
    """y = exp(x)."""

    codomain = constraints.positive

    def _call(self, x):
        return x.exp()

    def _inverse(self, y):
        return y.log()

    def log_abs_det_jacobian(self, x, y):
        return x


def _clipped_sigmoid(x):
    limits = finfo(x.dtype)
    return x.sigmoid().clamp(min=limits.tiny, max=1.0 - limits.eps)


class SigmoidTransform(_Rising):
    """y = 1 / (1 + exp(-x)), kept inside (0, 1)."""

    codomain = constraints.unit_interval

    def _call(self, x):
        return _clipped_sigmoid(x)

    def _inverse(self, y):
        limits = finfo(y.dtype)
        y = y.clamp(min=limits.tiny, max=1.0 - limits.eps)
        return y.log() - (-y).log1p()

    def log_abs_det_jacobian(self, x, y):
        return logsigmoid(x) + logsigmoid(-x)


class SoftplusTransform(_Rising):
    """y = log(1 + exp(x))."""

    codomain = constraints.positive

    def _call(self, x):
        return softplus(x)

    def _inverse(self, y):
        return (-y).expm1().neg().log() + y

    def log_abs_det_jacobian(self, x, y):
        return logsigmoid(x)


class TanhTransform(_Rising):
    """y = tanh(x)."""

    codomain = constraints.interval(-1.0, 1.0)

    def _call(self, x):
        return x.tanh()

    def _inverse(self, y):
        return y.atanh()

    def log_abs_det_jacobian(self, x, y):
        return _log_tanh_slope(x)


def _log_tanh_slope(x):
    """log(1 - tanh(x)**2), exact where tanh(x) rounds to 1."""
    return 2 * (math.log(2.0) + logsigmoid(2 * x) - x)


class AbsTransform(_Plain):
    """y = |x|, whose inverse is the nonnegative one."""

    domain = constraints.real
    codomain = constraints.positive

    def _call(self, x):
        return x.abs()

    def _inverse(self, y):
        return y


class PowerTransform(Transform):
    """y = x ** exponent, for positive numbers."""

    domain = constraints.positive
    codomain = constraints.positive
    bijective = True

    def __init__(self, exponent, cache_size=0):
        super().__init__(cache_size)
        (self.exponent,) = broadcast_all(exponent)

    @lazy_property
    def sign(self):
        return self.exponent.sign()

    def __eq__(self, other):
        return isinstance(other, PowerTransform) and _all_equal(self.exponent, other.exponent)

    def _call(self, x):
        return x.pow(self.exponent)

    def _inverse(self, y):
        return y.pow(1 / self.exponent)

    def log_abs_det_jacobian(self, x, y):
        return (self.exponent * y / x).abs().log()

    def forward_shape(self, shape):
        return broadcast_shapes(shape, self.exponent.shape)

    inverse_shape = forward_shape


def _all_equal(a, b):
    equal = a == b
    return equal if isinstance(equal, bool) else bool(equal.all())


class AffineTransform(Transform):
    """y = loc + scale * x, for events of `event_dim` dimensions; `loc` and `scale` are tensors or
    numbers.
    """

    bijective = True

    def __init__(self, loc, scale, event_dim=0, cache_size=0):
        super().__init__(cache_size)
        self.loc, self.scale, self._event_dim = loc, scale, event_dim

    @property
    def event_dim(self):
        return self._event_dim

    @constraints.dependent_property(is_discrete=False)
    def domain(self):
        return with_event_dim(constraints.real, self.event_dim)

    codomain = domain

    def __eq__(self, other):
        return (
            isinstance(other, AffineTransform)
            and _all_equal(self.loc, other.loc)
            and _all_equal(self.scale, other.scale)
        )

    @property
    def sign(self):
        if isinstance(self.scale, Number):
            return (self.scale > 0) - (self.scale < 0)
        return self.scale.sign()

    def _call(self, x):
        return self.loc + self.scale * x

    def _inverse(self, y):
        return (y - self.loc) / self.scale

    def log_abs_det_jacobian(self, x, y):
        if isinstance(self.scale, Number):
            change = full_like(x, math.log(abs(self.scale)))
        else:
            change = self.scale.abs().log().expand(x.shape)
        return _sum_rightmost(change, self.event_dim)

    def forward_shape(self, shape):
        shapes = (getattr(value, "shape", ()) for value in (self.loc, self.scale))
        return broadcast_shapes(shape, *shapes)

    inverse_shape = forward_shape


class CorrCholeskyTransform(_Plain):
    """Vectors of n (n - 1) / 2 numbers as Cholesky factors of n by n correlation matrices.

    The tangents of the numbers are partial correlations; a row is a point of the half sphere that
    they give step by step (Lewandowski, Kurowicka and Joe, Journal of Multivariate Analysis 100,
    2009).
    """

    domain = constraints.real_vector
    codomain = constraints.corr_cholesky
    bijective = True

    def _call(self, x):
        eps = finfo(x.dtype).eps
        r = vec_to_tril_matrix(x.tanh().clamp(-1 + eps, 1 - eps), diag=-1)
        rest = (1 - r * r).sqrt().cumprod(-1)
        unit = eye(r.shape[-1], dtype=r.dtype, device=r.device)
        return (r + unit) * pad(rest[..., :-1], [1, 0], value=1)

    def _inverse(self, y):
        rest = pad(1 - (y * y).cumsum(-1)[..., :-1], [1, 0], value=1)
        t = tril_matrix_to_vec(y, diag=-1) / tril_matrix_to_vec(rest, diag=-1).sqrt()
        return t.atanh()

    def log_abs_det_jacobian(self, x, y):
        slope = _log_tanh_slope(x)
        rest = vec_to_tril_matrix(slope, diag=-1).cumsum(-1).tril(-2)
        return 0.5 * rest.sum((-2, -1)) + slope.sum(-1)

    def forward_shape(self, shape):
        require_dims(shape, 1)
        count = shape[-1]
        n = round((0.25 + 2 * count) ** 0.5 + 0.5)
        if n * (n - 1) // 2 != count:
            raise ValueError("Input is not a flattened lower-diagonal number")
        return (*shape[:-1], n, n)

    def inverse_shape(self, shape):
        require_dims(shape, 2)
        n = shape[-1]
        if shape[-2] != n:
            raise ValueError("Input is not square")
        return (*shape[:-2], n * (n - 1) // 2)


class SoftmaxTransform(_Plain):
    """y = exp(x) scaled to the sum 1; not bijective: shifting all of x changes nothing."""

    domain = constraints.real_vector
    codomain = constraints.simplex

    def _call(self, x):
        return x.softmax(-1)

    def _inverse(self, y):
        return y.log()

    def forward_shape(self, shape):
        require_dims(shape, 1)
        return shape

    inverse_shape = forward_shape


class StickBreakingTransform(_Plain):
    """Vectors of n numbers as points of the simplex of n + 1: each takes its share, a sigmoid, of
    what those before it left.
    """

    domain = constraints.real_vector
    codomain = constraints.simplex
    bijective = True

    def _call(self, x):
        z = _clipped_sigmoid(x - _log_left(x, x.shape[-1]))
        return pad(z, [0, 1], value=1) * pad((1 - z).cumprod(-1), [1, 0], value=1)

    def _inverse(self, y):
        shares = y[..., :-1]
        left = (1 - shares.cumsum(-1)).clamp(min=finfo(y.dtype).tiny)
        return shares.log() - left.log() + _log_left(y, shares.shape[-1])

    def log_abs_det_jacobian(self, x, y):
        x = x - _log_left(x, x.shape[-1])
        return (logsigmoid(-x) + y[..., :-1].log()).sum(-1)

    def forward_shape(self, shape):
        require_dims(shape, 1)
        return (*shape[:-1], shape[-1] + 1)

    def inverse_shape(self, shape):
        require_dims(shape, 1)
        return (*shape[:-1], shape[-1] - 1)


def _log_left(like, n):
    """log(n), ..., log(1): with it, equal shares come from zeros."""
    return (n + 1 - like.new_ones(n).cumsum(-1)).log()


class LowerCholeskyTransform(_Plain):
    """Matrices as lower triangular ones with a positive diagonal, its exponentials."""

    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.lower_cholesky

    def _call(self, x):
        return x.tril(-1) + x.diagonal(0, -2, -1).exp().diag_embed()

    def _inverse(self, y):
        return y.tril(-1) + y.diagonal(0, -2, -1).log().diag_embed()


class PositiveDefiniteTransform(_Plain):
    """Matrices as positive definite ones: y = L L^T with L by `LowerCholeskyTransform`."""

    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.positive_definite

    def _call(self, x):
        factor = LowerCholeskyTransform()(x)
        return factor @ factor.mT

    def _inverse(self, y):
        return LowerCholeskyTransform().inv(cholesky(y))


def _require(holds, text):
    if not holds:
        raise AssertionError(text)


class _Parts(Transform):
    """Several transforms, each for its part of dimension `dim`: see `_split` and `_join`."""

    def __init__(self, tseq, dim=0, cache_size=0):
        _require(
            all(isinstance(t, Transform) for t in tseq),
            "All elements of tseq must be Transform instances",
        )
        super().__init__(cache_size)
        self.transforms = [t.with_cache(cache_size) if cache_size else t for t in tseq]
        self.dim = dim

    def with_cache(self, cache_size=1):
        if self._cache_size == cache_size:
            return self
        new = super().with_cache(cache_size)
        new.transforms = [t.with_cache(cache_size) for t in self.transforms]
        return new

    def _check(self, name, value, length, length_name):
        rank = value.dim()
        _require(
            -rank <= self.dim < rank,
            f"dim {self.dim} out of range for {name} with {rank} dimensions",
        )
        size = value.shape[self.dim]
        _require(
            size == length, f"{name}.size({self.dim}) = {size} must equal {length_name} {length}"
        )

    def _call(self, x):
        return self._join([t(part) for t, part in zip(self.transforms, self._split("x", x))])

    def _inverse(self, y):
        return self._join([t.inv(part) for t, part in zip(self.transforms, self._split("y", y))])

    def _changes(self, x, y):
        parts = zip(self.transforms, self._split("x", x), self._split("y", y))
        return [t.log_abs_det_jacobian(x_part, y_part) for t, x_part, y_part in parts]

    @property
    def bijective(self):
        return all(t.bijective for t in self.transforms)


class CatTransform(_Parts):
    """Transforms for slices of dimension `dim`, of the given `lengths` (1 by default)."""

    def __init__(self, tseq, dim=0, lengths=None, cache_size=0):
        super().__init__(tseq, dim, cache_size)
        self.lengths = [1] * len(self.transforms) if lengths is None else list(lengths)
        _require(
            len(self.lengths) == len(self.transforms),
            f"lengths ({len(self.lengths)}) must match transforms ({len(self.transforms)})",
        )

    @lazy_property
    def event_dim(self):
        return max(t.event_dim for t in self.transforms)

    @lazy_property
    def length(self):
        return sum(self.lengths)

    def _split(self, name, value):
        self._check(name, value, self.length, "length")
        return value.split(self.lengths, self.dim)

    def _join(self, parts):
        return cat(parts, self.dim)

    def log_abs_det_jacobian(self, x, y):
        changes = [
            _sum_rightmost(change, self.event_dim - t.event_dim)
            for t, change in zip(self.transforms, self._changes(x, y))
        ]
        dim = (self.dim - x.dim() if self.dim >= 0 else self.dim) + self.event_dim
        return cat(changes, dim) if dim < 0 else functools.reduce(operator.add, changes)

    @constraints.dependent_property
    def domain(self):
        return constraints.cat([t.domain for t in self.transforms], self.dim, self.lengths)

    @constraints.dependent_property
    def codomain(self):
        return constraints.cat([t.codomain for t in self.transforms], self.dim, self.lengths)


class StackTransform(_Parts):
    """Transforms for the positions along dimension `dim`."""

    def _split(self, name, value):
        self._check(name, value, len(self.transforms), "len(transforms)")
        return value.unbind(self.dim)

    def _join(self, parts):
        return stack(parts, self.dim)

    def log_abs_det_jacobian(self, x, y):
        return stack(self._changes(x, y), self.dim)

    @constraints.dependent_property
    def domain(self):
        return constraints.stack([t.domain for t in self.transforms], self.dim)

    @constraints.dependent_property
    def codomain(self):
        return constraints.stack([t.codomain for t in self.transforms], self.dim)


class CumulativeDistributionTransform(Transform):
    """y = the probability, under a distribution of numbers, of at most x."""

    bijective = True
    codomain = constraints.unit_interval
    sign = 1

    def __init__(self, distribution, cache_size=0):
        super().__init__(cache_size)
        self.distribution = distribution

    @property
    def domain(self):
        return self.distribution.support

    def _call(self, x):
        return self.distribution.cdf(x)

    def _inverse(self, y):
        return self.distribution.icdf(y)

    def log_abs_det_jacobian(self, x, y):
        return self.distribution.log_prob(x)
