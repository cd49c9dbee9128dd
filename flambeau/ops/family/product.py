"""Matrix products as stages of a launch."""

import math
import struct
from collections.abc import Callable
from typing import NamedTuple

from flambeau import compiler, ir, runtime
from flambeau._base import knobs
from flambeau.compiler import products
from flambeau.types import Layout

BLAS_TYPES = ("float32", "float64", "complex64", "complex128")
NO_TRANS, TRANS, CONJ_TRANS = 111, 112, 113  # CBLAS codes
CONJ_NO_TRANS = 114  # OpenBLAS' own

# Where packing pays, and packed slivers stay in the cache. With the weights of a layer it pays
# soon, whatever the number of rows: so that lengths of sequences do not decide.
LEAST, MOST_DEPTH, ENOUGH, ENOUGH_WEIGHTS = 8, 4096, 1 << 19, 1 << 9
DEEP = 1024  # terms from which the smaller one of two matrices that both lie turned is the left one
FEW = 256  # rows, up to which packing them instead of the weights pays
ENOUGH_EACH, MOST_EACH = 1 << 12, 1 << 21  # multiplications of a matrix of a batch
LINE, NEAR = 1 << 10, 1 << 16  # bytes of rows, of matrices, that are read well where they lie
MANY = 6  # slivers that are enough tasks, without cutting the rows too


def blas_form(layout: Layout):
    """(transposition code, leading dimension) under which BLAS reads the last two dimensions, or
    None.
    """
    (rows, columns), (down, across) = layout.shape[-2:], layout.strides[-2:]
    if (across == 1 or columns == 1) and (down >= max(columns, 1) or rows == 1):
        code, leading = NO_TRANS, max(down if rows > 1 else columns, columns, 1)
    elif (down == 1 or rows == 1) and (across >= max(rows, 1) or columns == 1):
        code, leading = TRANS, max(across if columns > 1 else rows, rows, 1)
    else:
        return None
    if layout.conj:
        code = {NO_TRANS: CONJ_NO_TRANS, TRANS: CONJ_TRANS}[code]
    return None if layout.neg else (code, leading)


def product_stage(out: Layout, a: Layout, b: Layout, add=False) -> runtime.Stage:
    """The launcher stage ``out = a @ b`` (`add`: plus what is there). Up to two dimensions more
    are a batch. Its data are out, a, b.
    """
    if knobs.backend == "interpret":
        total = math.prod(out.shape[:-2]) if out.numel else 0
        return runtime.Stage(compiler.plain.product(out, a, b, add), (0, 1, 2), b"", total, total)
    outer, inner = (1, 1, *out.shape[:-2])[-2:]
    m, n, k = out.shape[-2], out.shape[-1], a.shape[-1]
    if out.ndim > 2 and _packs_each(a, b):
        return _batch_stage(out, a, b, add, (outer, inner))
    (code_a, lda), (code_b, ldb) = blas_form(a), blas_form(b)
    rows, steps = zip(*[(0, 0, *y.strides[:-2])[-2:] for y in (a, b, out)], strict=True)
    down = max(out.strides[-2] if m > 1 else n, n, 1)
    numbers = (code_a, code_b, m, n, k, lda, ldb, down, *steps, int(add), inner, *rows)
    kernel, dims = runtime.gemm_kernel(out.dtype.name), struct.pack("16q", *numbers)
    total = outer * inner if m and n else 0
    return runtime.Stage(kernel, (0, 1, 2), dims, total, _grain(m * n * k))


def _grain(work: int) -> int:
    """Products of about 60,000 multiplications for each thread."""
    return max(1, math.ceil(60_000 / max(work, 1)))


def _packs_each(a: Layout, b: Layout) -> bool:
    """Whether the matrices of a batch are for the kernels of `compiler.products`, one by one: real
    ones that are small, but not tiny, where the right one lies turned: BLAS reads it slowly."""
    (m, k), n = a.shape[-2:], b.shape[-1]
    real = a.dtype.name in ("float32", "float64") and not (a.neg or b.neg)
    fits = min(m, n, k) >= LEAST and ENOUGH_EACH <= m * n * k <= MOST_EACH
    return real and fits and b.strides[-1] != 1


def _batch_stage(out: Layout, a: Layout, b: Layout, add: bool, batch) -> runtime.Stage:
    """`product_stage` by our kernels."""
    dtype, (m, n), k = out.dtype, out.shape[-2:], a.shape[-1]
    loads = [ir.load(i, dtype) for i in range(2 if add else 1)]
    kernel = ir.Pointwise("product", [dtype] * len(loads), [dtype], (sum(loads[1:], loads[0]),))
    form = products.form(kernel, n)
    pack = products.pack(form, k, n, (*b.strides[-2:], 0))
    others = [(0, *out.strides[-2:])] * len(loads)
    whole = products.multiply(form, (m, n, k), a.strides[-2:], others)
    packs, works = (runtime.Inner(s.address, s.dims, s.total) for s in (pack, whole))
    steps = [tuple(s * dtype.itemsize for s in (0, 0, *y.strides[:-2])[-2:]) for y in (out, a, b)]
    nbytes = form.packed_bytes(k, n)
    return runtime.batch_stage(packs, works, nbytes, batch, steps, _grain(m * n * k))


