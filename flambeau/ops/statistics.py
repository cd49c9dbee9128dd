"""Variance, covariance, and histograms."""

import math

from flambeau import ir
from flambeau._base import numpy
from flambeau.types import by_name, from_numpy

from .arithmetic import conj_of, masked
from .family import Fold, opaque, reduction
from .family.pointwise import type_name
from .op import composite, is_tensor
from .reductions import folded, spread
from .results import named
from .views import real

FLOAT32, FLOAT64 = by_name("float32"), by_name("float64")


def moments(narrow, dtype):
    """The fold of (count, mean, sum of squared deviations) for float64; for narrower types of (sum,
    sum of squares) in float64, which loses nothing that they have. `narrow`: the elements' dtype.
    """
    if narrow is FLOAT64:
        return Fold(
            ((0, FLOAT64), (0, FLOAT64), (0, FLOAT64)),
            lambda x: (ir.const(1.0, FLOAT64), x, ir.const(0.0, FLOAT64)),
            _merge,
            lambda s, n: (s[1], s[2]),
        )

    def element(x):
        wide = ir.cast(x, FLOAT64)
        return wide, wide * wide

    def finish(s, n):
        mean = s[0] / ir.cast(n, FLOAT64)
        return mean, ir.maximum(s[1] - s[0] * mean, 0.0)

    return Fold(
        ((0, FLOAT64), (0, FLOAT64)), element, lambda a, b: (a[0] + b[0], a[1] + b[1]), finish
    )


def _merge(a, b):
    """Chan, Golub and LeVeque's rule for joining two sets of moments (COMPSTAT 1982)."""
    count = a[0] + b[0]
    share = ir.select(count.equals(0.0), ir.const(0.0, FLOAT64), b[0] / count)
    gap = b[1] - a[1]
    return count, a[1] + gap * share, a[2] + b[2] + gap * gap * a[0] * share


def _variance_fold(dtype, correction):
    part = dtype.to_real()
    fold = moments(part, part)

    def finish(s, n):
        squares = fold.finish(s[: len(fold.init)], n)[1]
        if dtype.kind == "c":
            squares = squares + fold.finish(s[len(fold.init) :], n)[1]
        left = ir.maximum(ir.cast(n, FLOAT64) - correction, 0.0)
        return (squares / left,)

    if dtype.kind != "c":
        return fold._replace(finish=finish)
    half = len(fold.init)
    return Fold(
        fold.init * 2,
        lambda x: (*fold.element(x.re), *fold.element(x.im)),
        lambda a, b: (*fold.combine(a[:half], b[:half]), *fold.combine(a[half:], b[half:])),
        finish,
    )


def _variance_dtype(name):
    def rule(source, asked):
        if source.kind not in "fc":
            raise RuntimeError(
                f"{name}: input dtype should be either floating point or complex. Got "
                f"{type_name(source)}"
            )
        return source, (source.to_real(),)

    return rule


def _variance_grad(grad, self, self_layout, dim, correction, keepdim):
    left = max(folded(self_layout, dim) - correction, 0)
    scale = 2.0 / left if left else math.inf
    return spread(grad * scale, self_layout, dim, keepdim) * (self - self.mean(dim, True))


variance = reduction(
    "aten::_var(Tensor self, int[]? dim, float correction, bool keepdim) -> Tensor",
    """The variance over `dim`: squared deviations, summed and divided by their number less
    `correction`.""",
    fold=_variance_fold,
    dtype=_variance_dtype("std and var only support floating point and complex dtypes"),
    grad=dict(self=_variance_grad),
    method=False,
    function=False,
)


def _settings(name, self, dim, unbiased, correction):
    """(dim, correction) from the arguments of all forms, of which ``var(x, False)`` is one."""
    if dim is not None and len(dim) == 1 and dim[0].__class__ is bool:
        dim, unbiased = None, dim[0]
    if self.layout.dtype.kind not in "fc":
        raise RuntimeError(
            f"{name if name.endswith('mean') else 'std and var'} only support floating point and "
            "complex dtypes"
        )
    if correction is None:
        correction = 1 if unbiased is None else int(unbiased)
    return dim, float(correction)


_FORM = (
    "(Tensor self, int[1]? dim=None, bool? unbiased=None, bool keepdim=False, *, "
    "Scalar? correction=None)"
)


