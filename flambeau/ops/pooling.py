"""Pooling: folds over the windows that `convolution.windows` views."""

import functools
import math

from flambeau import ir
from flambeau._base import numpy
from flambeau.types import by_name, looks_channels_last

from .convolution import crop, fold_windows, output_size, windows, zero_pad
from .family import Fold, fixed, opaque, reduction
from .logic import within
from .op import also, composite
from .promotion import compute_type
from .upsample import Taps, resample
from .views import channels_before, channels_behind, channels_kept
from .windows import few, spread, spread_back, window_places

INT32, INT64 = by_name("int32"), by_name("int64")


def _lowest(dtype):
    if dtype.kind == "f":
        return -math.inf
    return 0 if dtype.kind in "bu" else -(2 ** (8 * dtype.itemsize - 1))


def first_largest(dtype):
    """The largest element and the position of the first that is; nan counts as largest."""

    def combine(a, b):
        better = (b[0] > a[0]) | (b[0].equals(a[0]) & (b[1] < a[1]))
        if dtype.kind == "f":
            a_nan, b_nan = a[0].differs(a[0]), b[0].differs(b[0])
            better = (better & ~a_nan) | (b_nan & (~a_nan | (b[1] < a[1])))
        return ir.select(better, b[0], a[0]), ir.select(better, b[1], a[1])

    return Fold(
        ((_lowest(dtype), dtype), (2**31 - 1, INT32)),
        lambda x: (x, ir.cast(ir.position, INT32)),
        combine,
        lambda s, n: (s[0], s[1]),
    )


window_max = reduction(
    "aten::_window_max(Tensor self, int[] dim) -> (Tensor values, Tensor positions)",
    """The largest element over `dim`, and its row-major position among them.""",
    fold=first_largest,
    dtype=lambda source, asked: (source, (source, INT32)),
    method=False,
    function=False,
)


def _tuple(name, what, v, rank):
    v = (v,) if isinstance(v, int) else tuple(v)
    if len(v) not in (1, rank):
        raise RuntimeError(
            f"{name}() argument '{what}' should contain one int (got {len(v)})"
            if rank == 1
            else f"{name}: {what} must either be a single int, or a tuple of {WORDS[rank]} ints"
        )
    return v * rank if len(v) == 1 else v


WORDS = {2: "two", 3: "three"}


def _check_shape(name, shape, rank):
    """Refuses what is neither [N, C, *S] nor [C, *S], and empty channels or planes."""
    fits = len(shape) in (rank + 1, rank + 2)
    empty = next((d for d, n in enumerate(shape[-rank - 1 :]) if not n), None)
    if rank > 1 and not fits:
        raise RuntimeError(
            f"non-empty {rank + 1}D or {rank + 2}D (batch mode) tensor expected for input"
        )
    if rank == 3:
        if empty is not None:
            raise RuntimeError(
                f"{name}(): Expected input's non-batch dimensions to have positive length, but "
                f"input has a shape of {list(shape)} and non-batch dimension {empty} has length "
                "zero!"
            )
    elif not fits or empty is not None:
        raise RuntimeError(
            f"{'max_pool1d: ' if name == 'max_pool1d' else ''}Expected {rank + 1}D or {rank + 2}D "
            "(batch mode) tensor with optional 0 dim batch size for input, but got:"
            f"{list(shape)}"
        )


def _check_sizes(name, kernel, stride, padding, dilation):
    for what, letter, sizes in (
        ("kernel size", "k", kernel),
        ("stride", "d", stride),
        ("dilation", "dilation", dilation),
    ):
        if min(sizes) > 0:
            continue
        if name == "max_pool1d":
            raise RuntimeError(
                f"max_pool1d() {what.replace(' ', '_')} must be greater than zero, but got "
                f"{sizes[0]}"
            )
        if what == "stride" and 0 in sizes:
            raise RuntimeError("stride should not be zero")
        axes = zip("THW"[-len(sizes) :], sizes, strict=True)
        raise RuntimeError(
            f"{what} should be greater than zero, but got "
            + " ".join(f"{letter}{axis}: {size}" for axis, size in axes)
        )
    if min(padding) < 0:
        raise RuntimeError(f"pad must be non-negative, but got pad: {min(padding)}")
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise RuntimeError(
            "pad should be at most half of effective kernel size, but got "
            f"pad={max(padding)}, kernel_size={max(kernel)} and dilation=1"
        )


