"""Recurrent layers, attention and transformers against loops in NumPy."""

import numpy as np
import pytest

import flambeau as torch
from flambeau import nn
from flambeau.autograd import gradcheck, gradgradcheck
from flambeau.nn.functions import recurrent
from flambeau.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from flambeau.ops import registry

MODES = ["RNN", "RNN-relu", "LSTM", "LSTM-proj", "GRU"]


def make(mode, **options):
    name, _, variant = mode.partition("-")
    if variant == "relu":
        options["nonlinearity"] = "relu"
    if variant == "proj":
        options["proj_size"] = 2
    return getattr(nn, name)(3, 4, dtype=torch.float64, **options)


def close(got, want):
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-5, atol=1e-6)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def step(mode, x, states, w):
    """One step of one cell, straight from the definition."""
    ours = x @ w["weight_ih"].T + w.get("bias_ih", 0)
    theirs = states[0] @ w["weight_hh"].T + w.get("bias_hh", 0)
    if mode.startswith("RNN"):
        return [np.maximum(ours + theirs, 0) if mode == "RNN-relu" else np.tanh(ours + theirs)]
    if mode == "GRU":
        (r, z, n), (hr, hz, hn) = np.split(ours, 3, -1), np.split(theirs, 3, -1)
        z = sigmoid(z + hz)
        return [(1 - z) * np.tanh(n + sigmoid(r + hr) * hn) + z * states[0]]
    i, f, g, o = np.split(ours + theirs, 4, -1)
    cell = sigmoid(f) * states[1] + sigmoid(i) * np.tanh(g)
    hidden = sigmoid(o) * np.tanh(cell)
    return [hidden @ w["weight_hr"].T if "weight_hr" in w else hidden, cell]


def reference(layer, mode, sequence, states):
    """One sequence [L, in] through all layers and directions; states [rows, width] each."""
    directions = 2 if layer.bidirectional else 1
    lasts = []
    for depth in range(layer.num_layers):
        outputs = []
        for direction in range(directions):
            suffix = f"_l{depth}" + "_reverse" * direction
            w = {
                name.removesuffix(suffix): p.detach().numpy()
                for name, p in layer.named_parameters()
                if name.endswith(suffix)
            }
            now = [s[depth * directions + direction] for s in states]
            found = []
            for x in sequence[::-1] if direction else sequence:
                now = step(mode, x, now, w)
                found.append(now[0])
            outputs.append(np.stack(found[::-1] if direction else found))
            lasts.append(now)
        sequence = np.concatenate(outputs, -1)
    return sequence, [np.stack(each) for each in zip(*lasts, strict=True)]


def first_states(layer, batch):
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    hidden = torch.randn(rows, batch, layer.proj_size or layer.hidden_size, dtype=torch.float64)
    if layer.mode != "LSTM":
        return hidden
    return hidden, torch.randn(rows, batch, layer.hidden_size, dtype=torch.float64)


