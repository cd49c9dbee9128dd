"""Order: sorting, the k-th, the middle, the most frequent, quantiles."""

import math

from flambeau import ir, runtime
from flambeau.runtime import FIXED, GOOD_MIDDLE, MIDDLE
from flambeau.types import by_name

from .arithmetic import masked
from .extremes import put_back, share
from .facts import type_name
from .family import indexed
from .family.indexed import along, vector, viewed
from .family.reduction import wrap_dim
from .logic import within
from .op import composite, is_tensor
from .promotion import compute_type
from .results import named

FLOAT32, FLOAT64, INT32, INT64 = map(by_name, ("float32", "float64", "int32", "int64"))
NUMBER = 2**32 - 1  # the bits of a packed word that hold the element's number
NAN, NAN_PACKED = 0x7FF8 << 48, 0x7FC00000 << 32  # words of nan are not below these


# Lines are sorted as words: see `runtime/native/sorting.py`.


class Lines:
    """The lines of a buffer along a dimension, as words in scratch memory: `packed` ones hold the
    numbers of their elements, else these have memory of their own once the words are sorted.
    """

    def __init__(self, steps, source, dim, descending=False):
        self.steps, self.source, self.dim = steps, vector(source), dim
        self.scalar = not source.layout.ndim
        self.packed = compute_type(source.dtype).itemsize <= 4
        line = self.moved(self.source)
        *lead, self.n = self.shape = line.layout.shape
        self.count = math.prod(lead)
        self.words = steps.scratch(self.shape, INT64)
        self.numbers = None

        def word(value):
            key = ordered(value)
            key = ~key if descending else key
            return (key << 32) | ir.position if self.packed else key

        counter = [0] * len(lead) + [1]
        steps.pointwise(word, [line], [self.words], counter=(counter, 0))

    def moved(self, buffer):
        """The buffer with the dimension of the lines last."""
        shape, strides = buffer.layout.shape, buffer.layout.strides
        order = [d for d in range(len(shape)) if d != self.dim] + [self.dim]
        return viewed(buffer, [shape[d] for d in order], [strides[d] for d in order])

    def run(self, kernel, buffers, *numbers, nanoseconds):
        """A stage over all lines; `nanoseconds` for an element."""
        if self.count and self.n:
            address = runtime.order_kernel(kernel)
            cost = self.count * self.n * nanoseconds
            self.steps.call(address, buffers, (self.n, *numbers), self.count, cost)

    def scratch(self, n=None):
        return self.steps.scratch((*self.shape[:-1], self.n if n is None else n), INT64)

    def sort(self):
        """Sorts the words."""
        if self.packed:
            self.run("sort_packed", [self.words, self.scratch()], nanoseconds=12)
        else:
            self.numbers = self.scratch()
            buffers = [self.words, self.scratch(), self.numbers, self.scratch()]
            self.run("sort_paired", buffers, nanoseconds=40)

    def first(self, k):
        """The numbers of the first `k` elements in order, as words [..., k]."""
        if self.packed and 0 < 4 * k < self.n:
            found = self.scratch(k)
            self.run(
                "first_packed", [self.words, self.scratch(self.n + 1), found], k, nanoseconds=3
            )
            return found
        self.sort()
        sorted_ = self.words if self.packed else self.numbers
        return viewed(sorted_, (*self.shape[:-1], k), sorted_.layout.strides)

    def rank(self, k, rule):
        """The number of the element of a rank."""
        found, bound = self.scratch(1), NAN_PACKED if self.packed else NAN
        if self.source.dtype.kind != "f" and rule != FIXED:
            k, rule = (self.n - 1) // 2, FIXED
        if self.packed:
            self.run(
                "rank_packed", [self.words, self.scratch(), found], k, rule, bound, nanoseconds=3
            )
        else:
            self.sort()
            self.run(
                "rank_sorted", [self.words, self.numbers, found], k, rule, bound, nanoseconds=1
            )
        return found

    def mode(self):
        """The number of the last of the most frequent elements, the smallest of several."""
        self.sort()
        found = self.scratch(1)
        numbers = self.words if self.packed else self.numbers
        shift = 32 if self.packed else 0
        self.run("longest_run", [self.words, numbers, found], shift, nanoseconds=2)
        return found

    def pick(self, numbers):
        """The results: the elements of those numbers (in the low bits of words [..., k]), and the
        numbers.
        """
        shape = list(self.source.layout.shape)
        shape[self.dim] = numbers.layout.shape[-1]
        values, places = (
            self.steps.result(() if self.scalar else shape, dtype)
            for dtype in (self.source.dtype, INT64)
        )
        values, places = vector(values), vector(places)
        self.steps.pointwise(lambda word: word & NUMBER, [numbers], [self.moved(places)])
        view, place = along(self.source, self.dim, shape, places)
        self.steps.indexed(lambda value: (value,), [values], [view], [place])


