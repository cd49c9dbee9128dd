"""Compiled pointwise kernels against NumPy, on memory that is watched."""

import ctypes
import itertools
import math
import mmap

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels import Guarded, call, like, run, to_memory

from flambeau.compiler import link, plan
from flambeau.compiler.build import host
from flambeau.compiler.schedule import LONG
from flambeau.compiler.target import PLAIN, Target
from flambeau.ir import (
    Pointwise,
    bitcast,
    cast,
    ceil,
    const,
    copysign,
    evaluate,
    floor,
    fma,
    load,
    maximum,
    minimum,
    param,
    parts,
    position,
    rem,
    rint,
    select,
    sqrt,
    trunc,
)  # fmt: skip
from flambeau.ir import math as math_of
from flambeau.types import DTYPES, by_name

bool_, uint8, int16, int32, int64 = map(by_name, ("bool", "uint8", "int16", "int32", "int64"))
float16, bfloat16, float32, float64 = map(by_name, ("float16", "bfloat16", "float32", "float64"))
TARGETS = pytest.mark.parametrize("target", [None, PLAIN], ids=["host", "plain"])
RNG = numpy.random.default_rng(0)


def equal(a, b):
    assert a.dtype == b.dtype and a.shape == b.shape
    if a.dtype.kind in "fcV" or a.dtype.name == "bfloat16":
        bad = ~((a == b) | ((a != a) & (b != b)))
    else:
        bad = a != b
    assert not bad.any(), (numpy.argwhere(bad)[:3], a[bad][:3], b[bad][:3])


def hard_points(dtype, count=203):
    """Values of a type: extremes first, then random ones."""
    d = dtype.numpy
    if dtype is bool_:
        return RNG.integers(0, 2, count).astype(bool)
    if dtype.kind in "ui":
        info = numpy.iinfo(d)
        edge = [0, 1, info.max, info.min, info.max - 1, 2, 7, info.min + 1] + (
            [-1] if dtype.kind == "i" else []
        )
        small = RNG.integers(0 if dtype.kind == "u" else -9, 10, count)
        wide = RNG.integers(info.min, info.max, count, endpoint=True, dtype=d)
        return RNG.permuted(numpy.concatenate([numpy.asarray(edge, d), small.astype(d), wide]))[
            :count
        ]
    edge = [
        0.0,
        -0.0,
        math.inf,
        -math.inf,
        math.nan,
        1.0,
        -1.0,
        0.5,
        -1.5,
        2.5,
        1e-41,
        6e-8,
        65504.0,
        1e4,
    ]
    with numpy.errstate(all="ignore"):
        values = numpy.concatenate(
            [edge, RNG.normal(size=count) * 10.0 ** RNG.integers(-3, 4, count)]
        )
        values = RNG.permuted(values)[:count]
        return (values + 1j * RNG.permuted(values) if dtype.kind == "c" else values).astype(d)


def body_of(dtype):
    """Every primitive that the type has."""
    a, b = load(0, dtype), load(1, dtype)
    values = [
        a + b,
        a * b,
        minimum(a, b),
        maximum(a, b),
        a < b,
        a <= b,
        a.equals(b),
        a.differs(b),
        select(a < b, a, b),
    ]
    if dtype.kind == "f":
        values += [
            a - b,
            a / b,
            -a,
            abs(a),
            sqrt(abs(a)),
            floor(a),
            ceil(a),
            trunc(a),
            rint(a),
            copysign(a, b),
        ]
        values += [fma(a, b, a), rem(a, b)]
        return values
    values += [a & b, a | b, a ^ b, ~a]
    if dtype is not bool_:
        values += [a - b, a / b, -a, rem(a, b), a << b, a >> b] + (
            [abs(a)] if dtype.kind == "i" else []
        )
    return values


@TARGETS
@pytest.mark.parametrize(
    "name", ["bool", "uint8", "int8", "int16", "int32", "int64", "float32", "float64"]
)
def test_primitives(name, target):
    """Every primitive on every compute type is what the interpreter says."""
    dtype = by_name(name)
    body = body_of(dtype)
    kernel = Pointwise("all", [dtype, dtype], [v.dtype for v in body], body)
    left, right = hard_points(dtype), hard_points(dtype)
    edges = numpy.unique(left)[[0, 1, -2, -1]] if dtype is not bool_ else left[:4]
    edges = numpy.concatenate([edges, numpy.asarray([-1, 0, 1]).astype(dtype.numpy)])
    x = like(numpy.concatenate([left, numpy.repeat(edges, len(edges))]))
    y = like(numpy.concatenate([right, numpy.tile(edges, len(edges))]))
    outs = [like(numpy.zeros(x.array.shape, v.dtype.numpy)) for v in body]
    run(kernel, outs, [x, y], target=target)
    for value, out, want in zip(body, outs, evaluate(body, [x.array, y.array]), strict=True):
        if value.op in ("min", "max") and dtype.kind == "f":
            want = numpy.where(
                want == 0, numpy.where(numpy.isnan(want), want, out.array), want
            ).astype(want.dtype)
        equal(out.array, numpy.asarray(want))


