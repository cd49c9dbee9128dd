"""Recurrent cells: one step as a composite, and whole layers as one call.

The cells are those of Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000, and
of Cho et al. 2014 with the reset gate behind the product.

A layer goes through the rows of all time steps, which lie behind each other, [sum of sizes,
features], as in a packed sequence; `sizes` says how many rows each step has, and never grows. Where
all steps have as many, it may also be the sequences that lie behind each other. The
products with the input of all steps are one product. The recurrent weights are packed once; a step
is a product with them whose epilogue is the cell, and threads share the sequences, not the steps.
States are memory that has a row for each sequence, is read and written at each step, and ends as
the last states.
"""

import itertools
from typing import NamedTuple

from flambeau import ir, runtime
from flambeau.compiler import products
from flambeau.ir import math

from .contraction import linear
from .family import Buffer, chain
from .family.chain import viewed
from .op import composite
from .repeats import RATE, find_repeats, product_of_rows, readable

LAYER_TYPES = ("float32", "float64")


class _Rows(NamedTuple):
    """An operand of a step: see `runtime.Place`. A `first` that is None is null."""

    buffer: Buffer
    moves: str = "moves"
    first: Buffer | None = None


class _Loop:
    """The steps of a layer: phases, each a product with packed weights and its epilogue."""

    def __init__(self, steps, dtype, sizes, backwards, apart):
        if dtype.name not in LAYER_TYPES:
            raise NotImplementedError(f"recurrent layers are not implemented for {dtype.name}")
        self.steps, self.batch = steps, sizes[0]
        starts = range(len(sizes)) if apart else itertools.accumulate(sizes, initial=0)
        self.order = list(zip(starts, sizes, strict=False))
        self.down = len(sizes) if apart else 1  # from a row of a step to the next
        if backwards:
            self.order.reverse()
        self.buffers: list[Buffer] = []
        self.phases: list[runtime.Phase] = []
        self.cost = 0.0

    def phase(self, left: _Rows, weight: Buffer, sums: int, body, inputs, outputs) -> None:
        """outputs = body(products, *inputs) for the rows of a step; the weight is [sums * n, k] and
        multiplies as its transpose."""
        dtype, (rows, k) = weight.dtype, weight.layout.shape
        n = rows // sums
        count = sums + len(inputs)
        loads = [ir.load(i, dtype) for i in range(count)]
        values = body(loads[:sums], *loads[sums:])
        epilogue = ir.Pointwise("recurrent", [dtype] * count, [dtype] * len(outputs), values)
        form = products.form(epilogue, n, sums)
        down, across = weight.layout.strides
        packed = self.steps.scratch((form.packed_bytes(k, n) // dtype.itemsize,), dtype)
        pack = products.pack(form, k, n, (across, down, n * down))
        self.steps.call(pack.address, (packed, weight), pack.dims, pack.total, rows * k / 8)
        operands = [*outputs, *inputs]
        others = tuple((y.buffer.offset, *self._strides(y)) for y in operands)
        made = products.multiply(
            form, (self.batch, n, k), self._strides(left), others, rows_only=True
        )
        places = [self._place(_Rows(packed, "stays")), *map(self._place, (left, *operands))]
        self.phases.append(runtime.Phase(made.address, tuple(places), made.dims))
        self.cost += sum(size for _, size in self.order) * rows * (k + 16) / RATE

    def _strides(self, rows: _Rows) -> tuple[int, int]:
        """Between the rows of a step, and between columns."""
        down, across = rows.buffer.layout.strides
        return (down if rows.moves == "stays" else down * self.down), across

    def _place(self, rows: _Rows) -> runtime.Place:
        size, number = rows.buffer.dtype.itemsize, self._number(rows.buffer)
        pitch = rows.buffer.layout.strides[0] * size
        if rows.first is None:
            return runtime.Place(number, rows.moves, pitch)
        start = rows.first.offset * size
        return runtime.Place(number, rows.moves, pitch, self._number(rows.first), start)

    def first(self, state: Buffer, spare: Buffer) -> Buffer:
        """A state as what the first step follows, its rows as those of a step. They may lie in
        `spare`, which has rows for all steps, in those that are written last."""
        if self.down == 1:
            return self.steps.dense(state)
        width, (start, _) = state.layout.shape[1], self.order[-1]
        made = viewed(spare, state.layout.shape, (self.down * width, 1), start * width)
        self.steps.copy(made, state)
        return made

    def _number(self, buffer: Buffer) -> int:
        for number, known in enumerate(self.buffers):
            if known.source == buffer.source:
                return number
        self.buffers.append(buffer)
        return len(self.buffers) - 1

    def run(self) -> None:
        """Adds the stage that does all phases for all steps."""
        stage = runtime.sequence_stage(self.phases, (), self.order)
        self.steps.call(stage.kernel, self.buffers, stage.dims, stage.total, self.cost)


def _blocks(matrix: Buffer, count: int, moves="moves") -> list[_Rows]:
    """The parts of each gate."""
    width = matrix.layout.shape[1] // count
    return [_Rows(matrix.narrow(1, k * width, (k + 1) * width), moves) for k in range(count)]


def _bias(steps, bias: Buffer | None, count: int) -> list[_Rows]:
    """A bias [gates * hidden] as an operand that is the same in all rows, by gate."""
    if bias is None:
        return []
    dense = steps.dense(bias)
    return _blocks(viewed(dense, (1, *dense.layout.shape), (0, 1)), count, "stays")


def _both(steps, bias: Buffer | None, other: Buffer | None) -> Buffer | None:
    """The sum of two biases."""
    if bias is None or other is None:
        return other if bias is None else bias
    made = steps.scratch(bias.layout.shape, bias.dtype)
    steps.pointwise(lambda a, b: a + b, [bias, other], [made])
    return made


def _state(steps, first: Buffer) -> _Rows:
    """A result with a row for each sequence that starts as `first`."""
    made = steps.result(first.layout.shape, first.dtype)
    steps.copy(made, first)
    return _Rows(made, "stays")


def _sums(ours, bias, theirs=()) -> list:
    """Sums by gate, of which `bias` and `theirs` may be missing."""
    return [sum(terms[1:], terms[0]) for terms in zip(*filter(len, (ours, theirs, bias)))]


class _Layer:
    """What the layers' forward passes have in common: operands, and the product with the input.

    `before` receives the hidden state that each step started from.
    """

    def __init__(self, steps, gates, x, hidden, w_ih, w_hh, sizes, reverse, apart):
        dtype, rows = x.dtype, x.layout.shape[0]
        self.steps, self.count, self.w_hh = steps, gates, readable(steps, w_hh)
        self.loop = _Loop(steps, dtype, sizes, reverse, apart)
        self.width = w_hh.layout.shape[0] // gates
        self.output = steps.result((rows, hidden.layout.shape[1]), dtype)
        self.last = _state(steps, hidden)
        self.before = _Rows(steps.result((rows, hidden.layout.shape[1]), dtype))
        found = find_repeats(steps, x)
        # Of an Elman network, the product with the input becomes the output in place.
        shape = rows, gates * self.width
        self.gates = self.output if gates == 1 else steps.result(shape, dtype)
        weight = readable(steps, w_ih).turned()
        product_of_rows(steps, readable(steps, x), weight, self.gates, found)
        first = self.loop.first(hidden, self.before.buffer)
        self.old = _Rows(self.output, "follows", first)

    def result(self, width: int) -> _Rows:
        return _Rows(self.steps.result((self.output.layout.shape[0], width), self.output.dtype))


def _build_lstm(steps, x, hidden, cell, w_ih, w_hh, b_ih, b_hh, w_hr, sizes, reverse, apart):
    layer = _Layer(steps, 4, x, hidden, w_ih, w_hh, sizes, reverse, apart)
    bias = _bias(steps, _both(steps, b_ih, b_hh), 4)
    state, cells = _state(steps, cell), layer.result(layer.width)
    projected = 0 if w_hr is None else x.layout.shape[0]
    raw = _Rows(steps.result((projected, layer.width), x.dtype))

    def body(theirs, cell, *rest):
        total = _sums(rest[:4], rest[4:], theirs)
        enter, keep, output = (math.sigmoid(total[k]) for k in (0, 1, 3))
        candidate = math.tanh(total[2])
        new = keep * cell + enter * candidate
        return enter, keep, candidate, output, cell, new, output * math.tanh(new)

    def unprojected(theirs, before, *rest):
        results = body(theirs, *rest)
        return before, results[-1], *results

    gates = _blocks(layer.gates, 4)
    inputs = [state, *gates, *bias]
    outputs = [*gates, cells, state]
    made = [layer.before, layer.last]
    if w_hr is None:
        inputs, outputs = [layer.old, *inputs], [*made, *outputs, _Rows(layer.output)]
        layer.loop.phase(layer.old, layer.w_hh, 4, unprojected, inputs, outputs)
    else:
        layer.loop.phase(layer.old, layer.w_hh, 4, body, inputs, [*outputs, raw])
        outputs = [*made, _Rows(layer.output)]
        weight = readable(steps, w_hr)
        layer.loop.phase(
            raw, weight, 1, lambda sums, old: (old, *sums, *sums), [layer.old], outputs
        )
    layer.loop.run()


def _build_gru(steps, x, hidden, w_ih, w_hh, b_ih, b_hh, sizes, reverse, apart):
    layer = _Layer(steps, 3, x, hidden, w_ih, w_hh, sizes, reverse, apart)
    more, bias = layer.result(layer.width), _bias(steps, b_ih, 3)

    def body(theirs, old, *rest):
        ours, biases = rest[:3], rest[3:]
        ours = _sums(ours, biases[: len(bias)])
        theirs = _sums(theirs, biases[len(bias) :])
        reset, update = (math.sigmoid(ours[k] + theirs[k]) for k in (0, 1))
        candidate = math.tanh(ours[2] + reset * theirs[2])
        new = candidate + update * (old - candidate)
        return old, reset, update, candidate, theirs[2], new, new

    gates = _blocks(layer.gates, 3)
    inputs = [layer.old, *gates, *bias, *_bias(steps, b_hh, 3)]
    outputs = [layer.before, *gates, more, _Rows(layer.output), layer.last]
    layer.loop.phase(layer.old, layer.w_hh, 3, body, inputs, outputs)
    layer.loop.run()


def _build_rnn(steps, x, hidden, w_ih, w_hh, b_ih, b_hh, relu, sizes, reverse, apart):
    layer = _Layer(steps, 1, x, hidden, w_ih, w_hh, sizes, reverse, apart)
    bias = _bias(steps, _both(steps, b_ih, b_hh), 1)

    def body(theirs, old, ours, *bias):
        (total,) = _sums([ours], bias, theirs)
        zero = ir.const(0, total.dtype)
        new = ir.select(total < zero, zero, total) if relu else math.tanh(total)
        return old, new, new

    output = _Rows(layer.output)
    inputs, outputs = [layer.old, output, *bias], [layer.before, output]
    layer.loop.phase(layer.old, layer.w_hh, 1, body, inputs, [*outputs, layer.last])
    layer.loop.run()


# Backward goes through the steps in the opposite order. The gradient of a step's hidden state is
# what comes from outside, what the next step's gates send back, and what is carried beside them: at
# the end of a sequence the gradient of its last state, before that what skips the gates.


def _build_lstm_back(
    steps, grad, grad_last, grad_cell, gates, cells, w_hh, w_hr, sizes, reverse, apart
):  # fmt: skip
    dtype = grad.dtype
    loop = _Loop(steps, dtype, sizes, not reverse, apart)
    grad, gates, cells = (steps.dense(b) for b in (grad, gates, cells))
    grads = _Rows(steps.result(gates.layout.shape, dtype))
    carry, state = _state(steps, grad_last), _state(steps, grad_cell)
    shape = grad.layout.shape if w_hr is not None else (0, *grad.layout.shape[1:])
    total = _Rows(steps.result(shape, dtype))
    zero = ir.const(0, dtype)

    def body(total, state, enter, keep, candidate, output, cell):
        squashed = math.tanh(keep * cell + enter * candidate)
        slope = state + total * output * (1 - squashed * squashed)
        return (
            slope * candidate * enter * (1 - enter),
            slope * cell * keep * (1 - keep),
            slope * enter * (1 - candidate * candidate),
            total * squashed * output * (1 - output),
            slope * keep,
        )

    outside = [_Rows(grad), carry]
    inputs = [state, *_blocks(gates, 4), _Rows(cells)]
    outputs = [*_blocks(grads.buffer, 4), state]
    following = grads._replace(moves="follows")
    weight = readable(steps, w_hh).turned()
    if w_hr is None:
        loop.phase(
            following,
            weight,
            1,
            lambda sums, grad, carry, *rest: (zero, *body(sums[0] + grad + carry, *rest)),
            [*outside, *inputs],
            [carry, *outputs],
        )
    else:
        loop.phase(
            following, weight, 1,
            lambda sums, grad, carry: (zero, sums[0] + grad + carry),
            outside, [carry, total],
        )  # fmt: skip
        weight = readable(steps, w_hr).turned()
        loop.phase(total, weight, 1, lambda sums, *rest: body(*sums, *rest), inputs, outputs)
    loop.run()


def _build_gru_back(steps, grad, grad_last, gates, more, before, w_hh, sizes, reverse, apart):
    loop, shape = _Loop(steps, grad.dtype, sizes, not reverse, apart), gates.layout.shape
    grad, gates, more, before = (steps.dense(b) for b in (grad, gates, more, before))
    ours, theirs = (_Rows(steps.result(shape, grad.dtype)) for _ in range(2))
    carry = _state(steps, grad_last)

    def body(sums, grad, carry, reset, update, candidate, more, before):
        total = sums[0] + grad + carry
        inner = total * (1 - update) * (1 - candidate * candidate)
        d_reset = inner * more * reset * (1 - reset)
        d_update = total * (before - candidate) * update * (1 - update)
        return d_reset, d_update, inner, d_reset, d_update, inner * reset, total * update

    inputs = [_Rows(grad), carry, *_blocks(gates, 3), _Rows(more), _Rows(before)]
    outputs = [*_blocks(ours.buffer, 3), *_blocks(theirs.buffer, 3), carry]
    weight = readable(steps, w_hh).turned()
    loop.phase(theirs._replace(moves="follows"), weight, 1, body, inputs, outputs)
    loop.run()


def _build_rnn_back(steps, grad, grad_last, output, w_hh, relu, sizes, reverse, apart):
    dtype = grad.dtype
    loop = _Loop(steps, dtype, sizes, not reverse, apart)
    grads, zero = _Rows(steps.result(output.layout.shape, dtype)), ir.const(0, dtype)
    carry = _state(steps, grad_last)

    def body(sums, grad, carry, output):
        total = sums[0] + grad + carry
        if relu:
            return ir.select(output > zero, total, zero), zero
        return total * (1 - output * output), zero

    weight = readable(steps, w_hh).turned()
    inputs = [_Rows(steps.dense(grad)), carry, _Rows(steps.dense(output))]
    loop.phase(grads._replace(moves="follows"), weight, 1, body, inputs, [grads, carry])
    loop.run()


# Dimensions of arguments by their names: all rows, those of the first step, features, gates' sums,
# hidden states, and these projected.
_DIMENSIONS = {
    "x": "rows features", "hidden": "first projected", "cell": "first width",
    "w_ih": "sums features", "w_hh": "sums projected", "b_ih": "sums", "b_hh": "sums",
    "w_hr": "projected width", "grad": "rows projected", "grad_last": "first projected",
    "grad_cell": "first width", "gates": "rows sums", "cells": "rows width", "more": "rows width",
    "before": "rows projected", "output": "rows projected",
}  # fmt: skip


def _check(given, gates: int) -> None:
    """Raises RuntimeError where arguments do not fit: files of programs may call these ops, too."""
    sizes = given["sizes"]
    falling = all(a >= b >= 0 for a, b in itertools.pairwise((*sizes, 0)))
    if not sizes or not falling or (given["apart"] and sizes[0] != sizes[-1]):
        raise RuntimeError(f"steps of a recurrent layer cannot have the sizes {list(sizes)}")
    known = {"rows": sum(sizes), "first": sizes[0]}
    tensors = {name: given[name] for name in _DIMENSIONS if given.get(name) is not None}
    if "w_hr" not in tensors and len(tensors["w_hh"].layout.shape) == 2:
        known["projected"] = tensors["w_hh"].layout.shape[0] // gates
    for name, buffer in tensors.items():
        dimensions, shape = _DIMENSIONS[name].split(), buffer.layout.shape
        fits = len(shape) == len(dimensions) and all(
            known.setdefault(d, n) == n for d, n in zip(dimensions, shape, strict=True)
        )
        if not fits or buffer.dtype is not tensors["w_hh"].dtype:
            raise RuntimeError(f"{name} of a recurrent layer cannot be {buffer.layout!r}")
    if known["sums"] != gates * known.get("width", known["projected"]):
        raise RuntimeError(f"{known['sums']} rows of weights are none for {gates} gates")


def _layer(name, given, returned, doc, build):
    """Declares an op of this module: all of them end on the sizes of steps, the direction, and
    whether the rows of a step lie apart: those of a sequence are then neighbours."""
    text = f"aten::_{name}({given}, int[] sizes, bool reverse, bool apart) -> ({returned})"
    names = build.__code__.co_varnames[1 : build.__code__.co_argcount]
    gates = {"lstm": 4, "gru": 3, "rnn": 1}[name.partition("_")[0]]

    def checked(steps, *args):
        _check(dict(zip(names, args, strict=True)), gates)
        build(steps, *args)

    return chain(text, doc, build=checked, method=False, function=False)


_WEIGHTS = "Tensor w_ih, Tensor w_hh, Tensor? b_ih, Tensor? b_hh"
_RESULTS = "Tensor output, Tensor last, Tensor before, Tensor numbers, Tensor values, Tensor amount"
lstm_layer = _layer(
    "lstm_layer",
    f"Tensor x, Tensor hidden, Tensor cell, {_WEIGHTS}, Tensor? w_hr",
    f"{_RESULTS}, Tensor gates, Tensor last_cell, Tensor cells, Tensor raw",
    """An LSTM over rows `x`: output, last hidden state; for backward the hidden states that steps
    started from, the `Repeats` of x and the gates; last cell state; the cell states that steps
    started from; with a projection `w_hr`, the outputs before it.""",
    _build_lstm,
)
lstm_layer_back = _layer(
    "lstm_layer_back",
    "Tensor grad, Tensor grad_last, Tensor grad_cell, Tensor gates, Tensor cells, Tensor w_hh, "
    "Tensor? w_hr",
    "Tensor gates, Tensor carry, Tensor cell, Tensor output",
    """Gradients of the gates' sums; of the first hidden states, without what the gates of each
    first step send; of the first cell states; with a projection, of its results.""",
    _build_lstm_back,
)
gru_layer = _layer(
    "gru_layer",
    f"Tensor x, Tensor hidden, {_WEIGHTS}",
    f"{_RESULTS}, Tensor gates, Tensor more",
    """A GRU over rows `x`: as `lstm_layer`; `more` is the recurrent part of the candidate.""",
    _build_gru,
)
gru_layer_back = _layer(
    "gru_layer_back",
    "Tensor grad, Tensor grad_last, Tensor gates, Tensor more, Tensor before, Tensor w_hh",
    "Tensor ours, Tensor theirs, Tensor carry",
    """Gradients of the sums with the input, of those with the hidden state, of the first states
    (as `lstm_layer_back`).""",
    _build_gru_back,
)
rnn_layer = _layer(
    "rnn_layer",
    f"Tensor x, Tensor hidden, {_WEIGHTS}, bool relu",
    _RESULTS,
    """An Elman network over rows `x`, with relu or tanh: as `lstm_layer`.""",
    _build_rnn,
)
rnn_layer_back = _layer(
    "rnn_layer_back",
    "Tensor grad, Tensor grad_last, Tensor output, Tensor w_hh, bool relu",
    "Tensor gates, Tensor carry",
    """Gradients of the sums and of the first states (as `lstm_layer_back`).""",
    _build_rnn_back,
)


def _check_cell(input, hidden, w_ih, w_hh):
    rows, features = input.layout.shape
    if features != w_ih.layout.shape[1]:
        raise RuntimeError(
            f"input has inconsistent input_size: got {features} expected {w_ih.layout.shape[1]}"
        )
    if rows != hidden.layout.shape[0]:
        raise RuntimeError(
            f"Input batch size {rows} doesn't match hidden0 batch size {hidden.layout.shape[0]}"
        )
    if hidden.layout.shape[1] != w_hh.layout.shape[1]:
        raise RuntimeError(
            f"hidden0 has inconsistent hidden_size: got {hidden.layout.shape[1]}, "
            f"expected {w_hh.layout.shape[1]}"
        )


@composite(
    "aten::lstm_cell(Tensor input, Tensor[] hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, "
    "Tensor? b_hh=None) -> (Tensor, Tensor)",
    method=False,
)
def lstm_cell(input, hx, w_ih, w_hh, b_ih, b_hh):
    """One step of an LSTM: input [N, in], hx two states [N, hidden]; the new two states."""
    hidden, cell = hx
    _check_cell(input, hidden, w_ih, w_hh)
    gates = linear(input, w_ih, b_ih) + linear(hidden, w_hh, b_hh)
    enter, keep, candidate, output = gates.chunk(4, 1)
    cell = keep.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
    return output.sigmoid() * cell.tanh(), cell


@composite(
    "aten::gru_cell(Tensor input, Tensor hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, "
    "Tensor? b_hh=None) -> Tensor",
    method=False,
)
def gru_cell(input, hx, w_ih, w_hh, b_ih, b_hh):
    """One step of a GRU: input [N, in], hx [N, hidden]; the new state."""
    _check_cell(input, hx, w_ih, w_hh)
    reset, update, candidate = linear(input, w_ih, b_ih).chunk(3, 1)
    more_reset, more_update, more_candidate = linear(hx, w_hh, b_hh).chunk(3, 1)
    reset, update = (reset + more_reset).sigmoid(), (update + more_update).sigmoid()
    candidate = (candidate + reset * more_candidate).tanh()
    return candidate + update * (hx - candidate)


@composite(
    "aten::rnn_tanh_cell(Tensor input, Tensor hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, "
    "Tensor? b_hh=None) -> Tensor",
    method=False,
)
def rnn_tanh_cell(input, hx, w_ih, w_hh, b_ih, b_hh):
    """One step of an Elman network with tanh: input [N, in], hx [N, hidden]; the new state."""
    _check_cell(input, hx, w_ih, w_hh)
    return (linear(input, w_ih, b_ih) + linear(hx, w_hh, b_hh)).tanh()


@composite(
    "aten::rnn_relu_cell(Tensor input, Tensor hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, "
    "Tensor? b_hh=None) -> Tensor",
    method=False,
)
def rnn_relu_cell(input, hx, w_ih, w_hh, b_ih, b_hh):
    """One step of an Elman network with relu: input [N, in], hx [N, hidden]; the new state."""
    _check_cell(input, hx, w_ih, w_hh)
    return (linear(input, w_ih, b_ih) + linear(hx, w_hh, b_hh)).relu()