class _Windows:
    """The geometry of one pooling: sizes, frames, and the flat positions in the input."""

    def __init__(self, shape, kernel, stride, padding, dilation, ceil):
        self.spatial, self.kernel, self.stride, self.padding, self.dilation = (
            shape,
            kernel,
            stride,
            padding,
            dilation,
        )
        self.out = tuple(
            output_size(n, k, s, (p, p), d, ceil)
            for n, k, s, p, d in zip(shape, kernel, stride, padding, dilation, strict=True)
        )
        # The last window of ceil mode may reach behind the padding.
        self.frame = tuple(
            v
            for n, k, s, p, d, o in zip(
                shape, kernel, stride, padding, dilation, self.out, strict=True
            )
            for v in (p, max(p, (o - 1) * s + d * (k - 1) + 1 - n - p))
        )

    @property
    def covers(self) -> bool:
        """Whether windows that do not overlap cover the input exactly."""
        sizes = zip(self.spatial, self.kernel, self.out, strict=True)
        return not any(self.frame) and all(n == k * o for n, k, o in sizes)

    def repeated(self, grad):
        """Each element at all places of its window, where windows cover the input."""
        lead = grad.layout.shape[:2]
        ones, every = (
            [n for pair in zip(self.out, apart, strict=True) for n in pair]
            for apart in ((1,) * len(self.out), self.kernel)
        )
        return grad.reshape((*lead, *ones)).expand((*lead, *every)).reshape((*lead, *self.spatial))

    def view(self, x, value):
        if any(self.frame):
            x = zero_pad(x, self.frame, value)
        elif not x.layout.contiguous:
            x = x.contiguous()
        return windows(x, self.kernel, self.stride, self.dilation, self.out)

    def back(self, columns, shape):
        """The transpose of `view`: windows added back, the frame cut off."""
        padded = (
            *shape[:2],
            *(
                n + a + b
                for n, a, b in zip(self.spatial, self.frame[::2], self.frame[1::2], strict=True)
            ),
        )
        total = fold_windows(columns, padded, self.stride, self.dilation)
        return crop(total, self.frame, shape) if any(self.frame) else total

    def flat(self, positions):
        """Positions inside windows as flat positions in the input's plane."""
        sizes = self.kernel, self.stride, self.padding, self.dilation
        return window_places(positions, self.spatial, *sizes)


def _geometry(name, x, kernel_size, stride, padding, dilation, ceil_mode, rank):
    """The windows of a pooling as the user asked for it, checked."""
    kernel = _tuple(name, "kernel_size", kernel_size, rank)
    stride = _tuple(name, "stride", stride, rank) if stride else kernel
    padding = _tuple(name, "padding", padding, rank)
    dilation = _tuple(name, "dilation", dilation, rank)
    shape = x.layout.shape
    _check_sizes(name, kernel, stride, padding, dilation)
    _check_shape(name, shape, rank)
    w = _Windows(shape[-rank:], kernel, stride, padding, dilation, ceil_mode)
    if min(w.out) <= 0:
        if name == "max_pool1d":
            raise RuntimeError(f"max_pool1d() Invalid computed output size: {w.out[0]}")
        have, get = ("x".join(map(str, (shape[-rank - 1], *s))) for s in (shape[-rank:], w.out))
        raise RuntimeError(
            f"Given input size: ({have}). Calculated output size: ({get}). Output size is too small"
        )
    return w


def _max_backward(
    grad_values, self_layout, positions, kernel_size, stride, padding, dilation, ceil_mode
):
    spatial = self_layout.shape[2:]
    if few(kernel_size, stride, dilation):
        return spread(grad_values, positions, spatial, kernel_size, stride, padding)
    w = _Windows(spatial, kernel_size, stride, padding, dilation, ceil_mode)
    return spread_back(grad_values, self_layout, w.flat(positions), len(kernel_size))