def listed(states):
    return list(states) if isinstance(states, tuple) else [states]


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False}])
@pytest.mark.parametrize("mode", MODES)
def test_layer_is_the_loop(mode, options, batch_first):
    torch.manual_seed(0)
    layer = make(mode, batch_first=batch_first, **options)
    x, states = torch.randn(5, 3, 3, dtype=torch.float64), first_states(layer, 3)
    output, lasts = layer(x.transpose(0, 1) if batch_first else x, states)
    output = output.transpose(0, 1) if batch_first else output
    for n in range(3):
        arrays = [s[:, n].numpy() for s in listed(states)]
        expected, ends = reference(layer, mode, x[:, n].numpy(), arrays)
        np.testing.assert_allclose(output[:, n].detach().numpy(), expected, atol=1e-12)
        for got, end in zip(listed(lasts), ends, strict=True):
            np.testing.assert_allclose(got[:, n].detach().numpy(), end, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_packed_sequences_run_to_their_own_ends(mode):
    torch.manual_seed(0)
    layer = make(mode, bidirectional=True)
    x, states, lengths = (
        torch.randn(5, 3, 3, dtype=torch.float64),
        first_states(layer, 3),
        [2, 5, 1],
    )
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    output, lasts = layer(packed, states)
    padded, counts = pad_packed_sequence(output)
    assert counts.tolist() == lengths
    for n, length in enumerate(lengths):
        arrays = [s[:, n].numpy() for s in listed(states)]
        expected, ends = reference(layer, mode, x[:length, n].numpy(), arrays)
        np.testing.assert_allclose(padded[:length, n].detach().numpy(), expected, atol=1e-12)
        assert not padded[length:, n].any()
        for got, end in zip(listed(lasts), ends, strict=True):
            np.testing.assert_allclose(got[:, n].detach().numpy(), end, atol=1e-12)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_gradients(mode, packed):
    torch.manual_seed(1)
    layer = make(mode, bidirectional=True)
    x, states = torch.randn(3, 2, 3, dtype=torch.float64), first_states(layer, 2)
    inputs = [t.requires_grad_() for t in (x, *listed(states), *layer.parameters())]

    def run(x, *rest):
        hx = rest[:2] if mode.startswith("LSTM") else rest[0]
        given = pack_padded_sequence(x, [3, 1]) if packed else x
        output, lasts = layer(given, hx)
        return (output.data if packed else output), *listed(lasts)

    assert gradcheck(run, inputs)
    if not packed and mode != "RNN-relu":
        small = inputs[: 1 + len(listed(states))]
        assert gradgradcheck(run, small)


@pytest.mark.parametrize("mode", MODES)
def test_forward_mode_agrees_with_differences(mode):
    torch.manual_seed(1)
    layer = make(mode, bidirectional=True)
    inputs = torch.randn(3, 2, 3, dtype=torch.float64), *listed(first_states(layer, 2))

    def run(x, *states):
        given = pack_padded_sequence(x, [3, 1])
        output, lasts = layer(given, states if len(states) > 1 else states[0])
        return torch.cat([output.data.flatten(), *[last.flatten() for last in listed(lasts)]])

    tangents = tuple(torch.randn_like(each) for each in inputs)
    _, got = torch.func.jvp(run, inputs, tangents)
    step = 1e-6
    ends = [
        run(*[x + sign * step * t for x, t in zip(inputs, tangents, strict=True)])
        for sign in (1, -1)
    ]
    np.testing.assert_allclose(
        got.detach().numpy(), ((ends[0] - ends[1]) / (2 * step)).detach().numpy(), atol=1e-7
    )


def wide(mode):
    name, _, variant = mode.partition("-")
    options = dict(nonlinearity="relu") if variant == "relu" else {}
    options |= dict(proj_size=19) if variant == "proj" else {}
    return getattr(nn, name)(21, 37, bidirectional=True, **options)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("mode", MODES)
def test_sizes_of_several_tiles_on_any_number_of_threads(mode, dtype, monkeypatch):
    """Results and gradients are those of a loop over the cells, whose parts are ops."""
    torch.manual_seed(0)
    layer, lengths = wide(mode).double(), [6] * 20 + [4, 3, 3, 1]
    x = torch.randn(6, 24, 21, dtype=torch.float64)

    def run(layer, x):
        x = x.detach().requires_grad_()
        output, lasts = layer(pack_padded_sequence(x, lengths))
        results = [output.data, *listed(lasts)]
        weights = [torch.linspace(-1, 1, r.numel(), dtype=r.dtype).view_as(r) for r in results]
        total = sum((r * w).sum() for r, w in zip(results, weights, strict=True))
        return [*results, *torch.autograd.grad(total, [x, *layer.parameters()])]

    with monkeypatch.context() as patch:
        patch.setattr(recurrent, "recurrent_layer", recurrent._by_parts)
        expected = run(layer, x)
    found, threads = [], torch.get_num_threads()
    for count in (1, 3):
        torch.set_num_threads(count)
        try:
            found.append(run(layer.to(dtype), x.to(dtype)))
        finally:
            torch.set_num_threads(threads)
    for one, other, want in zip(*found, expected, strict=True):
        assert torch.equal(one, other)
        error = (one.double() - want).abs().max() / (1 + want.abs().max())
        assert error < (1e-12 if dtype is torch.float64 else 1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_half_types_are_computed_in_float32(mode):
    torch.manual_seed(0)
    layer, x = wide(mode).bfloat16(), torch.randn(4, 5, 21).bfloat16()
    output, lasts = layer(x)
    expected, ends = layer.float()(x.float())
    for got, want in zip([output, *listed(lasts)], [expected, *listed(ends)], strict=True):
        assert torch.equal(got, want.bfloat16())


@pytest.mark.parametrize("mode", ["RNN", "LSTM", "GRU"])
def test_cell_is_one_step_of_the_layer(mode):
    torch.manual_seed(0)
    layer = make(mode)
    cell = getattr(nn, mode + "Cell")(3, 4, dtype=torch.float64)
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in layer.state_dict().items()})
    x, states = torch.randn(1, 2, 3, dtype=torch.float64), first_states(layer, 2)
    single = tuple(s[0] for s in states) if mode == "LSTM" else states[0]
    expected = listed(layer(x, states)[1])
    for got, want in zip(listed(cell(x[0], single)), expected, strict=True):
        close(got, want[0])
    alone = tuple(s[0] for s in single) if mode == "LSTM" else single[0]
    for got, want in zip(listed(cell(x[0, 0], alone)), expected, strict=True):
        close(got, want[0, 0])


