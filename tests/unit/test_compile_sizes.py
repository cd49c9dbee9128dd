"""Compiled functions on many lengths: what differs are numbers, so kernels are shared."""

import cProfile
import itertools
import time

import pytest

import flambeau as torch
from flambeau import runtime
from flambeau._base import knobs
from flambeau.graph.recorder import Recorder
from flambeau.runtime import jit

nn, F = torch.nn, torch.nn.functional


class Block(nn.Module):
    """A transformer block, as small as can be."""

    def __init__(self, width: int):
        super().__init__()
        self.norm, self.qkv = nn.LayerNorm(width), nn.Linear(width, 3 * width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x):
        q, k, v = (z.unsqueeze(1) for z in self.qkv(self.norm(x)).chunk(3, dim=2))
        x = x + F.scaled_dot_product_attention(q, k, v, is_causal=True).squeeze(1)
        return x + self.mlp(x)


class GPT(nn.Module):
    def __init__(self, vocabulary: int = 11, width: int = 8):
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(128, width)
        self.block, self.head = Block(width), nn.Linear(width, vocabulary)

    def forward(self, x):
        places = self.places(torch.arange(x.shape[1]))
        return self.head(self.block(self.tokens(x) + places))


def made() -> int:
    """Modules of machine code that this process has compiled or loaded."""
    return jit.statistics().compiled + jit.statistics().loaded


def new_kernels(compiled, function, inputs, lengths):
    """How many modules each length needs beyond those that its eager call needs."""
    counts = []
    for length in lengths:
        given = inputs(length)
        want = function(*given)
        before = made()
        for _ in range(3 if length % 25 == 0 else 2):
            got = compiled(*given)
        counts.append(made() - before)
        assert torch.equal(got, want)
    return counts


def test_a_hundred_lengths_of_a_transformer_need_the_kernels_of_two():
    torch.manual_seed(0)
    model = GPT()

    def loss(x, y):
        return F.cross_entropy(model(x).flatten(0, 1), y.flatten())

    def inputs(length):
        return torch.randint(0, 11, (2, length)), torch.randint(0, 11, (2, length))

    with torch.no_grad():
        counts = new_kernels(torch.compile(loss, fullgraph=True), loss, inputs, range(20, 120))
    assert sum(counts[2:]) == 0


def test_a_hundred_lengths_of_a_training_step_need_the_kernels_of_two():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 6))

    def step(x, y):
        for p in model.parameters():
            p.grad = None
        loss = F.mse_loss(model(x), y)
        loss.backward()
        return loss.detach(), [p.grad for p in model.parameters()]

    def flat(x, y):
        loss, grads = step(x, y)
        return torch.cat([loss.flatten(), *(g.flatten() for g in grads)])

    def inputs(length):
        return torch.randn(length, 6), torch.randn(length, 6)

    counts = new_kernels(torch.compile(flat, fullgraph=True), flat, inputs, range(20, 120))
    assert sum(counts[2:]) == 0


def test_many_lengths_are_captured_when_eager_calls_took_twice_as_long(monkeypatch):
    seconds, variant = itertools.count(), Recorder.variant

    def slow(recorder, *args):
        for _ in range(9):
            next(seconds)
        return variant(recorder, *args)

    monkeypatch.setattr(time, "perf_counter", lambda: next(seconds))
    monkeypatch.setattr(Recorder, "variant", slow)

    def needed(compiled, length):
        """The call that is captured."""
        for call in range(1, 30):
            programs = compiled.show().count("program of")
            assert torch.equal(compiled(torch.ones(length)), torch.full((length,), 2.0))
            if compiled.show().count("program of") > programs:
                return call

    compiled = torch.compile(lambda x: x * 2)
    whole = torch.compile(lambda x: x * 2, fullgraph=True)
    assert [needed(compiled, n) for n in range(1, 14)] == [2] * 4 + [1] + [2] * 3 + [21] * 5
    assert all(needed(whole, n) <= 2 for n in range(1, 14))


@pytest.mark.machine_code("what is compiled anew")
def test_dynamic_says_from_when_numbers_are_parameters():
    def function(x):
        return (x * 1.5) * (1.0 / len(x))

    def needed(dynamic):  # kernels of the lengths after the first
        compiled = torch.compile(function, dynamic=dynamic)
        counts = []
        for k in range(5):
            x = torch.arange(30.0 + k)
            before = made()
            for _ in range(3):
                got = compiled(x)
            counts.append(made() - before)
            assert torch.equal(got, function(x))
        return counts[1:]

    for dynamic, later in ((None, [1, 0, 0, 0]), (False, [1, 1, 1, 1]), (True, [0, 0, 0, 0])):
        assert needed(dynamic) == later, dynamic


