"""Matrix products by pointer, against NumPy in double precision."""

import itertools
import struct

import numpy
import pytest

from flambeau import runtime
from flambeau.runtime import Launch, Stage, core

DTYPES = ("float32", "float64", "complex64", "complex128")
# (m, n, k): vectors, single elements, an empty sum, and sizes that are cut into tiles.
SIZES = [
    (3, 4, 5), (1, 1, 1), (1, 70, 33), (70, 1, 33), (1, 1, 40),
    (5, 6, 0), (1, 6, 0), (0, 3, 2), (3, 0, 2),
    (130, 77, 90), (33, 1100, 20), (1, 900, 700), (900, 1, 700),
]  # fmt: skip


class Bare:
    """A tensor class for these tests."""

    __slots__ = ("_base", "_node", "_offset", "_storage", "layout")


@pytest.fixture(autouse=True)
def bound():
    before, threads = core._bound, runtime.get_num_threads()
    runtime.bind(Bare, lambda: True)
    yield
    runtime.set_num_threads(threads)
    if before is not None:
        runtime.bind(*before)


def operand(generator, dtype, code, batch, rows, columns, extra):
    """A stored batch of matrices with `extra` unused columns, and the matrices it stands for."""
    shape = (rows, columns) if code in (111, 114) else (columns, rows)
    stored = generator.standard_normal((batch, shape[0], shape[1] + extra))
    if dtype.startswith("c"):
        stored = stored + 1j * generator.standard_normal(stored.shape)
    stored = stored.astype(dtype)
    meant = stored[:, :, : shape[1]].astype(complex if dtype.startswith("c") else float)
    meant = meant if code in (111, 114) else meant.swapaxes(1, 2)
    return stored, meant.conj() if code in (113, 114) else meant


def product(dtype, codes, sizes, batch, add, extra=2):
    (m, n, k), size = sizes, numpy.dtype(dtype).itemsize
    generator = numpy.random.default_rng(hash((codes, sizes, batch)) % 1000)
    a, meant_a = operand(generator, dtype, codes[0], batch, m, k, extra)
    b, meant_b = operand(generator, dtype, codes[1], batch, k, n, extra)
    c, start = operand(generator, dtype, 111, batch, m, n, extra)
    if not add:
        c[:, :, :n] = numpy.nan
    expected = meant_a @ meant_b + (start if add else 0)
    kept = c[:, :, n:].copy()
    leads = [max(x.shape[2], 1) for x in (a, b, c)]
    strides = [x.shape[1] * x.shape[2] for x in (a, b, c)]
    dims = struct.pack("16q", *codes, m, n, k, *leads, *strides, add, 1, *strides)
    stage = Stage(runtime.gemm_kernel(dtype), (0, 1, 2), dims, batch, 1)
    launch = runtime.launcher(Launch("mtt", (size,) * 3, (), (stage,), batch % 2 == 1))
    wrapped = [
        runtime.wrap(runtime.foreign(x.ctypes.data, x.nbytes, x), None, 0) for x in (c, a, b)
    ]
    launch(*wrapped)
    assert (c[:, :, n:] == kept).all()
    scale = (numpy.abs(meant_a) @ numpy.abs(meant_b) + 1).max(initial=1)
    ulp = numpy.finfo(dtype).eps
    assert numpy.abs(c[:, :, :n] - expected).max(initial=0) <= 4 * ulp * scale


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 3])
def test_products(dtype, threads):
    runtime.set_num_threads(threads)
    codes = (111, 112, 113, 114) if dtype.startswith("c") else (111, 112, 113)
    for pair in itertools.product(codes, codes):
        for sizes in SIZES:
            for batch, add in ((1, 0), (2, 1)):
                if batch == 1 or max(sizes) < 500:
                    product(dtype, pair, sizes, batch, add)


def test_batches_are_shared_out():
    runtime.set_num_threads(4)
    for batch in (0, 2, 17, 64):
        product("float32", (111, 112), (40, 30, 20), batch, 0)


def test_the_sum_does_not_depend_on_the_threads():
    generator = numpy.random.default_rng(0)
    n = 300
    a = generator.standard_normal((n, n)).astype("f4")
    wrapped = runtime.wrap(runtime.foreign(a.ctypes.data, a.nbytes, a), None, 0)
    dims = struct.pack("16q", 111, 112, n, n, n, n, n, n, 0, 0, 0, 0, 1, 0, 0, 0)
    stage = Stage(runtime.gemm_kernel("float32"), (-1, 0, 0), dims, 1, 1)
    launch = runtime.launcher(Launch("t", (4,), (("c", 4 * n * n),), (stage,)))
    results = []
    for threads in (1, 2, 3, 2):
        runtime.set_num_threads(threads)
        results.append(bytes(launch(wrapped)._storage))
    assert len(set(results)) == 1


def test_sizes_beyond_the_library_fail_and_say_so():
    dims = struct.pack("16q", 111, 111, 1, 1, 1, 1 << 31, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0)
    stage = Stage(runtime.gemm_kernel("float32"), (-1, 0, 0), dims, 1, 1)
    launch = runtime.launcher(Launch("t", (4,), (("c", 4),), (stage,)))
    with pytest.raises(RuntimeError, match="code 1"):
        launch(runtime.wrap(runtime.empty(4), None, 0))


def test_unknown_types():
    with pytest.raises(ValueError, match="int32"):
        runtime.gemm_kernel("int32")
