"""Matrix products with packed operands, and an expression that is applied to the sums.

The right operand is packed: *slivers* of a few vectors of columns, in which the vectors of one row
of the matrix are neighbours. The left one is read where it lies, if that is along its rows, or
packed too. Small matrices whose rows are whole vectors are read where they lie, both. A sliver and
a few rows make a tile of sums that fills the registers (Goto, van de Geijn 2008). Where one matrix
meets many others, as the weights of a recurrent layer do at every step, it is packed once. From the
registers sums go through the cache into the *epilogue*, so that a bias or an activation costs no
pass over memory.

A *form* says what code is made for. The epilogue is a pointwise kernel whose first inputs are
sums: with several, their right matrices are packed together (the gates of a cell), and all sums of
one element are there at the same time. Its other inputs, and the outputs, have an element for each
row and column of the result, and a *way* along the columns: U unit stride, S any stride, Z the same
element for all.

A product is *turned* where it is computed as its transpose: for few rows with the weights of a
layer, which then need not be packed, since they lie along their rows. Sums are transposed in the
cache.
"""

import hashlib
import struct
from collections.abc import Sequence
from typing import NamedTuple

from flambeau._base import knobs
from flambeau.ir import Pointwise, load, verify
from flambeau.runtime import jit
from flambeau.types import DType

from . import plain
from .build import PIECE, Stage, host
from .finish import WORDS, Ending, Finish
from .llvm import Code, Lanes, scalar_type
from .target import Target

MOST_ROWS = 6  # of a tile: each has a pointer of its own
LEFT_VECTORS = 6  # of a sliver of a packed left matrix: whole tiles, whatever their rows
BLOCK_ROWS = 48  # rows whose sums are in the cache, tile after tile
TASK_ROWS = 96  # rows of the left matrix that meet a sliver while it is in the cache, where it
# takes no shorter tasks to make enough
TASKS = 24  # tasks that are enough to keep threads busy
RATE = 50.0  # multiplications that one core does in a nanosecond, roughly

# Words of the descriptors. Steps and offsets are in bytes.
PACK = ("ROWS", "COLUMNS", "ROW", "COLUMN", "SUM")  # sizes; steps, SUM to the next sum's matrix
PRODUCT = (
    "M",
    "N",
    "K",
    "A_GROUP",  # rows of the left matrix that lie A_ROW apart
    "A_NEXT",  # from one group to the next
    "A_ROW",
    "A_COLUMN",
    "B_ROW",  # from one row of a sliver to the next
    "B_SLIVER",  # from one sliver to the next
    "TASK_ROWS",
    "DOWN",  # tasks along the rows
    "SLIVERS",
    "TASK_SLIVERS",
    "PACK",  # the kernel with which tasks pack their slivers; 0: they are packed
)  # then the words of `finish`


