"""How to compute the cross entropy of a linear layer."""

from __future__ import annotations

from typing import Any, NamedTuple


class LinearCrossEntropyOptions(NamedTuple):
    """How `functional.linear_cross_entropy` goes about its rows: `batch_chunk_size` at a time, or
    as many as `chunking_method` chooses. Sums are always kept in the type of the loss, and graphs
    may always be kept: the other fields are PyTorch's, and change nothing.
    """

    allow_retain_graph: bool = False
    batch_chunk_size: int | None = None
    chunking_method: str | None = "auto"
    acc_policy: str = "auto"
    acc_dtype: Any = None
