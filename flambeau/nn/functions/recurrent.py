"""Recurrent layers: one layer in one direction as one step of the graph.

The rows of all time steps lie behind each other, [sum of sizes, features], as in a packed
sequence; `sizes` says how many rows each step has, and never grows. Forward and backward are each
one call of an op (see `flambeau.ops.recurrent`); the gradients of the weights are products over
all steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau.tensor import Tensor, autocast, engine, forward, function, is_grad_enabled

from .. import operations as ops


def _run(mode: str, x: Any, states: Any, weights: Any, sizes: Any, reverse: bool) -> Any:
    """(output, last states, what backward reads besides)."""
    if mode == "LSTM":
        output, last, *kept, last_cell, cells, raw = ops._lstm_layer(
            x, *states, *weights, sizes, reverse
        )
        return output, (last, last_cell), (*kept, cells, raw)
    if mode == "GRU":
        output, last, *kept = ops._gru_layer(x, *states, *weights[:4], sizes, reverse)
    else:
        relu = mode == "RNN_RELU"
        output, last, *kept = ops._rnn_layer(x, *states, *weights[:4], relu, sizes, reverse)
    return output, (last,), kept


def _back(
    mode: str,
    grad: Any,
    grad_last: Any,
    weights: Any,
    output: Any,
    before: Any,
    kept: Any,
    sizes: Any,
    rev: bool,
) -> Any:
    """Gradients of the sums with the input, of those with the hidden state, of the first states
    (of the hidden one, without what comes through the sums), of the projection's results."""
    w_hh, w_hr = weights[1], weights[4]
    if mode == "LSTM":
        gates, cells, _ = kept
        grads, carry, cell, projected = ops._lstm_layer_back(
            grad, *grad_last, gates, cells, w_hh, w_hr, sizes, rev
        )
        return grads, grads, (carry, cell), projected
    if mode == "GRU":
        gates, more = kept
        ours, theirs, carry = ops._gru_layer_back(
            grad, *grad_last, gates, more, before, w_hh, sizes, rev
        )
        return ours, theirs, (carry,), None
    grads, carry = ops._rnn_layer_back(
        grad, *grad_last, output, w_hh, mode == "RNN_RELU", sizes, rev
    )
    return grads, grads, (carry,), None


def _of_first_steps(rows: Tensor, sizes: Sequence[int], reverse: bool) -> Tensor:
    """The rows with which the sequences start."""
    batch = sizes[0]
    if not reverse:
        return rows[:batch]
    if sizes[-1] == batch:
        return rows[rows.size(0) - batch :]
    places, start = [0] * batch, 0
    for step, size in enumerate(sizes):
        following = sizes[step + 1] if step + 1 < len(sizes) else 0
        places[following:size] = range(start + following, start + size)
        start += size
    return rows.index_select(0, ops.tensor(places))


Pieces = list[Tensor]


def _resize(state: Tensor, count: int, reserve: Tensor, ended: Pieces) -> Tensor:
    """`state` with `count` rows: superfluous ones go to `ended`, missing ones come from
    `reserve`."""
    have = state.size(0)
    if have == count:
        return state
    if have > count:
        ended.append(state[count:])
        return state[:count]
    return ops.cat([state, reserve[have:count]])


def _whole(state: Tensor, ended: Pieces) -> Tensor:
    """The last rows of all sequences: those still running and those that ended before."""
    return ops.cat([state, *reversed(ended)]) if ended else state.clone()


def _by_parts(mode: str, x: Any, states: Any, weights: Any, sizes: Any, reverse: bool) -> Any:
    """The same in differentiable ops: for gradients of gradients, and forward mode."""
    cells = {"GRU": ops.gru_cell, "RNN_TANH": ops.rnn_tanh_cell, "RNN_RELU": ops.rnn_relu_cell}
    order = range(len(sizes) - 1, -1, -1) if reverse else range(len(sizes))
    rows, w_hr = x.split(sizes), weights[4]
    ended: list[Pieces] = [[] for _ in states]
    found: list[Any] = [None] * len(sizes)
    now = [each[: sizes[order[0]]] for each in states]
    # A projection makes the recurrent state narrower than the cell's, which the cell op allows.
    for step in order:
        parts = zip(now, states, ended, strict=True)
        now = [_resize(each, sizes[step], first, gone) for each, first, gone in parts]
        if mode == "LSTM":
            now = list(ops.lstm_cell(rows[step], now, *weights[:4]))
            if w_hr is not None:
                now[0] = now[0].mm(w_hr.t())
        else:
            now = [cells[mode](rows[step], now[0], *weights[:4])]
        found[step] = now[0]
    lasts = [_whole(each, gone) for each, gone in zip(now, ended, strict=True)]
    return ops.cat(found), *lasts


