"""Compiled scalar functions give the very bits that their meaning in NumPy has."""

import numpy
import pytest
from kernels import call, like

from flambeau.compiler import link, plan
from flambeau.ir import Pair, Pointwise, evaluate, load, math, parts
from flambeau.types import by_name

ONE = [
    "exp", "exp2", "expm1", "log", "log1p", "log2", "log10", "sqrt", "rsqrt", "sigmoid", "sinh",
    "cosh", "tanh", "asinh", "acosh", "atanh", "sin", "cos", "tan", "asin", "acos", "atan", "sinc",
    "erf", "erfc", "erfcx", "ndtr", "log_ndtr", "erfinv", "ndtri", "lgamma", "digamma", "i0", "i0e",
    "i1", "i1e",
]  # fmt: skip
TWO = ["pow", "hypot", "atan2", "fmod", "remainder", "floor_divide", "nextafter", "ldexp"]
COMPLEX = [
    "exp", "log", "sqrt", "sin", "tanh", "acos", "atanh", "log1p", "expm1", "reciprocal", "sigmoid",
]  # fmt: skip


def points(dtype, count, seed):
    """Any bits, common sizes, special values."""
    rng = numpy.random.default_rng(seed)
    real = by_name(dtype).to_real().numpy
    integer = numpy.dtype(f"i{real.itemsize}")
    info = numpy.iinfo(integer)
    special = [0.0, -0.0, 1, -1, numpy.inf, -numpy.inf, numpy.nan, 0.5, 2, 1e30, -1e-40]
    groups = [
        rng.integers(info.min, info.max, count, integer).view(real), rng.uniform(-1, 1, count),
        rng.uniform(-10, 10, count), rng.uniform(-100, 100, count), numpy.repeat(special, 3),
    ]  # fmt: skip
    x = rng.permutation(numpy.concatenate([g.astype(real) for g in groups]))
    if by_name(dtype).kind != "c":
        return x
    made = numpy.empty(x.shape, dtype)
    made.real, made.imag = x, rng.permutation(x)
    return made


def equal(a, b):
    """Bit by bit, but that any nan is as good as another."""
    nan = numpy.isnan(a) & numpy.isnan(b)
    return nan | ((a == b) & (numpy.signbit(a) == numpy.signbit(b)))


def cases(dtype):
    if by_name(dtype).kind == "c":
        return [(name, 1) for name in COMPLEX] + [("pow", 2)]
    return [(name, 1) for name in ONE] + [(name, 2) for name in TWO]


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_compiled_equals_evaluated(dtype):
    kind = by_name(dtype)
    kernels, plans, operands = [], [], []
    for name, arity in cases(dtype):
        body = getattr(math, name)(*(load(i, kind) for i in range(arity)))
        inputs = [like(points(dtype, 150, seed)) for seed in range(arity)]
        output = like(numpy.zeros_like(inputs[0].array))
        kernels.append(Pointwise(name, [kind] * arity, [kind], [body]))
        plans.append(plan(kernels[-1], [output.layout], [i.layout for i in inputs]))
        operands.append((output, inputs))
    for kernel, built, (output, inputs) in zip(kernels, link(plans), operands, strict=True):
        call(built, [output], inputs)
        [body] = kernel.body
        values = evaluate(list(parts(body)), [i.array for i in inputs])
        got = output.array
        halves = [got.real, got.imag] if isinstance(body, Pair) else [got]
        for value, half in zip(values, halves, strict=True):
            bad = ~equal(half, value)
            assert not bad.any(), (kernel.name, [i.array[bad][:3] for i in inputs], half[bad][:3])
