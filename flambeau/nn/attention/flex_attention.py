"""Attention whose scores and masks are functions of the user's: PyTorch's `flex_attention`.

A `score_mod(score, batch, head, query, key)` or `mask_mod(batch, head, query, key)` is written for
single numbers. It is called once, with index tensors that are broadcast against each other, so that
it computes all numbers at once. It may index tensors with them and do arithmetic, and may not
branch on them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from flambeau.tensor import Tensor
from flambeau.types import by_name

from .. import operations as ops

__all__ = [
    "AuxOutput",
    "AuxRequest",
    "BlockMask",
    "and_masks",
    "create_block_mask",
    "create_mask",
    "flex_attention",
    "noop_mask",
    "or_masks",
]


class AuxRequest(NamedTuple):
    """What else `flex_attention` is to return: the logarithms of the sums of exponentials, and the
    largest scores.
    """

    lse: bool = False
    max_scores: bool = False


class AuxOutput(NamedTuple):
    """What an `AuxRequest` asked for."""

    lse: Tensor | None = None
    max_scores: Tensor | None = None


def noop_mask(batch: Tensor, head: Tensor, token_q: Tensor, token_kv: Tensor) -> Tensor:
    """A mask function that masks nothing."""
    return batch.new_ones((), dtype=by_name("bool"))


def _joined(masks: tuple, join: Callable, start: bool) -> Callable:
    if not all(callable(each) for each in masks):
        raise RuntimeError(f"All inputs should be callable mask_mods: {masks}")

    def mask_mod(b: Tensor, h: Tensor, q_idx: Tensor, kv_idx: Tensor) -> Tensor:
        result = b.new_full((), start, dtype=by_name("bool"))
        for each in masks:
            result = join(result, each(b, h, q_idx, kv_idx))
        return result

    return mask_mod


def or_masks(*mask_mods: Callable) -> Callable:
    """The mask function that is true where one of these is."""
    return _joined(mask_mods, lambda a, b: a | b, False)


def and_masks(*mask_mods: Callable) -> Callable:
    """The mask function that is true where all of these are."""
    return _joined(mask_mods, lambda a, b: a & b, True)


def _indices(shape: tuple, device: Any) -> list[Tensor]:
    """The numbers of batch, head, query and key, each along its own dimension."""
    return [
        ops.arange(size, device=device).reshape([-1 if k == dim else 1 for k in range(4)])
        for dim, size in enumerate(shape)
    ]


def create_mask(
    mod_fn: Callable, B: int | None, H: int | None, Q_LEN: int, KV_LEN: int, device: Any = None
) -> Tensor:
    """The boolean mask [B, H, Q_LEN, KV_LEN] of a mask function; None counts as 1."""
    shape = (B or 1, H or 1, Q_LEN, KV_LEN)
    return mod_fn(*_indices(shape, device)).expand(shape)


class BlockMask:
    """A mask function, and which blocks of queries and keys it leaves something of.

    Blocks of which all is left are *full*. ``kv_num_blocks`` [B, H, rows] counts the other blocks
    that are not empty, ``kv_indices`` [B, H, rows, columns] lists them first.
    """

    def __init__(self, mask: Tensor, block_size: tuple[int, int], mask_mod: Callable) -> None:
        self.shape = tuple(mask.shape)
        self.seq_lengths = self.shape[2:]
        self.BLOCK_SIZE, self.mask_mod = block_size, mask_mod
        rows, columns = block_size
        down, across = -self.shape[2] % rows, -self.shape[3] % columns
        padded = ops.pad(mask, (0, across, 0, down))
        counts = padded.unflatten(3, (-1, columns)).unflatten(2, (-1, rows)).sum((3, 5))
        full = counts == rows * columns
        self.kv_num_blocks, self.kv_indices = _listed((counts > 0) & ~full)
        self.full_kv_num_blocks, self.full_kv_indices = _listed(full)
        self._dense = (counts > 0).to(by_name("int32"))

    def numel(self) -> int:
        """How many pairs of queries and keys there are."""
        return math.prod(self.shape)

    def to_dense(self) -> Tensor:
        """1 for each block that is not empty, [B, H, rows, columns]."""
        return self._dense

    def sparsity(self) -> float:
        """How many of 100 blocks are empty."""
        return 100 * (1 - self._dense.sum().item() / self._dense.numel())

    def to(self, device: Any) -> BlockMask:
        """The mask on that device."""
        batch, heads, queries, keys = self.shape
        mask = create_mask(self.mask_mod, batch, heads, queries, keys, device)
        return BlockMask(mask, self.BLOCK_SIZE, self.mask_mod)

    def __repr__(self) -> str:
        return f"BlockMask(shape={self.shape}, sparsity={self.sparsity():.2f}%)"


def _listed(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """(how many blocks of a row are marked, their numbers before the others')."""
    kind = by_name("int32")
    order = ops.argsort(blocks.to(kind), dim=-1, descending=True, stable=True)
    return blocks.sum(-1).to(kind), order.to(kind)


def create_block_mask(
    mask_mod: Callable,
    B: int | None,
    H: int | None,
    Q_LEN: int,
    KV_LEN: int,
    device: Any = None,
    BLOCK_SIZE: int | tuple[int, int] = 128,
) -> BlockMask:
    """The `BlockMask` of a mask function; where B or H is None, it is the same for all."""
    size = (BLOCK_SIZE, BLOCK_SIZE) if isinstance(BLOCK_SIZE, int) else BLOCK_SIZE
    return BlockMask(create_mask(mask_mod, B, H, Q_LEN, KV_LEN, device), size, mask_mod)


def _check(query: Tensor, key: Tensor, value: Tensor, enable_gqa: bool) -> None:
    if any(tensor.dim() != 4 for tensor in (query, key, value)):
        raise NotImplementedError("NYI: query, key, and value must be 4D tensors")
    if query.shape[-1] != key.shape[-1]:
        raise ValueError(
            "Expect query and key/value to have the same embedding dimension but got "
            f"E={query.shape[-1]} and E={key.shape[-1]}."
        )
    if not enable_gqa and query.shape[1] != key.shape[1]:
        raise ValueError(
            "Expect query and key/value to have the same number of heads but got "
            f"Hq={query.shape[1]} and Hkv={key.shape[1]}. Try setting enable_gqa=True for GQA."
        )
    if query.shape[1] % key.shape[1]:
        raise ValueError(
            "Expect number of query heads to be a multiple of kv heads for GQA but got "
            f"Hq={query.shape[1]} and Hkv={key.shape[1]}."
        )


def flex_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    score_mod: Callable | None = None,
    block_mask: BlockMask | None = None,
    scale: float | None = None,
    enable_gqa: bool = False,
    return_lse: bool = False,
    kernel_options: Any = None,
    *,
    return_aux: AuxRequest | None = None,
) -> Any:
    """``softmax(score_mod(query @ key.T * scale)) @ value`` where the mask is true.

    query [B, Hq, L, E], key [B, H, S, E], value [B, H, S, V]; with `enable_gqa`, H divides Hq. Rows
    with nothing to attend to give zeros. With `return_lse` or `return_aux`, the result is a pair.
    The matrix of scores is kept. `kernel_options` are for accelerators.
    """
    _check(query, key, value, enable_gqa)
    shape = (*query.shape[:3], key.shape[2])
    if block_mask is not None and tuple(block_mask.seq_lengths) != shape[2:]:
        raise ValueError(
            f"block_mask was created for block_mask.shape={block_mask.shape} but got "
            f"q_len={shape[2]} and kv_len={shape[3]}."
        )
    key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], 1) for x in (key, value))
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query @ key.transpose(-2, -1)) * scale
    places = _indices(shape, query.device)
    if score_mod is not None:
        scores = score_mod(scores, *places).to(query.dtype)
    if block_mask is not None:
        scores = scores.masked_fill(~block_mask.mask_mod(*places), -math.inf)
    sums = scores.logsumexp(-1)
    seen = sums > -math.inf
    weights = ops.where(seen[..., None], (scores - sums[..., None]).exp(), 0.0)
    result = weights @ value
    if return_aux is not None:
        largest = scores.amax(-1) if return_aux.max_scores else None
        return result, AuxOutput(sums if return_aux.lse else None, largest)
    return (result, sums) if return_lse else result