@TARGETS
def test_casts(target):
    """From every type to every type, through memory; out-of-range conversions excepted."""
    plans, cases = [], []
    for source, result in itertools.product(DTYPES, DTYPES):
        values = hard_points(source)
        if source.kind in "fc" and result.kind in "ui":
            values = (
                numpy.nan_to_num(values.real, nan=3, posinf=7, neginf=1)
                .clip(0, 100)
                .astype(source.numpy)
            )
        value = load(0, source)
        kernel = Pointwise("cast", [source], [result], [value])
        x, out = like(values), like(numpy.zeros(values.shape, result.numpy))
        plans.append(plan(kernel, [out.layout], [x.layout], (), target))
        cases.append((x, out, source, result))
    for built, (x, out, source, result) in zip(link(plans), cases, strict=True):
        call(built, [out], [x])
        array = x.array
        if source.kind == "c" and result is bool_:
            want = array != 0
        elif source.kind == "c" and result.kind != "c":
            want = to_memory(array.real, result.numpy)
        elif source.name in ("float16", "bfloat16") and source is not result:
            want = to_memory(array.astype(numpy.float32), result.numpy)
        else:
            want = to_memory(array, result.numpy)
        equal(out.array, want)


@TARGETS
def test_half_rounding(target):
    """All float16 values survive; float32 values round to nearest even, as NumPy rounds."""
    every = numpy.arange(65536, dtype=numpy.uint16)
    for half in (float16, bfloat16):
        x = like(every.view(half.numpy))
        wide = like(numpy.zeros(65536, numpy.float32))
        run(Pointwise("widen", [half], [float32], [load(0, half)]), [wide], [x], target=target)
        equal(wide.array, x.array.astype(numpy.float32))
        with numpy.errstate(all="ignore"):
            floats = numpy.nextafter(wide.array, RNG.normal(size=65536)).astype(numpy.float32)
            middle = (wide.array.view(numpy.uint32) + (0x1000 if half is float16 else 0x8000)).view(
                numpy.float32
            )
        for values in (floats, middle):
            y, back = like(values), like(numpy.zeros(65536, half.numpy))
            run(
                Pointwise("narrow", [float32], [half], [load(0, float32)]),
                [back],
                [y],
                target=target,
            )
            with numpy.errstate(all="ignore"):
                equal(back.array, values.astype(half.numpy))


def test_out_of_range_casts():
    """nan, infinity and large floats become some integer and nothing traps; small negatives wrap
    into uint8.
    """
    x = like(
        numpy.asarray([math.nan, math.inf, -math.inf, 1e30, -1e30, 300.0, -1.0] * 9, numpy.float32)
    )
    outs = [like(numpy.zeros(x.array.shape, d.numpy)) for d in (uint8, int16, int32, int64)]
    run(Pointwise("c", [float32], [uint8, int16, int32, int64], [load(0, float32)] * 4), outs, [x])
    assert outs[0].array[5] == 44 and outs[0].array[6] == 255 and outs[1].array[5] == 300
    assert outs[2].array[0] == -(2**31) and outs[3].array[3] == -(2**63)


def test_bool_reads_any_nonzero_byte():
    x = like(numpy.arange(100, dtype=numpy.uint8))
    view = Guarded((100,), (1,), bool)
    view.array.view(numpy.uint8)[...] = x.array
    view.remember()
    out = like(numpy.zeros(100, numpy.int32))
    run(Pointwise("b", [bool_], [int32], [load(0, bool_)]), [out], [view])
    equal(out.array, (numpy.arange(100) != 0).astype(numpy.int32))


def test_params_and_bitcast():
    x = like(RNG.normal(size=37).astype(numpy.float32))
    outs = [like(numpy.zeros(37, d)) for d in (numpy.float32, numpy.int64, numpy.int32)]
    a = load(0, float32)
    body = [
        a * cast(param(0, float64), float32),
        cast(param(1, int64), int64) + 1,
        bitcast(a, int32),
    ]
    run(Pointwise("p", [float32], [float32, int64, int32], body), outs, [x], scalars=[2.5, 2**40])
    equal(outs[0].array, x.array * numpy.float32(2.5))
    equal(outs[1].array, numpy.full(37, 2**40 + 1))
    equal(outs[2].array, x.array.view(numpy.int32))


