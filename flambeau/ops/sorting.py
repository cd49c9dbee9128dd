"""Order: sorting, the k-th, the middle, the most frequent, quantiles. NumPy finds the places."""

from flambeau._base import numpy
from flambeau.types import by_name

from .arithmetic import masked
from .extremes import put_back, share
from .family import opaque
from .family.reduction import wrap_dim
from .op import composite, is_tensor
from .results import named

FLOAT32, FLOAT64, INT64 = by_name("float32"), by_name("float64"), by_name("int64")


def _lines(values, dim):
    """The values with `dim` last, and half types as float32; a 0-dim array is one line of one."""
    if values.dtype.kind not in "biuf" or (values.dtype.itemsize == 2 and values.dtype.kind == "f"):
        if values.dtype.kind == "c":
            raise RuntimeError("Sort does not support complex dtypes on CPU")
        values = values.astype(numpy.float32)
    return numpy.moveaxis(values, dim, -1) if values.ndim else values.reshape(1)


def _order(lines, descending):
    """Places in sorted order, equal elements as they come; nan counts as largest."""
    if not descending:
        return numpy.argsort(lines, axis=-1, kind="stable")
    n = lines.shape[-1]
    return n - 1 - numpy.argsort(lines[..., ::-1], axis=-1, kind="stable")[..., ::-1]


def _pick(values, places, dim):
    """(elements at `places` of the last axis, the places), both with that axis back at `dim`."""
    if not values.ndim:
        return values.reshape(places.shape), places
    moved = numpy.take_along_axis(numpy.moveaxis(values, dim, -1), places, -1)
    return tuple(numpy.ascontiguousarray(numpy.moveaxis(a, -1, dim)) for a in (moved, places))


def _back(grad_values, indices, self_layout, dim):
    return put_back(grad_values, indices, self_layout, dim, True)


def picking(schema, doc, run):
    """An op that picks elements along `dim`: run(values, dim, …) -> (values, places); its gradient
    puts them back."""
    return opaque(schema, doc, run=run, grad=dict(self=_back), method=False, function=False)


def _sort(values, dim, descending):
    places = _order(_lines(values, dim), descending)
    values, places = _pick(values, places, dim)
    return values, places


_sorted = picking(
    "aten::_sort(Tensor self, int dim, bool descending) -> (Tensor values, Tensor indices)",
    """The elements in order along `dim`, and where they were.""",
    lambda values, dim, descending: tuple(
        a.reshape(values.shape) for a in _sort(values, dim, descending)
    ),
)


@composite(
    "aten::sort(Tensor self, int dim=-1, bool descending=False, bool? stable=None) -> (Tensor "
    "values, Tensor indices)"
)
def sort(self, dim, descending, stable):
    """The elements in order along `dim`, and where they were. Equal elements keep their order."""
    d = wrap_dim(dim, self.layout.ndim)
    return named("sort", "values indices")(*_sorted(self, d, descending))


@composite(
    "aten::argsort(Tensor self, int dim=-1, bool descending=False, bool stable=False) -> Tensor"
)
def argsort(self, dim, descending, stable):
    """The places of the elements in order along `dim`."""
    return sort(self, dim, descending).indices


@composite("aten::msort(Tensor self) -> Tensor")
def msort(self):
    """The elements in order along the first dimension."""
    return sort(self, 0).values


def _topk(values, k, dim, largest):
    lines = _lines(values, dim)
    n = lines.shape[-1]
    # Selecting first pays where k is small; nan would be misplaced by the negation, so it takes
    # the long way.
    if 4 * k < n and n > 64 and lines.dtype.kind == "f" and not numpy.isnan(lines).any():
        key = -lines if largest else lines
        front = numpy.sort(numpy.argpartition(key, k - 1 if k else 0, axis=-1)[..., :k], axis=-1)
        order = numpy.argsort(numpy.take_along_axis(key, front, -1), axis=-1, kind="stable")
        return _pick(values, numpy.take_along_axis(front, order, -1), dim)
    return _pick(values, _order(lines, largest)[..., :k], dim)


_top = picking(
    "aten::_topk(Tensor self, int k, int dim, bool largest) -> (Tensor values, Tensor indices)",
    """The first `k` elements in order along `dim`, and where they were.""",
    lambda values, k, dim, largest: tuple(
        a if values.ndim or not k else a.reshape(()) for a in _topk(values, k, dim, largest)
    ),
)


