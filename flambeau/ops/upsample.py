"""Resizing: along each axis an output element is a weighted sum of a few input elements, its taps.

The taps of an axis are two tables [taps, out], places and weights. The transpose of such a map,
which its gradient is, has taps as well: for each input element, the outputs that it goes into. So
one op, `resample`, is both directions.
"""

from __future__ import annotations

import functools

from flambeau._base import numpy
from flambeau.types import looks_channels_last

from .family import fixed
from .family.arrays import adopt
from .family.pointwise import type_name
from .promotion import HALVES, compute_type
from .views import channels_before, channels_behind


class Taps:
    """Places and weights of one axis as tensors, and those of its transpose."""

    __slots__ = ("back_index", "back_weight", "index", "repeats", "weight")

    def __init__(self, index, weight, n, exact):
        self.index, self.weight = adopt(index), adopt(weight[:1, :1].copy() if exact else weight)
        back_index, back_weight = transposed(index, weight, n)
        self.back_index, self.back_weight = adopt(back_index), adopt(back_weight)
        # How often each input element is simply repeated: a broadcast does that. 0 where it is not
        # so simple.
        out = index.shape[1]
        times = out // n if out % n == 0 and (weight[0] == 1).all() and not weight[1:].any() else 0
        self.repeats = (
            times if times and numpy.array_equal(index[0], numpy.arange(out) // times) else 0
        )


def transposed(index, weight, n):
    """The tables of the transposed map, whose outputs are the `n` inputs of this one."""
    count, out = index.shape
    places, outputs, weights = index.ravel(), numpy.tile(numpy.arange(out), count), weight.ravel()
    used = weights != 0
    places, outputs, weights = places[used], outputs[used], weights[used]
    order = numpy.argsort(places, kind="stable")
    places, outputs, weights = places[order], outputs[order], weights[order]
    counts = numpy.bincount(places, minlength=n)
    row = numpy.arange(places.size) - numpy.repeat(numpy.cumsum(counts) - counts, counts)
    taps = max(int(counts.max(initial=0)), 1)
    back_index, back_weight = (
        numpy.zeros((taps, n), numpy.int64),
        numpy.zeros((taps, n), weight.dtype),
    )
    # An unused tap reads what a used one reads, so that it brings in no foreign nan.
    back_index[:, places] = outputs
    back_index[row, places], back_weight[row, places] = outputs, weights
    return back_index, back_weight


@fixed(
    "aten::_resample(Tensor self, int dim, Tensor index, Tensor weight, Tensor back_index, Tensor "
    "back_weight) -> Tensor",
    method=False,
    function=False,
    grad=dict(
        self=lambda grad, dim, index, weight, back_index, back_weight: resample(
            grad, dim, back_index, back_weight, index, weight
        )
    ),
)
def resample(self, dim, index, weight, back_index, back_weight):
    """Sums of elements along `dim`: ``out[j] = sum(weight[k, j] * self[index[k, j]] for k)``."""
    taps, out = index.layout.shape
    if taps == 1 and weight.layout.numel == 1:
        return self.index_select(dim, index.select(0, 0))
    tail = (1,) * (self.layout.ndim - dim - 1)
    if taps > 6:
        shape = self.layout.shape
        all_taps = self.index_select(dim, index.reshape(-1)).reshape(
            (*shape[:dim], taps, out, *shape[dim + 1 :])
        )
        return (all_taps * weight.reshape((taps, out, *tail))).sum(dim)
    total = None
    for k in range(taps):
        part, factor = (
            self.index_select(dim, index.select(0, k)),
            weight.select(0, k).reshape((out, *tail)),
        )
        total = part * factor if total is None else total.addcmul(part, factor)
    return total


def _ratio(n, out, align_corners, scale, kind):
    """Input elements for each output element, in the precision `kind`."""
    if align_corners:
        return kind((n - 1) / (out - 1)) if out > 1 else kind(0)
    return kind(1 / scale) if scale is not None and scale > 0 else kind(n) / kind(out)


def _nearest(n, out, scale, offset):
    """The input element of each output element; PyTorch finds it in single precision."""
    place = numpy.arange(out)
    ratio = _ratio(n, out, False, scale, numpy.float32)
    found = numpy.floor((place.astype(numpy.float32) + numpy.float32(offset)) * ratio)
    return numpy.minimum(found.astype(numpy.int64), n - 1)


def _linear(n, out, align_corners, scale, kind):
    place = numpy.arange(out)
    if n == out:
        return numpy.stack((place, place)), numpy.stack(
            (numpy.ones(out, kind), numpy.zeros(out, kind))
        )
    ratio = _ratio(n, out, align_corners, scale, kind)
    source = _source(place, ratio, align_corners, kind)
    source = numpy.maximum(source, kind(0))
    low = numpy.minimum(source.astype(numpy.int64), n - 1)
    part = numpy.clip(source - low.astype(kind), 0, 1).astype(kind)
    return numpy.stack((low, numpy.minimum(low + 1, n - 1))), numpy.stack((kind(1) - part, part))


def _source(place, ratio, align_corners, kind):
    place = place.astype(kind)
    return ratio * place if align_corners else ratio * (place + kind(0.5)) - kind(0.5)


def _cubic(x, a):
    """Keys's interpolation kernel (1981) with parameter `a`."""
    x = numpy.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return numpy.where(x < 1, near, numpy.where(x < 2, far, 0))


def _bicubic(n, out, align_corners, scale, kind):
    place = numpy.arange(out)
    ratio = _ratio(n, out, align_corners, scale, kind)
    source = _source(place, ratio, align_corners, kind)
    low = numpy.floor(source)
    part = numpy.clip(source - low, 0, 1).astype(kind)
    steps = numpy.arange(-1, 3)[:, None]
    index = numpy.clip(low.astype(numpy.int64) + steps, 0, n - 1)
    return index, _cubic(part - steps.astype(kind), kind(-0.75)).astype(kind)


def _lanczos(x):
    return numpy.where(numpy.abs(x) < 3, numpy.sinc(x) * numpy.sinc(x / 3), 0)


# Filters of antialiased resizing: width in input elements, and the function.
_FILTERS = {
    "linear": (2, lambda x: numpy.maximum(1 - numpy.abs(x), 0)),
    "cubic": (4, lambda x: _cubic(x, -0.5)),
    "lanczos": (6, _lanczos),
}


def _antialiased(n, out, align_corners, scale, kind, name):
    """Taps of a filter that is widened by the ratio where the image shrinks."""
    width, function = _FILTERS[name]
    ratio = _ratio(n, out, align_corners, scale, kind)
    stretch = max(ratio, kind(1))
    support = kind(width / 2) * stretch
    center = ratio * (numpy.arange(out).astype(kind) + kind(0.5))
    start = numpy.maximum((center - support + kind(0.5)).astype(numpy.int64), 0)
    stop = numpy.minimum((center + support + kind(0.5)).astype(numpy.int64), n)
    size = numpy.maximum(stop - start, 1)
    steps = numpy.arange(int(size.max(initial=1)))[:, None]
    inside = steps < size
    index = numpy.where(inside, start + steps, start)
    weight = numpy.where(inside, function((index - center + kind(0.5)) / stretch), 0)
    total = weight.sum(0)
    weight = weight / numpy.where(total == 0, 1, total)
    return numpy.clip(index, 0, n - 1), weight.astype(kind)


@functools.lru_cache(maxsize=512)
def taps_of(mode, n, out, align_corners, scale, dtype):
    """The taps of one axis of `n` elements that becomes `out` long; `scale` is the caller's, None
    for out / n.
    """
    kind = compute_type(dtype).numpy.type if dtype.kind == "f" else numpy.float32
    if mode.startswith("nearest"):
        index = _nearest(n, out, scale, 0.5 if mode == "nearest-exact" else 0.0)[None]
        return Taps(index, numpy.ones((1, out), kind), n, True)
    if mode.startswith("aa-"):
        return Taps(*_antialiased(n, out, align_corners, scale, kind, mode[3:]), n, False)
    make = _linear if mode == "linear" else _bicubic
    return Taps(*make(n, out, align_corners, scale, kind), n, False)


def _check(x, sizes, rank):
    if len(sizes) != rank:
        raise RuntimeError(
            f"It is expected output_size equals to {rank}, but got size {len(sizes)}"
        )
    if x.layout.ndim != rank + 2:
        raise RuntimeError(
            f"It is expected input_size equals to {rank + 2}, but got size {x.layout.ndim}"
        )
    spatial = x.layout.shape[2:]
    if any(n <= 0 for n in (*spatial, *sizes)):
        letters = ("W", "H", "D")[:rank][::-1]
        shown = (
            ", ".join(f"{c}: {n}" for c, n in zip(letters, s, strict=True))
            for s in (spatial, sizes)
        )
        raise RuntimeError(
            "Input and output sizes should be greater than 0, but got input ({}) output "
            "({})".format(*shown)
        )
    if any(n == 0 for n in x.layout.shape[1:]):
        raise RuntimeError(
            f"Non-empty {rank + 2}D data tensor expected but got a tensor with sizes "
            f"{list(x.layout.shape)}"
        )


def _resize(x, mode, sizes, align_corners, scales):
    """All spatial axes of x [N, C, *S], one after the other, the last one first."""
    rank = len(sizes)
    _check(x, sizes, rank)
    dtype = x.layout.dtype
    exact = mode.startswith("nearest")
    if dtype.kind != "f" and dtype.name != "uint8":
        name = (
            "upsample_nearest" if exact else "compute_indices_weights_" + mode.removeprefix("aa-")
        )
        raise NotImplementedError(f"\"{name}\" not implemented for '{type_name(dtype)}'")
    taps = [
        taps_of(mode, n, out, align_corners, scale, dtype)
        for n, out, scale in zip(x.layout.shape[2:], sizes, scales, strict=True)
    ]
    if exact and all(t.repeats for t in taps):
        repeats = [t.repeats for t in taps]
        if looks_channels_last(x.layout):
            return channels_before(_repeat(channels_behind(x), repeats, 1))
        return _repeat(x, repeats, 2)
    wide = not exact and (dtype in HALVES or dtype.kind != "f")
    y = x.float() if wide else x
    last = looks_channels_last(x.layout)
    y = channels_behind(y) if last else y
    for dim in range(rank + 1 - last, 1 - last, -1):
        t = taps[dim - 2 + last]
        if t.repeats != 1:
            tables = (t.index, t.weight, t.back_index, t.back_weight)
            y = resample(y, dim, *(table.to(x.layout.device) for table in tables))
            if wide and dtype.kind != "f":  # a byte again after each axis
                y = (y + 0.5).floor().clamp(0, 255)
    y = channels_before(y) if last else y
    if wide:
        y = y.to(dtype)
    return y.clone() if y is x else y


def _repeat(x, repeats, first):
    """Each element of the axes from `first` on repeated: a broadcast, whose gradient is a sum."""
    shape, end = x.layout.shape, first + len(repeats)
    lead, spatial, tail = shape[:first], shape[first:end], shape[end:]
    apart = [v for n in spatial for v in (n, 1)]
    spread = [v for n, r in zip(spatial, repeats, strict=True) for v in (n, r)]
    sizes = [n * r for n, r in zip(spatial, repeats, strict=True)]
    broadcast = x.reshape((*lead, *apart, *tail)).expand((*lead, *spread, *tail))
    return broadcast.clone().reshape((*lead, *sizes, *tail))


_SCALES = {1: ("scales",), 2: ("scales_h", "scales_w"), 3: ("scales_d", "scales_h", "scales_w")}


def _declare(name, mode, rank, corners, doc):
    scales = "".join(f", float? {s}=None" for s in _SCALES[rank])
    middle = ", bool align_corners" if corners else ""

    def body(self, output_size, *rest):
        align_corners, rest = (rest[0], rest[1:]) if corners else (False, rest)
        return _resize(self, mode, output_size, align_corners, rest)

    body.__doc__ = doc
    return fixed(f"nn::{name}(Tensor self, int[{rank}] output_size{middle}{scales}) -> Tensor")(
        body
    )


for _rank in (1, 2, 3):
    _shown = (
        f"The last {_rank} dimensions of [N, C, …] resized to `output_size`: the element at "
        "floor(i / scale)."
    )
    _declare(f"upsample_nearest{_rank}d", "nearest", _rank, False, _shown)
    _shown = f"As `upsample_nearest{_rank}d`, with the element whose centre is nearest."
    _declare(f"_upsample_nearest_exact{_rank}d", "nearest-exact", _rank, False, _shown)
_declare(
    "upsample_linear1d",
    "linear",
    1,
    True,
    "The last dimension of [N, C, L] resized by linear interpolation.",
)
_declare(
    "upsample_bilinear2d",
    "linear",
    2,
    True,
    "The last two dimensions resized by linear interpolation.",
)
_declare(
    "upsample_trilinear3d",
    "linear",
    3,
    True,
    "The last three dimensions resized by linear interpolation.",
)
_declare(
    "upsample_bicubic2d",
    "cubic",
    2,
    True,
    "The last two dimensions resized by cubic convolution (Keys 1981).",
)
_declare(
    "_upsample_bilinear2d_aa",
    "aa-linear",
    2,
    True,
    "As `upsample_bilinear2d`, smoothed first where it shrinks.",
)
_declare(
    "_upsample_bicubic2d_aa",
    "aa-cubic",
    2,
    True,
    "As `upsample_bicubic2d`, smoothed first where it shrinks.",
)
_declare(
    "_upsample_lanczos2d_aa",
    "aa-lanczos",
    2,
    True,
    "Resized with Lanczos's filter of three lobes, smoothed.",
)