sizes = st.lists(st.sampled_from([0, 1, 1, 2, 3, 5, 7, 16, 17, 33, 70]), max_size=4)


@st.composite
def strides_for(draw, shape, written):
    """Strides of any order and sign, gaps between; repeated ones for what is only read."""
    strides, step = [0] * len(shape), 1
    for d in draw(st.permutations(range(len(shape)))):
        kind = draw(st.sampled_from(["dense", "dense", "dense", "gap", "back", "zero"]))
        step *= draw(st.sampled_from([2, 3])) if kind == "gap" else 1
        strides[d] = 0 if kind == "zero" and not written else -step if kind == "back" else step
        step *= max(shape[d], 1)
    return strides


def draw_operand(data, shape, dtype, written):
    operand = Guarded(shape, data.draw(strides_for(shape, written)), dtype.numpy)
    if operand.array.size:
        flat = hard_points(dtype, 97)
        operand.array[...] = (
            numpy.resize(flat, operand.array.shape) if written else flat[RNG.integers(97)]
        )
        if not written:
            at = [slice(None) if s else slice(0, 1) for s in operand.layout.strides]
            operand.array[tuple(at)] = numpy.resize(flat, operand.array[tuple(at)].shape)
    return operand.remember()


TRIPLES = [
    (float32, float32, float32), (float64, float32, int32), (bfloat16, float16, uint8),
    (by_name("complex64"), by_name("complex64"), float32), (bool_, int64, int16),
    (by_name("complex128"), by_name("complex64"), bool_),
]  # fmt: skip


@TARGETS
@settings(deadline=None, max_examples=120)
@given(
    data=st.data(),
    shape=sizes,
    types=st.sampled_from(TRIPLES),
    cuts=st.lists(st.floats(0, 1), max_size=3),
)
def test_any_layout(data, shape, types, cuts, target):
    """Any shapes, strides and split of the range give what NumPy gives and touch nothing else."""
    if math.prod(shape) > 40000:
        shape = shape[:2]
    result, left, right = types
    ins = [draw_operand(data, shape, d, False) for d in (left, right)]
    out = draw_operand(data, shape, result, True)
    wide = result if result.itemsize >= 4 and result.kind in "fc" else float32
    value = cast(load(0, left), wide) + cast(load(1, right), wide)
    kernel = Pointwise(
        "sum", [left, right], [result], [cast(value, result) if result.kind != "u" else value]
    )
    run(kernel, [out], ins, cuts=cuts, target=target)
    with numpy.errstate(all="ignore"):
        a, b = (
            i.array.astype(numpy.float32) if i.array.dtype.name == "bfloat16" else i.array
            for i in ins
        )
        want = a.astype(wide.numpy) + b.astype(wide.numpy)
        want = (want != 0) if result is bool_ else to_memory(want, result.numpy)
    equal(out.array, numpy.broadcast_to(want, out.array.shape))


def test_transposed_copies():
    """Blocked loops, with and without a rest, cover every element once."""
    for shape in [(200, 130), (128, 128), (3, 190, 77), (1000, 3), (65, 64)]:
        x = like(RNG.normal(size=shape[::-1]).astype(numpy.float32))
        view = Guarded(shape, [1] * len(shape), numpy.float32)
        view.array = x.array.T
        view.layout = x.layout.reshaped(shape, x.layout.strides[::-1])
        view.block, view.before = x.block, x.before
        out = like(numpy.zeros(shape, numpy.float32))
        run(
            Pointwise("copy", [float32], [float32], [load(0, float32)]),
            [out],
            [view],
            cuts=(0.3, 0.77),
        )
        equal(out.array, x.array.T)


def test_in_place():
    """An output may be an input."""
    x = like(RNG.normal(size=(13, 45)).astype(numpy.float32))
    before = x.array.copy()
    run(Pointwise("double", [float32], [float32], [load(0, float32) * 2]), [x], [x])
    equal(x.array, before * numpy.float32(2))


@pytest.mark.parametrize("target", [None, Target(32, True, False), PLAIN], ids=str)
@pytest.mark.parametrize("step", [1, 3])
def test_long_bodies_in_runs_of_any_length(step, target):
    body = math_of.tanh(math_of.lgamma(load(0, float32))) * load(1, float32)
    kernel = Pointwise("long", [float32] * 2, [float32], [body])
    assert len(kernel.expressions) in LONG
    for count in (1, 63, 255, 256, 257, 321, 1000):
        x = Guarded((count,), (step,), numpy.float32)
        x.array[...] = RNG.uniform(0.1, 20, count)
        y = like(RNG.standard_normal(count).astype(numpy.float32))
        out = Guarded((count,), (step,), numpy.float32)
        run(kernel, [out], [x.remember(), y], cuts=(0.4,), target=target)
        equal(out.array, evaluate([body], [x.array, y.array])[0])


