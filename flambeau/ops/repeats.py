"""Products with rows that may repeat, as the tokens of a small vocabulary do.

Rows that are equal have equal products, so these are computed once for each distinct row. What is
summed over the rows of two matrices is summed first over those that belong to one distinct row.
Whether rows repeat is seen by the launch, which does the one or the other.
"""

from typing import NamedTuple

from flambeau import ir, runtime
from flambeau.compiler import products
from flambeau.types import by_name

from .family import Buffer, Fold, chain
from .family.chain import viewed
from .family.indexed import IndexedSteps
from .family.launch import scratch_of
from .family.product import blas_form, multiply, packs, product_stage
from .indexing import placed

INT64 = by_name("int64")
RATE = 50.0  # multiplications that one core does in a nanosecond, roughly
ENOUGH, SHARE = 256, 8  # rows that are worth a look; of so many each, one may be distinct


def readable(steps, matrix: Buffer) -> Buffer:
    """The matrix, or a copy where BLAS could not read it."""
    return matrix if blas_form(matrix.layout) is not None else steps.dense(matrix)


def product(steps, a: Buffer, b: Buffer, out: Buffer) -> None:
    """out = a @ b: whole memory, and readable."""
    if packs(a.layout, b.layout):
        sources = out.source, a.source, b.source
        whole = multiply(out.layout, a.layout, b.layout, None, sources)
        stages = whole.stages(scratch_of(steps.fresh))
    else:
        stage = product_stage(out.layout, a.layout, b.layout)
        stages = [stage._replace(data=(out.source, a.source, b.source))]
    cost = out.layout.numel * a.layout.shape[1] / RATE
    for stage in stages:
        steps.stage(stage, cost)


class Repeats(NamedTuple):
    """What is known of rows: of each the number of its value; the values, [most, features], with
    zeros behind the last; how many there are, or more than `most`. All empty where nobody looked.
    """

    numbers: Buffer
    values: Buffer
    amount: Buffer

    @property
    def most(self) -> int:
        return self.values.layout.shape[0]


def find_repeats(steps, x: Buffer) -> Repeats:
    """Three results: the `Repeats` of x."""
    rows, width = x.layout.shape
    most = rows // SHARE if rows >= ENOUGH else 0
    found = Repeats(
        steps.result((rows if most else 0,), INT64),
        steps.result((most, width), x.dtype),
        steps.result((1 if most else 0,), INT64),
    )
    if most:
        table = steps.scratch((runtime.table_size(most),), INT64)
        data = tuple(buffer.source for buffer in (steps.dense(x), *found, table))
        stage = runtime.repeats_stage(data, rows, width * x.dtype.itemsize, most)
        steps.stage(stage, rows * width / 4)
    return found


def _where(steps, found: Repeats, few: bool, build) -> None:
    """What `build` adds happens where rows repeat, or (not `few`) where they do not."""
    part = IndexedSteps(steps.device)
    part.fresh = steps.fresh
    build(part)
    stages = part.calls()
    for stage in stages:
        made = runtime.stage_if(stage, found.amount.source, found.most, few)
        steps.stage(made, part.cost / len(stages))


def _multiply_values(part, found: Repeats, weight: Buffer, table: Buffer) -> None:
    """table = values @ weight, as many rows as there are values."""
    (k, n), dtype = weight.layout.shape, weight.dtype
    form = products.form(ir.Pointwise("product", [dtype], [dtype], (ir.load(0, dtype),)), n)
    packed = part.scratch((form.packed_bytes(k, n) // dtype.itemsize,), dtype)
    pack = products.pack(form, k, n, (*weight.layout.strides, 0))
    sizes, strides = (found.most, n, k), found.values.layout.strides
    made = products.multiply(form, sizes, strides, [(0, n, 1)], rows_only=True)
    cost = found.most * n * k / RATE
    part.call(pack.address, (packed, weight), pack.dims, pack.total, n * k / 8)
    data = tuple(buffer.source for buffer in (packed, found.values, table))
    part.stage(runtime.Stage(made.address, data, made.dims, 0, form.rows), cost)


def product_of_rows(steps, x: Buffer, weight: Buffer, out: Buffer, found: Repeats) -> None:
    """out = x @ weight."""
    if not found.most:
        return product(steps, x, weight, out)

    def repeated(part):
        table = part.scratch((found.most, out.layout.shape[1]), out.dtype)
        _multiply_values(part, found, weight, table)
        view, [place], _ = placed(table, [found.numbers])
        part.indexed(lambda value: (value,), [out], [view], [place._replace(wraps=False)])

    _where(steps, found, True, repeated)
    _where(steps, found, False, lambda part: product(part, x, weight, out))


def _add_up(steps, rows: Buffer, total: Buffer) -> None:
    """total = the sum of all rows."""
    zero = ((0, rows.dtype),)
    fold = Fold(zero, lambda x: (x,), lambda a, b: (a[0] + b[0],), lambda s, n: (s[0],))
    steps.reduce(fold, [rows], (0,), [viewed(total, (1, *total.layout.shape), (0, 1))])


def _build_sum(steps, grad, x, numbers, values, amount):
    grad, x = steps.dense(grad), readable(steps, x)
    n, dtype = grad.layout.shape[1], grad.dtype
    out, total = steps.result((n, x.layout.shape[1]), dtype), steps.result((n,), dtype)
    found = Repeats(numbers, steps.dense(values), amount)

    def plainly(part):
        product(part, grad.turned(), x, out)
        _add_up(part, grad, total)

    if not found.most:
        return plainly(steps)

    def repeated(part):
        sums = part.scratch((found.most, n), dtype)
        part.indexed(lambda: (ir.const(0, dtype),), [sums], [], [])
        view, [place], order = placed(sums, [numbers])
        place = place._replace(wraps=False)
        part.indexed(lambda old, new: (old + new,), [view], [view, grad], [place], order)
        product(part, sums.turned(), found.values, out)
        _add_up(part, sums, total)

    _where(steps, found, True, repeated)
    _where(steps, found, False, plainly)


sum_over_rows = chain(
    "aten::_sum_over_rows(Tensor grad, Tensor x, Tensor numbers, Tensor values, Tensor amount)"
    " -> (Tensor product, Tensor total)",
    """grad.T @ x for grad [rows, n] and x [rows, m], of which the rest are the `Repeats`, and the
    sum of the rows of grad.""",
    build=_build_sum,
    method=False,
    function=False,
)