@fixed(
    "aten::_max_pool(Tensor self, int[] kernel_size, int[] stride, int[] padding, int[] dilation, "
    "bool ceil_mode) -> (Tensor values, Tensor positions)",
    method=False,
    function=False,
    grad=dict(self=_max_backward),
)
def max_pool(self, kernel_size, stride, padding, dilation, ceil_mode):
    """The largest element of each window of [N, C, *S], and its position inside the window."""
    w = _Windows(self.layout.shape[2:], kernel_size, stride, padding, dilation, ceil_mode)
    view = w.view(self, _lowest(self.layout.dtype))
    if not looks_channels_last(self.layout):
        return window_max(view, tuple(range(2, 2 + len(kernel_size))))
    values, positions = window_max(channels_behind(view), tuple(range(1, 1 + len(kernel_size))))
    return channels_before(values), channels_before(positions)


def _max_pool(rank, x, kernel_size, stride, padding, dilation, ceil_mode):
    w = _geometry(f"max_pool{rank}d", x, kernel_size, stride, padding, dilation, ceil_mode, rank)
    single = x.layout.ndim == rank + 1
    batch = x.unsqueeze(0) if single else x
    values, positions = max_pool(batch, w.kernel, w.stride, w.padding, w.dilation, ceil_mode)
    if single:
        values, positions = values.squeeze(0), positions.squeeze(0)
    return values, positions, w


def _declare_max(rank):
    arguments = (
        f"(Tensor self, int[{rank}] kernel_size, int[{rank}] stride=[], int[{rank}] padding=0, "
        f"int[{rank}] dilation=1, bool ceil_mode=False)"
    )

    @fixed(f"aten::max_pool{rank}d{arguments} -> Tensor", method=False)
    def plain(self, kernel_size, stride, padding, dilation, ceil_mode):
        return _max_pool(rank, self, kernel_size, stride, padding, dilation, ceil_mode)[0]

    @fixed(f"nn::max_pool{rank}d_with_indices{arguments} -> (Tensor, Tensor)", method=False)
    def with_indices(self, kernel_size, stride, padding, dilation, ceil_mode):
        values, positions, geometry = _max_pool(
            rank, self, kernel_size, stride, padding, dilation, ceil_mode
        )
        return values, channels_kept(geometry.flat(positions), self)

    plain.doc = f"The largest element of each window of the last {rank} dimensions."
    with_indices.doc = (
        f"As `max_pool{rank}d`, with the flat position of each in its plane of the input."
    )
    return plain, with_indices


max_pool1d, max_pool1d_with_indices = _declare_max(1)
max_pool2d, max_pool2d_with_indices = _declare_max(2)
max_pool3d, max_pool3d_with_indices = _declare_max(3)


def _divisors(like, w, include, override):
    """How many elements each window averages over: a number where all are equal, else a tensor
    [*out].
    """
    if override is not None:
        return override
    total = None
    for d, (n, k, s, p, o) in enumerate(
        zip(w.spatial, w.kernel, w.stride, w.padding, w.out, strict=True)
    ):
        counts = []
        for i in range(o):
            start = i * s - p
            stop = min(start + k, n + p)
            counts.append(stop - start if include else min(stop, n) - max(start, 0))
        if len(set(counts)) == 1:
            total = counts[0] if total is None else total * counts[0]
        else:
            line = like.new_tensor(counts).reshape((-1,) + (1,) * (len(w.out) - 1 - d))
            total = line if total is None else total * line
    return total


@fixed(
    "aten::_sum_pool(Tensor self, int[] kernel_size, int[] stride, int[] padding, bool ceil_mode) "
    "-> Tensor",
    method=False,
    function=False,
    grad=dict(
        self=lambda grad, self_layout, kernel_size, stride, padding, ceil_mode: _sum_backward(
            grad, self_layout, kernel_size, stride, padding, ceil_mode
        )
    ),
)
def sum_pool(self, kernel_size, stride, padding, ceil_mode):
    """The sum of each window of [N, C, *S]."""
    w = _Windows(self.layout.shape[2:], kernel_size, stride, padding, (1,) * len(stride), ceil_mode)
    if not looks_channels_last(self.layout):
        return w.view(self, 0).sum(tuple(range(2, 2 + len(stride))))
    total = channels_behind(w.view(self, 0)).sum(tuple(range(1, 1 + len(stride))))
    return channels_before(total)


