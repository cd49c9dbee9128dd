"""Epilogues: a pointwise kernel over a piece of a result whose sums have just been made.

What the kernels of products and convolutions make leaves them here, while it is in the cache.
"""

from typing import NamedTuple

from flambeau.ir import Pointwise

from .access import Access, Operand
from .llvm import Code, Lanes, scalar_type
from .nests import flat, leaves, stored
from .target import Target

WORDS = 4  # for each output and each input that is read from memory: offset, and steps, in bytes


class Ending(NamedTuple):
    """What code is made for. The first `sums` inputs of the kernel are vectors beside each other;
    `ways` are those of the outputs and the other inputs: see `products`."""

    kernel: Pointwise
    ways: str
    sums: int = 0

    @property
    def key(self) -> tuple:
        return self.kernel.key, self.ways, self.sums


class Finish:
    """``void finish(ptr sums, i64 pitch, ptr data, ptr words, ptr scalars, i64 image, i64 row, i64
    rows, i64 column, i64 columns)``: the kernel for so many rows and columns of an image. Sums of a
    row lie `pitch` bytes behind those of the one before. `data` are outputs and inputs, `words`
    their offsets and their steps from image to image, row to row, column to column."""

    def __init__(self, ending: Ending, target: Target):
        self.ending, self.code = ending, Code()
        kernel = ending.kernel
        self.kind = scalar_type(kernel.inputs[0])
        width = target.vector_bytes // kernel.inputs[0].itemsize
        self.lanes = Lanes(self.code, width, target)
        self.vector, self.bytes = self.lanes.type(kernel.inputs[0]), target.vector_bytes
        dtypes = [*kernel.outputs, *kernel.inputs[ending.sums :]]
        operands = [Operand(dtype, way) for dtype, way in zip(dtypes, ending.ways, strict=True)]
        self.access = Access(self.code, self.lanes, target, operands, width)

    def _places(self):
        """Of each operand, where it starts, and the steps from row to row and in a row."""
        code = self.code
        starts, rows, columns = [], [], []
        for k, (dtype, way) in enumerate(self.access.operands):
            offset, image, row, column = (
                code.number("%words", WORDS * k + word) for word in range(WORDS)
            )
            start = code.value(f"load ptr, ptr {code.at('%data', 8 * k)}, align 8")
            for count, step in (("1", offset), ("%image", image), ("%row", row)):
                start = code.at(start, code.mul(count, step))
            starts.append(code.at(start, code.mul("%column", column)))
            rows.append(row)
            columns.append(str(dtype.itemsize) if way == "U" else column)
        return starts, rows, columns

    def write(self) -> str:
        code, width = self.code, self.lanes.width
        starts, rows, self.steps = self._places()

        def line(r, sums, *pointers):
            def vector(first):
                steps = {step: code.mul(first, step) for step in dict.fromkeys(self.steps)}
                here = [
                    code.at(p, steps[step]) for p, step in zip(pointers, self.steps, strict=True)
                ]
                size = self.ending.sums * self.bytes // width
                self._apply(code.at(sums, code.mul(first, size)), here, code.sub("%columns", first))
                return [code.add(first, width)]

            code.repeat([("i64", "0")], lambda i: code.less(i, "%columns"), vector)
            moved = [code.at(p, row) for p, row in zip(pointers, rows, strict=True)]
            return [code.add(r, 1), code.at(sums, "%pitch"), *moved]

        carried = [("i64", "0"), ("ptr", "%sums"), *(("ptr", p) for p in starts)]
        code.repeat(carried, lambda r, *_: code.less(r, "%rows"), line)
        code.do("ret void")
        head = (
            "ptr %sums, i64 %pitch, ptr %data, ptr %words, ptr %scalars, "
            "i64 %image, i64 %row, i64 %rows, i64 %column, i64 %columns"
        )
        lines = [f"define internal void @finish({head}) #0 {{", "entry:", *code.allocations]
        return "\n".join([*lines, *map(str, code.lines), "}", ""])

    def _apply(self, sums, pointers, left):
        """One vector, of which `left` elements are there, or all."""
        code, access, kernel = self.code, self.access, self.ending.kernel
        left = code.smaller(left, self.lanes.width)
        count = len(kernel.outputs)
        whole = code.value(f"icmp eq i64 {left}, {self.lanes.width}")
        given = []
        for j in range(self.ending.sums):
            at = code.at(sums, j * self.bytes)
            given.append([code.value(f"load {self.vector}, ptr {at}, align {self.bytes}")])
        given += self._read(range(count, len(pointers)), pointers, whole, left)
        results = stored(kernel, kernel.body)
        known = self._known(flat(results), given)
        self.lanes.values(flat(results), known)
        made = [
            access.encode(kernel.outputs[k], [known[e] for e in group])
            for k, group in enumerate(results)
        ]
        self._write(made, pointers, whole, left)

    def _read(self, numbers, pointers, whole, left) -> list:
        """The values of operands."""
        code, access, operands = self.code, self.access, self.access.operands
        dense = [k for k in numbers if operands[k].way == "U"]
        vectors = code.branch(
            whole,
            lambda: [access.load(operands[k].dtype, pointers[k], 0) for k in dense],
            lambda: [access.load_tail(k, pointers[k], 0, left) for k in dense],
            [access.raw(operands[k].dtype) for k in dense],
        )
        found = dict(zip(dense, vectors, strict=True))

        def value(k):
            dtype, way = operands[k]
            if way == "Z":
                return access.repeated(dtype, pointers[k])
            if way == "S":
                block = access.gather(k, pointers[k], self.steps[k], left)
                found[k] = access.load(dtype, block, 0)
            return access.decode(dtype, found[k])

        return [value(k) for k in numbers]

    def _write(self, vectors, pointers, whole, left):
        access, operands = self.access, self.access.operands
        for k, vector in enumerate(vectors):
            if operands[k].way == "S":
                access.store(operands[k].dtype, access.buffer(k, access.block), 0, vector)
                access.scatter(k, pointers[k], self.steps[k], left)
        dense = [(k, v) for k, v in enumerate(vectors) if operands[k].way != "S"]
        self.code.branch(
            whole,
            lambda: [access.store(operands[k].dtype, pointers[k], 0, v) for k, v in dense] and [],
            lambda: [access.store_tail(k, pointers[k], 0, left, v) for k, v in dense] and [],
            [],
        )

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
