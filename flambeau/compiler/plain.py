"""Kernels run in NumPy instead of being compiled: `FLAMBEAU_BACKEND=interpret`.

The launcher calls what this makes as it calls machine code, so that everything around a kernel is
the same, the running of programs included. It is slow, and it is the specification: where compiled
code computes something else, compiled code is wrong, but for the order of sums.
"""

import ctypes
import functools
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from flambeau._base import numpy
from flambeau.ir import Kernel, converted, count, evaluate, other, position, state
from flambeau.types import DType, Layout, cpu, layout, row_major

_CODE = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * 3, *[ctypes.c_int64] * 2)
_PIECE = 1 << 14  # elements
_kept: list = []  # the launcher knows only addresses


def address(run: Callable[[int, Any, int, int], int]) -> int:
    """Where native code calls ``run(data, scalars, low, high)``, which gives a kernel's code, as
    ``i64 kernel(data, dims, scalars, low, high)``.
    """

    def called(data, dims, scalars, low, high):
        watching = sys.getprofile()
        if not callable(watching):  # cProfile's, which nobody but it can put back
            return run(data, scalars, low, high)
        sys.setprofile(None)  # captures watch the user's functions: NumPy's, here, are none
        try:
            return run(data, scalars, low, high)
        finally:
            sys.setprofile(watching)

    code = _CODE(called)
    _kept.append(code)
    return ctypes.cast(code, ctypes.c_void_p).value or 0


