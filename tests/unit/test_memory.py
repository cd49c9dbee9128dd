"""The memory of programs: where what lives at the same time lies, and what is made again instead of
being kept.
"""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flambeau as torch
from flambeau.graph import compile, recompute
from flambeau.graph.memory import BLOCK, Piece, plan_memory
from flambeau.graph.program import Sums

nn, F = torch.nn, torch.nn.functional


@given(st.integers(0, 10**9))
def test_what_lives_at_the_same_time_lies_apart(seed):
    chance = random.Random(seed)
    steps = chance.randint(1, 30)
    pieces = []
    for _ in range(chance.randint(1, 60)):
        first, last = sorted(chance.choices(range(steps), k=2))
        nbytes = chance.choice((0, 1, 64, 100, 4096, 10_000, 1 << 16))
        heirs = [k for k, p in enumerate(pieces) if p.last == first and p.nbytes == nbytes]
        pieces.append(Piece(nbytes, first, last, chance.choice([None, *heirs])))
    results = [(chance.choice((8, 4096, 1 << 17)), chance.randint(0, steps)) for _ in range(5)]
    places, size = plan_memory(pieces, results)

    for k, (piece, (home, start)) in enumerate(zip(pieces, places, strict=True)):
        assert start % 64 == 0
        if home == BLOCK:
            assert start + piece.nbytes <= size
        else:
            nbytes, met = results[home]
            assert start + piece.nbytes <= nbytes and piece.last < met
        for other, place in list(zip(pieces, places, strict=True))[:k]:
            if place.home != home or place.start >= start + piece.nbytes:
                continue
            if start >= place.start + other.nbytes or not piece.nbytes or not other.nbytes:
                continue
            earlier, later = sorted((other, piece), key=lambda p: p.first)
            handed = earlier.last == later.first and place.start == start
            assert earlier.last < later.first or handed


def test_memory_is_used_again_and_results_lend_theirs():
    large = 1 << 16
    places, size = plan_memory([Piece(large, k, k + 1) for k in range(0, 20, 2)], [])
    assert len(set(places)) == 1 and size < 2 * large
    places, size = plan_memory([Piece(large, 0, 1)], [(large, 2)])
    assert places == [(0, 0)] and size == 0
    places, size = plan_memory([Piece(large, 0, 1), Piece(large, 1, 3, heir=0)], [])
    assert places[0] == places[1]


def test_a_pointwise_result_lies_where_its_operand_did():
    made = compile(lambda x: (x.cumsum(0) * 2).cumsum(0) + 1)
    x = torch.randn(1 << 14)
    for _ in range(3):
        assert torch.equal(made(x), (x.cumsum(0) * 2).cumsum(0) + 1)
    [executable] = [e for v in made._entries.values() for e in v.variants[0].executables]
    assert executable.scratch < 3 * x.nbytes


class Normed(nn.Module):
    """Layers whose backward reads activations."""

    def __init__(self, kind):
        super().__init__()
        if kind == "images":
            parts = [nn.Conv2d(3, 8, 3, padding=1)]
            for _ in range(3):
                parts += [nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)]
            self.parts = nn.Sequential(*parts, nn.Flatten(), nn.Linear(8 * 64, 4))
        else:
            parts = [nn.Linear(3, 32)]
            for _ in range(3):
                parts += [nn.LayerNorm(32), nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32)]
            self.parts = nn.Sequential(*parts)

    def forward(self, x):
        return self.parts(x)


def trained(kind, compiles):
    torch.manual_seed(0)
    model = Normed(kind)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x = torch.randn(*((4, 3, 8, 8) if kind == "images" else (64, 3)))

    def step():
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    step = compile(step) if compiles else step
    losses = [step() for _ in range(4)]
    values = [p.detach() for p in model.parameters()] + [p.grad for p in model.parameters()]
    return step, [*losses, *values]


@pytest.mark.parametrize("kind", ("images", "lines"))
def test_cheap_values_are_made_again(kind, monkeypatch):
    kept, _ = trained(kind, True)
    monkeypatch.setattr(recompute, "SMALLEST", 1)
    made, got = trained(kind, True)
    for a, b in zip(got, trained(kind, False)[1], strict=True):
        assert torch.equal(a, b)
    before, after = (next(iter(s._entries.values())).variants[0].executable for s in (kept, made))
    assert after.scratch < before.scratch
    sums = [sum(isinstance(i, Sums) for i in e.program.instructions) for e in (before, after)]
    assert sums[0] == sums[1]  # only what is cheap
