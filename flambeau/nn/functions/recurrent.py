"""Recurrent layers: one layer in one direction as one step of the graph.

The rows of all time steps lie behind each other, [sum of sizes, features], as in a packed sequence,
or those of all sequences; see `Order`. Forward and backward are each one call of an op (see
`flambeau.ops.recurrent`); the gradients of the weights are products over all steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from flambeau.ops import composite
from flambeau.tensor import Tensor, autocast, engine, forward, function, is_grad_enabled

from .. import operations as ops


class Order(NamedTuple):
    """How many rows each step has, whether the last step comes first, and whether the rows of a
    step lie apart, as those of a sequence are neighbours: then all steps have as many."""

    sizes: tuple[int, ...]
    reverse: bool = False
    apart: bool = False


def _run(mode: str, x: Any, states: Any, weights: Any, order: Order) -> Any:
    """(output, last states, what backward reads besides)."""
    if mode == "LSTM":
        output, last, *kept, last_cell, cells, raw = ops._lstm_layer(x, *states, *weights, *order)
        return output, (last, last_cell), (*kept, cells, raw)
    if mode == "GRU":
        output, last, *kept = ops._gru_layer(x, *states, *weights[:4], *order)
    else:
        relu = mode == "RNN_RELU"
        output, last, *kept = ops._rnn_layer(x, *states, *weights[:4], relu, *order)
    return output, (last,), kept


def _back(
    mode: str,
    grad: Any,
    grad_last: Any,
    weights: Any,
    output: Any,
    before: Any,
    kept: Any,
    order: Order,
) -> Any:
    """Gradients of the sums with the input, of those with the hidden state, of the first states
    (of the hidden one, without what comes through the sums), of the projection's results."""
    w_hh, w_hr = weights[1], weights[4]
    if mode == "LSTM":
        gates, cells, _ = kept
        grads, carry, cell, projected = ops._lstm_layer_back(
            grad, *grad_last, gates, cells, w_hh, w_hr, *order
        )
        return grads, grads, (carry, cell), projected
    if mode == "GRU":
        gates, more = kept
        ours, theirs, carry = ops._gru_layer_back(
            grad, *grad_last, gates, more, before, w_hh, *order
        )
        return ours, theirs, (carry,), None
    grads, carry = ops._rnn_layer_back(grad, *grad_last, output, w_hh, mode == "RNN_RELU", *order)
    return grads, grads, (carry,), None


def _of_first_steps(rows: Tensor, order: Order) -> Tensor:
    """The rows with which the sequences start."""
    sizes, reverse, apart = order
    batch = sizes[0]
    if apart:
        return rows.view(batch, len(sizes), -1).select(1, -1 if reverse else 0)
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


def _by_parts(mode: str, x: Any, states: Any, weights: Any, order: Order) -> Any:
    """The same in differentiable ops: for gradients of gradients, and forward mode."""
    cells = {"GRU": ops.gru_cell, "RNN_TANH": ops.rnn_tanh_cell, "RNN_RELU": ops.rnn_relu_cell}
    sizes, reverse, apart = order
    count, w_hr = len(sizes), weights[4]
    numbers = range(count - 1, -1, -1) if reverse else range(count)
    rows = x.reshape(sizes[0], count, x.size(1)).unbind(1) if apart else x.split(sizes)
    ended: list[Pieces] = [[] for _ in states]
    found: list[Any] = [None] * count
    now = [each[: sizes[numbers[0]]] for each in states]
    # A projection makes the recurrent state narrower than the cell's, which the cell op allows.
    for step in numbers:
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
    output = ops.stack(found, 1).flatten(0, 1) if apart else ops.cat(found)
    return output, *lasts


