"""Running compiled kernels on NumPy arrays: guarded memory, arbitrary strides, split ranges."""

import ctypes
import itertools

import numpy

from flambeau.compiler import link, plan
from flambeau.types import by_name, from_numpy, layout

FUNCTION = ctypes.CFUNCTYPE(
    ctypes.c_int64,
    ctypes.c_void_p,
    ctypes.c_char_p,
    ctypes.c_void_p,
    ctypes.c_int64,
    ctypes.c_int64,
)
GUARD = 96


class Guarded:
    """An array with strides (in elements, also negative or 0) within a block of bytes that are
    watched.
    """

    def __init__(self, shape, strides, dtype):
        self.dtype = numpy.dtype(dtype)
        size = self.dtype.itemsize
        ends = [(n - 1) * s for n, s in zip(shape, strides, strict=True)] if 0 not in shape else []
        low, high = sum(min(e, 0) for e in ends), sum(max(e, 0) for e in ends)
        self.block = numpy.full((high - low + 1) * size + 2 * GUARD, 0xA5, numpy.uint8)
        self.array = numpy.ndarray(
            shape, self.dtype, self.block.data, GUARD - low * size, [s * size for s in strides]
        )
        self.layout = layout(tuple(shape), tuple(strides), from_numpy(self.dtype))
        self.before = self.block.copy()

    def remember(self):
        self.before = self.block.copy()
        return self

    def unchanged_elsewhere(self) -> bool:
        """Whether no byte outside the elements has changed since `remember`."""
        inside = numpy.zeros(self.block.shape, bool)
        mark = numpy.ndarray(
            (*self.array.shape, self.dtype.itemsize), bool, inside.data,
            self.array.ctypes.data - self.block.ctypes.data, (*self.array.strides, 1),
        )  # fmt: skip
        if mark.size:
            mark[...] = True
        return bool((self.block == self.before)[~inside].all())


def like(array):
    """A contiguous guarded copy."""
    array = numpy.asarray(array)
    steps = [s // array.itemsize for s in numpy.empty(array.shape, array.dtype).strides]
    guarded = Guarded(array.shape, steps, array.dtype)
    guarded.array[...] = array
    return guarded.remember()


def pack_scalars(values) -> bytes:
    return b"".join(
        numpy.asarray([v], numpy.int64 if isinstance(v, int) else numpy.float64).tobytes()
        for v in values
    )


def run(kernel, outputs, inputs, axes=(), scalars=(), cuts=(), target=None):
    """Compile and run on guarded arrays; every stage's range is cut at fractions `cuts`. Returns
    the codes' or.
    """
    [built] = link(
        [plan(kernel, [o.layout for o in outputs], [i.layout for i in inputs], axes, target)]
    )
    return call(built, outputs, inputs, scalars, cuts)


def call(built, outputs, inputs, scalars=(), cuts=()):
    scratch = [Guarded((max(n, 1),), (1,), numpy.uint8) for n in built.scratch]
    operands = [*outputs, *inputs, *scratch]
    numbers = ctypes.create_string_buffer(pack_scalars(scalars) + bytes(8))
    code = 0
    for address, data, dims, total, grain in built.stages:
        assert total > 0 and 0 < grain <= total
        table = numpy.asarray([operands[k].array.ctypes.data for k in data], numpy.int64)
        marks = sorted({0, total, *(int(total * c) for c in cuts)})
        for low, high in reversed(list(itertools.pairwise(marks))):
            code |= FUNCTION(address)(table.ctypes.data, dims, ctypes.addressof(numbers), low, high)
    assert all(o.unchanged_elsewhere() for o in operands)
    assert all((i.block == i.before).all() for i in inputs if not any(i is o for o in outputs))
    return code


def to_memory(values, dtype):
    """Values of an expression as an output of this NumPy dtype receives them: half types by way of
    float32.
    """
    if isinstance(values, tuple):
        values = values[0] + 1j * values[1] if dtype.kind == "c" else values[0]
    values = numpy.asarray(values)
    with numpy.errstate(all="ignore"):
        if by_name(dtype.name) in HALVES and values.dtype != dtype:
            values = values.astype(numpy.float32)
        return values.astype(dtype)


HALVES = by_name("float16"), by_name("bfloat16")
