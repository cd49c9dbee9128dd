"""Compiled reductions and scans against NumPy, on memory that is watched."""

import math

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels import Guarded, call, like, run

from flambeau.compiler import link, plan
from flambeau.compiler.target import PLAIN
from flambeau.ir import (
    Pair,
    Reduce,
    Scan,
    cast,
    const,
    count,
    load,
    maximum,
    other,
    param,
    position,
    select,
    state,
)  # fmt: skip
from flambeau.types import by_name

bool_, int16, int64 = map(by_name, ("bool", "int16", "int64"))
float16, float32, float64, complex64 = map(by_name, ("float16", "float32", "float64", "complex64"))
TARGETS = pytest.mark.parametrize("target", [None, PLAIN], ids=["host", "plain"])
RNG = numpy.random.default_rng(0)


def monoid(source, result, dtype, start, combine, kind=Reduce, finish=lambda s: s):
    a, b = state(0, dtype), other(0, dtype)
    return kind(
        "fold",
        [source],
        [result],
        [const(start, dtype)],
        [cast(load(0, source), dtype)],
        [combine(a, b)],
        [finish(a)],
    )


def total(source, kind=Reduce):
    wide = float64 if source.kind == "f" else int64
    return monoid(source, wide, wide, 0, lambda a, b: a + b, kind)


def mean_and_spread(kind=Reduce):
    """Chan's parallel form of Welford's update: number, mean, sum of squared deviations."""
    x = cast(load(0, float32), float64)
    n, m, s = (state(k, float64) for k in range(3))
    n2, m2, s2 = (other(k, float64) for k in range(3))
    whole, delta = n + n2, m2 - m
    weight = select(whole.equals(0.0), const(0.0, float64), n2 / whole)
    combine = [whole, m + delta * weight, s + s2 + delta * delta * n * weight]
    init = [const(0.0, float64)] * 3
    finish = [m, s / cast(count, float64)]
    return kind(
        "welford",
        [float32],
        [float32, float64],
        init,
        [const(1.0, float64), x, init[0]],
        combine,
        finish,
    )


def argmax(kind=Reduce, source=float32):
    """The greatest and where it is first."""
    x, y = state(0, source), other(0, source)
    i, j = state(1, int64), other(1, int64)
    better = (x > y) | (x.equals(y) & (i < j))
    least = -math.inf if source.kind == "f" else -(2**15)
    init = [const(least, source), const(2**62, int64)]
    combine = [select(better, x, y), select(better, i, j)]
    return kind(
        "argmax", [source], [source, int64], init, [load(0, source), position], combine, [x, i]
    )


def arrange(array, order, gap=1, back=False):
    """The same values in memory whose dimensions follow `order`, outermost first."""
    strides, step = [0] * array.ndim, gap
    for d in reversed(order):
        strides[d] = -step if back else step
        step *= max(array.shape[d], 1)
    guarded = Guarded(array.shape, strides, array.dtype)
    guarded.array[...] = array
    return guarded.remember()


def results(kernel, array, axes, scan=False):
    shape = array.shape if scan else [n for d, n in enumerate(array.shape) if d not in axes]
    return [like(numpy.zeros(shape, d.numpy)) for d in kernel.outputs]


fractions = st.lists(st.floats(0, 1), max_size=2)
shapes = st.lists(st.sampled_from([0, 1, 2, 3, 5, 16, 17, 40, 130]), min_size=1, max_size=4)


@st.composite
def cases(draw):
    shape = draw(shapes)
    if math.prod(shape) > 60000:
        shape = shape[:2]
    axes = draw(st.lists(st.sampled_from(range(len(shape))), unique=True, max_size=len(shape)))
    order = draw(st.permutations(range(len(shape))))
    gap, back = draw(st.sampled_from([1, 1, 3])), draw(st.booleans())
    return shape, tuple(sorted(axes)), order, gap, back


@TARGETS
@settings(deadline=None, max_examples=100)
@given(case=cases(), source=st.sampled_from([float32, float64, int16, bool_]), cuts=fractions)
def test_sum(case, source, cuts, target):
    """Any dimensions of any layout, also none of them, also of zero elements."""
    shape, axes, order, gap, back = case
    array = (RNG.normal(size=shape) * 50).astype(source.numpy)
    kernel = total(source)
    [out] = results(kernel, array, axes)
    run(kernel, [out], [arrange(array, order, gap, back)], axes, cuts=cuts, target=target)
    want = array.astype(out.array.dtype).sum(axes) if axes else array.astype(out.array.dtype)
    numpy.testing.assert_allclose(out.array, want, rtol=1e-12, atol=1e-9)


