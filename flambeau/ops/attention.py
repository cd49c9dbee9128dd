"""Attention: soft-max of scores between queries and keys, times values.

The scores of a block of queries are a tile that stays in the cache: a product makes them, soft-max
and the product with the values use them up, and the whole matrix of scores never exists (Rabe &
Staats 2021; Dao et al. 2022). A tile holds whole rows, so soft-max needs no second look at blocks
of keys; what lies above the diagonal of a causal mask is not computed, but for the tiles on it.
Backward makes the tiles again from the logarithms of the sums.
"""

import math

from flambeau import ir
from flambeau.ir import math as functions
from flambeau.types import by_name

from .arithmetic import masked
from .extremes import extreme_fold, larger
from .family import chain
from .family.product import blas_form
from .op import composite, find
from .softmax import sum_fold

BOOL = by_name("bool")
LOWEST = -math.inf
_HEIGHT = 64  # queries of a tile, or more where there would be more than _TILES of them
_TILES = 16
_BELOW = (0, 0, -1, 1), 0  # position = column - row


def _between(layout, length, width):
    """The layout of a result [batch, heads, length, width] whose heads lie between each other, as
    models want it."""
    batch, heads = layout.shape[:2]
    strides = (length * heads * width, width, heads * width, 1)
    return layout.reshaped((batch, heads, length, width), strides)