def ordered(value):
    """An int64 that is ordered as `value`: nan is largest, and zeros are equal. Of types up to 32
    bits it fits into as many.
    """
    dtype = value.dtype
    if dtype.kind == "f":
        value = ir.select(value.differs(value), ir.const(math.nan, dtype), value + 0.0)
        bits = ir.bitcast(value, INT32 if dtype is FLOAT32 else INT64)
        most = 2 ** (8 * dtype.itemsize - 1) - 1
        return ir.cast(ir.select(bits < 0, bits ^ most, bits), INT64)
    if dtype.kind == "u" and dtype.itemsize == 8:
        return ir.bitcast(value, INT64) ^ -(2**63)
    key = ir.cast(value, INT64)
    return key - 2**31 if dtype.kind == "u" and dtype.itemsize == 4 else key


def _back(grad_values, indices, self_layout, dim):
    return put_back(grad_values, indices, self_layout, dim, True)


def _picking(schema, doc, find, descending=False):
    """An op that picks elements along `dim`: ``find(lines, …)`` gives the numbers. Its gradient
    puts them back.
    """

    name = schema.partition("(")[0].removeprefix("aten::_")

    def build(steps, self, dim, *args):
        if self.dtype.kind == "c":
            if descending:
                raise RuntimeError(f" {name.capitalize()} does not support complex dtypes on CPU")
            kind = type_name(self.dtype)
            raise NotImplementedError(f"\"{name}_cpu\" not implemented for '{kind}'")
        lines = Lines(steps, self, dim, *args[:1] if descending else ())
        lines.pick(find(lines, *args))

    return indexed(schema, doc, build=build, grad=dict(self=_back), method=False, function=False)


_sorted = _picking(
    "aten::_sort(Tensor self, int dim, bool descending) -> (Tensor values, Tensor indices)",
    """The elements in order along `dim`, and where they were.""",
    lambda lines, descending: lines.first(lines.n),
    descending=True,
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
    return _sorted(self, wrap_dim(dim, self.layout.ndim), descending)[1]


@composite("aten::msort(Tensor self) -> Tensor")
def msort(self):
    """The elements in order along the first dimension."""
    return sort(self, 0).values


_top = _picking(
    "aten::_topk(Tensor self, int dim, bool largest, int k) -> (Tensor values, Tensor indices)",
    """The first `k` elements in order along `dim`, and where they were.""",
    lambda lines, largest, k: lines.first(k),
    descending=True,
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
    return named("topk", "values indices")(*_top(self, d, largest, k))


_kth = _picking(
    "aten::_kthvalue(Tensor self, int dim, int k) -> (Tensor values, Tensor indices)",
    """The `k`-th smallest element along `dim`.""",
    lambda lines, k: lines.rank(k - 1, FIXED),
)
_middle = _picking(
    "aten::_median(Tensor self, int dim, bool ignore_nan) -> (Tensor values, Tensor indices)",
    """The lower middle element along `dim`.""",
    lambda lines, ignore_nan: lines.rank(0, GOOD_MIDDLE if ignore_nan else MIDDLE),
)
_frequent = _picking(
    "aten::_mode(Tensor self, int dim) -> (Tensor values, Tensor indices)",
    """The most frequent element along `dim`.""",
    lambda lines: lines.mode(),
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
    return within(q, 0, 1, f"{name}() q values must be in the range [0, 1]")


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
