"""Diagonals, triangles, and writing into part of a copy; padding."""

from __future__ import annotations

from flambeau import ir
from flambeau._base import numpy
from flambeau.types import by_name, looks_channels_last

from .family import chain, fixed, opaque
from .family.reduction import wrap_dim
from .joining import cat
from .op import composite
from .views import channels_before, channels_kept, diagonal, select, slice_

INT64, BOOL = by_name("int64"), by_name("bool")


@fixed("aten::trace(Tensor self) -> Tensor")
def trace(self):
    """The sum of a matrix's diagonal."""
    if self.layout.ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {self.layout.ndim}")
    return diagonal(self).sum()


@fixed(
    "aten::diag_embed(Tensor self, int offset=0, int dim1=-2, int dim2=-1) -> Tensor",
    grad=dict(self=lambda grad, offset, dim1, dim2: grad.diagonal(offset, dim1, dim2)),
)
def diag_embed(self, offset, dim1, dim2):
    """Matrices (in `dim1` and `dim2`) with the last dimension on a diagonal and zeros elsewhere."""
    n = self.layout.ndim + 1
    a, b = wrap_dim(dim1, n), wrap_dim(dim2, n)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    size = self.layout.shape[-1] + abs(offset)
    shape = list(self.layout.shape[:-1])
    for d in sorted((a, b)):
        shape.insert(d, size)
    out = self.new_zeros(tuple(shape))
    diagonal(out, offset, a, b).copy_(self)
    return out


@fixed("aten::diag(Tensor self, int diagonal=0) -> Tensor")
def diag(self, diagonal):
    """A matrix with the vector on its diagonal; of a matrix, a copy of its diagonal."""
    if self.layout.ndim == 1:
        return diag_embed(self, diagonal)
    if self.layout.ndim != 2:
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {self.layout.ndim}D")
    return self.diagonal(diagonal).clone()


@fixed("aten::diagflat(Tensor self, int offset=0) -> Tensor")
def diagflat(self, offset):
    """A matrix with all elements, in row-major order, on its diagonal."""
    return diag_embed(self.reshape(-1), offset)


def _triangle(name, sign, doc):
    """`sign` is 1 where columns up to the diagonal count, -1 where those from it on do."""

    def build(steps, self, diagonal):
        if self.layout.ndim < 2:
            raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions")

        def body(value):
            return ir.select(ir.position <= 0, value, ir.cast(ir.const(0, BOOL), value.dtype))

        # The position is how far behind the diagonal an element lies.
        apart = [0] * (self.layout.ndim - 2) + [-sign, sign]
        out = steps.result(self.layout.shape, self.dtype)
        rows, columns = self.layout.shape[-2:]
        diagonal = min(max(diagonal, -rows), columns)
        steps.pointwise(body, [self], [out], counter=(apart, -sign * diagonal))

    def gradient(grad, diagonal):
        return op(grad, diagonal)

    op = chain(
        f"aten::{name}(Tensor self, int diagonal=0) -> Tensor",
        doc,
        build=build,
        grad=dict(self=gradient),
    )
    op.inplace_form = True
    return op


tril = _triangle("tril", 1, """The lower triangle, zeros above it.""")
triu = _triangle("triu", -1, """The upper triangle, zeros below it.""")


@fixed("aten::vander(Tensor x, int? N=None, bool increasing=False) -> Tensor", method=False)
def vander(x, N, increasing):
    """The matrix whose columns are powers of a vector."""
    if x.layout.ndim != 1:
        raise RuntimeError("x must be a one-dimensional tensor.")
    n = x.layout.shape[0] if N is None else N
    if n < 0:
        raise RuntimeError("N must be non-negative.")
    if n == 0:
        return x.new_empty((x.layout.shape[0], 0))
    dtype = x.layout.dtype if x.layout.dtype.kind in "fc" else INT64
    x.new_empty((x.layout.shape[0], n), dtype=dtype)  # refuses what memory cannot hold
    columns, wide = [x.new_ones(x.layout.shape, dtype=dtype)], x.to(dtype)
    for _ in range(n - 1):
        columns.append(columns[-1] * wide)
    if not increasing:
        columns.reverse()
    return cat([c.unsqueeze(1) for c in columns], 1)


