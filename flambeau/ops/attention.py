"""Attention."""

import math

from flambeau.types import by_name

from .op import composite, find

BOOL = by_name("bool")


def _mask_scores(scores, attn_mask, is_causal):
    lowest = -math.inf
    if is_causal:
        rows, columns = scores.layout.shape[-2:]
        iota = find("_iota").door
        scores = scores.masked_fill(iota(columns) > iota(rows).unsqueeze(1), lowest)
    if attn_mask is None:
        return scores
    return (
        scores.masked_fill(~attn_mask, lowest)
        if attn_mask.layout.dtype is BOOL
        else scores + attn_mask
    )


@composite(
    "nn::scaled_dot_product_attention(Tensor query, Tensor key, Tensor value, Tensor? "
    "attn_mask=None, "
    "float dropout_p=0.0, bool is_causal=False, *, float? scale=None, bool enable_gqa=False) -> "
    "Tensor"
)
def scaled_dot_product_attention(
    query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa
):
    """``softmax(query @ key.T * scale + mask) @ value``; `scale` is 1/sqrt(last dimension) by
    default.

    query [..., L, E], key [..., S, E], value [..., S, V]; a bool mask keeps where it is true. Rows
    with nothing to
    attend to give zeros. With `enable_gqa` each head of key and value serves several heads of
    query.
    """
    if attn_mask is not None and is_causal:
        raise RuntimeError(
            "_scaled_dot_product_attention: Explicit attn_mask should not be set when "
            "is_causal=True"
        )
    if enable_gqa:
        times = query.layout.shape[-3] // key.layout.shape[-3]
        key, value = (x.repeat_interleave(times, -3) for x in (key, value))
    scale = 1 / math.sqrt(max(query.layout.shape[-1], 1)) if scale is None else scale
    scores = _mask_scores((query * scale).matmul(key.transpose(-2, -1)), attn_mask, is_causal)
    weights = scores.softmax(-1)
    if attn_mask is not None:
        empty = scores.eq(-math.inf).all(-1, True)
        weights = weights.masked_fill(empty, 0.0)
    if dropout_p > 0:
        weights = find("dropout").door(weights, dropout_p, True)
    return weights.matmul(value)
