"""Masks of causal attention for queries and keys of different number."""

from __future__ import annotations

import enum
import warnings
from typing import Any

from flambeau.tensor import Tensor
from flambeau.types import by_name

from .. import operations as ops

__all__ = ["CausalBias", "CausalVariant", "causal_lower_right", "causal_upper_left"]


class CausalVariant(enum.IntEnum):
    """Which corner of the mask the diagonal starts from."""

    UPPER_LEFT = 1
    LOWER_RIGHT = 2


class CausalBias(Tensor):
    """A boolean mask [seq_len_q, seq_len_kv], true where a query may look at a key."""

    variant: CausalVariant
    seq_len_q: int
    seq_len_kv: int

    def __new__(cls, variant: CausalVariant, seq_len_q: int, seq_len_kv: int) -> Any:
        if not isinstance(variant, CausalVariant):
            raise AssertionError(f"variant must be a CausalVariant, got {type(variant).__name__}")
        lower = variant is CausalVariant.LOWER_RIGHT
        if lower and seq_len_q > seq_len_kv:
            warnings.warn(
                "Lower right causal bias will produce NaNs in the output when "
                "seq_len_q > seq_len_kv!",
                stacklevel=3,
            )
        ones = ops.ones((seq_len_q, seq_len_kv), dtype=by_name("bool"))
        mask = ones.tril(seq_len_kv - seq_len_q if lower else 0)
        made = Tensor._make_subclass(cls, mask)
        made.variant, made.seq_len_q, made.seq_len_kv = variant, seq_len_q, seq_len_kv
        return made


def _causal(variant: CausalVariant, name: str, size: tuple) -> CausalBias:
    if len(size) != 2:
        raise AssertionError(f"{name} only supports 2D tensors")
    return CausalBias(variant, *size)


def causal_upper_left(*size: int) -> CausalBias:
    """The mask whose diagonal starts in the upper left corner: the first query sees the first
    key.
    """
    return _causal(CausalVariant.UPPER_LEFT, "causal_upper_left", size)


def causal_lower_right(*size: int) -> CausalBias:
    """The mask whose diagonal ends in the lower right corner: the last query sees all keys."""
    return _causal(CausalVariant.LOWER_RIGHT, "causal_lower_right", size)