class _Layer(function.Function):
    """One layer in one direction: (output, last states…)."""

    @staticmethod
    def forward(ctx: Any, mode: str, order: Order, count: int, *tensors: Any) -> Any:
        x, states, weights = tensors[0], tensors[1 : 1 + count], tensors[1 + count :]
        output, lasts, kept = _run(mode, x, states, weights, order)
        result = output.detach()  # a tensor of its own, so that saving the buffer makes no cycle
        ctx.plan = mode, order, count
        ctx.save_for_backward(*tensors, result, *kept)
        return result, *lasts

    @staticmethod
    def backward(ctx: Any, grad: Any, *grad_last: Any) -> Any:
        mode, order, count = ctx.plan
        saved = ctx.saved_tensors
        tensors, (output, before), kept = (
            saved[: count + 6],
            saved[count + 6 :][:2],
            saved[count + 8 :],
        )
        repeats, kept = kept[:3], kept[3:]
        needs = ctx.needs_input_grad[3:]
        if is_grad_enabled():
            return *[None] * 3, *_grad_by_parts(ctx.plan, tensors, needs, grad, grad_last)
        x, weights = tensors[0], tensors[1 + count :]
        ours, theirs, first, projected = _back(
            mode, grad, grad_last, weights, output, before, kept, order
        )
        d_hidden = None
        if needs[1]:
            d_hidden = ops.addmm(first[0], _of_first_steps(theirs, order), weights[1])
        d_w_ih, d_w_hh, d_b_ih, d_b_hh, d_w_hr = needs[1 + count :]
        w_ih = bias = other_bias = None
        if d_w_ih or d_b_ih:
            w_ih, bias = ops._sum_over_rows(ours, x, *repeats)
        if d_b_hh:
            other_bias = theirs.sum(0) if bias is None or theirs is not ours else bias.clone()
        return (
            *[None] * 3,
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
    mode, order, count = plan
    results = _by_parts(mode, tensors[0], tensors[1 : 1 + count], tensors[1 + count :], order)
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


@composite(
    "aten::_recurrent_layer(str mode, int[] sizes, bool reverse, bool apart, Tensor x, "
    "Tensor[] states, Tensor?[] weights) -> Tensor[]",
    method=False,
    function=False,
)
def _recorded(mode, sizes, reverse, apart, x, states, weights):
    """A layer with its history, as an op by a name: see `recurrent_layer`."""
    order = Order(tuple(sizes), reverse, apart)
    return _Layer.apply(mode, order, len(states), x, *states, *weights)


def recurrent_layer(
    mode: str,
    x: Tensor,
    states: Sequence[Tensor],
    weights: Sequence[Tensor | None],
    order: Order,
) -> tuple[Tensor, ...]:
    """One layer in one direction over rows x [sum of sizes, features].

    `mode` is LSTM, GRU, RNN_TANH or RNN_RELU; `states` are the first states [sizes[0], hidden];
    `weights` are w_ih, w_hh, b_ih, b_hh, w_hr, the last three perhaps None. Returns the output's
    rows and the last states.
    """
    if autocast.is_autocast_enabled("cpu"):
        if mode != "GRU":  # which mixes its products with states of float32
            x, *given = (autocast.lowered(t) for t in (x, *states, *weights))
            states, weights = given[: len(states)], given[len(states) :]
        with autocast.autocast("cpu", enabled=False):
            return recurrent_layer(mode, x, states, weights, order)
    tensors = [t for t in (x, *states, *weights) if t is not None]
    if x.dtype.itemsize == 2:
        first = [t.float() for t in states]
        wide = [None if t is None else t.float() for t in weights]
        found = recurrent_layer(mode, x.float(), first, wide, order)
        return tuple(each.to(x.dtype) for each in found)
    if x.is_complex() or forward.level_of(tensors) is not None:
        return _by_parts(mode, x, states, weights, order)
    if is_grad_enabled() and any(t.requires_grad for t in tensors):
        return tuple(_recorded.door(mode, *order, x, list(states), list(weights)))
    output, lasts, _ = _run(mode, x, states, weights, order)
    return output, *lasts


Weights = Sequence[Tensor | None]


def recurrent_layers(
    mode: str,
    rows: Tensor,
    states: Sequence[Tensor],
    weights: Sequence[Weights],
    order: Order,
    directions: int,
    dropout: float,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """All layers and directions over rows: the output's rows and the last states.

    `states` are [layers * directions, sizes[0], hidden], `weights` those of each layer and
    direction, as of `recurrent_layer`; `dropout` is the probability between layers.
    """
    lasts: list[tuple[Tensor, ...]] = []
    layers = len(weights) // directions
    for layer in range(layers):
        outputs = []
        for direction in range(directions):
            place = layer * directions + direction
            first = tuple(each[place] for each in states)
            way = order._replace(reverse=direction == 1)
            result = recurrent_layer(mode, rows, first, weights[place], way)
            outputs.append(result[0])
            lasts.append(result[1:])
        rows = outputs[0] if directions == 1 else ops.cat(outputs, 1)
        if dropout and layer + 1 < layers:
            rows = ops.dropout(rows, dropout, True)
    return rows, tuple(ops.stack(list(each)) for each in zip(*lasts, strict=True))


def recurrent_batch(
    mode: str,
    input: Tensor,
    states: Sequence[Tensor],
    weights: Sequence[Weights],
    directions: int,
    dropout: float,
    batch_first: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """As `recurrent_layers`, for sequences of one length: input [L, N, in], or [N, L, in]."""
    batch_dim = 0 if batch_first else 1
    batch, length = input.size(batch_dim), input.size(1 - batch_dim)
    if length == 0:
        raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
    # Where masks are drawn, they are drawn for the steps in order.
    apart = batch_first and length > 1 and not dropout
    rows = input if apart or not batch_first else input.transpose(0, 1)
    shape = rows.shape[:2]
    order = Order((batch,) * length, apart=apart)
    output, lasts = recurrent_layers(
        mode, rows.flatten(0, 1), states, weights, order, directions, dropout
    )
    output = output.reshape(*shape, output.size(1))
    return output.transpose(0, 1) if batch_first and not apart else output, lasts
