"""Vectors between registers and operands: contiguous, repeated or strided runs, whole vectors and
tails.

A run is a number of elements along the innermost dimension. Contiguous operands are read where they
lie; strided ones are gathered into a buffer before the run and scattered after it. The last,
partial vector goes through masked moves, or through a buffer where the processor has none, so that
nothing outside the operands is touched.
"""

from typing import NamedTuple

from flambeau.types import DType

from .llvm import Code, Lanes, memory_type
from .target import Target


class Operand(NamedTuple):
    """What is compiled in of an operand: its type, and how it moves along the innermost dimension.

    `way` is U unit stride, R the same backwards, Z stride zero, S any other stride. In tiles also
    T and G: any stride here, and unit or small stride along the tile's other side.
    """

    dtype: DType
    way: str


def element_type(dtype: DType) -> str:
    """An integer as wide as an element."""
    return f"i{dtype.itemsize * 8}"


class Access:
    """Loads and stores of the operands of one function."""

    def __init__(
        self, code: Code, lanes: Lanes, target: Target, operands: list[Operand], block: int
    ):
        self.code, self.lanes, self.target, self.operands, self.block = (
            code,
            lanes,
            target,
            operands,
            block,
        )
        self._buffers: dict[tuple[int, int], str] = {}

    def buffer(self, index: int, elements: int) -> str:
        """Room for a block of operand `index`, and for whole vectors at its end."""
        key = index, elements
        if key not in self._buffers:
            size = (elements + self.lanes.width) * self.operands[index].dtype.itemsize
            self._buffers[key] = self.code.stack(f"[{size} x i8]")
        return self._buffers[key]

    def raw(self, dtype: DType) -> str:
        """The vector in memory: complex elements are two components each."""
        return f"<{self.lanes.width * (2 if dtype.kind == 'c' else 1)} x {memory_type(dtype)}>"

    def copy(self, dtype, source, source_step, target, target_step, count, first="0") -> None:
        """Copy `count` elements; steps are in bytes (values). Elements from number `first` on."""
        code, kind = self.code, element_type(dtype)
        align = dtype.to_real().itemsize

        def body(i, a, b):
            element = code.value(f"load {kind}, ptr {a}, align {align}")
            code.do(f"store {kind} {element}, ptr {b}, align {align}")
            return code.add(i, 1), code.at(a, source_step), code.at(b, target_step)

        code.repeat(
            [("i64", first), ("ptr", source), ("ptr", target)],
            lambda i, a, b: code.less(i, count),
            body,
        )

    def gather(self, index: int, pointer, step, count) -> str:
        buffer = self.buffer(index, self.block)
        dtype = self.operands[index].dtype
        self.copy(dtype, pointer, step, buffer, dtype.itemsize, count)
        return buffer

    def scatter(self, index: int, pointer, step, count) -> None:
        dtype = self.operands[index].dtype
        self.copy(dtype, self.buffer(index, self.block), dtype.itemsize, pointer, step, count)

    def turn(self, index: int, pointer, step, row_step, shape, tile) -> str:
        """A buffer with a tile of operand `index`, row by row: rows of `tile[1]` elements, `shape`
        of them used.

        Where the operand is contiguous along columns (T), a tile of whole squares goes through
        registers, 8 by 8.
        """
        code, dtype = self.code, self.operands[index].dtype
        buffer = self.buffer(index, tile[0] * tile[1])
        size, (rows, columns) = dtype.itemsize, shape

        def slowly():
            def column(j, source):
                self.copy(
                    dtype,
                    source,
                    row_step,
                    code.at(buffer, j, element_type(dtype)),
                    tile[1] * size,
                    rows,
                )
                return [code.add(j, 1), code.at(source, step)]

            code.repeat(
                [("i64", "0"), ("ptr", pointer)], lambda j, _: code.less(j, columns), column
            )
            return []

        if self.operands[index].way != "T":
            slowly()
            return buffer

        def quickly():
            def column(j, source):
                def row(i):
                    place = code.at(buffer, code.add(code.mul(i, tile[1]), j), element_type(dtype))
                    here = code.at(source, i, element_type(dtype))
                    self._turn_square(dtype, here, step, place, tile[1] * size)
                    return [code.add(i, 8)]

                code.repeat([("i64", "0")], lambda i: code.less(i, rows), row)
                return [code.add(j, 8), code.at(source, code.mul(step, 8))]

            code.repeat(
                [("i64", "0"), ("ptr", pointer)], lambda j, _: code.less(j, columns), column
            )
            return []

        odd = code.value(f"and i64 {code.value(f'or i64 {rows}, {columns}')}, 7")
        code.branch(code.value(f"icmp eq i64 {odd}, 0"), quickly, slowly, [])
        return buffer

    def _turn_square(self, dtype, source, step, target, target_step) -> None:
        """Transpose 8 by 8 elements: pairs, then fours, then eights change places."""
        code, kind, align = self.code, f"<8 x {element_type(dtype)}>", dtype.to_real().itemsize

        def mix(a, b, order):
            return code.value(
                f"shufflevector {kind} {a}, {kind} {b}, <8 x i32> {self.lanes.vector('i32', order)}"
            )

        rows = []
        for k in range(8):
            rows.append(code.value(f"load {kind}, ptr {source}, align {align}"))
            source = code.at(source, step) if k < 7 else source
        low, high = (0, 8, 1, 9, 4, 12, 5, 13), (2, 10, 3, 11, 6, 14, 7, 15)
        pairs = [mix(rows[k & ~1], rows[k | 1], high if k & 1 else low) for k in range(8)]
        low, high = (0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15)
        fours = []
        for k in range(8):
            first = k & 4 | k >> 1 & 1
            fours.append(mix(pairs[first], pairs[first | 2], high if k & 1 else low))
        low, high = (0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15)
        for k in range(8):
            eights = mix(fours[k & 3], fours[k & 3 | 4], high if k & 4 else low)
            code.do(f"store {kind} {eights}, ptr {code.at(target, k * target_step)}, align {align}")

    def address(self, dtype: DType, pointer, i) -> str:
        return self.code.at(
            pointer, i, f"[2 x {memory_type(dtype)}]" if dtype.kind == "c" else memory_type(dtype)
        )

    def load(self, dtype: DType, pointer, i) -> str:
        """A whole vector of elements from number `i` on, as it lies in memory."""
        place, align = self.address(dtype, pointer, i), dtype.to_real().itemsize
        return self.code.value(f"load {self.raw(dtype)}, ptr {place}, align {align}")

    def fetch(self, index: int, pointer, i) -> str:
        """A whole vector of operand `index`, which needs no buffer."""
        operand = self.operands[index]
        if operand.way != "R":
            return self.load(operand.dtype, pointer, i)
        first = self.code.sub(1 - self.lanes.width, i)
        return self._reversed(operand.dtype, self.load(operand.dtype, pointer, first))

    def _reversed(self, dtype: DType, vector) -> str:
        raw, parts = self.raw(dtype), 2 if dtype.kind == "c" else 1
        order = [parts * k + p for k in reversed(range(self.lanes.width)) for p in range(parts)]
        picks = f"<{len(order)} x i32> {self.lanes.vector('i32', order)}"
        return self.code.value(f"shufflevector {raw} {vector}, {raw} poison, {picks}")

    def store(self, dtype: DType, pointer, i, vector, past=False) -> None:
        """A whole vector; `past` the cache, to memory aligned to registers."""
        place, align = self.address(dtype, pointer, i), dtype.to_real().itemsize
        how = f"{self.target.vector_bytes}, !nontemporal !{{i32 1}}" if past else f"{align}"
        self.code.do(f"store {self.raw(dtype)} {vector}, ptr {place}, align {how}")

    def prefetch(self, index: int, pointer, i) -> None:
        """Ask for the cache line of element `i`, which may lie outside the operand: nothing is
        read.
        """
        place = self.address(self.operands[index].dtype, pointer, i)
        self.code.call("void", "llvm.prefetch.p0", f"ptr {place}, i32 0, i32 3, i32 1")

    def _mask(self, dtype: DType, left):
        if dtype.kind != "c":
            return self.lanes.mask(left)
        wide = Lanes(self.code, 2 * self.lanes.width, self.target)
        return wide.mask(self.code.add(left, left))

    def _masked(self, dtype: DType) -> tuple[str, str, str]:
        raw = self.raw(dtype)
        width = self.lanes.width * (2 if dtype.kind == "c" else 1)
        kind = memory_type(dtype).replace("float", "f32").replace("double", "f64")
        return raw, f"<{width} x i1>", f"v{width}{kind}"

    def load_tail(self, index: int, pointer, i, left) -> str:
        """The last `left` elements, fewer than a vector; what the other lanes hold is arbitrary."""
        dtype, way = self.operands[index]
        back = way == "R"
        source = self.address(dtype, pointer, self.code.sub(0, i) if back else i)
        if back or not self.target.masks:
            buffer, size = self.buffer(index, 0), dtype.itemsize
            self.copy(dtype, source, -size if back else size, buffer, size, left)
            return self.load(dtype, buffer, 0)
        raw, test, suffix = self._masked(dtype)
        align = dtype.to_real().itemsize
        mask = self._mask(dtype, left)
        self.code.declarations.add(
            f"declare {raw} @llvm.masked.load.{suffix}.p0(ptr, {test}, {raw})"
        )
        return self.code.value(
            f"call {raw} @llvm.masked.load.{suffix}.p0"
            f"(ptr align {align} {source}, {test} {mask}, {raw} zeroinitializer)"
        )

    def store_tail(self, index: int, pointer, i, left, vector) -> None:
        dtype = self.operands[index].dtype
        place = self.address(dtype, pointer, i)
        if not self.target.masks:
            buffer = self.buffer(index, 0)
            self.store(dtype, buffer, 0, vector)
            self.copy(dtype, buffer, dtype.itemsize, place, dtype.itemsize, left)
            return
        raw, test, suffix = self._masked(dtype)
        align = dtype.to_real().itemsize
        mask = self._mask(dtype, left)
        self.code.declarations.add(
            f"declare void @llvm.masked.store.{suffix}.p0({raw}, ptr, {test})"
        )
        self.code.do(
            f"call void @llvm.masked.store.{suffix}.p0"
            f"({raw} {vector}, ptr align {align} {place}, {test} {mask})"
        )

    def decode(self, dtype: DType, vector) -> list[str]:
        """The one or two vectors of values that a vector in memory stands for."""
        code, raw, width = self.code, self.raw(dtype), self.lanes.width
        if dtype.name == "bool":
            return [code.value(f"icmp ne {raw} {vector}, zeroinitializer")]
        if dtype.kind != "c":
            return [vector]
        picks = [self.lanes.vector("i32", range(first, 2 * width, 2)) for first in (0, 1)]
        return [
            code.value(f"shufflevector {raw} {vector}, {raw} poison, <{width} x i32> {p}")
            for p in picks
        ]

    def encode(self, dtype: DType, vectors) -> str:
        """The inverse of `decode`."""
        code, lanes = self.code, self.lanes
        if dtype.name == "bool":
            return code.value(f"zext {lanes.of('i1')} {vectors[0]} to {self.raw(dtype)}")
        if dtype.kind != "c":
            return vectors[0]
        kind, width = lanes.type(dtype.to_real()), lanes.width
        mixed = lanes.vector("i32", (k // 2 + (width if k % 2 else 0) for k in range(2 * width)))
        return code.value(
            f"shufflevector {kind} {vectors[0]}, {kind} {vectors[1]}, <{2 * width} x i32> {mixed}"
        )

    def repeated(self, dtype: DType, pointer) -> list[str]:
        """The one element at `pointer`, in every lane."""
        code, kind, align = self.code, memory_type(dtype), dtype.to_real().itemsize
        values = []
        for part in range(2 if dtype.kind == "c" else 1):
            component = code.value(
                f"load {kind}, ptr {code.at(pointer, part * align)}, align {align}"
            )
            values.append(self.lanes.splat(kind, component))
        return values if dtype.kind == "c" else self.decode(dtype, values[0])