def packs(a: Layout, b: Layout) -> bool:
    """Whether ``a @ b`` is a product for the kernels of `compiler.products`: real matrices that
    are neither small nor deep."""
    (m, k), n = a.shape[-2:], b.shape[-1]
    layer = a.strides[-1] == 1 and b.strides[-1] != 1
    return (
        a.dtype.name in ("float32", "float64")
        and a.ndim == 2
        and a.device.type == "cpu"
        and not (a.neg or b.neg)
        and min(m, n, k) >= LEAST
        and k <= MOST_DEPTH
        and (m * n * k >= ENOUGH or (layer and n * k >= ENOUGH_WEIGHTS) or _is_near(a, b))
    )


def _is_near(a: Layout, b: Layout) -> bool:
    """Whether both matrices are read where they lie: small ones, the rows of the right one whole
    vectors."""
    (m, k), n, size = a.shape, b.shape[1], a.dtype.itemsize
    return (
        knobs.backend != "interpret"
        and m * n * k < ENOUGH
        and b.strides[1] == 1
        and n % products.lanes(a.dtype) == 0
        and b.strides[0] * size <= LINE
        and min(a.strides) == 1
        and max(a.strides) * size <= LINE
        and max(m, n) * k * size <= NEAR
    )


class Multiply(NamedTuple):
    """A product for the kernels of `compiler.products`, and what is made of its sums: as `Work`, of
    operands outputs, a, b, and what the epilogue reads beside the sums. All but a and b are
    [m, n]."""

    kernel: ir.Pointwise
    operands: tuple[Layout, ...]
    sources: tuple[int, ...]
    starts: tuple[int, ...] | None = None
    factors: int = 2
    repeats: bool = False  # whether the epilogue may run twice

    def stages(self, scratch: Callable[[int], int]) -> list[runtime.Stage]:
        """The stages of a launch; `scratch(nbytes)` gives the source of memory for packed
        matrices."""
        count = len(self.kernel.outputs)
        a, b = self.operands[count : count + 2]
        (m, k), n = a.shape, b.shape[1]
        others = (*self.operands[:count], *self.operands[count + 2 :])
        near = _is_near(a, b)
        ways, turned = "".join(map(_way, others)), not near and _turned(a, b)
        left, right = count, count + 1
        if turned:
            (m, n), (a, b), (left, right) = (n, m), (_transposed(b), _transposed(a)), (right, left)
        form = products.form(self.kernel, n, ways=ways, turned=turned)
        places = list(zip(self.sources, self.starts or (0,) * len(self.sources), strict=True))
        made: list[runtime.Stage] = []

        def room(nbytes: int) -> int:
            places.append((scratch(nbytes), 0))
            return len(places) - 1

        def add(stage: compiler.Stage, numbers) -> None:
            data, starts = zip(*[places[number] for number in numbers], strict=True)
            made.append(
                runtime.Stage(stage.address, data, stage.dims, stage.total, stage.grain, starts)
            )

        rest = [*range(count), *range(count + 2, len(self.operands))]
        steps, lies, sizes = [(0, *y.strides) for y in others], (*b.strides, 0), (m, n, k)
        strides: tuple[int, ...] | None = a.strides
        if near:
            whole = products.multiply(form, sizes, strides, steps, direct=b.strides[0])
            add(whole, (right, left, *rest))
            return made
        packed = room(form.packed_bytes(k, n))
        if a.strides[1] != 1:
            matrix, strides = room(form.left().packed_bytes(k, m)), None
            add(products.pack(form.left(), k, m, (*a.strides[::-1], 0)), (matrix, left))
            left = matrix
        if form.slivers(n) >= MANY or m <= products.TASK_ROWS:
            whole = products.multiply(form, sizes, strides, steps, right=lies)
            add(whole, (packed, left, *rest, right))
        else:
            add(products.pack(form, k, n, lies), (packed, right))
            add(products.multiply(form, sizes, strides, steps), (packed, left, *rest))
        return made


def _turned(a: Layout, b: Layout) -> bool:
    """Whether to compute the transpose: few rows, whole vectors, times weights that lie along what
    is summed; or sums over many rows of two matrices, of which the left one is packed whole."""
    m, n, lanes = a.shape[0], b.shape[1], products.lanes(a.dtype)
    if a.strides[1] != 1:
        return a.shape[1] >= DEEP and b.strides[1] == 1 and n < m and n % lanes == 0
    fits = m <= FEW and m < n and m % lanes == 0
    return fits and a.strides[1] == 1 and b.strides[0] == 1


def _transposed(layout: Layout) -> Layout:
    return layout.reshaped(layout.shape[::-1], layout.strides[::-1])


def _way(layout: Layout) -> str:
    return {0: "Z", 1: "U"}.get(layout.strides[1], "S")


def multiply(out: Layout, a: Layout, b: Layout, bias: Layout | None, sources) -> Multiply:
    """``out = a @ b``, or ``a @ b + bias`` with a vector, of memory from `sources`."""
    loads = [ir.load(i, out.dtype) for i in range(1 if bias is None else 2)]
    kernel = ir.Pointwise(
        "product", [out.dtype] * len(loads), [out.dtype], (sum(loads[1:], loads[0]),)
    )
    more = () if bias is None else (bias.reshaped(out.shape, (0, *bias.strides)),)
    return Multiply(kernel, (out, a, b, *more), tuple(sources))