class Form(NamedTuple):
    """What code is made for: `sums` of `epilogue.inputs` are products, of the first one's type;
    slivers have `vectors` vectors of columns for each. `ways` are those of the outputs and of the
    other inputs, a letter for each. `turned`: the epilogue's rows are the product's columns."""

    epilogue: Pointwise
    sums: int
    vectors: int
    ways: str
    target: Target
    turned: bool = False

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
        return max(1, min(MOST_ROWS, (24 if self.target.masks else 12) // self.across))

    @property
    def plain(self) -> bool:
        """Whether sums are the result: where slivers are whole, registers go straight to it."""
        alone = self.epilogue.body == (load(0, self.dtype),) and self.ways == "U"
        return alone and not self.turned and self.epilogue.outputs == self.epilogue.inputs

    def slivers(self, n: int) -> int:
        return -(-n // (self.lanes * self.vectors))

    def packed_bytes(self, k: int, n: int) -> int:
        """The size of packed matrices [k, n]."""
        return self.slivers(n) * k * self.across * self.target.vector_bytes

    def left(self) -> "Form":
        """The form in which a left matrix is packed, as its transpose."""
        return self._replace(sums=1, vectors=LEFT_VECTORS)


def lanes(dtype: DType) -> int:
    """Elements of a vector."""
    return host().vector_bytes // dtype.itemsize


def form(epilogue: Pointwise, n: int, sums: int = 1, ways: str = "", turned=False) -> Form:
    """The form for matrices of `n` columns: wide slivers, unless columns would be wasted. All ways
    are U if none are given."""
    if knobs.verify:
        verify(epilogue)
    target = host()
    vectors = -(-n * epilogue.inputs[0].itemsize // target.vector_bytes)
    widths = range(max(1, 4 // sums), 0, -1)
    best = min(widths, key=lambda width: -(-vectors // width) * width)
    others = len(epilogue.outputs) + len(epilogue.inputs) - sums
    return Form(epilogue, sums, best, ways or "U" * others, target, turned)


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

    def transposed(self, rows):
        """Vectors as the rows of a square, transposed: blocks beside the diagonal change places."""
        code, count, step = self.code, len(rows), 1
        while step < count:
            later = list(rows)
            for i in range(count):
                if not i & step:
                    kept = [j if not j & step else count + j - step for j in range(count)]
                    moved = [j + step if not j & step else count + j for j in range(count)]
                    for place, order in ((i, kept), (i + step, moved)):
                        later[place] = code.value(
                            f"shufflevector {self.vector} {rows[i]}, {self.vector} "
                            f"{rows[i + step]}, <{count} x i32> {self.lanes.vector('i32', order)}"
                        )
            rows, step = later, 2 * step
        return rows


class _Pack(_Function):
    """The kernel that packs slivers [lo, hi). Data are [packed, matrix]. Columns behind the last
    one receive what is in the last one, or zero."""

    def __init__(self, form, adjacent):
        super().__init__(form)
        self.adjacent = adjacent  # columns are neighbours in memory

    def write(self, name) -> str:
        code, form = self.code, self.form
        packed, matrix = self.pointer(0), self.pointer(1)
        self.rows, columns, self.row, self.column, each = (self.dim(PACK, name) for name in PACK)
        self.pitch = form.across * self.bytes
        size = code.mul(self.rows, self.pitch)
        width = form.lanes * form.vectors

        def place(s, number):
            """The first element of a vector of columns, and how many columns are there."""
            v, j = self.quotient(number, form.sums), self.remainder(number, form.sums)
            at = code.smaller(code.add(code.mul(s, width), code.mul(v, form.lanes)), columns)
            source = code.at(matrix, code.mul(at, self.column))
            left = code.smaller(code.sub(columns, at), form.lanes)
            return code.at(source, code.mul(each, j)), left

        def sliver(s):
            target = code.at(packed, code.mul(s, size))
            if self.adjacent:
                self._adjacent([place(s, number) for number in range(form.across)], target)
                return

            def vector(number):
                self._turned(*place(s, number), code.at(target, code.mul(number, self.bytes)))

            self.loop(0, form.across, 1, vector)

        self.loop("%lo", "%hi", 1, sliver)
        code.do("ret i64 0")
        return self.text(f"i64 @{name}(ptr %data, ptr %dims, ptr %scalars, i64 %lo, i64 %hi)")

    def _adjacent(self, places, target):
        code = self.code
        masks = [self.lanes.mask(left) for _, left in places]

        def line(k, target):
            offset = code.mul(k, self.row)
            for number, ((source, _), mask) in enumerate(zip(places, masks, strict=True)):
                where = f"ptr align {self.size} {code.at(source, offset)}"
                value = self._masked("load", "p0", where, mask)
                self._put(value, code.at(target, number * self.bytes))
            return [code.at(target, self.pitch)]

        self.loop(0, self.rows, 1, line, [("ptr", target)])

    def _turned(self, source, left, target):
        """Squares of the matrix are transposed in registers, the rows that are left gathered."""
        code, lanes = self.code, self.form.lanes
        whole = code.mul(self.quotient(self.rows, lanes), lanes)
        whole = code.value(f"select i1 {code.less(0, left)}, i64 {whole}, i64 0")
        last = code.sub(left, 1)
        lines = [
            code.at(source, code.mul(code.smaller(j, last), self.column)) for j in range(lanes)
        ]

        def square(k, target):
            offset = code.mul(k, self.row)
            rows = []
            for line in lines:
                at = code.at(line, offset)
                rows.append(code.value(f"load {self.vector}, ptr {at}, align {self.size}"))
            for j, value in enumerate(self.transposed(rows)):
                self._put(value, code.at(target, j * self.pitch))
            return [code.at(target, lanes * self.pitch)]

        (target,) = self.loop(0, whole, lanes, square, [("ptr", target)])
        mask = self.lanes.mask(left)

        def line(k, target):
            self._put(self._gathered(code.at(source, code.mul(k, self.row)), mask), target)
            return [code.at(target, self.pitch)]

        self.loop(whole, self.rows, 1, line, [("ptr", target)])

    def _gathered(self, source, mask) -> str:
        code, kind = self.code, self.lanes.of("i64")
        numbers = self.lanes.vector("i64", range(self.form.lanes))
        offsets = code.value(f"mul {kind} {numbers}, {self.lanes.splat('i64', self.column)}")
        places = code.value(f"getelementptr i8, ptr {source}, {kind} {offsets}")
        where = f"{self.lanes.of('ptr')} align {self.size} {places}"
        return self._masked("gather", f"v{self.form.lanes}p0", where, mask)

    def _masked(self, name, suffix, where, mask) -> str:
        name = f"llvm.masked.{name}.v{self.form.lanes}f{8 * self.size}.{suffix}"
        rest = f"{self.lanes.of('i1')} {mask}, {self.vector} zeroinitializer"
        return self.code.call(self.vector, name, f"{where}, {rest}")

    def _put(self, value, place):
        self.code.do(f"store {self.vector} {value}, ptr {place}, align {self.bytes}")


class _Tile(_Function):
    """``void tileR(ptr sums, i64 line, ptr b, ptr a, i64 count, i64 row, i64 column, i64 next)``:
    the products of R rows of a with a sliver of `count` rows, `next` bytes apart. They are a tile
    of vectors, whose rows are `line` bytes apart."""

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
                right.append(code.value(f"load {self.vector}, ptr {at}, align {self.size}"))
            later = []
            for r, line in enumerate(lines):
                at = code.at(line, offset)
                left = code.value(f"load {self.kind}, ptr {at}, align {self.size}")
                left = self.lanes.splat(self.kind, left)
                for v, vector in enumerate(right):
                    factors = (left, vector, sums[r * across + v])
                    later.append(self.lanes.intrinsic("fma", self.kind, factors))
            return [code.at(b, "%next"), code.add(offset, "%column"), *later]

        zeros = [(self.vector, "zeroinitializer")] * (self.rows * across)
        sums = self.loop(0, "%count", 1, term, [("ptr", "%b"), ("i64", "0"), *zeros])[2:]
        for r in range(self.rows):
            to = code.at("%sums", code.mul("%line", r))
            for v, value in enumerate(sums[r * across : (r + 1) * across]):
                at = code.at(to, v * self.bytes)
                code.do(f"store {self.vector} {value}, ptr {at}, align {self.size}")
        code.do("ret void")
        places = "ptr %sums, i64 %line, ptr %b, ptr %a"
        head = f"({places}, i64 %count, i64 %row, i64 %column, i64 %next)"
        return self.text(f"internal void @tile{self.rows}{head}")


class _Turn(_Function):
    """``void turn(ptr sums, ptr turned)``: a block of sums, transposed."""

    def write(self) -> str:
        code, lanes, line = self.code, self.form.lanes, self.form.across * self.bytes

        def squares(row):
            for v in range(self.form.vectors):
                source = code.at("%sums", code.add(code.mul(row, line), v * self.bytes))
                target = code.at("%turned", code.mul(row, self.size))
                rows = []
                for j in range(lanes):
                    at = code.at(source, j * line)
                    rows.append(code.value(f"load {self.vector}, ptr {at}, align {self.bytes}"))
                for j, value in enumerate(self.transposed(rows)):
                    at = code.at(target, (v * lanes + j) * BLOCK_ROWS * self.size)
                    code.do(f"store {self.vector} {value}, ptr {at}, align {self.bytes}")

        self.loop(0, BLOCK_ROWS, lanes, squares)
        code.do("ret void")
        return self.text("internal void @turn(ptr %sums, ptr %turned)")


class _Product(_Function):
    """The kernel over tasks [lo, hi): blocks of rows, and behind each other for the next slivers.
    Data are [packed, a, *outputs, *further inputs]; where `a` is null, all sums are zero. If tasks
    pack their slivers, the right matrix is at the end of the data, and what the packing kernel
    reads is at the end of the descriptor."""

    def write(self, name) -> str:
        code, form = self.code, self.form
        dims = [self.dim(PRODUCT, name) for name in PRODUCT]
        m, n, k, group, following, a_row, a_column, b_row, pitch = dims[:9]
        task, down, slivers, wide, packing = dims[9:]
        packs = code.value(f"icmp ne i64 {packing}, 0")
        right = code.stack("[2 x ptr]", 8)
        packed, a = self.pointer(0), self.pointer(1)
        missing = code.value(f"icmp eq ptr {a}, null")
        count = code.value(f"select i1 {missing}, i64 0, i64 {k}")
        line = form.across * self.bytes  # of sums
        sums = code.stack(f"[{BLOCK_ROWS * line} x i8]")
        self.data, self.words = code.at("%data", 16), code.at("%dims", 8 * len(PRODUCT))
        self.turned = code.stack(f"[{BLOCK_ROWS * line} x i8]") if form.turned else sums

        def run(at):
            first = self.remainder(at, down)
            number = code.smaller(code.sub("%hi", at), code.sub(down, first))
            begin = code.mul(first, task)
            end = code.smaller(code.mul(code.add(first, number), task), m)
            s = code.mul(self.quotient(at, down), wide)
            last = code.smaller(code.add(s, wide), slivers)
            code.branch(packs, lambda: self._pack(packing, right, s, last), list, [])

            def sliver(s):
                right = code.at(packed, code.mul(s, pitch))
                column = code.mul(s, form.lanes * form.vectors)

                width = code.smaller(code.sub(n, column), form.lanes * form.vectors)
                straight, result, step = self._straight(column, width, line)

                def block(first):
                    stop = code.smaller(code.add(first, BLOCK_ROWS), end)
                    target = code.at(result, code.mul(first, step))
                    target = code.value(f"select i1 {straight}, ptr {target}, ptr {sums}")

                    def tile(row):
                        rows = code.smaller(code.sub(stop, row), form.rows)
                        source = code.at(a, code.mul(self.quotient(row, group), following))
                        source = code.at(source, code.mul(self.remainder(row, group), a_row))
                        place = code.at(target, code.mul(code.sub(row, first), step))
                        code.do(
                            f"call void {self._tile(rows)}(ptr {place}, i64 {step}, ptr {right}, "
                            f"ptr {source}, i64 {count}, i64 {a_row}, i64 {a_column}, i64 {b_row})"
                        )

                    self.loop(first, stop, form.rows, tile)
                    rows, columns = (first, code.sub(stop, first)), (column, width)
                    code.branch(straight, list, lambda: self._finish(sums, line, rows, columns), [])

                self.loop(begin, end, BLOCK_ROWS, block)

            self.loop(s, last, 1, sliver)
            return [code.add(at, number)]

        code.repeat([("i64", "%lo")], lambda at: code.less(at, "%hi"), run)
        code.do("ret i64 0")
        return self.text(f"i64 @{name}(ptr %data, ptr %dims, ptr %scalars, i64 %lo, i64 %hi)")

    def _straight(self, column, width, line) -> tuple:
        """Whether tiles of a sliver go straight to the result; where these columns of it are, and
        the step between the rows of tiles."""
        code, form = self.code, self.form
        if not form.plain:
            return "false", "null", line
        whole = code.value(f"icmp eq i64 {width}, {form.lanes * form.vectors}")
        offset, row = code.number(self.words, 0), code.number(self.words, 2)
        result = code.at(self.pointer(2), code.add(offset, code.mul(column, self.size)))
        return whole, result, code.value(f"select i1 {whole}, i64 {row}, i64 {line}")

    def _finish(self, sums, line, rows, columns) -> list:
        if self.form.turned:
            self.code.do(f"call void @turn(ptr {sums}, ptr {self.turned})")
            rows, columns = columns, rows
        where = ", ".join(f"i64 {n}" for n in (*rows, *columns))
        pitch = BLOCK_ROWS * self.size if self.form.turned else line
        self.code.do(
            f"call void @finish(ptr {self.turned}, i64 {pitch}, ptr {self.data}, "
            f"ptr {self.words}, ptr %scalars, i64 0, {where})"
        )
        return []

    def _pack(self, kernel, data, first, last):
        code, count = self.code, len(self.form.ways)
        for k, index in enumerate((0, 2 + count)):
            code.do(f"store ptr {self.pointer(index)}, ptr {code.at(data, 8 * k)}, align 8")
        dims = code.at("%dims", 8 * (len(PRODUCT) + WORDS * count))
        pointer = code.value(f"inttoptr i64 {kernel} to ptr")
        code.do(f"call i64 {pointer}(ptr {data}, ptr {dims}, ptr null, i64 {first}, i64 {last})")
        return []

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


def _kernel(form: Form, adjacent: bool | None = None) -> int:
    """The kernel that multiplies; or the one that packs, where it is said whether columns are
    `adjacent`."""
    key: tuple = (form.epilogue.key, *form[1:])
    if adjacent is not None:
        key = (form.dtype, form.sums, form.vectors, form.target, adjacent)
    if key not in _addresses:
        if adjacent is None:
            texts = [_Tile(form, r + 1).write() for r in range(form.rows)]
            texts += [_Turn(form).write()] if form.turned else []
            finish = Finish(Ending(form.epilogue, form.ways, form.sums), form.target)
            texts += [finish.write(), *(f"{line}\n" for line in sorted(finish.code.declarations))]
            texts.append(_Product(form).write("NAME"))
        else:
            texts = [_Pack(form, adjacent).write("NAME")]
        _addresses[key] = _address("product" if adjacent is None else "pack", texts, form.target)
    return _addresses[key]


def _pack_dims(form: Form, k: int, n: int, strides: Sequence[int]) -> bytes:
    return struct.pack("5q", k, n, *(stride * form.dtype.itemsize for stride in strides))


def pack(form: Form, k: int, n: int, strides: Sequence[int]) -> Stage:
    """The stage that packs right matrices [k, n]: data are the packed ones and the first matrix.

    `strides`, in elements, are those of rows and columns, and from one sum's matrix to the next.
    """
    if knobs.backend == "interpret":
        return Stage(plain.pack(form.dtype, form.sums, k, n, strides), (0, 1), b"", 1, 1)
    total = form.slivers(n)
    grain = max(1, round(PIECE * total / max(form.packed_bytes(k, n) / 16.0, 1.0)))
    kernel = _kernel(form, strides[1] == 1)
    return Stage(kernel, (0, 1), _pack_dims(form, k, n, strides), total, min(grain, total))


def multiply(
    form: Form,
    sizes: tuple[int, int, int],
    strides: Sequence[int] | None,
    others: Sequence[Sequence[int]],
    *,
    right: Sequence[int] | None = None,
    direct: int = 0,
    rows_only: bool = False,
) -> Stage:
    """The stage for a left matrix [m, k] and packed [k, n], with `sizes` (m, n, k).

    `strides` are those of the left matrix; None: it was packed by `pack(form.left(), …)`. `others`
    are (offset, step between rows, step between columns) of the outputs, and of the inputs behind
    the sums: rows and columns of the epilogue. All are in elements. Data are the packed matrix, the
    left one (null: all sums are zero), outputs, inputs. The range is tasks; with `rows_only`, it is
    rows of the result.

    With `right`, the strides that `pack` takes, tasks pack the slivers that they need, and the
    right matrix is the last of the data. With `direct`, the step between its rows, it is not packed
    at all: it takes the place of the packed one. Its rows are whole slivers then.
    """
    m, n, k = sizes
    count = 2 + len(others) + bool(right)
    if knobs.backend == "interpret":
        called = plain.Multiplication(
            form.epilogue, form.sums, sizes, strides, others, right, form.turned
        )
        return Stage(plain.address(called.run), tuple(range(count)), b"", m if n else 0, max(m, 1))
    size, slivers = form.dtype.itemsize, form.slivers(n)
    group = form.lanes * LEFT_VECTORS if strides is None else max(m, 1)
    down, across = (1, group) if strides is None else strides
    # Equal tasks, of whole tiles and whole groups.
    unit = group if strides is None else form.rows
    tall = TASK_ROWS if slivers * m >= TASKS * TASK_ROWS else BLOCK_ROWS
    parts = 1 if right else -(-m // max(unit, tall))
    task = 1 if rows_only else max(1, -(-m // max(parts, 1) // unit)) * unit
    tasks = -(-m // task)
    wide = slivers if rows_only else min(slivers, max(1, slivers * tasks // TASKS))
    words = [m, n, k, group, group * k * size, down * size, across * size]
    packed = form.across * form.target.vector_bytes
    words += [direct * size, packed] if direct else [packed, k * packed]
    words += [task, tasks, slivers, wide, _kernel(form, right[1] == 1) if right else 0]
    kernel = form.epilogue
    dtypes = [*kernel.outputs, *kernel.inputs[form.sums :]]
    for dtype, (offset, row, column) in zip(dtypes, others, strict=True):
        words += [number * dtype.itemsize for number in (offset, 0, row, column)]
    total = tasks * -(-slivers // wide) if m and n else 0
    grain = max(1, min(total, round(PIECE * total / max(1.0, m * n * k * form.sums / RATE))))
    dims = struct.pack(f"{len(words)}q", *words)
    if right:
        dims += _pack_dims(form, k, n, right)
    return Stage(_kernel(form), tuple(range(count)), dims, total, grain)
