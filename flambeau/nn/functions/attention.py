"""Multi-head attention as one function (Vaswani et al. 2017)."""

from __future__ import annotations

import math
from typing import Any

from flambeau.tensor import Tensor

from .. import operations as ops


def _in_projection_packed(
    query: Tensor, key: Tensor, value: Tensor, weight: Tensor, bias: Tensor | None
) -> list[Tensor]:
    """Project queries, keys and values by one weight matrix that stacks all three."""
    width = query.size(-1)
    if key is value and query is key:
        projected = ops.linear(query, weight, bias)
        return list(projected.unflatten(-1, (3, width)).unbind(-2))
    weights = weight.chunk(3)
    biases = (None, None, None) if bias is None else bias.chunk(3)
    return [
        ops.linear(each, one_weight, one_bias)
        for each, one_weight, one_bias in zip((query, key, value), weights, biases, strict=True)
    ]


def _canonical_mask(mask: Tensor | None, name: str, target: Any) -> Tensor | None:
    """Turn a boolean mask (True: leave out) into one that is added."""
    if mask is None:
        return None
    if mask.dtype.is_floating_point:
        return mask
    if str(mask.dtype).rpartition(".")[2] != "bool":
        raise AssertionError(f"only bool and floating types of {name} are supported")
    return ops.zeros_like(mask, dtype=target).masked_fill_(mask, -math.inf)


def _check_shapes(
    query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Any, attn_mask: Any
) -> bool:
    """Whether the inputs are batched; errors where the number of dimensions is wrong."""
    if query.dim() not in (2, 3):
        raise AssertionError(
            "query should be unbatched 2D or batched 3D tensor but received "
            f"{query.dim()}-D query tensor"
        )
    batched = query.dim() == 3
    words = ("batched 3-D", "3-D") if batched else ("unbatched 2-D", "2-D")
    if key.dim() != query.dim() or value.dim() != query.dim():
        raise AssertionError(
            f"For {words[0]} `query`, expected `key` and `value` to be {words[1]} but found "
            f"{key.dim()}-D and {value.dim()}-D tensors respectively"
        )
    if key_padding_mask is not None and key_padding_mask.dim() != query.dim() - 1:
        raise AssertionError(
            f"For {words[0]} `query`, expected `key_padding_mask` to be `None` or "
            f"{query.dim() - 1}-D but found {key_padding_mask.dim()}-D tensor instead"
        )
    if attn_mask is not None and attn_mask.dim() not in (2, 3):
        raise AssertionError(
            f"For {words[0]} `query`, expected `attn_mask` to be `None`, 2-D or 3-D but found "
            f"{attn_mask.dim()}-D tensor instead"
        )
    return batched


def _head_width(width, wanted, num_heads):
    if width != wanted:
        raise AssertionError(f"was expecting embedding dimension of {wanted}, but got {width}")
    if width % num_heads:
        raise AssertionError(f"embed_dim {width} not divisible by num_heads {num_heads}")
    return width // num_heads


def _in_projection(inputs, apart, packed, bias):
    """Queries, keys and values by weights `apart`, or by those that lie in one matrix, `packed`."""
    if apart is None:
        return _in_projection_packed(*inputs, packed, bias)
    return map(ops.linear, inputs, apart, (None,) * 3 if bias is None else bias.chunk(3))


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Attention of (L, N, E) queries to (S, N, E) keys and values, or without N.

    Returns the output and, with `need_weights`, the weights (N, L, S) averaged over the heads or
    (N, heads, L, S).
    """
    batched = _check_shapes(query, key, value, key_padding_mask, attn_mask)
    if not batched:
        alike = key is query, value is key
        query = query.unsqueeze(1)
        key = query if alike[0] else key.unsqueeze(1)
        value = key if alike[1] else value.unsqueeze(1)
        if key_padding_mask is not None:
            key_padding_mask = key_padding_mask.unsqueeze(0)
    length, batch, width = query.shape
    head_width = _head_width(width, embed_dim_to_check, num_heads)
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint. You may use the Transformer module "
            "method `generate_square_subsequent_mask` to create this mask."
        )
    dtype = query.dtype
    key_padding_mask = _canonical_mask(key_padding_mask, "key_padding_mask", dtype)
    if is_causal and key_padding_mask is None and not need_weights:
        attn_mask = None
    else:
        attn_mask = _canonical_mask(attn_mask, "attn_mask", dtype)
        is_causal = False

    apart = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else None
    q, k, v = _in_projection((query, key, value), apart, in_proj_weight, in_proj_bias)
    attn_mask = _checked_mask(attn_mask, batch, num_heads, length, key.shape[0])
    extra = 0
    if bias_k is not None and bias_v is not None:
        k = ops.cat([k, bias_k.repeat(1, batch, 1)])
        v = ops.cat([v, bias_v.repeat(1, batch, 1)])
        extra += 1

    def heads(tensor: Tensor) -> Tensor:
        return tensor.reshape(-1, batch, num_heads, head_width).permute(1, 2, 0, 3)

    q = heads(q)
    k = heads(k) if static_k is None else static_k.unflatten(0, (batch, num_heads))
    v = heads(v) if static_v is None else static_v.unflatten(0, (batch, num_heads))
    if add_zero_attn:
        zero = q.new_zeros((batch, num_heads, 1, head_width))
        k, v = ops.cat([k, zero], 2), ops.cat([v, zero], 2)
        extra += 1
    mask = _joint_mask(attn_mask, key_padding_mask, extra)
    dropout = dropout_p if training else 0.0
    if need_weights:
        output, attended = _with_weights(q, k, v, mask, dropout)
    else:
        output = ops.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal)
        attended = None
    output = output.permute(2, 0, 1, 3).reshape(length, batch, width)
    output = ops.linear(output, out_proj_weight, out_proj_bias)
    if attended is not None and average_attn_weights:
        attended = attended.mean(dim=1)
    if batched:
        return output, attended
    return output.squeeze(1), None if attended is None else attended.squeeze(0)


def _with_weights(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float
) -> tuple[Tensor, Tensor]:
    """Attention and its weights, which the fused op does not give."""
    scores = (q * math.sqrt(1.0 / q.shape[-1])) @ k.transpose(-2, -1)
    weights = ops.softmax(scores if mask is None else scores + mask, -1)
    if dropout > 0.0:
        weights = ops.dropout(weights, dropout, True)
    return weights @ v, weights


def _checked_mask(mask: Tensor | None, batch: int, heads: int, length: int, keys: int) -> Any:
    """Bring an attention mask to (1 or N, 1 or heads, L, S)."""
    if mask is None:
        return None
    if mask.dim() == 2:
        if tuple(mask.shape) != (length, keys):
            raise RuntimeError(
                f"The shape of the 2D attn_mask is {mask.shape}, but should be {(length, keys)}."
            )
        return mask.unsqueeze(0).unsqueeze(0)
    if tuple(mask.shape) != (batch * heads, length, keys):
        raise RuntimeError(
            f"The shape of the 3D attn_mask is {mask.shape}, but should be "
            f"{(batch * heads, length, keys)}."
        )
    return mask.reshape(batch, heads, length, keys)


def _joint_mask(attn_mask: Tensor | None, padding: Tensor | None, extra: int) -> Tensor | None:
    """Add both masks up; keys that were appended (bias, zero) are always seen."""
    if attn_mask is not None and extra:
        attn_mask = ops.pad(attn_mask, [0, extra])
    if padding is None:
        return attn_mask
    if extra:
        padding = ops.pad(padding, [0, extra])
    padding = padding.unsqueeze(1).unsqueeze(1)
    return padding if attn_mask is None else attn_mask + padding