@fixed("linalg::vander(Tensor x, *, int? N=None) -> Tensor")
def linalg_vander(x, N):
    """The matrix whose columns are rising powers of the last dimension."""
    x = x if x.layout.ndim else x.reshape(1)
    n = x.layout.shape[-1] if N is None else N
    if n <= 1:
        raise RuntimeError("N must be greater than 1.")
    columns = [x.new_ones(x.layout.shape, dtype=None if x.layout.dtype.kind in "fc" else INT64)]
    for _ in range(n - 1):
        columns.append(columns[-1] * x)
    return cat([c.unsqueeze(-1) for c in columns], -1)


# Writing into part of a copy.


def _part_of(name, arguments, take, doc):
    """An op that copies `self` and writes `src` where `take(self, *args)` reads."""
    names = [a.split("=")[0].split()[-1] for a in arguments.split(", ")]

    def body(self, src, *args):
        out = self.clone()
        part = take(out, *args)
        if part.layout.shape != src.layout.shape:
            raise RuntimeError(
                f"expected src to have a size equal to the {name.removesuffix('_scatter')} of "
                f"self. src size = {list(src.layout.shape)}, {name.removesuffix('_scatter')} size "
                f"= {list(part.layout.shape)}"
            )
        part.copy_(src)
        return out

    def erase(grad, *args):
        return op(grad, grad.new_zeros(take(grad, *args).layout.shape), *args)

    body.__doc__ = doc
    listed = ", ".join(names)
    scope = {"erase": erase, "take": take}
    grad_self = eval(f"lambda grad, {listed}: erase(grad, {listed})", scope)
    grad_src = eval(f"lambda grad, {listed}: take(grad, {listed})", scope)
    op = composite(
        f"aten::{name}(Tensor self, Tensor src, {arguments}) -> Tensor",
        grad=dict(self=grad_self, src=grad_src),
    )(body)
    return op


select_scatter = _part_of(
    "select_scatter", "int dim, int index", lambda x, dim, index: select(x, dim, index),
    """`self` with `src` in place of one slice.""",
)  # fmt: skip
slice_scatter = _part_of(
    "slice_scatter", "int dim=0, int? start=None, int? end=None, int step=1",
    lambda x, dim, start, end, step: slice_(x, dim, start, end, step),
    """`self` with `src` in place of the slices ``start:end:step``.""",
)  # fmt: skip
diagonal_scatter = _part_of(
    "diagonal_scatter", "int offset=0, int dim1=0, int dim2=1",
    lambda x, offset, dim1, dim2: diagonal(x, offset, dim1, dim2),
    """`self` with `src` in place of a diagonal.""",
)  # fmt: skip


# Padding.


def _check_pad(self, pad):
    if len(pad) % 2:
        raise RuntimeError(f"Length of pad must be even but instead it equals {len(pad)}")
    if len(pad) > 2 * self.layout.ndim:
        raise RuntimeError(
            "Length of pad should be no more than twice the number of dimensions of the input. "
            f"Pad length is {len(pad)} while the input has {self.layout.ndim} dimensions."
        )