@composite(
    "aten::topk(Tensor self, int k, int dim=-1, bool largest=True, bool sorted=True) -> (Tensor "
    "values, Tensor indices)"
)
def topk(self, k, dim, largest, sorted):
    """The `k` largest (or smallest) elements along `dim`, in order, and where they were."""
    d = wrap_dim(dim, self.layout.ndim)
    if k < 0 or k > (self.layout.shape[d] if self.layout.ndim else 1):
        raise RuntimeError("selected index k out of range")
    return named("topk", "values indices")(*_top(self, k, d, largest))


def _one(finder):
    """run of an op that picks one element of each line: `finder(lines, *args)` gives its place."""

    def run(values, dim, *args):
        places = finder(_lines(values, dim), *args)[..., None]
        picked = _pick(values, places, dim)
        return tuple(a.reshape(()) for a in picked) if not values.ndim else picked

    return run


def _kth_place(lines, k):
    return numpy.argsort(lines, axis=-1, kind="stable")[..., k - 1]


def _middle_place(lines, ignore_nan):
    """The lower middle; a nan decides, unless they are ignored."""
    order = numpy.argsort(lines, axis=-1, kind="stable")
    n = lines.shape[-1]
    bad = numpy.isnan(lines) if lines.dtype.kind == "f" else numpy.zeros(lines.shape, bool)
    good = n - bad.sum(-1)
    if ignore_nan:
        middle = numpy.maximum(good - 1, 0) // 2
    else:
        middle = numpy.where(good < n, good, (n - 1) // 2)
    return numpy.take_along_axis(order, middle[..., None], -1)[..., 0]


def _mode_place(lines):
    """The most frequent element, the smallest of equally frequent ones; the last place where it
    is."""
    order = numpy.argsort(lines, axis=-1, kind="stable")
    ranked = numpy.take_along_axis(lines, order, -1)
    run = numpy.ones(lines.shape, numpy.int64)
    for i in range(1, lines.shape[-1]):
        run[..., i] = numpy.where(ranked[..., i] == ranked[..., i - 1], run[..., i - 1] + 1, 1)
    return numpy.take_along_axis(order, run.argmax(-1)[..., None], -1)[..., 0]


_kth = picking(
    "aten::_kthvalue(Tensor self, int dim, int k) -> (Tensor values, Tensor indices)",
    """The `k`-th smallest element along `dim`.""",
    _one(_kth_place),
)
_middle = picking(
    "aten::_median(Tensor self, int dim, bool ignore_nan) -> (Tensor values, Tensor indices)",
    """The lower middle element along `dim`.""",
    _one(_middle_place),
)
_frequent = picking(
    "aten::_mode(Tensor self, int dim) -> (Tensor values, Tensor indices)",
    """The most frequent element along `dim`.""",
    _one(_mode_place),
)


def _chosen(name, pair, dim, keepdim, ndim):
    """The named result of an op that picks one element of each line."""
    if not keepdim and ndim:
        pair = [t.squeeze(dim) for t in pair]
    return named(name, "values indices")(*pair)


def _checked(name, self, dim):
    d = wrap_dim(dim, self.layout.ndim)
    if self.layout.ndim and self.layout.shape[d] == 0:
        raise IndexError(f"{name}(): Expected reduction dim {dim} to have non-zero size.")
    return d


@composite(
    "aten::kthvalue(Tensor self, int k, int dim=-1, bool keepdim=False) -> (Tensor values, Tensor "
    "indices)"
)
def kthvalue(self, k, dim, keepdim):
    """The `k`-th smallest element along `dim` (k counts from 1), and its place."""
    d = _checked("kthvalue", self, dim)
    if not 1 <= k <= (self.layout.shape[d] if self.layout.ndim else 1):
        raise RuntimeError("kthvalue(): selected number k out of range for dimension " + str(d))
    return _chosen("kthvalue", _kth(self, d, k), d, keepdim, self.layout.ndim)


def _declare_median(name, ignore_nan, doc):
    @composite(
        f"aten::{name}.dim(Tensor self, int dim, bool keepdim=False) -> (Tensor values, Tensor "
        "indices)"
    )
    def along(self, dim, keepdim):
        d = _checked(name, self, dim)
        return _chosen(name, _middle(self, d, ignore_nan), d, keepdim, self.layout.ndim)

    along.doc = doc + " along `dim`, and its place."

    def whole_grad(grad, self, self_layout, result):
        return share(grad, self, self_layout, result, None, False)

    @composite(f"aten::{name}(Tensor self) -> Tensor", grad=dict(self=whole_grad))
    def whole(self):
        if not self.layout.numel:
            return self.new_full((), float("nan"))
        return _middle(self.reshape(-1), 0, ignore_nan)[0].reshape(())

    whole.doc = doc + " of all elements."
    return along, whole


median_dim, median = _declare_median(
    "median", False, """The lower middle element, nan if there is a nan,"""
)
nanmedian_dim, nanmedian = _declare_median(
    "nanmedian", True, """The lower middle of the elements that are not nan,"""
)


@composite(
    "aten::mode(Tensor self, int dim=-1, bool keepdim=False) -> (Tensor values, Tensor indices)"
)
def mode(self, dim, keepdim):
    """The most frequent element along `dim`, the smallest of several, and a place where it is."""
    d = _checked("mode", self, dim)
    return _chosen("mode", _frequent(self, d), d, keepdim, self.layout.ndim)


# Quantiles.

_RULES = ("linear", "lower", "higher", "nearest", "midpoint")


def _checked_quantile(name, self, q, interpolation):
    if not self.layout.numel:
        raise RuntimeError(f"{name}() input tensor must be non-empty")
    if self.layout.dtype not in (FLOAT32, FLOAT64):
        raise RuntimeError(f"{name}() input tensor must be either float or double dtype")
    if interpolation not in _RULES:
        raise RuntimeError(
            f"{name}() interpolation must be one of linear, lower, higher, midpoint or nearest, "
            f"but got {interpolation}"
        )
    if not is_tensor(q):
        if not 0 <= q <= 1:
            raise RuntimeError(f"{name}() q must be in the range [0, 1] but got {q:g}")
        return self.new_full((), float(q))
    if q.layout.ndim > 1:
        raise RuntimeError(f"{name}() q must be a scalar or 1D tensor")
    if q.layout.dtype is not self.layout.dtype:
        raise RuntimeError(f"{name}() q tensor must be same dtype as the input tensor")
    if not bool(((q >= 0).logical_and(q <= 1)).all()):
        raise RuntimeError(f"{name}() q values must be in the range [0, 1]")
    return q


def _quantile(name, self, q, dim, keepdim, interpolation, ignore_nan):
    q = _checked_quantile(name, self, q, interpolation)
    ndim = self.layout.ndim
    if dim is None:
        lines, d = self.reshape(-1), None
    else:
        d = wrap_dim(dim, ndim)
        lines = self.permute([k for k in range(ndim) if k != d] + [d]) if ndim else self.reshape(-1)
    ranked = sort(lines, -1).values
    n, lead = lines.layout.shape[-1], lines.layout.shape[:-1]
    last = _last_rank(lines, n, ignore_nan)
    ranks = (q.reshape((1,) * len(lead) + (-1,)) * last).expand((*lead, q.layout.numel))
    if not ignore_nan:  # a nan sorts last, so that it is picked where there is one
        bad = (lines != lines).any(-1, True)
        ranks = masked(ranks, bad.logical_not()) + bad.to(ranks.layout.dtype) * (n - 1)
    out = _interpolated(ranked, ranks, interpolation)
    m = q.layout.ndim
    order = [len(lead), *range(len(lead))] if m else list(range(len(lead)))
    out = out.permute(order) if m else out.squeeze(-1)
    if keepdim and ndim:
        for k in range(ndim) if d is None else (d,):
            out = out.unsqueeze(k + m)
    return out


def _last_rank(lines, n, ignore_nan):
    """The rank of the largest element that counts."""
    if not ignore_nan:
        return n - 1
    return ((lines == lines).sum(-1, True) - 1).clamp_min(0).to(lines.layout.dtype)


def _interpolated(ranked, ranks, interpolation):
    """The values at fractional `ranks` of sorted lines."""
    below = ranks.detach().floor()
    if interpolation == "lower":
        return ranked.gather(-1, below.to(INT64))
    if interpolation == "nearest":
        return ranked.gather(-1, ranks.detach().round().to(INT64))
    above = ranks.detach().ceil().to(INT64)
    if interpolation == "higher":
        return ranked.gather(-1, above)
    low, high = ranked.gather(-1, below.to(INT64)), ranked.gather(-1, above)
    weight = 0.5 if interpolation == "midpoint" else ranks - below
    return low.lerp(high, weight)


_QUANTILE = (
    "(Tensor self, Tensor|Scalar q, int? dim=None, bool keepdim=False, *, "
    "str interpolation='linear') -> Tensor"
)


@composite(f"aten::quantile{_QUANTILE}")
def quantile(self, q, dim, keepdim, interpolation):
    """The quantiles `q` of each line along `dim` (of all elements by default); `q`'s dimension
    comes first."""
    return _quantile("quantile", self, q, dim, keepdim, interpolation, False)


@composite(f"aten::nanquantile{_QUANTILE}")
def nanquantile(self, q, dim, keepdim, interpolation):
    """As `quantile`, of the elements that are not nan."""
    return _quantile("nanquantile", self, q, dim, keepdim, interpolation, True)
