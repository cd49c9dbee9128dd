"""Membership, places in sorted sequences, equality of whole tensors."""

from __future__ import annotations

from flambeau import ir, runtime
from flambeau._base import numpy
from flambeau.types import by_name, row_major

from .family import Buffer, Fold, chain, indexed, opaque
from .family.indexed import along, vector
from .op import composite
from .promotion import compute_type, result_type
from .sorting import ordered

BOOL, INT64, INT32 = map(by_name, ("bool", "int64", "int32"))


# Membership.


def _member(elements, test, assume_unique, invert):
    return numpy.isin(elements, test, invert=invert)


_isin = opaque(
    "aten::_isin(Tensor elements, Tensor test_elements, bool assume_unique=False, bool "
    "invert=False) -> Tensor",
    """Whether each element is among others.""",
    run=_member,
    method=False,
    function=False,
)


@composite(
    "aten::isin(Tensor|Scalar elements, Tensor|Scalar test_elements, *, "
    "bool assume_unique=False, bool invert=False) -> Tensor",
    method=False,
)
def isin(elements, test_elements, assume_unique, invert):
    """Whether each element of `elements` (or not, with `invert`) is among `test_elements`."""
    if not hasattr(elements, "layout"):
        elements = test_elements.new_tensor(elements, dtype=None)
    if not hasattr(test_elements, "layout"):
        test_elements = elements.new_full((), test_elements)
    return _isin(elements, test_elements, assume_unique, invert)


# Places in sorted sequences.


def _words(steps, values, common):
    """Values of a common type as words that are ordered alike."""
    shape = values.layout.shape if isinstance(values, Buffer) else ()
    words = steps.scratch(shape, INT64)
    operands = [values] if isinstance(values, Buffer) else []

    def word(value=values):
        return ordered(ir.cast(value, compute_type(common)))

    steps.pointwise(word, operands, [words])
    return words


def _search(steps, sequence, values, out_int32, right, sorter):
    shape, common = (), sequence.dtype
    if isinstance(values, Buffer):
        shape, common = values.layout.shape, result_type([sequence.layout, values.layout])
    elif values.dtype.category >= common.category:
        common = values.dtype
    out = steps.result(shape, INT32 if out_int32 else INT64)
    if sorter is not None:
        made = steps.scratch(sorter.layout.shape, sequence.dtype)
        dim = sorter.layout.ndim - 1
        view, place = along(sequence, dim, sorter.layout.shape, sorter)
        steps.indexed(lambda value: (value,), [made], [view], [place])
        sequence = made
    lines, wanted = _words(steps, sequence, common), _words(steps, values, common)
    found = steps.scratch(shape, INT64) if out_int32 else out
    n, rank, total = lines.layout.shape[-1], lines.layout.ndim, wanted.layout.numel
    if total:
        numbers = (n, total if rank == 1 else shape[-1], n, int(right))
        cost = total * (2.0 * n.bit_length() + 2)
        steps.call(runtime.order_kernel("search"), [lines, wanted, found], numbers, total, cost)
    if out_int32:
        steps.copy(out, found)


def _check_search(sequence, values, out_int32, right, sorter):
    a = list(sequence.layout.shape)
    b = list(values.layout.shape) if hasattr(values, "layout") else []
    if not a:
        raise RuntimeError(
            "torch.searchsorted(): input value can be a scalar only when boundaries tensor "
            "dimension is 1, but we got boundaries tensor dim(0)"
        )
    if not hasattr(values, "layout") and len(a) != 1:
        raise RuntimeError(
            "torch.searchsorted(): input value can be a scalar only when boundaries tensor "
            "dimension is 1, but we got "
            f"boundaries tensor dim({len(a)}) and input value's dim(0) numel(1)"
        )
    if len(a) != 1 and a[:-1] != b[:-1]:
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 "
            "dimensions of boundaries tensor and input value tensor must match, but we got "
            f"boundaries tensor {a} and input value tensor {b}"
        )


_searchsorted = indexed(
    "aten::_searchsorted(Tensor sorted_sequence, Tensor|Scalar self, bool out_int32, bool right, "
    "Tensor? sorter) -> Tensor",
    """Where elements belong in sorted rows.""",
    build=_search,
    check=_check_search,
    refuse=lambda *args: RuntimeError("torch.searchsorted(): sorter index out of range"),
    method=False,
    function=False,
)


@composite(
    "aten::searchsorted(Tensor sorted_sequence, Tensor|Scalar self, *, bool out_int32=False, bool "
    "right=False, str? side=None, Tensor? sorter=None) -> Tensor",
    method=False,
)
def searchsorted(sorted_sequence, self, out_int32, right, side, sorter):
    """The first place in each sorted row before which an element can stand (`right`, or side
    "right": the last).
    """
    if side is not None:
        if side not in ("left", "right"):
            raise RuntimeError(
                f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}"
            )
        if right and side == "left":
            raise RuntimeError(
                "torch.searchsorted(): side and right can't be set to opposites, got side of left "
                "while right was True"
            )
        right = side == "right"
    return _searchsorted(sorted_sequence, self, out_int32, right, sorter)


@composite(
    "aten::bucketize(Tensor|Scalar self, Tensor boundaries, *, bool out_int32=False, "
    "bool right=False) -> Tensor",
    method=False,
)
def bucketize(self, boundaries, out_int32, right):
    """The bucket between sorted `boundaries` that each element falls into."""
    if boundaries.layout.ndim != 1:
        raise RuntimeError(
            f"boundaries tensor must be 1 dimension, but got dim({boundaries.layout.ndim})"
        )
    return _searchsorted(boundaries, self, out_int32, right, None)


@composite("aten::unravel_index(Tensor indices, int[] shape) -> Tensor[]", method=False)
def unravel_index(indices, shape):
    """Places in a row-major block of `shape` as coordinates: one tensor for each dimension."""
    if indices.layout.dtype.kind not in "iu":
        raise TypeError(f"expected 'indices' to be integer dtype, but got {indices.layout.dtype}")
    steps = row_major(shape)
    indices = indices.to(INT64)
    return tuple(
        indices.div(step, rounding_mode="floor") % n for step, n in zip(steps, shape, strict=True)
    )


# Equality of wholes.


def _build_equal(steps, self, other):
    common = compute_type(result_type([self.layout, other.layout]))
    fold = Fold(
        ((True, BOOL),),
        lambda a, b: (ir.cast(a, common).equals(ir.cast(b, common)),),
        lambda a, b: (a[0] & b[0],),
        lambda state, _: state,
    )
    pair = [vector(self), vector(other)]
    steps.reduce(fold, pair, tuple(range(pair[0].layout.ndim)), [steps.result((), BOOL)])


_equal = chain(
    "aten::_equal(Tensor self, Tensor other) -> Tensor",
    """Whether all elements are equal, as a 0-dim tensor.""",
    build=_build_equal,
    method=False,
    function=False,
)


@composite("aten::equal(Tensor self, Tensor other) -> bool")
def equal(self, other):
    """Whether two tensors have the same shape and equal elements: a Python bool."""
    if self.layout.shape != other.layout.shape:
        return False
    return not self.layout.numel or _equal(self, other).item()


@composite("aten::is_same_size(Tensor self, Tensor other) -> bool")
def is_same_size(self, other):
    """Whether two tensors have the same shape: a Python bool."""
    return self.layout.shape == other.layout.shape
