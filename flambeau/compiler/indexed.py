"""Indexed kernels: operands at places that other operands name."""

from .llvm import memory_type
from .loops import Writer, unrolling
from .nests import BLOCK, HEADER, flat, stored

AHEAD = 32  # points between asking for a row and using it
LARGE = 1 << 21  # bytes of an operand that caches may not hold
LINE, MOST = 64, 512  # bytes that are asked for at once, and in all


class IndexedWriter(Writer):
    """Writes the function of one indexed kernel in one variant."""

    def _enter(self) -> None:
        super()._enter()
        code, table = self.code, HEADER + 2 * len(self.all)
        self.limits = [
            [code.number("%dims", table + 2 * i + part) for part in range(2)]
            for i in range(len(self.kernel.places))
        ]

    def _loops(self) -> None:
        kernel, mode = self.kernel, self.variant.mode
        groups = stored(kernel, kernel.body)
        roots = flat(groups)
        indices = {len(self.outs) + place.by for place in kernel.places}
        read = [k for k in self.ins if k not in indices]

        def body(known, *_):
            self.lanes.values(roots, known)
            return [[known[e] for e in group] for group in groups], []

        def run(count, pointers):
            if mode == "rows":
                placed = self._placed(pointers)
                self._run(count, placed, read, self.outs, body, unroll=unrolling(roots))
            else:
                self._each(count, pointers, read, body)
            return []

        def runs(count, pointers):
            return self._folded(pointers, [], lambda p: run(count, p), self.all)

        if mode == "along":
            return self._points(lambda pointers: runs(self.inner, pointers) and None)
        self._walk(BLOCK if mode == "rows" and self.strided else None, runs)

    def _placed(self, pointers) -> list[str]:
        """Pointers to the elements that the indices at `pointers` name."""
        code, out = self.code, list(pointers)
        for place, (step, size) in zip(self.kernel.places, self.limits, strict=True):
            k = len(self.outs) + place.by
            kind = memory_type(self.operands[k].dtype)
            number = code.value(f"load {kind}, ptr {pointers[k]}")
            if kind != "i64":
                number = code.value(f"sext {kind} {number} to i64")
            if place.wraps:
                wrapped = code.add(number, size)
                number = code.value(
                    f"select i1 {code.less(number, 0)}, i64 {wrapped}, i64 {number}"
                )
            outside = code.value(f"icmp uge i64 {number}, {size}")
            [number] = code.branch(outside, self._refuse, lambda n=number: [n], ["i64"])
            offset = code.mul(number, step)
            for operand in place.operands:
                out[operand] = code.at(out[operand], offset)
        return out

    def _look_ahead(self, pointers, table, rank, left, each) -> None:
        """Asks for the rows that later indices name: in large operands each would be waited for."""
        code = self.code
        if self.variant.mode != "rows":
            return
        enough = code.value(
            f"and i1 {code.less(code.mul(each, AHEAD), left)}, "
            f"{code.value(f'icmp eq i64 {rank}, 1')}"
        )
        for place, (step, size) in zip(self.kernel.places, self.limits, strict=True):
            k = len(self.outs) + place.by

            def ask(place=place, step=step, k=k):
                record = self._entry(table, 0)

                def later(operand):
                    stride = code.number(record, 1 + operand)
                    return code.at(pointers[operand], code.mul(stride, AHEAD))

                kind = memory_type(self.operands[k].dtype)
                number = code.value(f"load {kind}, ptr {later(k)}")
                if kind != "i64":
                    number = code.value(f"sext {kind} {number} to i64")
                for operand in place.operands:
                    row = code.at(later(operand), code.mul(number, step))
                    size = code.mul(self.inner, self.operands[operand].dtype.itemsize)

                    def line(i, row=row):
                        where = f"ptr {code.at(row, i)}, i32 0, i32 3, i32 1"
                        code.call("void", "llvm.prefetch.p0", where)
                        return [code.add(i, LINE)]

                    last = code.smaller(size, MOST)
                    code.repeat([("i64", "0")], lambda i, last=last: code.less(i, last), line)
                return []

            large = code.less(LARGE, code.mul(step, size))
            code.branch(code.value(f"and i1 {enough}, {large}"), ask, list, [])

    def _refuse(self) -> list[str]:
        self.code.do(f"store i64 1, ptr {self.flag}")
        return ["0"]

    def _each(self, count, pointers, read, body) -> None:
        """Element after element: the width is 1."""
        code, access, dtypes = self.code, self.access, [o.dtype for o in self.operands]

        def one(i, *pointers):
            placed, known = self._placed(pointers), dict(self.known)
            for k in read:
                self._learn(
                    known, k, access.decode(dtypes[k], access.load(dtypes[k], placed[k], 0))
                )
            vectors, _ = body(known)
            for k, vector in zip(self.outs, vectors, strict=True):
                access.store(dtypes[k], placed[k], 0, self._encoded(k, vector))
            steps = zip(pointers, self.strides, strict=True)
            return [code.add(i, 1), *(code.at(p, s) if s != 0 else p for p, s in steps)]

        carried = [("i64", "0"), *(("ptr", p) for p in pointers)]
        code.repeat(carried, lambda i, *_: code.less(i, count), one)