@composite(f"aten::var{_FORM} -> Tensor")
def var(self, dim, unbiased, keepdim, correction):
    """The variance over `dim`, divided by n - 1 (n - `correction`, or n with
    ``unbiased=False``)."""
    dim, correction = _settings("var", self, dim, unbiased, correction)
    return variance(self, dim, correction, keepdim)


@composite(f"aten::std{_FORM} -> Tensor")
def std(self, dim, unbiased, keepdim, correction):
    """The standard deviation over `dim`: the root of `var`."""
    dim, correction = _settings("std", self, dim, unbiased, correction)
    return deviation(self, dim, correction, keepdim)


def _deviation_grad(grad, self, self_layout, result, dim, correction, keepdim):
    inner = masked(grad / (result * 2), result != 0)
    return _variance_grad(inner, self, self_layout, dim, correction, keepdim)


@composite(
    "aten::_std(Tensor self, int[]? dim, float correction, bool keepdim) -> Tensor",
    grad=dict(self=_deviation_grad),
    method=False,
    function=False,
)
def deviation(self, dim, correction, keepdim):
    """The root of the variance; its gradient is 0 where it is 0."""
    return variance(self, dim, correction, keepdim).sqrt()


@composite(f"aten::var_mean{_FORM} -> (Tensor, Tensor)", method=False)
def var_mean(self, dim, unbiased, keepdim, correction):
    """The variance and the mean over `dim`."""
    dim, correction = _settings("var_mean", self, dim, unbiased, correction)
    return variance(self, dim, correction, keepdim), self.mean(dim, keepdim)


@composite(f"aten::std_mean{_FORM} -> (Tensor, Tensor)", method=False)
def std_mean(self, dim, unbiased, keepdim, correction):
    """The standard deviation and the mean over `dim`."""
    dim, correction = _settings("std_mean", self, dim, unbiased, correction)
    return deviation(self, dim, correction, keepdim), self.mean(dim, keepdim)


def _check_weights(name, weights, count, integral):
    if weights.layout.ndim > 1:
        raise RuntimeError(
            f"cov(): expected {name} to have one or fewer dimensions but got {name} with "
            f"{weights.ndim} dimensions"
        )
    kinds = "biu" if integral else "f"
    if weights.layout.dtype.kind not in kinds:
        wanted = "integral dtype" if integral else "floating point dtype"
        raise RuntimeError(
            f"cov(): expected {name} to have {wanted} but got {name} with "
            f"{type_name(weights.dtype)} dtype"
        )
    if weights.layout.numel != count:
        raise RuntimeError(
            f"cov(): expected {name} to have the same numel as there are observations in the input "
            f"but got {weights.layout.numel} != {count}"
        )
    if count and bool((weights < 0).any()):
        raise RuntimeError(f"cov(): {name} cannot be negative")


@composite(
    "aten::cov(Tensor self, *, int correction=1, Tensor? fweights=None, Tensor? aweights=None) -> "
    "Tensor"
)
def cov(self, correction, fweights, aweights):
    """The covariance of the rows, whose columns are observations, optionally weighted."""
    if self.layout.ndim > 2:
        raise RuntimeError(
            "cov(): expected input to have two or fewer dimensions but got an input with "
            f"{self.layout.ndim} dimensions"
        )
    if self.layout.dtype.kind == "b":
        raise RuntimeError("cov(): bool dtype is not supported for input")
    x = self if self.layout.ndim == 2 else self.reshape(1, -1)
    count = x.layout.shape[1]
    weights = None
    if fweights is not None:
        _check_weights("fweights", fweights, count, True)
        weights = fweights.reshape(-1)
    if aweights is not None:
        _check_weights("aweights", aweights, count, False)
        flat = aweights.reshape(-1)
        weights = flat if weights is None else weights * flat
    if self.layout.dtype.kind not in "fc":
        x = x.to(FLOAT32)
    if weights is None:
        total, mean = count, x.mean(1, True) if count else x.sum(1, True)
        norm = count - correction
    else:
        total = weights.sum()
        mean = (x * weights).sum(1, True) / total
        if aweights is None or correction == 0:
            norm = total - correction
        else:
            norm = total - correction * (weights * aweights.reshape(-1)).sum() / total
        norm = norm.clamp_min(0)
    centred = x - mean
    right = conj_of(centred if weights is None else centred * weights).t()
    product = centred.matmul(right.to(centred.layout.dtype))
    out = product / (norm if weights is not None else float(max(norm, 0)))
    return out.squeeze()


