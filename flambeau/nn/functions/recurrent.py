"""Recurrent layers: one layer in one direction as one step of the graph.

The rows of all time steps lie behind each other, [sum of sizes, features], as in a packed
sequence; `sizes` says how many rows each step has, and never grows. The products with the input
of all steps are one product, those of the weights' gradients too. What remains for each step is
one product that adds to the step's rows, and one kernel over the gates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau.tensor import Tensor, autocast, engine, function, is_grad_enabled

from .. import operations as ops

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


def _order(sizes: Sequence[int], reverse: bool) -> Sequence[int]:
    return range(len(sizes) - 1, -1, -1) if reverse else range(len(sizes))


def _before(rows: Sequence[Tensor], first: Tensor, order: Sequence[int]) -> Pieces:
    """The state that each step started from, by step."""
    found: list[Any] = [None] * len(rows)
    state, ended = first[: rows[order[0]].size(0)], Pieces()
    for step in order:
        found[step] = _resize(state, rows[step].size(0), first, ended)
        state = rows[step]
    return found


class _Carry:
    """What backward hands from a step to the one before it: gradients of a state's rows.

    `pull(step)` brings the gradients of the state that the step made up to date.
    """

    def __init__(self, grad_rows: Tensor, grad_last: Tensor, weight: Tensor, sizes: Sequence[int]):
        self.rows = grad_rows.split(sizes)
        self.last, self.weight, self.ended = grad_last, weight, Pieces()
        self.gates: Tensor | None = None
        self.direct: Tensor | None = None

    def pull(self, step: int) -> Tensor:
        target = self.rows[step]
        count = target.size(0)
        if self.gates is None:
            return target.add_(self.last[:count])
        have = self.gates.size(0)
        gates, direct = self.gates, self.direct
        if have > count:
            self.ended.append(self._through(slice(count, have)))
            gates = gates[:count]
            direct = direct if direct is None else direct[:count]
        kept = target if have >= count else target[:have]
        if direct is not None:
            kept.add_(direct)
        ops._add_product_(kept, gates, self.weight)
        if have < count:
            target[have:].add_(self.last[have:count])
        return target

    def push(self, gates: Tensor, direct: Tensor | None = None) -> None:
        """Gradients of the step's recurrent product, and what reaches the old state beside it."""
        self.gates, self.direct = gates, direct

    def first(self) -> Tensor:
        """The gradient of the state before the first step."""
        assert self.gates is not None
        return _whole(self._through(slice(None)), self.ended)

    def _through(self, rows: slice) -> Tensor:
        assert self.gates is not None
        found = self.gates[rows].mm(self.weight)
        return found if self.direct is None else found + self.direct[rows]