def _tiles(queries, keys, is_causal):
    """(first query, behind the last, keys that one of them may see) of each tile."""
    height = max(_HEIGHT, -(-queries // (_TILES * _HEIGHT)) * _HEIGHT)
    for start in range(0, queries, height):
        stop = min(start + height, queries)
        yield start, stop, min(stop, keys) if is_causal else keys


def _mask_diagonal(steps, tile, start, seen, value):
    """`value` for the keys behind each query's own place."""
    if start < seen:
        corner = tile.narrow(3, start, seen)
        steps.pointwise(
            lambda v: ir.select(ir.position > 0, ir.const(value, v.dtype), v),
            [corner],
            [corner],
            _BELOW,
        )


def _build(steps, query, key, value, is_causal, scale):
    steps.rows = 2
    (batch, heads, queries, _), kind = query.layout.shape, query.dtype
    keys, width = value.layout.shape[2:]
    tiles = list(_tiles(queries, keys, is_causal))
    height = tiles[0][1]
    out = steps.result_as(_between(query.layout, queries, width))
    log_sum = steps.result((batch, heads, queries, 1), kind)
    scores = steps.scratch((batch, heads, height, keys), kind)
    high, rest = (steps.scratch((batch, heads, height, 1), kind) for _ in range(2))
    most = extreme_fold(larger, 0)(kind)._replace(element=lambda v: (v * scale,))
    total = sum_fold(lambda v: v, kind)
    for start, stop, seen in tiles:
        tile = scores.narrow(2, 0, stop - start).narrow(3, 0, seen)
        m, s = (b.narrow(2, 0, stop - start) for b in (high, rest))
        part = out.narrow(2, start, stop)
        steps.product(query.narrow(2, start, stop), key.narrow(2, 0, seen).turned(), tile)
        if is_causal:
            _mask_diagonal(steps, tile, start, seen, math.copysign(LOWEST, -scale))
        steps.reduce(most, [tile], (3,), [m])
        steps.pointwise(lambda v, m: functions.exp(v * scale - m), [tile, m], [tile])
        steps.reduce(total, [tile], (3,), [s])
        steps.pointwise(lambda m, s: m + functions.log(s), [m, s], [log_sum.narrow(2, start, stop)])
        steps.product(tile, value.narrow(2, 0, seen), part)
        steps.pointwise(lambda v, s: v / s, [part, s], [part])


def _build_backward(steps, grad, query, key, value, result, log_sum, is_causal, scale):
    steps.rows = 2
    (batch, heads, queries, depth), kind = query.layout.shape, query.dtype
    keys, width = value.layout.shape[2:]
    tiles = list(_tiles(queries, keys, is_causal))
    height = tiles[0][1]
    d_query = steps.result_as(_between(query.layout, queries, depth))
    d_key = steps.result_as(_between(query.layout, keys, depth))
    d_value = steps.result_as(_between(query.layout, keys, width))
    weights, slopes = (steps.scratch((batch, heads, height, keys), kind) for _ in range(2))
    level = steps.scratch((batch, heads, queries, 1), kind)
    steps.reduce(sum_fold(lambda g, y: g * y, kind), [grad, result], (3,), [level])
    for sums in (d_key, d_value):
        steps.pointwise(lambda: ir.const(0, kind), [], [sums])
    for start, stop, seen in tiles:
        w, d = (b.narrow(2, 0, stop - start).narrow(3, 0, seen) for b in (weights, slopes))
        q, g, logs, means = (b.narrow(2, start, stop) for b in (query, grad, log_sum, level))
        k, v = key.narrow(2, 0, seen), value.narrow(2, 0, seen)
        steps.product(q, k.turned(), w)
        steps.pointwise(lambda x, y: functions.exp(x * scale - y), [w, logs], [w])
        if is_causal:
            _mask_diagonal(steps, w, start, seen, 0)
        steps.product(w.turned(), g, d_value.narrow(2, 0, seen), add=True)
        steps.product(g, v.turned(), d)
        steps.pointwise(lambda x, y, z: x * (y - z) * scale, [w, d, means], [d])
        steps.product(d, k, d_query.narrow(2, start, stop))
        steps.product(d.turned(), q, d_key.narrow(2, 0, seen), add=True)


def _backward(grad, query, key, value, result, log_sum, is_causal, scale):
    """The same in differentiable ops."""
    weights = _mask_scores((query * scale).matmul(key.mT), None, is_causal).softmax(-1)
    slopes = grad.matmul(value.mT)
    slopes = weights * (slopes - (slopes * weights).sum(-1, True)) * scale
    return slopes.matmul(key), slopes.mT.matmul(query), weights.mT.matmul(grad)


forward_tiles = chain(
    "aten::_attention_tiles(Tensor query, Tensor key, Tensor value, bool is_causal, float scale)"
    " -> (Tensor result, Tensor log_sum)",
    """Attention of [batch, heads, length, depth], and the logarithm of each row's sum.""",
    build=_build,
    method=False,
    function=False,
)
backward_tiles = chain(
    "aten::_attention_tiles_backward(Tensor grad, Tensor query, Tensor key, Tensor value, Tensor "
    "result, Tensor log_sum, bool is_causal, float scale) -> (Tensor, Tensor, Tensor)",
    """The gradients of query, key and value.""",
    build=_build_backward,
    body=_backward,
    method=False,
    function=False,
)


def _gradients(grad_result, tensors, result, log_sum, is_causal, scale):
    if blas_form(grad_result.layout) is None:
        grad_result = grad_result.contiguous().resolve_neg()
    return list(backward_tiles(grad_result, *tensors, result, log_sum, is_causal, scale))


@composite(
    "aten::_attention(Tensor[] tensors, bool is_causal, float scale) -> (Tensor result, Tensor "
    "log_sum)",
    grad=dict(tensors=_gradients),
    method=False,
    function=False,
)
def attend(tensors, is_causal, scale):
    """`forward_tiles` with gradients."""
    return forward_tiles(*tensors, is_causal, scale)


def _mask_scores(scores, attn_mask, is_causal):
    if is_causal:
        rows, columns = scores.layout.shape[-2:]
        iota, device = find("_iota").door, scores.layout.device
        column, row = iota(columns).to(device), iota(rows).to(device)
        scores = scores.masked_fill(column > row.unsqueeze(1), LOWEST)
    if attn_mask is None:
        return scores
    return (
        scores.masked_fill(~attn_mask, LOWEST)
        if attn_mask.layout.dtype is BOOL
        else scores + attn_mask
    )


def _fits_tiles(query, key, value):
    """Whether the three are [batch, heads, length, depth] in memory that BLAS reads."""
    layouts = [x.layout for x in (query, key, value)]
    first = layouts[0]
    return (
        all(y.ndim == 4 and y.shape[:2] == first.shape[:2] and y.numel for y in layouts)
        and first.dtype.name in ("float32", "float64")
        and all(y.dtype is first.dtype and blas_form(y) is not None for y in layouts)
        and first.shape[3] == layouts[1].shape[3]
        and layouts[1].shape[2] == layouts[2].shape[2]
    )


@composite(
    "nn::scaled_dot_product_attention(Tensor query, Tensor key, Tensor value, Tensor? "
    "attn_mask=None, float dropout_p=0.0, bool is_causal=False, *, float? scale=None, bool "
    "enable_gqa=False) -> Tensor",
    rounds_once=True,
)
def scaled_dot_product_attention(
    query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa
):
    """``softmax(query @ key.T * scale + mask) @ value``; `scale` is 1/sqrt(last dimension) by
    default.

    query [..., L, E], key [..., S, E], value [..., S, V]; a bool mask keeps where it is true. Rows
    with nothing to attend to give zeros. With `enable_gqa` each head of key and value serves
    several heads of query.
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
    if attn_mask is None and dropout_p == 0 and scale and _fits_tiles(query, key, value):
        return attend((query, key, value), is_causal, scale)[0]
    scores = _mask_scores((query * scale).matmul(key.transpose(-2, -1)), attn_mask, is_causal)
    weights = scores.softmax(-1)
    if attn_mask is not None:
        weights = masked(weights, scores.eq(LOWEST).all(-1, True).logical_not())
    if dropout_p > 0:
        weights = find("dropout").door(weights, dropout_p, True)
    return weights.matmul(value)
