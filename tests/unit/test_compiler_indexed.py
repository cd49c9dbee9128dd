"""Indexed kernels against NumPy, on memory that is watched; reversed and counted operands."""

import numpy
import pytest
from kernels import Guarded, call, like

from flambeau.compiler import link, plan
from flambeau.compiler.target import PLAIN
from flambeau.ir import Indexed, Place, Pointwise, cast, const, load, position, select
from flambeau.types import by_name, from_numpy, layout

TARGETS = pytest.mark.parametrize("target", [None, PLAIN], ids=["host", "plain"])
RNG = numpy.random.default_rng(0)
int64, float32 = by_name("int64"), by_name("float32")


class Seen(Guarded):
    """A guarded array as a kernel sees it: with another shape and other strides."""

    def __init__(self, of, shape, strides):
        self.__dict__.update(of.__dict__)
        self.of = of
        self.layout = layout(tuple(shape), tuple(strides), from_numpy(of.dtype))

    def unchanged_elsewhere(self):
        return self.of.unchanged_elsewhere()


def run(kernel, outputs, inputs, axes=(), places=(), cuts=(), target=None, **where):
    layouts = [[o.layout for o in buffers] for buffers in (outputs, inputs)]
    [built] = link([plan(kernel, *layouts, axes, target, places, **where)])
    return call(built, outputs, inputs, cuts=cuts)


def rows_of(table, index):
    """Buffers for ``table[index]``, row by row: the table, the index."""
    shape = (index.array.size, table.array.shape[1])
    return Seen(table, shape, (0, 1)), Seen(index, shape, (1, 0))


@TARGETS
@pytest.mark.parametrize("width", [1, 3, 64, 301])
@pytest.mark.parametrize("dtype", ["float32", "int8", "complex64", "float16", "bool"])
def test_rows_are_read(dtype, width, target):
    table = like((RNG.standard_normal((7, width)) * 9).astype(dtype))
    index = like(RNG.integers(-7, 7, 50))
    kind = from_numpy(table.dtype)
    kernel = Indexed("t", [kind, int64], [kind], [load(0, kind)], [Place(1, (1,), True)])
    out = like(numpy.zeros((50, width), table.dtype))
    places = [(width * table.dtype.itemsize, 7)]
    assert run(kernel, [out], rows_of(table, index), (), places, (0.3, 0.7), target) == 0
    assert (out.array == table.array[index.array]).all()


@TARGETS
@pytest.mark.parametrize("width", [1, 5, 200])
@pytest.mark.parametrize("cuts", [(), (0.25, 0.6)])
def test_rows_are_added_in_order(width, cuts, target):
    values = RNG.standard_normal((90, width)).astype(numpy.float32)
    numbers = RNG.integers(0, 4, 90)
    want = numpy.zeros((4, width), numpy.float32)
    for number, row in zip(numbers, values, strict=True):
        want[number] += row
    table = like(numpy.zeros((4, width), numpy.float32))
    seen, index = rows_of(table, like(numbers))
    total = load(0, float32) + load(1, float32)
    kernel = Indexed("t", [float32, float32, int64], [float32], [total], [Place(2, (0, 1))])
    inputs = [seen, like(values), index]
    assert run(kernel, [seen], inputs, (0,), [(4 * width, 4)], cuts, target) == 0
    assert (table.array == want).all()


@pytest.mark.parametrize("wraps", [False, True])
@pytest.mark.parametrize("bad", [-8, -1, 7, 2**40, -(2**62)])
def test_an_index_out_of_range_is_told_and_touches_nothing_else(bad, wraps):
    table, index = like(numpy.zeros((7, 8), numpy.float32)), like(numpy.array([3, bad, 2]))
    seen, spread = rows_of(table, index)
    one = [const(1.0, float32)]
    kernel = Indexed("t", [int64], [float32], one, [Place(0, (0,), wraps)])
    code = run(kernel, [seen], [spread], (0,), [(32, 7)])
    assert code == (0 if wraps and bad == -1 else 1)
    assert table.array[[2, 3]].all()


@TARGETS
@pytest.mark.parametrize("dtype", ["float32", "complex64", "uint8"])
@pytest.mark.parametrize("n", [1, 15, 16, 65, 300])
def test_lines_are_read_backwards(n, dtype, target):
    source = like((RNG.standard_normal((3, n)) * 9).astype(dtype))
    kind = from_numpy(source.dtype)
    seen = Seen(source, (3, n), (n, -1))
    out = like(numpy.zeros((3, n), source.dtype))
    kernel = Pointwise("t", [kind], [kind], [load(0, kind)])
    seen.array = source.array[:, n - 1 :]
    assert run(kernel, [out], [seen], cuts=(0.4,), target=target) == 0
    assert (out.array == source.array[:, ::-1]).all()


@TARGETS
def test_the_position_counts_as_it_is_told(target):
    out = like(numpy.zeros((5, 40), numpy.float32))
    body = select(position < 0, cast(position, float32), const(0.5, float32))
    kernel = Pointwise("t", [], [float32], [body])
    assert run(kernel, [out], [], cuts=(0.3,), target=target, counter=((-2, 1), -7)) == 0
    want = numpy.arange(40) - 2 * numpy.arange(5)[:, None] - 7
    assert (out.array == numpy.where(want < 0, want, 0.5)).all()
