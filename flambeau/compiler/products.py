"""Matrix products with a packed right operand, and an expression that is applied to the sums.

BLAS packs both operands at every call. Where one matrix meets many others, as the weights of a
recurrent layer do at every step, and where something follows that would read the product once more,
these kernels are faster: the right matrix is packed once, the left one is read where it lies, and
sums go from the registers through the cache into the *epilogue*.

A *form* says what code is made for: a pointwise kernel whose first inputs are the sums, and how
many there are. With several sums, the right matrices lie beside each other and are packed
together (the gates of a cell), so that all sums of one element are there at the same time. The
other inputs, and the outputs, have an element for each row and column of the result; they are
contiguous along columns, and a step of zero between rows makes a bias of one.

Packed, a matrix is *slivers* of a few vectors of columns; in a sliver, the vectors of one row of
the matrix are neighbours. A sliver and a few rows of the left matrix make a tile of sums that fills
the registers (Goto, van de Geijn 2008).
"""

import hashlib
import struct
from typing import NamedTuple

from flambeau.ir import Pointwise
from flambeau.runtime import jit

from .access import Access, Operand
from .build import PIECE, Stage, host
from .llvm import Code, Lanes, scalar_type
from .loops import flat, leaves, stored
from .target import Target

MOST_ROWS = 8  # of a tile: each has a pointer of its own
TASK_ROWS = 96  # rows of the left matrix that meet a sliver while it is in the cache
TASKS = 16  # tasks that are enough to keep threads busy
RATE = 40.0  # multiplications that one core does in a nanosecond, roughly

# Words of the descriptors. Steps and offsets are in bytes.
PACK = ("ROWS", "COLUMNS", "ROW", "COLUMN", "SUM")  # sizes; steps, SUM to the next sum's matrix
PRODUCT = (
    "M",
    "N",
    "K",
    "A_ROW",
    "A_COLUMN",
    "TASK_ROWS",
    "DOWN",  # tasks along the rows
    "SLIVERS",
    "TASK_SLIVERS",
)  # then for each output and each further input: offset, step between rows


