"""Products of batches of small matrices: the packing of what `native/batch.py` describes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from .core import Stage, batch_kernel

_WORD = 8


class Inner(NamedTuple):
    """A kernel that runs for each matrix, over the whole of its range."""

    kernel: int
    dims: bytes
    total: int


def batch_stage(
    pack: Inner,
    product: Inner,
    nbytes: int,
    batch: tuple[int, int],
    steps: Sequence[tuple[int, int]],
    grain: int,
) -> Stage:
    """The stage that multiplies `batch` = (rows, matrices in a row) pairs of matrices; its data are
    out, a, b, and `steps` the bytes for each from one row to the next and from one matrix to the
    next. `pack` packs a right matrix to `nbytes`, `product` has the data packed, a, out, out.
    """
    head = 8 + 2 * len(steps)
    first = head * _WORD
    words = [pack.kernel, pack.total, first]
    words += [product.kernel, product.total, first + len(pack.dims), nbytes, batch[1]]
    words += [word for pair in steps for word in pair]
    dims = struct.pack(f"{head}q", *words) + pack.dims + product.dims
    return Stage(batch_kernel(), (0, 1, 2), dims, batch[0] * batch[1], grain)
