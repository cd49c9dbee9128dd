"""Kernels over the same rows, joined by the compiler: results bit for bit, and what was joined."""

import numpy
import pytest

import flambeau as torch
from flambeau.graph.program import Loop, Rows
from flambeau.graph.rows import common

F = torch.nn.functional


def residual_norm(x, y, w):
    return F.layer_norm(x * 0.5 + y, w.shape, w)


def softmax_scaled(x, y, w):
    return torch.softmax(x * w + y, -1) * 2 + x


def by_hand(x, y, w):
    mean = x.mean(-1, keepdim=True)
    variance = (x - mean).square().mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-5) * w + y


def in_the_middle(x, y, w):
    z = torch.softmax(x.reshape(16, 8, 96), -1)
    return (z + y.reshape(16, 8, 96)).amax(-1) * 3


def two_results(x, y, w):
    z = x + y
    return z, z.sum(-1), (z * z).amax(-1)


def transposed(x, y, w):
    return torch.softmax(x, 0).t() + y.t(), torch.softmax(y.t(), 1)


def over_columns(x, y, w):
    z = torch.softmax(x, -1)
    return z.sum(0), (z * y).sum(0)


def written_in_place(x, y, w):
    z = x + y
    z -= z.amax(-1, keepdim=True)
    z.exp_()
    z /= z.sum(-1, keepdim=True)
    x.mul_(w)
    return z


CASES = [
    (residual_norm, 1), (softmax_scaled, 1), (by_hand, 1), (in_the_middle, 1), (two_results, 1),
    (transposed, 1), (over_columns, 1), (written_in_place, 1),
]  # fmt: skip


def inputs(seed, shape=(128, 96)):
    rng = numpy.random.default_rng(seed)
    x, y = (torch.tensor(rng.standard_normal(shape).astype(numpy.float32)) for _ in range(2))
    return x, y, torch.tensor(rng.standard_normal(shape[-1]).astype(numpy.float32))


def program_of(compiled):
    [variant] = [v for entry in compiled._entries.values() for v in entry.variants]
    return variant.executable.program


def tuple_of(value):
    return value if isinstance(value, tuple) else (value,)


@pytest.mark.parametrize("function, passes", CASES, ids=lambda c: getattr(c, "__name__", ""))
def test_rows_are_joined_and_equal_eager_ones(function, passes):
    compiled = torch.compile(function)
    for seed in range(3):
        ours, theirs = inputs(seed), inputs(seed)
        with torch.no_grad():
            got, expected = tuple_of(compiled(*ours)), tuple_of(function(*theirs))
        for a, b in zip((*got, *ours), (*expected, *theirs), strict=True):
            assert a.shape == b.shape and a.stride() == b.stride()
            numpy.testing.assert_array_equal(a.numpy(), b.numpy())
    rows = [i for i in program_of(compiled).instructions if isinstance(i, Rows)]
    assert len(rows) == passes


def test_the_backward_of_a_norm_reads_its_input_once():
    def step():
        x.grad = None
        norm(x).backward(g)

    results = []
    for wrap in (lambda f: f, torch.compile):
        torch.manual_seed(0)
        x, g = torch.randn(256, 128, requires_grad=True), torch.randn(256, 128)
        norm, run = torch.nn.LayerNorm(128), wrap(step)
        for _ in range(6):
            run()
        results.append([x.grad.numpy(), norm.weight.grad.numpy(), norm.bias.grad.numpy()])
    for a, b in zip(*results, strict=True):
        numpy.testing.assert_array_equal(a, b)
    readers = [
        i for i in program_of(run).instructions if x.numel() in [o.layout.numel for o in i.reads]
    ]
    assert len(readers) == 1 and isinstance(readers[0], Rows)


@pytest.mark.parametrize("shape", [(128, 3), (2, 4000), (33, 70), (1, 64), (70, 0)])
def test_rows_that_are_few_short_or_none(shape):
    compiled = torch.compile(by_hand)
    for seed in range(2):
        got, expected = (f(*inputs(seed, shape)) for f in (compiled, by_hand))
        numpy.testing.assert_array_equal(got.numpy(), expected.numpy())


def test_large_results_are_written_past_the_cache():
    def chain(x, y):
        return x * y - 2

    compiled = torch.compile(chain)
    for offset in range(3):  # whether or not memory is aligned to registers
        x, y = (torch.randn((2 << 20) + 2)[offset:] for _ in range(2))
        for _ in range(3):
            numpy.testing.assert_array_equal(compiled(x, y).numpy(), chain(x, y).numpy())
    programs = [v.executable.program for e in compiled._entries.values() for v in e.variants]
    loops = [i for p in programs for i in p.instructions if isinstance(i, Loop)]
    assert loops and all(loop.work((-1, 0, 1)).streams() == (0,) for loop in loops)


@pytest.mark.parametrize("a, b, expected", [
    ((8, 128), (64,), (8, 8)), ((6,), (4,), (2,)), ((4, 5), (20, 7), (4, 5)), ((3,), (7,), ()),
    ((8, 128), (8, 128, 256), (8, 128)), ((), (5,), ()),
])  # fmt: skip
def test_the_most_rows_that_two_numberings_agree_on(a, b, expected):
    assert common(a, b) == common(b, a) == expected