class Form(NamedTuple):
    """What code is made for: `sums` of `epilogue.inputs` are products, of the first one's type;
    slivers have `vectors` vectors of columns for each."""

    epilogue: Pointwise
    sums: int
    vectors: int
    target: Target

    @property
    def dtype(self):
        return self.epilogue.inputs[0]

    @property
    def lanes(self) -> int:
        return self.target.vector_bytes // self.dtype.itemsize

    @property
    def across(self) -> int:
        """Vectors of a row of a sliver."""
        return self.sums * self.vectors

    @property
    def rows(self) -> int:
        """Rows of a tile: its sums leave registers for a row of the sliver and for its factor."""
        return min(MOST_ROWS, (24 if self.target.masks else 12) // self.across)

    def slivers(self, n: int) -> int:
        return -(-n // (self.lanes * self.vectors))

    def sliver_bytes(self, k: int) -> int:
        return k * self.across * self.target.vector_bytes

    def packed_bytes(self, k: int, n: int) -> int:
        """The size of packed matrices [k, n]."""
        return self.slivers(n) * self.sliver_bytes(k)


def form(epilogue: Pointwise, sums: int, n: int) -> Form:
    """The form for matrices of `n` columns: wide slivers, unless columns would be wasted."""
    target = host()
    vectors = -(-n * epilogue.inputs[0].itemsize // target.vector_bytes)
    widths = range(max(1, 4 // sums), 0, -1)
    best = min(widths, key=lambda width: -(-vectors // width) * width)
    return Form(epilogue, sums, best, target)


class _Function:
    """One function of a form's module."""

    def __init__(self, form: Form):
        self.form = form
        self.code = Code()
        self.lanes = Lanes(self.code, form.lanes, form.target)
        self.bytes = form.target.vector_bytes
        self.size = form.dtype.itemsize
        self.kind = scalar_type(form.dtype)
        self.vector = self.lanes.type(form.dtype)

    def text(self, head: str) -> str:
        code = self.code
        lines = [f"define {head} #0 {{", "entry:", *code.allocations, *map(str, code.lines), "}"]
        return "\n".join([*lines, *sorted(code.declarations), ""])

    def loop(self, start, stop, step, body, carried=()) -> list[str]:
        """``for i in range(start, stop, step): carried = body(i, *carried)``; their last values."""
        code = self.code

        def inside(i, *values):
            return [code.add(i, step), *(body(i, *values) or ())]

        return code.repeat([("i64", start), *carried], lambda i, *_: code.less(i, stop), inside)[1:]

    def dim(self, names, name) -> str:
        return self.code.number("%dims", names.index(name))

    def pointer(self, index) -> str:
        return self.code.value(f"load ptr, ptr {self.code.at('%data', 8 * index)}, align 8")

    def quotient(self, a, b) -> str:
        return self.code.value(f"udiv i64 {a}, {b}")

    def remainder(self, a, b) -> str:
        return self.code.value(f"urem i64 {a}, {b}")


class _Pack(_Function):
    """The kernel that packs slivers [lo, hi). Data are [packed, matrix]."""

    def __init__(self, form, adjacent):
        super().__init__(form)
        self.adjacent = adjacent  # columns are neighbours in memory

    def write(self, name) -> str:
        code, form = self.code, self.form
        packed, matrix = self.pointer(0), self.pointer(1)
        rows, columns, row, column, each = (self.dim(PACK, name) for name in PACK)
        width = form.lanes * form.vectors
        pitch = code.mul(rows, form.across * self.bytes)
        offsets = "" if self.adjacent else self._offsets(column)

        def sliver(s):
            target = code.at(packed, code.mul(s, pitch))
            first = code.mul(s, width)
            for v in range(form.vectors):
                at = code.add(first, v * form.lanes)
                # The number of columns left may be negative, as an unsigned number it must not.
                left = code.sub(columns, code.smaller(at, columns))
                mask = self.lanes.mask(code.smaller(left, form.lanes))
                start = code.at(matrix, code.mul(at, column))
                for j in range(form.sums):
                    source = code.at(start, code.mul(each, j))
                    place = code.at(target, (v * form.sums + j) * self.bytes)
                    self._column(source, place, (rows, row), mask, offsets)

        self.loop("%lo", "%hi", 1, sliver)
        code.do("ret i64 0")
        return self.text(f"i64 @{name}(ptr %data, ptr %dims, ptr %scalars, i64 %lo, i64 %hi)")

    def _column(self, source, place, rows, mask, offsets):
        code, (count, step) = self.code, rows

        def line(k, source, place):
            value = self._vector(source, mask, offsets)
            code.do(f"store {self.vector} {value}, ptr {place}, align {self.bytes}")
            return [code.at(source, step), code.at(place, self.form.across * self.bytes)]

        self.loop(0, count, 1, line, [("ptr", source), ("ptr", place)])

    def _offsets(self, column) -> str:
        numbers = self.lanes.vector("i64", range(self.form.lanes))
        kind = self.lanes.of("i64")
        return self.code.value(f"mul {kind} {numbers}, {self.lanes.splat('i64', column)}")

    def _vector(self, source, mask, offsets) -> str:
        code, test = self.code, self.lanes.of("i1")
        suffix = f"v{self.form.lanes}f{8 * self.size}"
        zeros = f"{test} {mask}, {self.vector} zeroinitializer"
        if self.adjacent:
            name, where = f"llvm.masked.load.{suffix}.p0", f"ptr align {self.size} {source}"
        else:
            kind = self.lanes.of("i64")
            places = code.value(f"getelementptr i8, ptr {source}, {kind} {offsets}")
            name = f"llvm.masked.gather.{suffix}.v{self.form.lanes}p0"
            where = f"{self.lanes.of('ptr')} align {self.size} {places}"
        return code.call(self.vector, name, f"{where}, {zeros}")


class _Tile(_Function):
    """``void tileR(ptr sums, ptr b, ptr a, i64 count, i64 row, i64 column)``: the products of R
    rows of a with a sliver of `count` rows, a tile of vectors."""

    def __init__(self, form, rows):
        super().__init__(form)
        self.rows = rows

    def write(self) -> str:
        code, across = self.code, self.form.across
        lines = [code.at("%a", code.mul("%row", r)) for r in range(self.rows)]

        def term(_, b, offset, *sums):
            right = []
            for v in range(across):
                at = code.at(b, v * self.bytes)
                right.append(code.value(f"load {self.vector}, ptr {at}, align {self.bytes}"))
            later = []
            for r, line in enumerate(lines):
                at = code.at(line, offset)
                left = code.value(f"load {self.kind}, ptr {at}, align {self.size}")
                left = self.lanes.splat(self.kind, left)
                for v, vector in enumerate(right):
                    factors = (left, vector, sums[r * across + v])
                    later.append(self.lanes.intrinsic("fma", self.kind, factors))
            return [code.at(b, across * self.bytes), code.add(offset, "%column"), *later]

        zeros = [(self.vector, "zeroinitializer")] * (self.rows * across)
        sums = self.loop(0, "%count", 1, term, [("ptr", "%b"), ("i64", "0"), *zeros])[2:]
        for k, value in enumerate(sums):
            at = code.at("%sums", k * self.bytes)
            code.do(f"store {self.vector} {value}, ptr {at}, align {self.bytes}")
        code.do("ret void")
        head = "(ptr %sums, ptr %b, ptr %a, i64 %count, i64 %row, i64 %column)"
        return self.text(f"internal void @tile{self.rows}{head}")


class _Finish(_Function):
    """``void finish(ptr sums, ptr data, ptr dims, ptr scalars, i64 row, i64 rows, i64 column)``:
    the epilogue, for a tile of sums."""

    def write(self) -> str:
        code, form = self.code, self.form
        left = code.sub(self.dim(PRODUCT, "N"), "%column")
        vectors = self.quotient(code.add(left, form.lanes - 1), form.lanes)
        vectors = code.smaller(vectors, form.vectors)
        kernel = form.epilogue
        dtypes = [*kernel.outputs, *kernel.inputs[form.sums :]]
        operands = [Operand(dtype, "U") for dtype in dtypes]
        self.access = Access(code, self.lanes, form.target, operands, 0)
        starts, steps = [], []
        for k in range(len(operands)):
            words = len(PRODUCT) + 2 * k
            steps.append(code.number("%dims", words + 1))
            start = code.at(self.pointer(2 + k), code.number("%dims", words))
            starts.append(code.at(start, code.mul("%row", steps[k])))

        def line(r, *pointers):
            tile = code.at("%sums", code.mul(r, form.across * self.bytes))

            def vector(v):
                first = code.mul(v, form.lanes)
                sums = code.at(tile, code.mul(v, form.sums * self.bytes))
                self._apply(sums, pointers, code.add("%column", first), code.sub(left, first))

            self.loop(0, vectors, 1, vector)
            return [code.at(p, step) for p, step in zip(pointers, steps, strict=True)]

        self.loop(0, "%rows", 1, line, [("ptr", p) for p in starts])
        code.do("ret void")
        head = "(ptr %sums, ptr %data, ptr %dims, ptr %scalars, i64 %row, i64 %rows, i64 %column)"
        return self.text(f"internal void @finish{head}")

    def _apply(self, sums, pointers, column, left):
        code, form, access = self.code, self.form, self.access
        kernel, outputs = form.epilogue, len(form.epilogue.outputs)
        inputs = range(outputs, len(pointers))
        dtypes = [operand.dtype for operand in access.operands]
        whole = code.value(f"icmp sge i64 {left}, {form.lanes}")

        def loads():
            return [access.load(dtypes[k], pointers[k], column) for k in inputs]

        def tails():
            return [access.load_tail(k, pointers[k], column, left) for k in inputs]

        kinds = [access.raw(dtypes[k]) for k in inputs]
        given = []
        for j in range(form.sums):
            at = code.at(sums, j * self.bytes)
            given.append([code.value(f"load {self.vector}, ptr {at}, align {self.bytes}")])
        read = code.branch(whole, loads, tails, kinds)
        given += [access.decode(dtypes[k], value) for k, value in zip(inputs, read, strict=True)]
        results = stored(kernel, kernel.body)
        known = self._known(flat(results), given)
        self.lanes.values(flat(results), known)
        vectors = [
            access.encode(dtype, [known[e] for e in group])
            for dtype, group in zip(kernel.outputs, results, strict=True)
        ]

        def stores():
            for k, value in enumerate(vectors):
                access.store(dtypes[k], pointers[k], column, value)
            return []

        def ends():
            for k, value in enumerate(vectors):
                access.store_tail(k, pointers[k], column, left, value)
            return []

        code.branch(whole, stores, ends, [])

    def _known(self, roots, given):
        """The leaves' values."""
        known = {}
        for e in leaves(roots):
            if e.op == "load":
                known[e] = given[e.value][1 if e.part == "im" else 0]
            if e.op == "param":
                kind = scalar_type(e.dtype)
                at = self.code.at("%scalars", 8 * e.value)
                value = self.code.value(f"load {kind}, ptr {at}, align 8")
                known[e] = self.lanes.splat(kind, value)
        return known


class _Product(_Function):
    """The kernel over tasks [lo, hi): blocks of rows, and behind each other for the next slivers.
    Data are [packed, a, *outputs, *further inputs]; where `a` is null, all sums are zero."""

    def write(self, name) -> str:
        code, form = self.code, self.form
        m, _, k, a_row, a_column, task, down, slivers, wide = (
            self.dim(PRODUCT, name) for name in PRODUCT
        )
        packed, a = self.pointer(0), self.pointer(1)
        missing = code.value(f"icmp eq ptr {a}, null")
        count = code.value(f"select i1 {missing}, i64 0, i64 {k}")
        pitch = code.mul(k, form.across * self.bytes)
        sums = code.stack(f"[{form.rows * form.across * self.bytes} x i8]")

        def run(at):
            first = self.remainder(at, down)
            number = code.smaller(code.sub("%hi", at), code.sub(down, first))
            begin = code.mul(first, task)
            end = code.smaller(code.mul(code.add(first, number), task), m)
            s = code.mul(self.quotient(at, down), wide)

            def sliver(s):
                right = code.at(packed, code.mul(s, pitch))
                column = code.mul(s, form.lanes * form.vectors)

                def tile(row):
                    rows = code.smaller(code.sub(end, row), form.rows)
                    left = code.at(a, code.mul(row, a_row))
                    code.do(
                        f"call void {self._tile(rows)}(ptr {sums}, ptr {right}, ptr {left}, "
                        f"i64 {count}, i64 {a_row}, i64 {a_column})"
                    )
                    code.do(
                        f"call void @finish(ptr {sums}, ptr %data, ptr %dims, ptr %scalars, "
                        f"i64 {row}, i64 {rows}, i64 {column})"
                    )

                self.loop(begin, end, form.rows, tile)

            self.loop(s, code.smaller(code.add(s, wide), slivers), 1, sliver)
            return [code.add(at, number)]

        code.repeat([("i64", "%lo")], lambda at: code.less(at, "%hi"), run)
        code.do("ret i64 0")
        return self.text(f"i64 @{name}(ptr %data, ptr %dims, ptr %scalars, i64 %lo, i64 %hi)")

    def _tile(self, rows):
        code, chosen = self.code, "@tile1"
        for r in range(2, self.form.rows + 1):
            same = code.value(f"icmp eq i64 {rows}, {r}")
            chosen = code.value(f"select i1 {same}, ptr @tile{r}, ptr {chosen}")
        return chosen


def _address(key: str, functions, target: Target) -> int:
    """The address of function NAME of a module, whose text is made by `functions`."""
    text = "".join(functions)
    digest = hashlib.sha1(f"{text}{target.attributes}".encode(), usedforsecurity=False).hexdigest()
    name = f"fl_{key}_{digest[:16]}"
    lines = text.replace("@NAME(", f"@{name}(", 1).splitlines()
    declarations = sorted({line for line in lines if line.startswith("declare ")})
    lines = [line for line in lines if not line.startswith("declare ")]
    attributes = f"attributes #0 = {{ {target.attributes} }}"
    return jit.compile("\n".join([*lines, *declarations, attributes, ""]), [name])[0]


_addresses: dict[tuple, int] = {}


def _kernel(form: Form, adjacent: bool | None) -> int:
    """The kernel that packs, columns being neighbours or not; None: the one that multiplies."""
    key = (form.epilogue.key, *form[1:], adjacent)
    if key not in _addresses:
        if adjacent is None:
            tiles = [_Tile(form, r + 1).write() for r in range(form.rows)]
            texts = [*tiles, _Finish(form).write(), _Product(form).write("NAME")]
        else:
            texts = [_Pack(form, adjacent).write("NAME")]
        _addresses[key] = _address("product" if adjacent is None else "pack", texts, form.target)
    return _addresses[key]


def pack(form: Form, k: int, n: int, strides: tuple[int, int, int]) -> Stage:
    """The stage that packs right matrices [k, n]: data are the packed ones and the first matrix.

    `strides`, in elements, are those of rows and columns, and from one sum's matrix to the next.
    """
    row, column, each = (stride * form.dtype.itemsize for stride in strides)
    dims = struct.pack("5q", k, n, row, column, each)
    total = form.slivers(n)
    cost = form.packed_bytes(k, n) / 8.0
    grain = max(1, round(PIECE * total / max(cost, 1.0)))
    kernel = _kernel(form, strides[1] == 1)
    return Stage(kernel, (0, 1), dims, total, min(grain, total))


def multiply(
    form: Form,
    sizes: tuple[int, int, int],
    strides: tuple[int, int],
    others: tuple[tuple[int, int], ...],
    rows_only: bool = False,
) -> Stage:
    """The stage for a left matrix [m, k] and packed [k, n], with `sizes` (m, n, k).

    `strides`, of the left matrix, and `others`, (offset, step between rows) of the outputs and of
    the inputs behind the sums, are in elements. Data are the packed matrix, the left one (null: all
    sums are zero), outputs, inputs. The range is tasks; with `rows_only`, it is rows of the result.
    """
    m, n, k = sizes
    slivers = form.slivers(n)
    task = 1 if rows_only else min(TASK_ROWS, m)
    down = -(-m // task)
    wide = slivers if rows_only else min(slivers, max(1, slivers * down // TASKS))
    kernel = form.epilogue
    dtypes = [*kernel.outputs, *kernel.inputs[form.sums :]]
    words = [m, n, k, *(stride * form.dtype.itemsize for stride in strides)]
    words += [task, down, slivers, wide]
    for dtype, (offset, step) in zip(dtypes, others, strict=True):
        words += [offset * dtype.itemsize, step * dtype.itemsize]
    total = down * -(-slivers // wide) if m and n else 0
    cost = m * n * (k + 16) * form.sums / RATE
    grain = min(max(1, round(PIECE * total / cost)), total) if total else 1
    dims = struct.pack(f"{len(words)}q", *words)
    return Stage(_kernel(form, None), tuple(range(2 + len(others))), dims, total, grain)