def _bias(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return None if one is None or other is None else one + other


def _blocks(gates: Tensor, count: int, sizes: Sequence[int]) -> list[tuple[Tensor, ...]]:
    """Views of each gate, by step."""
    return list(zip(*[each.split(sizes) for each in gates.chunk(count, 1)], strict=True))


# Each mode has `run`: (output, last states, what backward reads besides), and `back`: gradients of
# the input's product, of the recurrent product, of the first states, and of the projection.


def _run_lstm(x: Any, states: Any, weights: Any, sizes: Any, reverse: bool) -> Any:
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    (hidden_0, cell_0), order = states, _order(sizes, reverse)
    gates = ops.linear(x, w_ih, _bias(b_ih, b_hh))
    cells = gates.new_empty((x.size(0), cell_0.size(1)))
    raw = ops.empty_like(cells)
    output = raw if w_hr is None else gates.new_zeros((x.size(0), hidden_0.size(1)))
    rows, blocks = gates.split(sizes), _blocks(gates, 4, sizes)
    cell_rows, raw_rows, output_rows = (each.split(sizes) for each in (cells, raw, output))
    turned, projection = w_hh.t(), None if w_hr is None else w_hr.t()
    add_product, lstm_step = ops._add_product_, ops._lstm_step_
    count = sizes[order[0]]
    hidden, cell, ended, ended_cells = hidden_0[:count], cell_0[:count], Pieces(), Pieces()
    for step in order:
        hidden = _resize(hidden, sizes[step], hidden_0, ended)
        cell = _resize(cell, sizes[step], cell_0, ended_cells)
        add_product(rows[step], hidden, turned)
        lstm_step(*blocks[step], cell, cell_rows[step], raw_rows[step])
        hidden, cell = output_rows[step], cell_rows[step]
        if projection is not None:
            add_product(hidden, raw_rows[step], projection)
    lasts = _whole(hidden, ended), _whole(cell, ended_cells)
    return output, lasts, (gates, cells, raw)


def _back_lstm(
    grad: Any, grad_last: Any, states: Any, weights: Any, kept: Any, sizes: Any, reverse: bool
) -> Any:
    _, gates, cells, _ = kept
    (_, cell_0), w_hh, w_hr = states, weights[1], weights[4]
    order = _order(sizes, reverse)
    cell_rows, blocks = cells.split(sizes), _blocks(gates, 4, sizes)
    cells_before = _before(cell_rows, cell_0, order)
    grad_gates = ops.empty_like(gates)
    grad_rows, grad_blocks = grad_gates.split(sizes), _blocks(grad_gates, 4, sizes)
    grad = grad.clone()
    carry, step_back = _Carry(grad, grad_last[0], w_hh, sizes), ops._lstm_step_back_
    grad_cell, ended = grad_last[1].clone()[: sizes[order[-1]]], Pieces()
    for step in reversed(order):
        grad_hidden = carry.pull(step)
        grad_cell = _resize(grad_cell, sizes[step], grad_last[1], ended)
        raw = grad_hidden if w_hr is None else grad_hidden.mm(w_hr)
        step_back(
            *grad_blocks[step], grad_cell, *blocks[step], cells_before[step], cell_rows[step], raw
        )
        carry.push(grad_rows[step])
    return grad_gates, grad_gates, (carry.first(), _whole(grad_cell, ended)), grad


def _run_gru(x: Any, states: Any, weights: Any, sizes: Any, reverse: bool) -> Any:
    w_ih, w_hh, b_ih, b_hh, _ = weights
    (hidden_0,), order = states, _order(sizes, reverse)
    gates = ops.linear(x, w_ih, b_ih)
    more = ops.zeros_like(gates) if b_hh is None else b_hh.expand_as(gates).contiguous()
    output = gates.new_empty((x.size(0), hidden_0.size(1)))
    blocks, more_rows, more_blocks = (
        _blocks(gates, 3, sizes),
        more.split(sizes),
        _blocks(more, 3, sizes),
    )
    output_rows, turned = output.split(sizes), w_hh.t()
    add_product, gru_step = ops._add_product_, ops._gru_step_
    hidden, ended = hidden_0[: sizes[order[0]]], Pieces()
    for step in order:
        hidden = _resize(hidden, sizes[step], hidden_0, ended)
        add_product(more_rows[step], hidden, turned)
        gru_step(*blocks[step], *more_blocks[step], hidden, output_rows[step])
        hidden = output_rows[step]
    return output, (_whole(hidden, ended),), (gates, more)


def _back_gru(
    grad: Any, grad_last: Any, states: Any, weights: Any, kept: Any, sizes: Any, reverse: bool
) -> Any:
    output, gates, more = kept
    order = _order(sizes, reverse)
    before = _before(output.split(sizes), states[0], order)
    blocks, more_blocks = _blocks(gates, 3, sizes), _blocks(more, 3, sizes)
    grad_gates, width = ops.empty_like(gates), output.size(1)
    grad_more = ops.empty_like(gates)
    grad_blocks, more_rows = _blocks(grad_gates, 3, sizes), grad_more.split(sizes)
    carry, step_back = _Carry(grad.clone(), grad_last[0], weights[1], sizes), ops._gru_step_back_
    for step in reversed(order):
        direct, rows = carry.pull(step), more_rows[step]
        step_back(
            *grad_blocks[step],
            rows[:, 2 * width :],
            direct,
            *blocks[step],
            more_blocks[step][2],
            before[step],
        )
        for place in (0, 1):
            rows[:, place * width : (place + 1) * width].copy_(grad_blocks[step][place])
        carry.push(rows, direct)
    return grad_gates, grad_more, (carry.first(),), None


def _run_rnn(mode: str, x: Any, states: Any, weights: Any, sizes: Any, reverse: bool) -> Any:
    w_ih, w_hh, b_ih, b_hh, _ = weights
    (hidden_0,), order = states, _order(sizes, reverse)
    output = ops.linear(x, w_ih, _bias(b_ih, b_hh))
    rows, turned = output.split(sizes), w_hh.t()
    add_product, squash = ops._add_product_, ops.tanh_ if mode == "RNN_TANH" else ops.relu_
    hidden, ended = hidden_0[: sizes[order[0]]], Pieces()
    for step in order:
        hidden = _resize(hidden, sizes[step], hidden_0, ended)
        add_product(rows[step], hidden, turned)
        hidden = squash(rows[step])
    return output, (_whole(hidden, ended),), ()


def _back_rnn(
    mode: str,
    grad: Any,
    grad_last: Any,
    weights: Any,
    kept: Any,
    sizes: Any,
    reverse: bool,
) -> Any:
    step_back = ops._tanh_step_back_ if mode == "RNN_TANH" else ops._relu_step_back_
    rows, grad = kept[0].split(sizes), grad.clone()
    carry = _Carry(grad, grad_last[0], weights[1], sizes)
    for step in reversed(_order(sizes, reverse)):
        carry.push(step_back(carry.pull(step), rows[step]))
    return grad, grad, (carry.first(),), None


def _run(mode: str, x: Any, states: Any, weights: Any, sizes: Any, reverse: bool) -> Any:
    if mode == "LSTM":
        return _run_lstm(x, states, weights, sizes, reverse)
    if mode == "GRU":
        return _run_gru(x, states, weights, sizes, reverse)
    return _run_rnn(mode, x, states, weights, sizes, reverse)


def _back(
    mode: str, grad: Any, grad_last: Any, states: Any, weights: Any, kept: Any, sizes: Any, rev: Any
) -> Any:
    if mode == "LSTM":
        return _back_lstm(grad, grad_last, states, weights, kept, sizes, rev)
    if mode == "GRU":
        return _back_gru(grad, grad_last, states, weights, kept, sizes, rev)
    return _back_rnn(mode, grad, grad_last, weights, kept, sizes, rev)


def _by_parts(mode: str, x: Any, states: Any, weights: Any, sizes: Any, reverse: bool) -> Any:
    """The same in differentiable ops: for gradients of gradients."""
    cells = {"GRU": ops.gru_cell, "RNN_TANH": ops.rnn_tanh_cell, "RNN_RELU": ops.rnn_relu_cell}
    order, rows, w_hr = _order(sizes, reverse), x.split(sizes), weights[4]
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
        tensors, kept = saved[: count + 6], saved[count + 6 :]
        needs = ctx.needs_input_grad[4:]
        if is_grad_enabled():
            return (
                None,
                None,
                None,
                None,
                *_grad_by_parts(ctx.plan, tensors, needs, grad, grad_last),
            )
        x, states, weights = tensors[0], tensors[1 : 1 + count], tensors[1 + count :]
        d_gates, d_more, d_first, d_output = _back(
            mode, grad, grad_last, states, weights, kept, sizes, reverse
        )
        order = _order(sizes, reverse)
        before = (
            ops.cat(_before(kept[0].split(sizes), states[0], order)) if needs[2 + count] else None
        )
        d_weights = (
            d_gates.t().mm(x) if needs[1 + count] else None,
            d_more.t().mm(before) if before is not None else None,
            d_gates.sum(0) if needs[3 + count] else None,
            d_more.sum(0) if needs[4 + count] else None,
            d_output.t().mm(kept[3]) if needs[5 + count] else None,
        )
        d_x = d_gates.mm(weights[0]) if needs[0] else None
        return None, None, None, None, d_x, *d_first, *d_weights


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
    if is_grad_enabled():
        if any(t is not None and t.requires_grad for t in (x, *states, *weights)):
            return _Layer.apply(mode, tuple(sizes), reverse, len(states), x, *states, *weights)
    output, lasts, _ = _run(mode, x, states, weights, sizes, reverse)
    return output, *lasts
