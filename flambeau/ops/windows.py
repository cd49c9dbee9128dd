"""Chosen elements of windows: where they lie, and what they get back as gradients of maxima."""

import itertools
import math

from flambeau import ir
from flambeau.types import by_name

from .family.chain import chain, viewed
from .promotion import compute_type

INT32, INT64 = by_name("int32"), by_name("int64")
MOST = 16  # windows that an element may lie in, and elements between two windows


def _build_places(steps, positions, spatial, kernel, stride, padding, dilation):
    apart = [math.prod(spatial[d + 1 :]) for d in range(len(spatial))]
    starts = [s * a for s, a in zip(stride, apart, strict=True)]
    first = -sum(p * a for p, a in zip(padding, apart, strict=True))
    lead = [0] * (positions.layout.ndim - len(spatial))

    def body(inside):
        rest, place = ir.cast(inside, INT32), ir.position
        for k, d, a in reversed([*zip(kernel, dilation, apart, strict=True)]):
            whole = rest / ir.const(k, INT32)
            inside = ir.cast(rest - whole * ir.const(k, INT32), INT64)
            place = place + inside * (d * a)
            rest = whole
        return place

    out = steps.result(positions.layout.shape, INT64)
    steps.pointwise(body, [positions], [out], counter=([*lead, *starts], first))


window_places = chain(
    "aten::_window_places(Tensor positions, int[] spatial, int[] kernel, int[] stride, "
    "int[] padding, int[] dilation) -> Tensor",
    """Positions inside windows as flat positions in the plane that the windows lie in.""",
    build=_build_places,
    method=False,
    function=False,
)


def spread_back(grad, layout, indices, rank):
    """Gradients of chosen elements, added at their flat places."""
    lead = layout.shape[:-rank]
    flat = grad.new_zeros((*lead, math.prod(layout.shape[-rank:])))
    flat.scatter_add_(-1, indices.flatten(-rank), grad.flatten(-rank))
    return flat.reshape(layout.shape)


def few(kernel, stride, dilation):
    """Whether elements lie in so few windows that each can ask them all. In planes, whose short
    rows lie apart, adding to the chosen places is quicker.
    """
    overlaps = math.prod(-(-k // s) for k, s in zip(kernel, stride, strict=True))
    alone = len(kernel) == 1 and max(dilation) == 1
    return alone and max(overlaps, math.prod(stride)) <= MOST


def _framed(steps, buffer, before, sizes, dtype):
    """The buffer among zeros: from `before` on, in planes of `sizes`."""
    rank = len(sizes)
    framed = steps.scratch((*buffer.layout.shape[:-rank], *sizes), dtype)
    steps.pointwise(lambda: ir.const(0, dtype), [], [framed])
    inside = framed
    for d, (start, n) in enumerate(zip(before, buffer.layout.shape[-rank:], strict=True), -rank):
        inside = inside.narrow(d % framed.layout.ndim, start, start + n)
    steps.copy(inside, buffer)
    return framed


def _every(buffer, starts, counts, apart):
    """The elements of the last dimensions from `starts` on, `apart` from each other."""
    rank = len(starts)
    shape, strides = buffer.layout.shape, buffer.layout.strides
    offset = sum(n * s for n, s in zip(starts, strides[-rank:], strict=True))
    steps = [n * s for n, s in zip(apart, strides[-rank:], strict=True)]
    return viewed(buffer, (*shape[:-rank], *counts), (*strides[:-rank], *steps), offset)


def _build(steps, grad, positions, spatial, kernel, stride, padding):
    rank, inner = len(spatial), compute_type(grad.dtype)
    out = steps.result((*grad.layout.shape[:-rank], *spatial), grad.dtype)
    if not out.layout.numel:
        return
    before = [-(-k // s) - 1 for k, s in zip(kernel, stride, strict=True)]
    behind = [(n - 1 + p) // s + 1 for n, p, s in zip(spatial, padding, stride, strict=True)]
    planes = grad.layout.shape[-rank:]
    if any(before) or any(b > n for b, n in zip(behind, planes, strict=True)):
        sizes = [a + max(b, n) for a, b, n in zip(before, behind, planes, strict=True)]
        grad = _framed(steps, grad, before, sizes, inner)
        positions = _framed(steps, positions, before, sizes, INT32)
    # Elements by their distance from the start of the last window that begins at or before them
    for rest in itertools.product(*map(range, stride)):
        starts = [(r - p) % s for r, p, s in zip(rest, padding, stride, strict=True)]
        counts = [-((h - n) // s) for h, n, s in zip(starts, spatial, stride, strict=True)]
        if min(counts) <= 0:
            continue
        firsts = [(h + p) // s for h, p, s in zip(starts, padding, stride, strict=True)]
        operands, places = [], []
        back = [range(-(-(k - r) // s)) for k, r, s in zip(kernel, rest, stride, strict=True)]
        for less in itertools.product(*back):
            at = [f + b - m for f, b, m in zip(firsts, before, less, strict=True)]
            operands += [_every(v, at, counts, (1,) * rank) for v in (grad, positions)]
            inside = [r + s * m for r, s, m in zip(rest, stride, less, strict=True)]
            place = 0
            for k, n in zip(kernel, inside, strict=True):
                place = place * k + n
            places.append(place)

        def body(*values, places=places):
            total = ir.const(0, inner)
            for n, place in enumerate(places):
                value, position = values[2 * n : 2 * n + 2]
                share = ir.select(position.equals(place), value, 0)
                total = share if not n else total + share
            return total

        steps.pointwise(body, operands, [_every(out, starts, counts, stride)])


def _spread_by_places(grad, positions, spatial, kernel, stride, padding):
    """The same in ops."""
    rank = len(spatial)
    places = window_places(positions, spatial, kernel, stride, padding, (1,) * rank)
    shape = (*grad.layout.shape[:-rank], *spatial)
    flat = grad.new_zeros((*shape[:-rank], math.prod(spatial)))
    return flat.scatter_add(-1, places.flatten(-rank), grad.flatten(-rank)).reshape(shape)


spread = chain(
    "aten::_window_spread(Tensor grad, Tensor positions, int[] spatial, int[] kernel, "
    "int[] stride, int[] padding) -> Tensor",
    """What the elements at `positions` inside windows get, in planes of the size `spatial`: every
    element asks all windows that it lies in.
    """,
    build=_build,
    body=_spread_by_places,
    method=False,
    function=False,
)