def test_shapes_without_batch():
    layer = nn.LSTM(3, 4, 2, bidirectional=True, proj_size=2)
    output, (hidden, cell) = layer(torch.randn(5, 3))
    assert (output.shape, hidden.shape, cell.shape) == ((5, 4), (4, 2), (4, 4))


def test_dropout_lies_between_layers_while_training():
    torch.manual_seed(0)
    layer = nn.GRU(3, 4, 2, dropout=1.0)
    one, other = torch.randn(5, 2, 3), torch.randn(5, 2, 3)
    assert torch.equal(layer(one)[0], layer(other)[0])
    layer.eval()
    assert not torch.equal(layer(one)[0], layer(other)[0])


def test_writing_to_a_saved_output_is_found_out():
    layer = nn.LSTM(3, 4)
    output, _ = layer(torch.randn(5, 2, 3))
    total = output.sum()
    with torch.no_grad():
        output.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()


def test_representation_and_errors():
    layer = nn.LSTM(3, 4, num_layers=2, bias=False, batch_first=True, proj_size=2)
    shown = "LSTM(3, 4, proj_size=2, num_layers=2, bias=False, batch_first=True)"
    assert repr(layer) == shown
    names = ["weight_ih_l0", "weight_hh_l0", "weight_hr_l0"]
    assert [name for name, _ in layer.named_parameters()][:3] == names
    with pytest.raises(ValueError, match="only supported for LSTM"):
        nn.GRU(3, 4, proj_size=2)
    with pytest.raises(RuntimeError, match=r"Expected 3, got 5"):
        layer(torch.zeros(1, 2, 5))
    with pytest.warns(UserWarning, match="expects num_layers greater than 1"):
        nn.RNN(3, 4, dropout=0.5)


def test_attention_is_the_formula():
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(6, 2, dtype=torch.float64)
    torch.nn.init.normal_(layer.in_proj_bias)
    query, memory = torch.randn(4, 3, 6, dtype=torch.float64), torch.randn(5, 3, 6).double()
    hidden = np.arange(5) >= np.array([5, 3, 1])[:, None]
    output, weights = layer(query, memory, memory, key_padding_mask=torch.tensor(hidden))
    w, b = layer.in_proj_weight.detach().numpy(), layer.in_proj_bias.detach().numpy()
    out_w, out_b = layer.out_proj.weight.detach().numpy(), layer.out_proj.bias.detach().numpy()
    for n in range(3):
        q = query[:, n].numpy() @ w[:6].T + b[:6]
        k = memory[:, n].numpy() @ w[6:12].T + b[6:12]
        v = memory[:, n].numpy() @ w[12:].T + b[12:]
        heads, seen = [], ~hidden[n]
        chances = np.zeros((4, 5))
        for h in (slice(0, 3), slice(3, 6)):
            scores = np.exp(q[:, h] @ k[:, h].T / np.sqrt(3)) * seen
            share = scores / scores.sum(1, keepdims=True)
            chances += share / 2
            heads.append(share @ v[:, h])
        expected = np.concatenate(heads, 1) @ out_w.T + out_b
        np.testing.assert_allclose(output[:, n].detach().numpy(), expected, atol=1e-12)
        np.testing.assert_allclose(weights[n].detach().numpy(), chances, atol=1e-12)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("norm_first", [False, True])
def test_decoder_sees_no_later_position(norm_first):
    torch.manual_seed(0)
    model = nn.Transformer(8, 2, 1, 2, 16, dropout=0.0, norm_first=norm_first, batch_first=True)
    source, target = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    mask = model.generate_square_subsequent_mask(5)
    before = model(source, target, tgt_mask=mask)
    target[:, 3:] *= -1  # a constant would be lost in the norms
    after = model(source, target, tgt_mask=mask)
    close(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3:], after[:, 3:])


def test_encoder_ignores_padding_and_trains():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2)
    x, padding = torch.randn(2, 4, 8), torch.tensor([[False] * 4, [False, False, True, True]])
    short = encoder(x[1:, :2])
    close(encoder(x, src_key_padding_mask=padding)[1:, :2], short)
    short.sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())
    encoder.eval()
    with torch.no_grad():
        assert not encoder(x, src_key_padding_mask=padding)[1, 2:].any()


def test_packing_wants_one_length_for_each_sequence():
    with pytest.raises(RuntimeError, match=r"but got 1 \(batch_size=2\)"):
        pack_padded_sequence(torch.zeros(3, 2, 4), [3])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("distinct", [32, 33])
