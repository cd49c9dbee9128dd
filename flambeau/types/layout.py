"""How a tensor's elements lie in its storage, without where: shape, strides, dtype, device, conj
and neg bit.
"""

import math
import operator
from collections.abc import Sequence

from .device import Device, cpu
from .dtype import DType

Shape = tuple[int, ...]
LIMIT = 2**63 - 1


class Layout:
    """Shape and strides (in elements), dtype, device, and the lazy conjugation and negation bits.

    Interned: two equal layouts are the same object, so comparison and hashing are by identity and a
    tuple of layouts is a cheap dictionary key. The offset into the storage belongs to the tensor:
    rows of a matrix share one layout.
    """

    __slots__ = (
        "__weakref__",
        "conj",
        "contiguous",
        "device",
        "dtype",
        "itemsize",
        "ndim",
        "neg",
        "numel",
        "shape",
        "span",
        "strides",
    )
    shape: Shape
    strides: Shape
    dtype: DType
    device: Device
    conj: bool
    neg: bool
    ndim: int
    numel: int
    itemsize: int
    span: int
    contiguous: bool

    def __repr__(self):
        bits = (", conj" if self.conj else "") + (", neg" if self.neg else "")
        strides = "" if self.contiguous else f", strides={list(self.strides)}"
        return f"{self.dtype.name}{list(self.shape)}{strides}{bits}"

    def __reduce__(self):
        return layout, (self.shape, self.strides, self.dtype, self.device, self.conj, self.neg)

    def reshaped(self, shape: Shape, strides: Shape) -> "Layout":
        """The layout with other shape and strides: a view."""
        return layout(shape, strides, self.dtype, self.device, self.conj, self.neg)

    def plain(self, dtype: DType | None = None) -> "Layout":
        """The contiguous layout of the same shape, without conj and neg bit."""
        return contiguous(self.shape, dtype or self.dtype, self.device)

    @property
    def nbytes(self) -> int:
        """Bytes from the first element to behind the last: what a fresh storage of this layout
        needs.
        """
        return self.span * self.itemsize


_made: dict[tuple, Layout] = {}


def layout(
    shape: Shape, strides: Shape, dtype: DType, device: Device = cpu, conj=False, neg=False
) -> Layout:
    """The one layout with these properties. `shape` and `strides` are tuples of int of equal
    length.
    """
    key = (shape, strides, dtype, device, conj, neg)
    made = _made.get(key)
    return made if made is not None else _make(key)


def _make(key):
    made = object.__new__(Layout)
    made.shape, made.strides, made.dtype, made.device, made.conj, made.neg = key
    if any([n < 0 for n in made.shape]):
        raise RuntimeError(
            f"Trying to create tensor with negative dimension {min(made.shape)}: {list(made.shape)}"
        )
    made.ndim = len(made.shape)
    made.numel = math.prod(made.shape)
    made.itemsize = made.dtype.itemsize
    made.contiguous = is_contiguous(made.shape, made.strides)
    made.span = (
        0
        if made.numel == 0
        else 1 + sum((n - 1) * s for n, s in zip(made.shape, made.strides, strict=True))
    )
    if made.span * made.itemsize > LIMIT:
        raise RuntimeError(f"Storage size calculation overflowed with sizes={list(made.shape)}")
    if made.numel > LIMIT:
        raise RuntimeError("numel: integer multiplication overflow")
    return _made.setdefault(key, made)


def contiguous(shape: Sequence[int], dtype: DType, device: Device = cpu) -> Layout:
    """The row-major layout of `shape`."""
    shape = tuple(map(operator.index, shape))
    return layout(shape, row_major(shape), dtype, device)


def row_major(shape: Shape) -> Shape:
    """Strides, in elements, of a row-major block; zero-sized dimensions count as one, as in
    PyTorch.
    """
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


def is_contiguous(shape: Shape, strides: Shape) -> bool:
    """Whether the elements lie in row-major order without gaps (dimensions of size 1 may have any
    stride).
    """
    step = 1
    for n, stride in zip(reversed(shape), reversed(strides), strict=True):
        if n == 0:
            return True
        if n != 1:
            if stride != step:
                return False
            step *= n
    return True


def is_dense(shape: Shape, strides: Shape) -> bool:
    """Whether the elements fill a block without gaps or overlaps, in any order of dimensions."""
    step = 1
    for n, stride in sorted(zip(shape, strides, strict=True), key=lambda d: (d[0] < 2, d[1])):
        if n < 2:
            return True
        if stride != step:
            return False
        step *= n
    return True


def dense_order(shape: Shape, operands: Sequence[Shape]) -> Shape:
    """Strides of a gap-free block of `shape` whose dimensions are ordered as in the operands, given
    by their strides.

    PyTorch's rule: an insertion sort from the last dimension on. The first operand that tells two
    dimensions apart decides; one that is broadcast along either of them does not.
    """

    def outward(a, b):  # whether dimension `a` belongs outside of `b`; None: nothing says
        for strides in operands:
            if strides[a] and strides[b]:
                if strides[a] != strides[b]:
                    return strides[a] > strides[b]
                if shape[a] > shape[b]:
                    return True
        return None

    inner_first = list(reversed(range(len(shape))))
    for i in range(1, len(inner_first)):
        moving = i  # it passes by dimensions of which nothing says where they belong
        for j in range(i - 1, -1, -1):
            swap = outward(inner_first[j], inner_first[moving])
            if swap:
                inner_first[j], inner_first[moving] = inner_first[moving], inner_first[j]
                moving = j
            elif swap is False:
                break
    out, step = [0] * len(shape), 1
    for d in inner_first:
        out[d] = step
        step *= max(shape[d], 1)
    return tuple(out)


def dense_like(shape: Shape, strides: Shape) -> Shape:
    """Strides of a gap-free block with the same order of dimensions as `strides` (what `empty_like`
    preserves).
    """
    return strides if is_dense(shape, strides) else dense_order(shape, [strides])


def looks_channels_last(layout: Layout) -> bool:
    """Whether a tensor of rank 4 or 5 is meant to have its channels innermost, judged by strides as
    PyTorch does; it may have gaps.
    """
    if layout.ndim not in (4, 5) or layout.strides[1] == 0:
        return False
    least = 0
    for d in (1, *range(layout.ndim - 1, 1, -1), 0):
        n, stride = layout.shape[d], layout.strides[d]
        if n == 0 or stride < least or (d == 0 and least == layout.strides[1]):
            return False
        least = stride * max(n, 1)
    return True


def channels_last(shape: Shape) -> Shape:
    """Strides of a gap-free block whose channels, dimension 1, are innermost."""
    moved = row_major((shape[0], *shape[2:], shape[1]))
    return moved[0], moved[-1], *moved[1:-1]