def test_numbers_that_are_the_same_again_or_zero_signed():
    compiled = torch.compile(lambda x, number: x * number + number, dynamic=True)
    x = torch.tensor([1.0, -2.0, float("inf")])
    for number in (0.0, -0.0, 1, True, 2.5, float("nan"), float("inf"), 0.0):
        for _ in range(3):
            got = compiled(x, number)
        want = x * number + number
        assert repr(got) == repr(want) and got.dtype is want.dtype
    for number in (1 + 2j, 3j, complex(0.0, -0.0)):
        for _ in range(3):
            got = compiled(x, number)
        assert repr(got) == repr(x * number + number)


def test_integers_keep_all_their_digits_as_parameters():
    compiled = torch.compile(lambda x, number: x + number, dynamic=True)
    x = torch.tensor([1, 2, 3])
    for number in (2**62 + 1, -(2**62) - 1, 2**53 + 1):
        for _ in range(3):
            assert compiled(x, number).tolist() == [v + number for v in (1, 2, 3)]


def test_modes():
    with pytest.raises(RuntimeError, match="Unrecognized mode=fast"):
        torch.compile(lambda x: x, mode="fast")
    for mode in ("default", "reduce-overhead", "max-autotune"):
        assert torch.compile(lambda x: x + 1, mode=mode)(torch.ones(1)).item() == 2


def test_a_profiler_around_a_capture_goes_on():
    compiled = torch.compile(lambda x: x.tanh() + 1, fullgraph=True)
    x, profile = torch.ones(3), cProfile.Profile()
    profile.enable()
    for _ in range(3):
        compiled(x)
    sorted([1])
    profile.disable()
    called = {entry.code for entry in profile.getstats()}
    assert "<built-in method builtins.sorted>" in called and "program of" in compiled.show()


@pytest.mark.parametrize("training", [False, True])
def test_programs_hold_no_memory_of_the_runs_that_they_were_captured_from(training):
    model = nn.Sequential(*[nn.Linear(64, 64) for _ in range(4)])

    def function(x):
        loss = model(x).square().mean()
        if training:
            for p in model.parameters():
                p.grad = None
            loss.backward()
        return loss

    compiled = torch.compile(function, fullgraph=True)
    used = []
    for length in range(1000, 1006):
        x = torch.randn(length, 64)
        for _ in range(3):
            compiled(x)
        if not training:  # forward and backward are two programs
            compiled(x).backward()
        for p in model.parameters():
            p.grad = None
        del x
        used.append(runtime.memory().allocated)
    assert used[-1] - used[1] < 64 * 1000 * 4


@pytest.fixture
def limits():
    """`torch._dynamo.config`, which is as it was afterwards."""
    config, before = torch._dynamo.config, dict(vars(torch._dynamo.config))
    yield config
    vars(config).update(before)


def test_programs_of_lengths_that_were_not_used_for_long_make_room(limits, capsys, monkeypatch):
    monkeypatch.setattr(knobs, "show", ("breaks",))
    limits.accumulated_cache_size_limit = 4
    weight = torch.randn(8, 300_000)
    compiled = torch.compile(lambda x: (x * weight[:, : len(x)].sum(0)).cumsum(0), fullgraph=True)
    used, programs = [], []
    for length in range(20, 40):
        for n in (length, length, 7, length):  # 7 is used again and again
            assert torch.equal(compiled(torch.ones(n)), weight[:, :n].sum(0).cumsum(0))
        programs.append(compiled.show().count("program of"))
        used.append(runtime.memory().allocated)
    assert max(programs) <= 4 and programs[-1] >= 2
    assert used[-1] <= used[5] + 4096
    before = runtime.memory().allocated
    assert "program of" in compiled.show() and compiled._entries
    said = capsys.readouterr().err
    assert said.count("has programs for 4 kinds of arguments") == 1
    compiled.reset()
    assert runtime.memory().allocated <= before


def test_a_value_that_is_another_with_every_call_is_given_up(limits, capsys, monkeypatch):
    monkeypatch.setattr(knobs, "show", ("breaks",))
    limits.recompile_limit = 3
    options = {"factor": 1.0}
    compiled = torch.compile(lambda x: x * options["factor"])
    for k in range(12):
        options["factor"] = float(k)
        assert compiled(torch.ones(2)).tolist() == [k, k]
    assert compiled.show().count("program of") == limits.cache_size_limit == 3
    said = capsys.readouterr().err
    assert said.count("has 3 programs for such arguments") == 1 and "'factor'" in said