@TARGETS
@settings(deadline=None, max_examples=60)
@given(case=cases(), cuts=fractions)
def test_argmax(case, cuts, target):
    """Positions are row-major over the folded dimensions, however the loops run; the first of
    equals wins.
    """
    shape, axes, order, gap, back = case
    array = RNG.integers(-4, 5, shape).astype(numpy.int16)
    kernel = argmax(source=int16)
    outs = results(kernel, array, axes)
    run(kernel, outs, [arrange(array, order, gap, back)], axes, cuts=cuts, target=target)
    kept = [d for d in range(len(shape)) if d not in axes]
    lead = [shape[d] for d in kept]
    n = math.prod(shape[d] for d in axes)
    lines = array.transpose([*kept, *axes]).reshape([*lead, n])
    if n == 0:
        assert (outs[0].array == -(2**15)).all() and (outs[1].array == 2**62).all()
        return
    numpy.testing.assert_array_equal(outs[0].array, lines.max(-1))
    numpy.testing.assert_array_equal(outs[1].array, lines.argmax(-1))


@TARGETS
@settings(deadline=None, max_examples=60)
@given(case=cases(), cuts=fractions)
def test_welford(case, cuts, target):
    """Three components of state, a count, two outputs of different types."""
    shape, axes, order, gap, back = case
    array = (RNG.normal(size=shape) + 1000).astype(numpy.float32)
    kernel = mean_and_spread()
    outs = results(kernel, array, axes)
    run(kernel, outs, [arrange(array, order, gap, back)], axes, cuts=cuts, target=target)
    if math.prod(shape[d] for d in axes) == 0:
        assert (outs[0].array == 0).all() and numpy.isnan(outs[1].array).all()
        return
    wide = array.astype(float)
    numpy.testing.assert_allclose(outs[0].array, wide.mean(axes) if axes else wide, rtol=1e-6)
    numpy.testing.assert_allclose(
        outs[1].array, wide.var(axes) if axes else 0 * wide, rtol=1e-9, atol=1e-18
    )


SPLIT = pytest.mark.parametrize("shape, axes", [
    ((1 << 20,), (0,)), ((3, 1000001), (1,)), ((100003, 5), (0,)), ((30000, 40), (0,)),
    ((2, 3000, 7, 100), (1, 3)),
    ((64, 33000), (0, 1)), ((20011, 3), (0,)), ((5, 9001, 4), (1,)), ((70000, 3, 4), (0, 2)),
])  # fmt: skip


@SPLIT
@pytest.mark.parametrize("swapped", [False, True])
def test_split(shape, axes, swapped):
    """The result of a large fold does not depend on how the ranges are cut."""
    array = RNG.integers(0, 1000, shape).astype(numpy.int16)
    order = sorted(range(len(shape)), reverse=swapped)
    x = arrange(array, order)
    for kernel in (argmax(source=int16), total(int16)):
        outs = results(kernel, array, axes)
        [built] = link([plan(kernel, [o.layout for o in outs], [x.layout], axes)])
        call(built, outs, [x], cuts=(0.31, 0.5))
        lines = numpy.moveaxis(array, axes, range(-len(axes), 0))
        lines = lines.reshape([*lines.shape[: -len(axes)], -1])
        if len(outs) == 1:
            numpy.testing.assert_array_equal(outs[0].array, lines.sum(-1, dtype=numpy.int64))
        else:
            numpy.testing.assert_array_equal(outs[0].array, lines.max(-1))
            numpy.testing.assert_array_equal(outs[1].array, lines.argmax(-1))
    values = like(RNG.normal(size=shape).astype(numpy.float32))
    kernel = mean_and_spread()
    first, second = results(kernel, values.array, axes), results(kernel, values.array, axes)
    run(kernel, first, [values], axes)
    run(kernel, second, [values], axes, cuts=(0.17, 0.6, 0.61))
    for a, b in zip(first, second, strict=True):
        numpy.testing.assert_array_equal(a.array, b.array)
    numpy.testing.assert_allclose(first[1].array, values.array.var(axes, dtype=float), rtol=1e-6)


@pytest.mark.machine_code("how many stages a fold takes")
@SPLIT
def test_large_folds_to_few_results_take_two_rounds(shape, axes):
    array = numpy.zeros(shape, numpy.int16)
    x, stages = like(array), []
    for kernel in (argmax(source=int16), total(int16)):
        outs = results(kernel, array, axes)
        [built] = link([plan(kernel, [o.layout for o in outs], [x.layout], axes)])
        stages.append(len(built.stages))
    assert max(stages) >= 2 or outs[0].array.size >= 32 or array.size < 200_000