def _sum_backward(grad, layout, kernel_size, stride, padding, ceil_mode):
    rank = len(stride)
    w = _Windows(layout.shape[2:], kernel_size, stride, padding, (1,) * rank, ceil_mode)
    if kernel_size == stride and w.covers:
        return w.repeated(grad)
    spread = grad.reshape((*grad.layout.shape[:2], *(1,) * rank, *w.out))
    return w.back(spread.expand((*grad.layout.shape[:2], *kernel_size, *w.out)), layout.shape)


def _declare_average(rank):
    extra = ", int? divisor_override=None" if rank > 1 else ""

    def body(
        self, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override=None
    ):
        w = _geometry(f"avg_pool{rank}d", self, kernel_size, stride, padding, 1, ceil_mode, rank)
        if divisor_override == 0:
            raise RuntimeError("divisor must be not zero")
        single = self.layout.ndim == rank + 1
        x = self.unsqueeze(0) if single else self
        total = sum_pool(x, w.kernel, w.stride, w.padding, ceil_mode)
        count = _divisors(x, w, count_include_pad, divisor_override)
        out = (
            total / count if x.layout.dtype.kind == "f" else total.div(count, rounding_mode="trunc")
        )
        return out.squeeze(0) if single else out

    body.__doc__ = f"The mean of each window of the last {rank} dimensions."
    return fixed(
        f"nn::avg_pool{rank}d(Tensor self, int[{rank}] kernel_size, int[{rank}]? stride=None, "
        f"int[{rank}] padding=0, "
        f"bool ceil_mode=False, bool count_include_pad=True{extra}) -> Tensor",
    )(body)


avg_pool1d, avg_pool2d, avg_pool3d = map(_declare_average, (1, 2, 3))


