"""Reductions with the kernels before them, algebra and repetitions in compiled programs."""

import math

import numpy
import pytest

import flambeau as torch
from flambeau import ir
from flambeau.graph.program import Loop
from flambeau.graph.simplify import _simple_kernel
from flambeau.types import by_name

F32 = by_name("float32")


def squares(x, y):
    return ((x - y) ** 2).mean()


def product(x, y):
    return (x * y).sum()


def columns(x, y):
    return (x * y).sum(0)


def weighted(x, y):
    return torch.maximum(x * y[0], x).sum((0, 1))


def largest(x, y):
    return (x - y).abs().amax()


def read_twice(x, y):
    z = x * y
    return z.sum() + z[0, 0]


def overwritten(x, y):
    z = x * y
    x.add_(1)
    return z.sum()


def inputs(seed, shape):
    rng = numpy.random.default_rng(seed)
    return [torch.tensor(rng.standard_normal(shape).astype(numpy.float32)) for _ in range(2)]


def programs(compiled):
    return [v.executable.program for entry in compiled._entries.values() for v in entry.variants]


@pytest.mark.parametrize("shape", [(7, 5), (300, 1000), (1024, 700), (3, 100_000), (1, 40)])
@pytest.mark.parametrize(
    "function", [squares, product, columns, weighted, largest, read_twice, overwritten]
)
def test_folds_with_their_producers_equal_eager_ones(function, shape):
    compiled = torch.compile(function)
    for seed in range(3):
        ours, theirs = inputs(seed, shape), inputs(seed, shape)
        for a, b in zip((compiled(*ours), *ours), (function(*theirs), *theirs), strict=True):
            numpy.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize("function", [squares, product, columns, largest])
def test_nothing_between_a_fold_and_its_producer_goes_through_memory(function):
    compiled = torch.compile(function)
    for seed in range(2):
        compiled(*inputs(seed, (300, 1000)))
    [program] = programs(compiled)
    whole = [o for i in program.instructions for o in i.writes if o.layout.numel == 300_000]
    assert not whole


def test_what_is_known_is_not_computed_again():
    def function(x, y):
        return torch.exp(x * y).sum(0) + torch.exp(x * y).sum(0), torch.exp(x * y)

    compiled = torch.compile(function)
    for seed in range(2):
        got, expected = (f(*inputs(seed, (64, 64))) for f in (compiled, function))
        for a, b in zip(got, expected, strict=True):
            numpy.testing.assert_array_equal(a.numpy(), b.numpy())
    [program] = programs(compiled)
    folds = [i for i in program.instructions if isinstance(i, Loop) and i.kernel.kind == "reduce"]
    assert len(folds) <= 1


x, y = ir.load(0, F32), ir.load(1, F32)
ONE, ZERO, MINUS = (ir.const(v, F32) for v in (1.0, 0.0, -0.0))


@pytest.mark.parametrize("body, expected", [
    (x * ONE, x), (ONE * x, x), (x / ONE, x), (x - ZERO, x), (x + MINUS, x), (MINUS + x, x),
    (ir.node("neg", -x), x), (abs(-x), abs(x)), (ir.cast(ir.cast(x, by_name("float64")), F32), x),
    (x + ZERO, None), (x - MINUS, None), (x * ZERO, None), (x - x, None), (ZERO - x, None),
    (ir.cast(ir.cast(x, by_name("int32")), F32), None),
    (x * (ir.node("add", ONE, ONE)), x * 2.0),
    (x * ir.node("cast", ir.const(1, by_name("int64")), dtype=F32), x),
    (ir.select(ir.const(True, by_name("bool")), x, y), x), (ir.select(x < y, y, y), y),
])  # fmt: skip
def test_laws_that_hold_for_every_number(body, expected):
    made = _simple_kernel(ir.Pointwise("k", [F32, F32], [F32], [body])).body[0]
    assert made is (body if expected is None else expected)
    values = numpy.array([0.0, -0.0, 1.5, math.inf, -math.inf, math.nan, 1e-45], numpy.float32)
    with numpy.errstate(all="ignore"):
        before, after = ir.evaluate([body, made], [values, values[::-1].copy()], {}, {})
    assert numpy.array_equal(numpy.signbit(before), numpy.signbit(after))
    numpy.testing.assert_array_equal(before, after)