class _Layer(function.Function):
    """One layer in one direction: (output, last states…)."""

    @staticmethod
    def forward(ctx: Any, mode: str, sizes: Any, reverse: bool, count: int, *tensors: Any) -> Any:
        x, states, weights = tensors[0], tensors[1 : 1 + count], tensors[1 + count :]
        output, lasts, kept = _run(mode, x, states, weights, sizes, reverse)
        result = output.detach()  # a tensor of its own, so that saving the buffer makes no cycle
        ctx.plan = mode, sizes, reverse, count
        ctx.save_for_backward(*tensors, result, *kept)
        return result, *lasts

    @staticmethod
    def backward(ctx: Any, grad: Any, *grad_last: Any) -> Any:
        mode, sizes, reverse, count = ctx.plan
        saved = ctx.saved_tensors
        tensors, (output, before), kept = (
            saved[: count + 6],
            saved[count + 6 :][:2],
            saved[count + 8 :],
        )
        repeats, kept = kept[:3], kept[3:]
        needs = ctx.needs_input_grad[4:]
        if is_grad_enabled():
            return *[None] * 4, *_grad_by_parts(ctx.plan, tensors, needs, grad, grad_last)
        x, weights = tensors[0], tensors[1 + count :]
        ours, theirs, first, projected = _back(
            mode, grad, grad_last, weights, output, before, kept, sizes, reverse
        )
        d_hidden = None
        if needs[1]:
            d_hidden = ops.addmm(first[0], _of_first_steps(theirs, sizes, reverse), weights[1])
        d_w_ih, d_w_hh, d_b_ih, d_b_hh, d_w_hr = needs[1 + count :]
        w_ih = bias = other_bias = None
        if d_w_ih or d_b_ih:
            w_ih, bias = ops._sum_over_rows(ours, x, *repeats)
        if d_b_hh:
            other_bias = theirs.sum(0) if bias is None or theirs is not ours else bias.clone()
        return (
            *[None] * 4,
            ours.mm(weights[0]) if needs[0] else None,
            d_hidden,
            *first[1:],
            w_ih if d_w_ih else None,
            theirs.t().mm(before) if d_w_hh else None,
            bias if d_b_ih else None,
            other_bias,
            projected.t().mm(kept[2]) if d_w_hr else None,
        )


def _grad_by_parts(plan: Any, tensors: Any, needs: Any, grad: Any, grad_last: Any) -> list[Any]:
    """Backward where its result is differentiated again."""
    mode, sizes, reverse, count = plan
    results = _by_parts(
        mode, tensors[0], tensors[1 : 1 + count], tensors[1 + count :], sizes, reverse
    )
    wanted = [place for place, need in enumerate(needs) if need]
    grads = engine.grad(
        results,
        [tensors[place] for place in wanted],
        [grad, *grad_last],
        create_graph=True,
        allow_unused=True,
    )
    found: list[Any] = [None] * len(tensors)
    for place, each in zip(wanted, grads, strict=True):
        found[place] = each
    return found


def recurrent_layer(
    mode: str,
    x: Tensor,
    states: Sequence[Tensor],
    weights: Sequence[Tensor | None],
    sizes: Sequence[int],
    reverse: bool,
) -> tuple[Tensor, ...]:
    """One layer in one direction over rows x [sum of `sizes`, features].

    `mode` is LSTM, GRU, RNN_TANH or RNN_RELU; `states` are the first states [sizes[0], hidden];
    `weights` are w_ih, w_hh, b_ih, b_hh, w_hr, the last three perhaps None. Returns the output's
    rows and the last states.
    """
    if autocast.is_autocast_enabled("cpu"):
        if mode != "GRU":  # which mixes its products with states of float32
            x, *given = (autocast.lowered(t) for t in (x, *states, *weights))
            states, weights = given[: len(states)], given[len(states) :]
        with autocast.autocast("cpu", enabled=False):
            return recurrent_layer(mode, x, states, weights, sizes, reverse)
    tensors = [t for t in (x, *states, *weights) if t is not None]
    if x.dtype.itemsize == 2:
        first = [t.float() for t in states]
        wide = [None if t is None else t.float() for t in weights]
        found = recurrent_layer(mode, x.float(), first, wide, sizes, reverse)
        return tuple(each.to(x.dtype) for each in found)
    if x.is_complex() or forward.level_of(tensors) is not None:
        return _by_parts(mode, x, states, weights, sizes, reverse)
    if is_grad_enabled() and any(t.requires_grad for t in tensors):
        return _Layer.apply(mode, tuple(sizes), reverse, len(states), x, *states, *weights)
    output, lasts, _ = _run(mode, x, states, weights, tuple(sizes), reverse)
    return output, *lasts
