"""Matrix products as stages of a launch."""

import math
import struct

from flambeau import compiler, ir, runtime
from flambeau.compiler import products
from flambeau.types import Layout

BLAS_TYPES = ("float32", "float64", "complex64", "complex128")
NO_TRANS, TRANS, CONJ_TRANS = 111, 112, 113  # CBLAS codes
CONJ_NO_TRANS = 114  # OpenBLAS' own

# Where packing pays, and packed slivers stay in the cache: of left matrices that lie turned, there
# are many at once.
LEAST, MOST_DEPTH, TURNED_DEPTH, ENOUGH = 32, 4096, 256, 1 << 22
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
    (code_a, lda), (code_b, ldb) = blas_form(a), blas_form(b)
    outer, inner = (1, 1, *out.shape[:-2])[-2:]
    rows, steps = zip(*[(0, 0, *y.strides[:-2])[-2:] for y in (a, b, out)], strict=True)
    m, n, k = out.shape[-2], out.shape[-1], a.shape[-1]
    down = max(out.strides[-2] if m > 1 else n, n, 1)
    numbers = (code_a, code_b, m, n, k, lda, ldb, down, *steps, int(add), inner, *rows)
    kernel, dims = runtime.gemm_kernel(out.dtype.name), struct.pack("16q", *numbers)
    # Products of about 60,000 multiplications for each thread.
    grain = max(1, math.ceil(60_000 / max(m * n * k, 1)))
    return runtime.Stage(kernel, (0, 1, 2), dims, outer * inner if m and n else 0, grain)


def packs(a: Layout, b: Layout) -> bool:
    """Whether ``a @ b`` is a product for the kernels of `compiler.products`: real matrices that
    are neither small nor deep."""
    (m, k), n = a.shape[-2:], b.shape[-1]
    return (
        a.dtype.name in ("float32", "float64")
        and a.ndim == 2
        and a.device.type == "cpu"
        and not (a.neg or b.neg)
        and min(m, n, k) >= LEAST
        and k <= (MOST_DEPTH if a.strides[1] == 1 else TURNED_DEPTH)
        and m * n * k >= ENOUGH
    )


def packed_stages(out: Layout, a: Layout, b: Layout, bias: Layout | None = None):
    """The stages of ``out = a @ b`` or ``a @ b + bias``, and the bytes of the scratch memory that
    they pack matrices in. Their data are out, a, b, bias, and from 4 on scratch blocks."""
    (m, n), k, dtype = out.shape, a.shape[1], out.dtype
    loads = [ir.load(i, dtype) for i in range(1 if bias is None else 2)]
    epilogue = ir.Pointwise("product", [dtype] * len(loads), [dtype], (sum(loads[1:], loads[0]),))
    form = products.form(epilogue, n)
    others = [(0, *out.strides)]
    if bias is not None:
        others.append((0, 0, bias.strides[-1]))
    scratch = [form.packed_bytes(k, n)]
    left: tuple[int, ...] | None = a.strides
    stages: list[tuple[compiler.Stage, tuple[int, ...]]] = []
    read: tuple[int, ...] = (4, 1, 0, 3)[: 2 + len(others)]
    if a.strides[1] != 1:
        stages.append((products.pack(form.left(), k, m, (*a.strides[::-1], 0)), (5, 1)))
        scratch.append(form.left().packed_bytes(k, m))
        left, read = None, (4, 5, *read[2:])
    right, sizes = (*b.strides, 0), (m, n, k)
    if form.slivers(n) >= MANY or m <= products.TASK_ROWS:
        work = products.multiply(form, sizes, left, others, right=right)
        stages.append((work, (*read, 2)))
    else:
        stages.append((products.pack(form, k, n, right), (4, 2)))
        stages.append((products.multiply(form, sizes, left, others), read))
    made = [runtime.Stage(s.address, data, s.dims, s.total, s.grain) for s, data in stages]
    return made, scratch