@composite("aten::corrcoef(Tensor self) -> Tensor")
def corrcoef(self):
    """The correlation coefficients of the rows."""
    if self.layout.ndim > 2:
        raise RuntimeError(
            "corrcoef(): expected input to have two or fewer dimensions but got an input with "
            f"{self.layout.ndim} dimensions"
        )
    c = cov(self)
    if not c.layout.ndim:
        return c / c
    spread_of = real(c.diagonal()).sqrt()
    out = c / spread_of.unsqueeze(1) / spread_of.unsqueeze(0)
    if out.layout.dtype.kind != "c":
        return out.clamp(-1, 1)
    parts = out.view_as_real()
    return parts.clamp(-1, 1).view_as_complex()


# Counting.


def _check_bins(name, kind, bins):
    if kind.kind != "f" or kind.itemsize < 4:
        raise NotImplementedError(f"\"{name}\" not implemented for '{type_name(from_numpy(kind))}'")
    for d, count in enumerate(bins if isinstance(bins, list | tuple) else [bins]):
        if isinstance(count, numpy.ndarray):
            if count.ndim != 1:
                raise RuntimeError(
                    "torch.histogramdd: bins tensor should have one dimension, but got "
                    f"{count.ndim} dimensions in the bins tensor for dimension {d}"
                )
        elif count <= 0:
            raise RuntimeError(
                f"torch.histogram(): bins must be > 0, but got {count} for dimension {d}"
            )


def _edges(values, bins, limits, dtype):
    """The bin edges of each column: given, or equal steps over the range."""
    made = []
    for d in range(values.shape[1]):
        if isinstance(bins[d], numpy.ndarray):
            made.append(bins[d].copy())
            continue
        if limits:
            low, high = limits[2 * d], limits[2 * d + 1]
        else:
            low, high = (values[:, d].min(), values[:, d].max()) if values.size else (0.0, 1.0)
        if low > high:
            raise RuntimeError(
                f"torch.histogramdd: min should not exceed max, but got min {low} max {high} for "
                f"dimension {d}"
            )
        if low == high:
            low, high = low - 0.5, high + 0.5
        steps = numpy.linspace(low, high, bins[d] + 1, dtype=numpy.float64).astype(dtype)
        made.append(steps)
    return made


def _count_cells(values, edges, weights, density):
    """`values` [n, d] counted into the cells between `edges`; the last bin is closed."""
    inside, places = numpy.ones(len(values), bool), []
    for d, edge in enumerate(edges):
        column = values[:, d]
        place = numpy.searchsorted(edge, column, side="right") - 1
        place[column == edge[-1]] = len(edge) - 2
        inside &= (column >= edge[0]) & (column <= edge[-1])
        places.append(place)
    shape = tuple(len(e) - 1 for e in edges)
    flat = (
        numpy.ravel_multi_index([p[inside] for p in places], shape)
        if inside.any()
        else numpy.zeros(0, numpy.int64)
    )
    counts = numpy.bincount(
        flat, None if weights is None else weights[inside], minlength=math.prod(shape)
    )
    counts = counts.reshape(shape).astype(numpy.float64)
    if density:
        counts /= counts.sum()
        for d, edge in enumerate(edges):
            counts /= numpy.diff(edge.astype(numpy.float64)).reshape(
                [-1 if k == d else 1 for k in range(len(edges))]
            )
    return counts.astype(values.dtype)


def _histogram(values, bins, limits, weight, density):
    flat = values.reshape(-1, 1)
    _check_bins("histogramdd", values.dtype, [bins])
    edges = _edges(flat, [bins], limits, values.dtype)
    weights = None if weight is None else weight.ravel()
    return _count_cells(flat, edges, weights, density), edges[0]