def test_bool_and_complex_state():
    """any() of bool, in parts too; a product of complex numbers whose state is two components."""
    a, b = state(0, bool_), other(0, bool_)
    any_ = Reduce(
        "any",
        [float32],
        [bool_],
        [const(False, bool_)],
        [load(0, float32).differs(0.0)],
        [a | b],
        [a],
    )
    for n, where in [(100, 99), (100, None), (3_000_000, 2_999_999), (3_000_000, None)]:
        x = numpy.zeros(n, numpy.float32)
        if where is not None:
            x[where] = 2
        out = like(numpy.asarray(where is None))
        run(any_, [out], [like(x)], (0,))
        assert out.array == (where is not None)
    z, (p, q) = (
        load(0, complex64),
        (Pair(make(0, float32), make(1, float32)) for make in (state, other)),
    )
    product = p * q
    kernel = Reduce(
        "prod", [complex64], [complex64], [const(1.0, float32), const(0.0, float32)], [z.re, z.im],
        [product.re, product.im], [p],
    )  # fmt: skip
    x = numpy.exp(1j * RNG.normal(size=(37, 21))).astype(numpy.complex64)
    for axes in [(0,), (1,), (0, 1)]:
        out = like(
            numpy.zeros([n for d, n in enumerate(x.shape) if d not in axes], numpy.complex64)
        )
        run(kernel, [out], [like(x)], axes)
        numpy.testing.assert_allclose(out.array, x.prod(axes), rtol=1e-4)


def test_two_inputs_and_params():
    """A dot product, one operand repeated, times a run-time number."""
    x, y = load(0, float32), load(1, float32)
    a, b = state(0, float64), other(0, float64)
    kernel = Reduce(
        "dot", [float32, float32], [float32], [const(0.0, float64)],
        [cast(x, float64) * cast(y, float64)], [a + b], [a * param(0, float64)],
    )  # fmt: skip
    left, right = (
        like(RNG.normal(size=(50, 60)).astype(numpy.float32)),
        Guarded((50, 60), (0, 1), numpy.float32),
    )
    right.array[0] = RNG.normal(size=60)
    for axes in [(0,), (1,), (0, 1), ()]:
        products = left.array.astype(float) * right.array
        want = (products.sum(axes) if axes else products) * 3
        out = like(numpy.zeros(want.shape, numpy.float32))
        run(kernel, [out], [left, right.remember()], axes, scalars=[3.0])
        numpy.testing.assert_allclose(out.array, want, rtol=1e-6, atol=1e-5)


@TARGETS
@settings(deadline=None, max_examples=80)
@given(
    data=st.data(), case=cases(), source=st.sampled_from([float32, int16, float16]), cuts=fractions
)
def test_cumulative(data, case, source, cuts, target):
    """Prefix sums, and the running greatest with its place, along any dimension of any layout."""
    shape, _, order, gap, back = case
    axis = data.draw(st.sampled_from(range(len(shape))))
    array = RNG.integers(-40, 50, shape).astype(source.numpy)
    x = arrange(array, order, gap, back)
    target_memory = arrange(
        numpy.zeros(shape, int if source is int16 else float), data.draw(st.permutations(order))
    )
    wide = int64 if source is int16 else float64
    kernel = monoid(source, wide, wide, 0, lambda a, b: a + b, Scan)
    run(kernel, [target_memory], [x], (axis,), cuts=cuts, target=target)
    numpy.testing.assert_array_equal(target_memory.array, array.astype(wide.numpy).cumsum(axis))
    if source is int16:
        kernel = argmax(Scan, int16)
        outs = results(kernel, array, (axis,), True)
        run(kernel, outs, [x], (axis,), cuts=cuts, target=target)
        greatest = numpy.maximum.accumulate(array, axis)
        numpy.testing.assert_array_equal(outs[0].array, greatest)
        taken = numpy.take_along_axis(array, outs[1].array, axis) if array.size else greatest
        numpy.testing.assert_array_equal(taken, greatest)


def test_maximum_keeps_nan():
    kernel = monoid(float32, float32, float32, -math.inf, maximum)
    for place in (0, 5, 99):
        x = RNG.normal(size=(4, 100)).astype(numpy.float32)
        x[2, place] = math.nan
        out = like(numpy.zeros(4, numpy.float32))
        run(kernel, [out], [like(x)], (1,))
        numpy.testing.assert_array_equal(out.array, x.max(1))