def test_rows_that_repeat_give_what_others_give(mode, distinct):
    """Of 256 rows 32 may be distinct, 33 not: equal to the cells one by one."""
    torch.manual_seed(1)
    layer = make(mode, batch_first=True, bidirectional=True)
    table = torch.randn(distinct, 3, dtype=torch.float64)
    number = torch.arange(256).remainder(distinct)[torch.randperm(256)].reshape(8, 32)

    def gradients():
        x = table[number].requires_grad_()
        output, _ = layer(x)
        return output, *torch.autograd.grad((output * output).sum(), [x, *layer.parameters()])

    found = gradients()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recurrent, "recurrent_layer", recurrent._by_parts)
        for got, want in zip(found, gradients(), strict=True):
            np.testing.assert_allclose(got.detach(), want.detach(), rtol=1e-9, atol=1e-12)


def test_rows_that_repeat_depend_on_neither_threads_nor_compiling():
    torch.manual_seed(2)
    table = nn.Embedding(30, 16)
    layer = nn.LSTM(16, 24, num_layers=2, batch_first=True)
    parameters = [*table.parameters(), *layer.parameters()]
    number = torch.randint(0, 30, (8, 32))

    def gradients(number):
        output, _ = layer(table(number))
        return torch.autograd.grad((output * output).sum(), parameters)

    expected, threads = gradients(number), torch.get_num_threads()
    for count, function in [(3, gradients), (1, gradients), (2, torch.compile(gradients))]:
        torch.set_num_threads(count)
        try:
            found = function(number)
        finally:
            torch.set_num_threads(threads)
        assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN", "RNN-relu"])
@pytest.mark.parametrize(
    "options", [{}, {"bias": False, "batch_first": True}, {"bidirectional": True}]
)
def test_functions_of_weights(kind, options):
    made = {"RNN-relu": lambda *a, **k: torch.nn.RNN(*a, nonlinearity="relu", **k)}
    layer = made.get(kind, getattr(torch.nn, kind, None))(3, 4, num_layers=2, **options)
    name = {"RNN": "rnn_tanh", "RNN-relu": "rnn_relu"}.get(kind, kind.lower())
    function, directions = getattr(torch, name), 2 if layer.bidirectional else 1
    states = [torch.randn(2 * directions, 2, 4) for _ in range(2 if kind == "LSTM" else 1)]
    hx = tuple(states) if kind == "LSTM" else states[0]
    settings = (layer._flat_weights, layer.bias, 2, 0.0, False, layer.bidirectional)
    x = torch.randn(2, 5, 3) if layer.batch_first else torch.randn(5, 2, 3)
    output, last = layer(x, hx)
    found = function(x, hx, *settings, layer.batch_first)
    for ours, theirs in zip(found, (output, *(last if kind == "LSTM" else (last,))), strict=True):
        assert torch.equal(ours, theirs)
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, [5, 3], batch_first=layer.batch_first)
    output, last = layer(packed, hx)
    found = function(packed.data, packed.batch_sizes, hx, *settings)
    for ours, theirs in zip(
        found, (output.data, *(last if kind == "LSTM" else (last,))), strict=True
    ):
        assert torch.equal(ours, theirs)
    with pytest.raises(ValueError, match="parameters for"):
        function(x, hx, layer._flat_weights[:-1], *settings[1:], layer.batch_first)
    with pytest.raises(TypeError, match="takes the arguments"):
        function(x, hx)


def test_kernels_of_layers_refuse_what_does_not_fit():
    """Files of programs may call them with any arguments."""
    x, state, sizes = torch.randn(5, 3), torch.randn(2, 4), (2, 2, 1)
    w_ih, w_hh = torch.randn(16, 3), torch.randn(16, 4)
    good = [x, state, state, w_ih, w_hh, None, None, None, sizes, False, False]
    layer = registry["_lstm_layer"][0].door
    assert layer(*good)[0].shape == (5, 4)
    wrong = [
        (0, x[:4]), (0, torch.randn(5, 2)), (0, x.double()), (1, state[:1]), (2, state[:, :3]),
        (3, w_ih[:12]), (4, w_hh[:12]), (4, w_hh.flatten()), (5, torch.randn(12)),
        (7, torch.randn(2, 4)), (8, (2, 3)), (8, (100, 2, 2)), (8, (2, 2, 2, -1)), (8, ()),
        (10, True),
    ]  # fmt: skip
    for place, value in wrong:
        with pytest.raises(RuntimeError, match=r"recurrent layer|gates"):
            layer(*good[:place], value, *good[place + 1 :])