class Call(NamedTuple):
    """A kernel, the layouts of its operands, and the rest of what `build.plan` is told."""

    kernel: Kernel
    outputs: tuple[Layout, ...]
    inputs: tuple[Layout, ...]
    axes: tuple[int, ...]
    places: tuple[tuple[int, int], ...]
    counter: tuple[Sequence[int], int] | None
    rows: int = 0

    @property
    def total(self) -> int:
        """The range that the kernel runs over: rows, or one for everything."""
        return math.prod(self.outputs[0].shape[: self.rows]) if self.rows else 1

    def run(self, data, scalars, low, high):
        """The kernel on the operands that `data` points to; its code."""
        layouts = self.outputs + self.inputs
        pointers = [p or 0 for p in (ctypes.c_void_p * len(layouts)).from_address(data)]
        if not self.rows:
            return self._run(pointers, scalars)
        last = self.outputs[0].shape[self.rows - 1]
        while low < high:  # stretches of the innermost dimension of the rows
            count = min(high, low - low % last + last) - low
            part, starts = self._stretch(low, count)
            code = part._run([p + s for p, s in zip(pointers, starts, strict=True)], scalars)
            if code:
                return code
            low += count
        return 0

    def _stretch(self, low, count):
        """The call for `count` rows from `low` on, and the bytes to each operand's first one."""
        rows, lead = self.rows, self.outputs[0].shape[: self.rows]
        place = [int(i) for i in numpy.unravel_index(low, lead)]
        starts, parts = [], []
        for one in self.outputs + self.inputs:
            start = sum(i * step for i, step in zip(place, one.strides, strict=False))
            starts.append(start * one.itemsize)
            parts.append(one.reshaped((count, *one.shape[rows:]), one.strides[rows - 1 :]))
        steps, first = self.counter or (row_major(self.outputs[0].shape), 0)
        first += sum(i * step for i, step in zip(place, steps, strict=False))
        made = self._replace(
            outputs=tuple(parts[: len(self.outputs)]),
            inputs=tuple(parts[len(self.outputs) :]),
            axes=tuple(axis - rows + 1 for axis in self.axes),
            counter=(tuple(steps[rows - 1 :]), first),
            rows=0,
        )
        return made, starts

    def _run(self, pointers, scalars):
        kernel, layouts = self.kernel, self.outputs + self.inputs
        if kernel.kind == "indexed":
            return self._indexed(pointers, scalars)
        arrays = [_array(p, one) for p, one in zip(pointers, layouts, strict=True)]
        targets, loads = arrays[: len(self.outputs)], arrays[len(self.outputs) :]
        params = _params(kernel, scalars)
        if kernel.kind == "pointwise":
            return self._pointwise(targets, loads, params)
        fold = _Fold(kernel, self._rows([x.copy() for x in loads]), params)
        results = fold.scan() if kernel.kind == "scan" else fold.reduce()
        if kernel.kind == "scan":
            targets = [numpy.moveaxis(target, self.axes[0], -1) for target in targets]
        for target, value in zip(targets, results, strict=True):
            _store(target, value)
        return 0

    def _pointwise(self, targets, loads, params):
        kernel, shape, failed = self.kernel, self.outputs[0].shape, False
        body = kernel.body if kernel.check is None else (*kernel.body, kernel.check)
        positions = functools.cache(lambda: self._positions(shape))
        for part in _pieces(shape):
            # One result may be written where another one's operand lies.
            given = [x[part].copy() if len(targets) > 1 else x[part] for x in loads]
            results = evaluate(body, given, params, {position: lambda at=part: positions()[at]})
            for target, value in zip(targets, results, strict=False):
                _store(target[part], value)
            failed |= kernel.check is not None and bool(numpy.any(results[-1]))
        return int(failed)

    def _positions(self, shape):
        if self.counter is None:
            return numpy.arange(math.prod(shape)).reshape(shape)
        steps, first = self.counter
        return first + sum(
            (step * i for step, i in zip(steps, numpy.indices(shape), strict=True)),
            numpy.zeros(shape, int),
        )

    def _indexed(self, pointers, scalars):
        """Point after point along `axes`, all points of the other dimensions at once."""
        layouts = self.outputs + self.inputs
        shape, count = layouts[0].shape, len(self.outputs)
        offsets = [_offsets(one) for one in layouts]
        failed = False
        for place, (step, size) in zip(self.kernel.places, self.places, strict=True):
            k = count + place.by
            number = _at(pointers[k], offsets[k], layouts[k].dtype).astype(int)
            number = numpy.where(place.wraps & (number < 0), number + size, number)
            outside = (number < 0) | (number >= size)
            failed |= bool(outside.any())
            for operand in place.operands:
                offsets[operand] = offsets[operand] + numpy.where(outside, 0, number) * step
        params = _params(self.kernel, scalars)
        for point in numpy.ndindex(*(shape[d] for d in self.axes)):
            where: list = [slice(None)] * len(shape)
            for d, i in zip(self.axes, point, strict=True):
                where[d] = i
            at = [each[tuple(where)] for each in offsets]
            loads = [_at(pointers[k], at[k], layouts[k].dtype) for k in range(count, len(layouts))]
            for k, value in enumerate(evaluate(self.kernel.body, loads, params)):
                _put(pointers[k], at[k], layouts[k].dtype, value)
        return int(failed)

    def _rows(self, loads):
        """The operands with what is folded as one last dimension."""
        rank = len(self.axes)
        last = [numpy.moveaxis(x, self.axes, range(x.ndim - rank, x.ndim)) for x in loads]
        return [
            x.reshape(*x.shape[: x.ndim - rank], math.prod(x.shape[x.ndim - rank :])) for x in last
        ]