@fixed(
    "aten::constant_pad_nd(Tensor self, int[] pad, Scalar value=0) -> Tensor",
    method=False,
    grad=dict(self=lambda grad, pad: constant_pad_nd(grad, tuple(-p for p in pad), 0)),
)
def constant_pad_nd(self, pad, value):
    """The tensor with `value` before and behind it along the last dimensions; negative counts cut
    off.
    """
    _check_pad(self, pad)
    n, shape = self.layout.ndim, list(self.layout.shape)
    inner, target = self, []
    for k in range(len(pad) // 2):
        d, before, after = n - 1 - k, pad[2 * k], pad[2 * k + 1]
        shape[d] += before + after
        if shape[d] < 0:
            raise RuntimeError(
                f"The input size {self.layout.shape[d]}, plus negative padding {before} and "
                f"{after} resulted in a negative output size, which is invalid. Check dimension "
                f"{d} of your input."
            )
        inner = slice_(inner, d, max(-before, 0), max(self.layout.shape[d] - max(-after, 0), 0), 1)
        target.append((d, max(before, 0), shape[d] - max(after, 0)))
    if max(pad, default=0) <= 0:
        return inner.clone()
    if looks_channels_last(self.layout):
        out = channels_before(self.new_full((shape[0], *shape[2:], shape[1]), value))
    else:
        out = self.new_full(tuple(shape), value)
    place = out
    for d, start, end in target:
        place = slice_(place, d, start, end, 1)
    place.copy_(inner)
    return out


def _reflected(n, before, after):
    """Where each element of a reflected dimension comes from."""
    places = numpy.abs(numpy.arange(-before, n + after))
    return numpy.where(places >= n, 2 * (n - 1) - places, places)


_PLACES = {
    "reflect": _reflected,
    "replicate": lambda n, before, after: numpy.clip(numpy.arange(-before, n + after), 0, n - 1),
    "circular": lambda n, before, after: numpy.arange(-before, n + after) % n,
}


@fixed('nn::pad(Tensor input, int[] pad, str mode="constant", float? value=None) -> Tensor')
def pad(input, pad, mode, value):
    """The tensor with something before and behind it along the last dimensions.

    `pad` counts from the last dimension: (left, right, top, bottom, …). Modes: "constant"
    (`value`), "reflect" (mirrored at the edge elements), "replicate" (the edge elements),
    "circular" (the other end).
    """
    if len(pad) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    if mode == "constant":
        _check_pad(input, pad)
        return constant_pad_nd(input, pad, 0 if value is None else value)
    if value is not None and value != 0:
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if mode not in _PLACES:
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    n = input.layout.ndim
    if (len(pad), n) not in ((2, 2), (2, 3), (4, 3), (4, 4), (6, 4), (6, 5)):
        raise NotImplementedError(
            f"Padding size {len(pad)} is not supported for {n}D input tensor.\nSupported "
            "combinations for non-constant "
            "padding:\n  - 2D or 3D input: padding size = 2 (pads last dimension)\n  - 3D or 4D "
            "input: padding size = 4 "
            "(pads last 2 dimensions)\n  - 4D or 5D input: padding size = 6 (pads last 3 "
            "dimensions)"
        )
    out = input
    for k in range(len(pad) // 2):
        d, before, after = n - 1 - k, pad[2 * k], pad[2 * k + 1]
        size = input.layout.shape[d]
        if mode == "reflect" and (before >= size or after >= size):
            raise RuntimeError(
                f"Argument #{4 + 2 * k}: Padding size should be less than the corresponding input "
                f"dimension, but got: padding ({before}, {after}) at dimension {d} of input "
                f"{list(input.layout.shape)}"
            )
        if mode == "circular" and (before > size or after > size):
            raise RuntimeError("Padding value causes wrapping around more than once.")
        if mode == "circular" and (before < 0 or after < 0):  # what wraps around is what remains
            out = slice_(out, d, max(-before, 0), size - max(-after, 0), 1)
            before, after, size = max(before, 0), max(after, 0), out.layout.shape[d]
        if before or after:
            places = input.new_tensor(_PLACES[mode](size, before, after), dtype=INT64)
            out = out.index_select(d, places)
    if mode != "circular":
        out = channels_kept(out, input)
    return out.clone() if out is input else out


__all__ = ["constant_pad_nd", "diag_embed", "opaque", "tril", "triu"]