_HISTOGRAM = (
    """Counts (or weights) of elements in bins, and the bins' edges; as a density if asked."""
)
_bin_counts = opaque(
    "aten::_histogram_bins(Tensor self, int bins, float[]? range, Tensor? weight, bool density) -> "
    "(Tensor, Tensor)",
    _HISTOGRAM,
    run=_histogram,
    real="histogramdd",
    method=False,
    function=False,
)
_bin_edges = opaque(
    "aten::_histogram_edges(Tensor self, Tensor bins, Tensor? weight, bool density) -> (Tensor, "
    "Tensor)",
    _HISTOGRAM,
    run=lambda values, bins, weight, density: _histogram(values, bins, None, weight, density),
    method=False,
    function=False,
)


@composite(
    "aten::histogram.bins_tensor(Tensor self, Tensor bins, *, Tensor? weight=None, bool "
    "density=False) -> (Tensor hist, Tensor bin_edges)"
)
def histogram_edges(self, bins, weight, density):
    """Counts (or weights) of elements between the given edges, and the edges."""
    return named("histogram", "hist bin_edges")(*_bin_edges(self, bins, weight, density))


@composite(
    "aten::histogram(Tensor self, int bins=100, *, float[]? range=None, Tensor? weight=None, bool "
    "density=False) -> (Tensor hist, Tensor bin_edges)"
)
def histogram(self, bins, range, weight, density):
    """Counts (or weights) of elements in `bins` equal bins over `range`, and the bins' edges."""
    return named("histogram", "hist bin_edges")(*_bin_counts(self, bins, range, weight, density))


def _cells(values, bins, limits, weight, density):
    columns = values.reshape(-1, values.shape[-1])
    _check_bins("histogramdd", values.dtype, bins)
    bins = list(bins) if isinstance(bins, list | tuple) else [bins] * columns.shape[1]
    if len(bins) == 1 and not isinstance(bins[0], numpy.ndarray):
        bins *= columns.shape[1]
    edges = _edges(columns, bins, limits, values.dtype)
    return (
        _count_cells(columns, edges, None if weight is None else weight.ravel(), density),
        *edges,
    )


_cell_counts = opaque(
    "aten::_histogramdd_counts(Tensor self, int[] bins, float[]? range, Tensor? weight, bool "
    "density) -> Tensor[]",
    """Counts in a grid of cells, and the edges of each dimension.""",
    run=_cells,
    real="histogramdd",
    method=False,
    function=False,
)
_cell_edges = opaque(
    "aten::_histogramdd_edges(Tensor self, Tensor[] bins, Tensor? weight, bool density) -> "
    "Tensor[]",
    """Counts in a grid of cells with the given edges.""",
    run=lambda values, bins, weight, density: _cells(values, bins, None, weight, density),
    method=False,
    function=False,
)


def _check_points(shape, bins, limits):
    if len(shape) < 2:
        raise RuntimeError("torch.histogramdd: input tensor should have at least 2 dimensions")
    n = shape[-1]
    if not isinstance(bins, int) and len(bins) != n and (len(bins) != 1 or is_tensor(bins[0])):
        raise RuntimeError(
            f"torch.histogramdd: expected {n} sequences of bin edges for a {n}-dimensional "
            f"histogram but got {len(bins)}"
            if any(is_tensor(b) for b in bins)
            else "histogramdd: The size of bins must be equal to the innermost dimension of the "
            "input."
        )
    if limits is not None and len(limits) != 2 * n:
        raise RuntimeError(
            f"torch.histogramdd: for a {n}-dimensional histogram range should have {2 * n} "
            f"elements, but got {len(limits)}"
        )


def _grid(parts):
    return named("histogramdd", "hist bin_edges")(parts[0], tuple(parts[1:]))


@composite(
    "aten::histogramdd(Tensor self, Any bins, *, float[]? range=None, Tensor? weight=None, bool "
    "density=False) -> (Tensor hist, Tensor[] bin_edges)",
    method=False,
)
def histogramdd(self, bins, range, weight, density):
    """Counts (or weights) of points, the rows of the last dimension, in a grid of cells: `bins` is
    the number of cells along each dimension (one for all, or one each), or a tensor of edges for
    each.
    """
    _check_points(self.layout.shape, bins, range)
    if not isinstance(bins, int) and any(is_tensor(b) for b in bins):
        return _grid(_cell_edges(self, tuple(bins), weight, density))
    return _grid(_cell_counts(self, bins, range, weight, density))