class _Fold:
    """A reduction or scan over the last dimension of `rows`."""

    def __init__(self, kernel, rows, params):
        self.kernel, self.params = kernel, params
        shape = rows[0].shape
        self.kept, self.size = shape[:-1], shape[-1]
        self.states = [e.dtype for e in kernel.init]
        elements = self._values(kernel.element, {position: numpy.arange(self.size)}, rows)
        self.elements = [numpy.broadcast_to(e, shape) for e in elements]
        self.initial = [
            numpy.broadcast_to(e, self.kept) for e in self._values(kernel.init, {}, rows)
        ]

    def _values(self, values, leaves, loads=()):
        leaves = {count: numpy.int64(self.size), **leaves}
        return evaluate(values, loads, self.params, leaves)

    def _combined(self, a, b):
        leaves = {state(k, dtype): a[k] for k, dtype in enumerate(self.states)}
        leaves |= {other(k, dtype): b[k] for k, dtype in enumerate(self.states)}
        return self._values(self.kernel.combine, leaves)

    def _finished(self, states):
        leaves = {state(k, dtype): states[k] for k, dtype in enumerate(self.states)}
        return self._values(self.kernel.finish, leaves)

    def reduce(self):
        """Halves are combined until one element is left."""
        left, size = self.elements, self.size
        while size > 1:
            half = size // 2
            joined = self._combined(
                [e[..., :half] for e in left], [e[..., half : 2 * half] for e in left]
            )
            left = [
                numpy.concatenate((e, rest[..., 2 * half :]), -1)
                for e, rest in zip(joined, left, strict=True)
            ]
            size -= half
        if size:
            left = self._combined(self.initial, [e[..., 0] for e in left])
        return self._finished(left if size else self.initial)

    def scan(self):
        """Each place takes up what ends before it, which is twice as long each time (Hillis and
        Steele, "Data Parallel Algorithms", 1986).
        """
        prefixes, step = self.elements, 1
        while step < self.size:
            joined = self._combined(
                [p[..., :-step] for p in prefixes], [p[..., step:] for p in prefixes]
            )
            prefixes = [
                numpy.concatenate((p[..., :step], rest), -1)
                for p, rest in zip(prefixes, joined, strict=True)
            ]
            step *= 2
        return self._finished(self._combined([i[..., None] for i in self.initial], prefixes))


def _pieces(shape):
    """Indices that cut arrays into parts that stay in the cache while they are worked on."""
    inner, cut = 1, len(shape)
    while cut and inner * shape[cut - 1] <= _PIECE:
        cut -= 1
        inner *= shape[cut]
    if not cut:
        yield (...,)
        return
    step = _PIECE // inner
    for place in numpy.ndindex(*shape[: cut - 1]):
        for start in range(0, shape[cut - 1], step):
            yield (*place, slice(start, start + step))


def _store(target, value):
    """Writes a value, cast to the target's type as `ir.cast` does."""
    if not isinstance(value, tuple):
        with numpy.errstate(all="ignore"):
            target[...] = converted(numpy.asarray(value), target.dtype)
    elif target.dtype.kind == "c":
        target.real, target.imag = value
    elif target.dtype.kind == "b":
        target[...] = (value[0] != 0) | (value[1] != 0)
    else:
        _store(target, value[0])


def _offsets(one: Layout):
    """How many bytes behind the first element each element lies."""
    offsets = numpy.zeros(one.shape, int)
    for d, (n, step) in enumerate(zip(one.shape, one.strides, strict=True)):
        along = numpy.arange(n) * step * one.itemsize
        offsets += along.reshape(-1, *[1] * (one.ndim - d - 1))
    return offsets


def _bytes(pointer, offsets, dtype):
    """The memory that elements at `offsets` lie in, and where in it each byte of theirs is."""
    low, high = int(offsets.min()), int(offsets.max())
    block = (ctypes.c_uint8 * (high - low + dtype.itemsize)).from_address(pointer + low)
    places = (offsets - low)[..., None] + numpy.arange(dtype.itemsize)
    return numpy.frombuffer(block, numpy.uint8), places


def _at(pointer, offsets, dtype):
    """The elements at `offsets`."""
    memory, places = _bytes(pointer, offsets, dtype)
    return memory[places].view(dtype.numpy)[..., 0]


def _put(pointer, offsets, dtype, value):
    """Writes elements to `offsets`."""
    memory, places = _bytes(pointer, offsets, dtype)
    made = numpy.empty(offsets.shape, dtype.numpy)
    _store(made, value)
    memory[places] = made[..., None].view(numpy.uint8)


def _array(pointer, one: Layout):
    """The operand's memory as an array."""
    if not one.numel:
        return numpy.empty(one.shape, one.dtype.numpy)
    size = one.dtype.itemsize
    ends = [(n - 1) * s * size for n, s in zip(one.shape, one.strides, strict=True)]
    low, high = sum(min(e, 0) for e in ends), sum(max(e, 0) for e in ends)
    block = (ctypes.c_char * (high - low + size)).from_address(pointer + low)
    return numpy.ndarray(one.shape, one.dtype.numpy, block, -low, [s * size for s in one.strides])


