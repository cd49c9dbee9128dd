"""Tensors from parts: a storage and where its elements lie."""

from flambeau import runtime
from flambeau.types import DType, layout

from .tensor import Tensor


def strided(
    storage, dtype: DType, size, stride, offset: int = 0, conj: bool = False, neg: bool = False
) -> Tensor:
    """A tensor on `storage`; `stride` and `offset` in elements. Raises where it would reach outside
    the storage.
    """
    if len(size) != len(stride) or any(
        not isinstance(v, int) or v < 0 for v in (*size, *stride, offset)
    ):
        raise RuntimeError(
            f"sizes {list(size)}, strides {list(stride)} and offset {offset} are no layout"
        )
    made = layout(tuple(size), tuple(stride), dtype, conj=conj, neg=neg)
    needed = (offset + made.span) * dtype.itemsize
    if made.numel and needed > storage.nbytes:
        raise RuntimeError(
            f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {offset}, and "
            f"itemsize {dtype.itemsize} requiring a storage size of {needed} are out of bounds for "
            f"storage of size {storage.nbytes}"
        )
    return runtime.wrap(storage, made, offset)