@TARGETS
def test_check(target):
    """The code is 1 exactly where the condition holds at some element: lanes behind the end do not
    count.
    """
    a = load(0, int32)
    kernel = Pointwise("c", [int32], [int32], [a], check=a.equals(0))
    for shape, strides in [
        ((45,), (1,)),
        ((45,), (2,)),
        ((6, 7), (14, 2)),
        ((5, 9), (10, 1)),
        ((1,), (1,)),
    ]:
        x, out = Guarded(shape, strides, numpy.int32), Guarded(shape, strides, numpy.int32)
        x.block[...] = 0
        x.array[...] = 5
        assert run(kernel, [out], [x.remember()], target=target) == 0
        x.array[tuple(n - 1 for n in shape)] = 0
        assert run(kernel, [out.remember()], [x.remember()], cuts=(0.4,), target=target) == 1


def test_position():
    """The row-major number of an element, in any layout."""
    out = Guarded((5, 37, 3), (3, 15, 1), numpy.int64)
    run(Pointwise("iota", [], [int64], [position * 2]), [out], [], cuts=(0.5,))
    equal(out.array, numpy.arange(5 * 37 * 3).reshape(5, 37, 3) * 2)


@pytest.mark.machine_code("one function for all sizes")
def test_same_code_for_other_sizes():
    """Sizes and strides are run-time values: no code is generated for another shape of the same
    pattern.
    """
    kernel = Pointwise("neg", [float32], [float32], [-load(0, float32)])
    pairs = [
        [like(numpy.zeros(shape, numpy.float32)) for _ in range(2)]
        for shape in [(4, 5), (7,), (), (3, 0, 2, 9)]
    ]
    built = link([plan(kernel, [o.layout], [i.layout]) for o, i in pairs])
    assert len({stage.address for b in built for stage in b.stages}) == 1
    assert built[3].stages == []
    assert host().vector_bytes in (16, 32, 64)


def test_constants_keep_their_bits():
    values = [0.1, -0.0, 1e-40, math.inf, math.nan, 3e38, 1e300]
    for dtype in (float32, float64, float16, bfloat16):
        outs = [like(numpy.zeros(3, dtype.numpy)) for _ in values]
        run(Pointwise("k", [], [dtype] * len(values), [const(v, dtype) for v in values]), outs, [])
        for value, out in zip(values, outs, strict=True):
            with numpy.errstate(all="ignore"):
                want = numpy.full(3, numpy.float32(value) if dtype.itemsize == 2 else value)
                equal(out.array, want.astype(dtype.numpy))
    assert parts(const(1 + 2j, by_name("complex64")))[1].value == 2.0


def fenced(count, dtype, at_end):
    """A contiguous array that ends (or begins) at a page which may not be touched."""
    library = ctypes.CDLL(None, use_errno=True)
    page = mmap.PAGESIZE
    size = -(-count * dtype.itemsize // page) * page
    block = mmap.mmap(-1, size + 2 * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(block))
    for fence in (start, start + page + size):
        assert library.mprotect(ctypes.c_void_p(fence), ctypes.c_size_t(page), 0) == 0
    offset = page + (size - count * dtype.itemsize if at_end else 0)
    guarded = Guarded((count,), (1,), dtype)
    guarded.array = numpy.frombuffer(block, dtype, count, offset)
    guarded.unchanged_elsewhere = lambda: True
    return guarded


@pytest.mark.skipif(not hasattr(mmap, "MAP_PRIVATE"), reason="needs mprotect")
@TARGETS
def test_reads_nothing_outside(target):
    """Vectors never reach over the ends: the neighbouring pages are not readable."""
    wide = by_name("complex64")
    value = cast(load(0, uint8), float32) + load(1, float32) + load(2, wide).im
    kernel = Pointwise("sum", [uint8, float32, wide], [float32], [value])
    for count, at_end in itertools.product([1, 3, 17, 63, 64, 65, 200, 1023, 4097], [True, False]):
        ins = [fenced(count, numpy.dtype(d), at_end) for d in ("uint8", "float32", "complex64")]
        for i, operand in enumerate(ins):
            operand.array[...] = RNG.integers(0, 99, count) * (1j if i == 2 else 1)
        out = fenced(count, numpy.dtype("float32"), at_end)
        run(kernel, [out], ins, target=target, cuts=(0.5,))
        equal(out.array, ins[0].array + ins[1].array + ins[2].array.imag)