def _params(kernel: Kernel, scalars):
    """The run-time scalars that the kernel reads, by slot."""
    return {slot: kind.from_address(scalars + 8 * slot).value for slot, kind in _slots(kernel)}


@functools.lru_cache(maxsize=4096)
def _slots(kernel: Kernel):
    types: dict[str, Any] = {"i": ctypes.c_int64, "f": ctypes.c_double}
    return {(e.value, types[e.dtype.kind]) for e in kernel.expressions if e.op == "param"}


# Matrix products.


def product(out: Layout, a: Layout, b: Layout, add: bool) -> int:
    """The address of ``out = a @ b`` (`add`: plus what is there), whose range is the batch."""

    def run(data, scalars, low, high):
        pointers = (ctypes.c_void_p * 3).from_address(data)
        target, left, right = (_array(p or 0, y) for p, y in zip(pointers, (out, a, b)))
        for place in list(numpy.ndindex(out.shape[:-2]))[low:high]:
            x, y = (
                numpy.conj(array[place]) if one.conj else array[place]
                for array, one in ((left, a), (right, b))
            )
            with numpy.errstate(all="ignore"):
                made = x @ y
                target[place] = made + target[place] if add else made
        return 0

    return address(run)


def pack(dtype: DType, sums: int, k: int, n: int, strides: Sequence[int]) -> int:
    """The address of what `products.pack` does; packed matrices are row-major, one after the
    other.
    """
    down, across, following = strides

    def run(data, scalars, low, high):
        packed, matrix = (ctypes.c_void_p * 2).from_address(data)
        shape = sums, k, n
        target = layout(shape, row_major(shape), dtype, cpu)
        source = layout(shape, (following, down, across), dtype, cpu)
        _array(packed or 0, target)[...] = _array(matrix or 0, source)
        return 0

    return address(run)


class Multiplication(NamedTuple):
    """What `products.multiply` does, on matrices that `pack` packed; `sums` of the epilogue's
    inputs are products, which it takes `turned` or as they are.
    """

    epilogue: Kernel
    sums: int
    sizes: tuple[int, int, int]
    strides: Sequence[int] | None
    others: Sequence[Sequence[int]]
    right: Sequence[int] | None
    turned: bool

    def run(self, data, scalars, low, high):
        """The rows [low, high) of the result."""
        (m, n, k), dtype, sums = self.sizes, self.epilogue.inputs[0], self.sums
        count = 2 + len(self.others) + (self.right is not None)
        pointers = [p or 0 for p in (ctypes.c_void_p * count).from_address(data)]
        shape = sums, k, n
        if self.right is None:
            factors = _array(pointers[0], layout(shape, row_major(shape), dtype, cpu))
        else:
            down, across, following = self.right
            factors = _array(pointers[-1], layout(shape, (following, down, across), dtype, cpu))
        rows, others = high - low, []
        shape = (n, rows) if self.turned else (rows, n)
        kernel = self.epilogue
        types = [*kernel.outputs, *kernel.inputs[sums:]]
        for pointer, kind, (offset, *steps) in zip(pointers[2:], types, self.others, strict=False):
            at = pointer + (offset + low * steps[self.turned]) * kind.itemsize
            others.append(_array(at, layout(shape, tuple(steps), kind, cpu)))
        targets, given = others[: len(kernel.outputs)], others[len(kernel.outputs) :]
        if pointers[1]:
            steps = (1, m) if self.strides is None else self.strides
            at = pointers[1] + low * steps[0] * dtype.itemsize
            left = _array(at, layout((rows, k), tuple(steps), dtype, cpu))
            with numpy.errstate(all="ignore"):
                products = [left @ factor for factor in factors]
            products = [p.T if self.turned else p for p in products]
        else:
            products = [numpy.zeros(shape, dtype.numpy)] * sums
        loads = [*products, *(x.copy() for x in given)]
        results = evaluate(kernel.body, loads, _params(kernel, scalars))
        for target, value in zip(targets, results, strict=True):
            _store(target, value)
        return 0