def _bounds(n, out):
    """[start, stop) of each cell when a dimension of size `n` is divided among `out` cells."""
    return [(i * n // out, -((-(i + 1) * n) // out)) for i in range(out)]


def _grid(name, output_size, rank):
    """The output size of adaptive pooling, one for each dimension."""
    sizes = output_size * rank if len(output_size) == 1 else output_size
    if len(sizes) == rank:
        return sizes
    if rank == 1:
        raise RuntimeError(
            f"{name}() argument 'output_size' should contain one int (got {len(sizes)})"
        )
    raise RuntimeError(
        f"{name}(): internal error: output_size.size() must be {rank}"
        if "max" in name
        else f"{name}: output_size must be {rank}"
    )


@functools.lru_cache(maxsize=512)
def _mean_taps(n, out, dtype):
    """The mean over each of `out` cells of an axis, as weighted sums."""
    lengths = numpy.array([stop - start for start, stop in _bounds(n, out)])
    index = _cells(n, out).T
    used = numpy.arange(len(index))[:, None] < lengths
    return Taps(index, (used / lengths).astype(compute_type(dtype).numpy), n, False)


def _cell_means(x, sizes):
    """The mean over each cell of a grid laid over the last dimensions, axis by axis."""
    if 0 in sizes:
        return x.new_zeros((*x.layout.shape[: -len(sizes)], *sizes))
    first, dtype = x.layout.ndim - len(sizes), x.layout.dtype
    spatial, last = x.layout.shape[first:], looks_channels_last(x.layout)
    x.new_empty((*x.layout.shape[:first], *sizes))  # refuses what memory cannot hold
    y = x.to(compute_type(dtype))
    if last:
        y, first = channels_behind(y), 1
    for d, (n, out) in enumerate(zip(spatial, sizes, strict=True)):
        if n != out:
            t = _mean_taps(n, out, dtype)
            tables = (t.index, t.weight, t.back_index, t.back_weight)
            y = resample(y, first + d, *(table.to(x.layout.device) for table in tables))
    y = channels_before(y) if last else y
    return x.clone() if y is x else y.to(dtype)


def _declare_adaptive_average(rank):
    @fixed(f"nn::adaptive_avg_pool{rank}d(Tensor self, int[{rank}] output_size) -> Tensor")
    def pool(self, output_size):
        if self.layout.ndim not in (rank + 1, rank + 2):
            raise RuntimeError(
                f"adaptive_avg_pool{rank}d(): Expected {rank + 1}D to {rank + 2}D tensor, but got "
                f"{list(self.shape)}"
            )
        if not all(self.layout.shape[-rank:]):
            raise RuntimeError(
                f"adaptive_avg_pool{rank}d(): Expected input to have non-zero size for non-batch "
                f"dimensions, but input has sizes {list(self.shape)}"
            )
        spatial = self.layout.shape[-rank:]
        sizes = _grid(f"adaptive_avg_pool{rank}d", output_size, rank)
        if min(sizes) < 0:
            raise RuntimeError(
                f"adaptive_avg_pool{rank}d: elements of output_size must be greater than or equal "
                f"to 0 but received {{{', '.join(map(str, sizes))}}}"
            )
        dims, last = tuple(range(-rank, 0)), looks_channels_last(self.layout)
        if all(s == 1 for s in sizes):
            if last:
                return channels_before(channels_behind(self).mean(tuple(range(1, 1 + rank)), True))
            return self.mean(dims, True)
        if all(s and n % s == 0 for n, s in zip(spatial, sizes, strict=True)):
            kernel = tuple(n // s for n, s in zip(spatial, sizes, strict=True))
            x = self if self.layout.ndim == rank + 2 else self.unsqueeze(0)
            out = sum_pool(x, kernel, kernel, (0,) * rank, False) / math.prod(kernel)
            return out if x is self else out.squeeze(0)
        return _cell_means(self, sizes)

    pool.doc = (
        f"The mean over each cell of a grid of `output_size` laid over the last {rank} dimensions."
    )
    return pool


adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = map(
    _declare_adaptive_average, (1, 2, 3)
)
also(avg_pool1d, "avg_pool1d")
also(adaptive_avg_pool1d, "adaptive_avg_pool1d")


# Pooling whose windows are no strided view: gathered by index; the flat positions of the largest
# are kept.


def _cells(n, out):
    """[out, largest]: the elements of each cell along one dimension; shorter cells repeat their
    last one.
    """
    bounds = _bounds(n, out)
    longest = max((stop - start for start, stop in bounds), default=1)
    starts, stops = (numpy.array(v, numpy.int64).reshape(-1, 1) for v in zip(*bounds, strict=True))
    return numpy.minimum(starts + numpy.arange(longest), stops - 1)


def _check_adaptive(name, self, rank):
    ndim, shape = self.layout.ndim, self.layout.shape
    if ndim not in (rank + 1, rank + 2):
        raise RuntimeError(
            f"{name}(): Expected {rank + 1}D or {rank + 2}D tensor, but got: {list(shape)}"
        )
    for d in range(1, ndim):
        if not shape[d]:
            raise RuntimeError(
                f"{name}(): Expected input to have non-zero size for non-batch dimensions, but "
                f"input has sizes {list(shape)} with dimension {d} being empty"
            )


def _largest_of_cells(self, sizes):
    """(values, flat indices) of the largest element in each cell of a grid laid over the last
    dimensions.
    """
    rank = len(sizes)
    lead, spatial = self.layout.shape[:-rank], self.layout.shape[-rank:]
    if 0 in sizes:
        empty = self.new_zeros((*lead, *sizes))
        return empty, empty.to(INT64)
    self.new_empty(
        (*lead, *sizes)
    )  # refuses sizes that no memory can hold before the cells are listed
    tables = [_cells(n, out) for n, out in zip(spatial, sizes, strict=True)]
    apart = [v for t in tables for v in t.shape]
    x, flat = self, numpy.zeros((), numpy.int64)
    for d, table in enumerate(tables):
        x = x.index_select(len(lead) + d, x.new_tensor(table.ravel(), dtype=INT64))
        shape = [1] * (2 * rank)
        shape[2 * d : 2 * d + 2] = table.shape
        flat = flat * spatial[d] + table.reshape(shape)
    dims = tuple(len(lead) + 2 * d + 1 for d in range(rank))
    values, positions = window_max(x.reshape((*lead, *apart)), dims)
    order = (*range(0, 2 * rank, 2), *range(1, 2 * rank, 2))
    count = math.prod(t.shape[1] for t in tables)
    cells = numpy.broadcast_to(flat, apart).transpose(order).reshape(math.prod(sizes), count)
    places = x.new_tensor(cells, dtype=INT64)
    wanted = positions.to(INT64).reshape((-1, math.prod(sizes), 1))
    found = places.expand((wanted.layout.shape[0], *places.layout.shape)).gather(2, wanted)
    return values, found.reshape(values.layout.shape)


def _declare_adaptive_max(rank):
    name = f"adaptive_max_pool{rank}d"

    @fixed(
        f"nn::{name}(Tensor self, int[{rank}] output_size) -> (Tensor values, Tensor indices)",
        grad=dict(
            self=lambda grad_values, self_layout, indices: spread_back(
                grad_values, self_layout, indices, rank
            )
        ),
    )
    def pool(self, output_size):
        sizes = _grid(name, output_size, rank)
        _check_adaptive(name, self, rank)
        found = _largest_of_cells(self, sizes)
        return tuple(channels_kept(y, self) for y in found) if rank == 2 else found

    pool.doc = (
        f"The largest element in each cell of a grid laid over the last {rank} dimensions, and its "
        "flat index."
    )
    return pool


adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = map(
    _declare_adaptive_max, (1, 2, 3)
)


def _random_starts(samples, n, out, kernel):
    """[*, out]: where windows of `kernel` elements start, spaced by a random sequence (Graham 2014,
    section 2).
    """
    kind = samples.dtype.type if samples.dtype.itemsize > 2 else numpy.float32
    samples = samples.astype(kind)[..., None]
    last = numpy.full((*samples.shape[:-1], 1), n - kernel)
    if out == 1:
        return last
    alpha = kind(n - kernel) / kind(out - 1)
    steps = ((numpy.arange(out - 1).astype(kind) + samples) * alpha).astype(numpy.int64)
    return numpy.concatenate((steps - (samples * alpha).astype(numpy.int64), last), -1)


def _random_windows(samples, spatial, sizes, kernel):
    """Flat indices [N, C, *out, window] of the windows of fractional pooling."""
    rank = len(sizes)
    # In two dimensions the first sample is for the width.
    order = (1, 0) if rank == 2 else tuple(range(rank))
    flat = numpy.zeros((), numpy.int64)
    for d, (n, out, k) in enumerate(zip(spatial, sizes, kernel, strict=True)):
        places = _random_starts(samples[..., order[d]], n, out, k)[..., None] + numpy.arange(k)
        shape = [1] * (2 * rank)
        shape[d], shape[rank + d] = out, k
        flat = flat * n + places.reshape((*places.shape[:-2], *shape))
    return numpy.ascontiguousarray(flat.reshape((*flat.shape[:-rank], math.prod(kernel))))


random_windows = opaque(
    "aten::_random_windows(Tensor samples, int[] spatial, int[] sizes, int[] kernel) -> Tensor",
    """Flat indices of the windows that the random `samples` [N, C, rank] choose.""",
    run=_random_windows,
    real="fractional_max_pool",
    method=False,
    function=False,
)


def _declare_fractional(rank):
    name = f"fractional_max_pool{rank}d"

    @composite(
        f"nn::{name}(Tensor self, int[{rank}] kernel_size, int[{rank}] output_size, Tensor "
        "random_samples) -> (Tensor values, Tensor indices)",
        grad=dict(
            self=lambda grad_values, self_layout, indices: spread_back(
                grad_values, self_layout, indices, rank
            )
        ),
    )
    def pool(self, kernel_size, output_size, random_samples):
        kernel = _tuple(name, "kernel_size", kernel_size, rank)
        sizes = _tuple(name, "output_size", output_size, rank)
        if self.layout.ndim not in (rank + 1, rank + 2):
            raise RuntimeError(
                f"{name}(): Expected {rank + 1}D or {rank + 2}D tensor, but got: "
                f"{list(self.layout.shape)}"
            )
        spatial = self.layout.shape[-rank:]
        if min(*kernel, *sizes) <= 0:
            raise RuntimeError(
                f"{name}(): kernel_size and output_size must be greater than zero, but got "
                f"{list(kernel)} and {list(sizes)}"
            )
        for n, out, k, what in zip(
            spatial, sizes, kernel, ("time", "height", "width")[-rank:], strict=True
        ):
            if out + k - (1 if rank == 2 else 0) > n:  # PyTorch's bounds
                where = name + ("_out" if rank == 3 else "")
                raise RuntimeError(
                    f"{where}(): pool {what} {k} too large relative to input {what} {n}"
                )
        x = self if self.layout.ndim == rank + 2 else self.unsqueeze(0)
        places = random_windows(
            random_samples.reshape((*x.layout.shape[:2], rank)), spatial, sizes, kernel
        )
        flat = x.reshape((*x.layout.shape[:2], math.prod(spatial)))
        values, positions = window_max(
            flat.gather(2, places.flatten(2)).reshape(places.layout.shape), (2 + rank,)
        )
        indices = places.gather(-1, positions.to(INT64).unsqueeze(-1)).squeeze(-1)
        return (values, indices) if x is self else (values.squeeze(0), indices.squeeze(0))

    pool.doc = (
        f"The largest elements of windows whose starts are random, over the last {rank} dimensions."
    )
    return pool


fractional_max_pool2d, fractional_max_pool3d = map(_declare_fractional, (2, 3))


def _unpool(name, self, indices, output_size, rank):
    if indices.layout.dtype is not INT64:
        raise RuntimeError(
            f"elements in indices should be type int64 but got: {indices.dtype.name}"
        )
    if len(output_size) != rank:
        raise RuntimeError(
            f"There should be exactly {('', 'two', 'three')[rank - 1]} elements in output_size, "
            f"but got {len(output_size)} elements in output_size."
        )
    if self.layout.shape != indices.layout.shape:
        raise RuntimeError(
            "Expected shape of indices to be same as that of the input tensor "
            f"({list(self.layout.shape)}) but got "
            f"indices tensor with shape: {list(indices.layout.shape)}"
        )
    if self.layout.ndim not in (rank + 1, rank + 2):
        raise RuntimeError(
            f"Input to {name} should be a {rank + 1}d or {rank + 2}d Tensor, but got a tensor with "
            f"{self.layout.ndim} dimensions"
        )
    count, lead = math.prod(output_size), self.layout.shape[:-rank]
    flat = indices.reshape((*lead, -1)) if indices.layout.numel else indices.flatten(-rank)
    sizes = "x".join(map(str, output_size))
    message = f"Found an invalid max index: {{}} (output volumes are of size {sizes})"
    flat = within(flat, 0, count - 1, message)
    out = self.new_zeros((*lead, count)).scatter(-1, flat, self.flatten(-rank))
    return out.reshape((*lead, *output_size))


@composite("nn::max_unpool2d(Tensor self, Tensor indices, int[2] output_size) -> Tensor")
def max_unpool2d(self, indices, output_size):
    """Zeros of `output_size` with each element at its flat index of the plane, which max pooling
    found.
    """
    return channels_kept(_unpool("max_unpooling2d", self, indices, output_size, 2), self)


@composite(
    "nn::max_unpool3d(Tensor self, Tensor indices, int[3] output_size, int[3] stride, int[3] "
    "padding) -> Tensor"
)
def max_unpool3d(self, indices, output_size, stride, padding):
    """Zeros of `output_size` with each element at its flat index of the volume, which max pooling
    found.
    """
    if any(s <= 0 for s in stride):
        raise RuntimeError(
            f"strides should be greater than zero, but got stride: ({', '.join(map(str, stride))})"
        )
    return _unpool("max_unpooling3d", self, indices, output_size, 3)
