"""Kernels as functions: the loops around the vectors. What they are made of is in `nests`."""

from flambeau.ir import Kernel, topological

from .llvm import memory_type
from .loads import Loads, Rows
from .nests import BLOCK, Nests, flat, leaves, stored, typed

COLUMNS = 64  # elements of a row of a tile that is transposed


def tile_rows(dtypes) -> int:
    """Rows of a tile: a cache line of each transposed operand, within reason."""
    return max(8, min(32, 64 // min(dtype.itemsize for dtype in dtypes)))


class Writer(Nests):
    """Writes the function of one kernel in one variant."""

    def text(self, name: str) -> str:
        """The module's text: one function called `name`."""
        code = self.code
        self._enter()
        self._loops()
        if self.variant.streams:  # such writes are in no order by themselves
            code.do("fence seq_cst")
        code.do(f"ret i64 {self._result()}")
        lines = [
            f"define i64 @{name}(ptr %data, ptr %dims, ptr %scalars, i64 %lo, i64 %hi) #0 {{",
            "entry:", *code.allocations, *code.lines, "}", *sorted(code.declarations),
        ]  # fmt: skip
        return "\n".join(map(str, lines)) + "\n"

    def _loops(self) -> None:
        {"across": self._across, "down": self._down}.get(self.variant.mode, self._pointwise)()

    def _result(self) -> str:
        return self.code.value(f"load i64, ptr {self.flag}") if self.flag else "0"

    # ------------------------------------------------------------------------------------ pointwise

    def _pointwise(self) -> None:
        kernel, lanes = self.kernel, self.lanes
        groups = stored(kernel, kernel.body)
        roots = flat(groups) + ([] if kernel.check is None else [kernel.check])

        def body(known, i, mask):
            lanes.values(roots, known)
            if kernel.check is not None:
                self._check(known[kernel.check], mask)
            return [[known[e] for e in group] for group in groups], []

        unroll = unrolling(roots)

        def run(count, pointers):
            self._run(
                count, pointers, self.ins, self.outs, body, unroll=unroll, masked=bool(self.flag)
            )

        if self.variant.mode == "tiled":
            return self._tiles(run)
        self._walk(BLOCK if self.strided else None, run)

    def _tiles(self, run) -> None:
        """`run(count, pointers)` for the rows of tiles [lo, hi): all tiles of a plane, then the
        next plane.

        A plane is the innermost dimension times the one of the second nest; its partial tiles are
        at the ends.
        """
        code, turned = self.code, [k for k, o in enumerate(self.operands) if o.way in "TG"]
        height, steps = (
            code.number(self.second, 0),
            [code.number(self.second, 1 + k) for k in self.all],
        )
        tile = tile_rows([self.operands[k].dtype for k in turned]), COLUMNS
        across, along = (
            code.value(f"udiv i64 {code.add(size, side - 1)}, {side}")
            for size, side in ((self.inner, tile[1]), (height, tile[0]))
        )

        def one(t):
            rest = code.value(f"udiv i64 {t}, {across}")
            plane = code.value(f"udiv i64 {rest}, {along}")
            column = code.mul(code.sub(t, code.mul(rest, across)), tile[1])
            row = code.mul(code.sub(rest, code.mul(plane, along)), tile[0])
            pointers = self._start(plane, self.bases) if self.variant.outer else self.bases
            pointers = self._moved(pointers, column)
            pointers = [code.at(p, code.mul(row, s)) for p, s in zip(pointers, steps, strict=True)]
            shape = (
                code.smaller(code.sub(height, row), tile[0]),
                code.smaller(code.sub(self.inner, column), tile[1]),
            )
            following = list(steps)
            for k in turned:
                pointers[k] = self.access.turn(
                    k, pointers[k], self.strides[k], steps[k], shape, tile
                )
                following[k] = tile[1] * self.operands[k].dtype.itemsize

            def line(i, *pointers):
                run(shape[1], pointers)
                return [
                    code.add(i, 1),
                    *(code.at(p, s) for p, s in zip(pointers, following, strict=True)),
                ]

            carried = [("i64", "0"), *(("ptr", p) for p in pointers)]
            code.repeat(carried, lambda i, *_: code.less(i, shape[0]), line)
            return [code.add(t, 1)]

        code.repeat([("i64", "%lo")], lambda t: code.less(t, "%hi"), one)

    def _check(self, condition, mask) -> None:
        code, test = self.code, self.lanes.of("i1")
        if mask is not None:
            condition = code.value(f"and {test} {condition}, {mask}")
        found = code.call(
            "i1", f"llvm.vector.reduce.or.v{self.lanes.width}i1", f"{test} {condition}"
        )
        old = code.value(f"load i64, ptr {self.flag}")
        new = code.value(f"zext i1 {found} to i64")
        code.do(f"store i64 {code.value(f'or i64 {old}, {new}')}, ptr {self.flag}")

    # ---------------------------------------------------------------------------------------- folds

    def _initial(self) -> list[tuple[str, str]]:
        values = self.lanes.values(self.kernel.init, self.known)
        return [
            (self.lanes.type(e.dtype), v) for e, v in zip(self.kernel.init, values, strict=True)
        ]

    def _combine(self, a, b) -> list[str]:
        """The state of two states."""
        known = dict(self.known)
        for e in leaves(self.kernel.combine):
            if e.op in ("state", "other"):
                known[e] = (a if e.op == "state" else b)[e.value]
        return self.lanes.values(self.kernel.combine, known)

    def _element(self, known, state) -> list[str]:
        """The state with one more element."""
        element = self.lanes.values(self.kernel.element, known)
        return self._combine(state, element)

    def _finish(self, state) -> list[list[str]]:
        groups = stored(self.kernel, self.kernel.finish)
        known = dict(self.known)
        for e in leaves(flat(groups)):
            if e.op == "state":
                known[e] = state[e.value]
        self.lanes.values(flat(groups), known)
        return [[known[e] for e in group] for group in groups]

    def _across(self) -> None:
        """Lanes along the innermost folded dimension."""
        if self.kernel.kind == "scan":
            return self._points(self._scan_across)
        kernel, dtypes = self.kernel, [e.dtype for e in self.kernel.init]
        initial = self._initial()
        unroll = accumulators(kernel)

        def body(known, i, mask, *state):
            after = self._element(known, state)
            if mask is not None:
                after = [
                    self.lanes.select(d, mask, new, old)
                    for d, new, old in zip(dtypes, after, state, strict=True)
                ]
            return [], after

        def row(pointers, *values):
            carried = list(zip([kind for kind, _ in initial * unroll], values, strict=True))
            return self._blocks(
                self.inner, pointers, BLOCK if self.strided else None, carried,
                lambda n, p, *v: self._run(
                    n, p, self.ins, (), body, typed(carried, v), unroll, True
                ),
            )  # fmt: skip

        def point(pointers):
            values = self._folded(pointers, initial * unroll, row, self.ins)
            sets = [values[u * len(dtypes) : (u + 1) * len(dtypes)] for u in range(unroll)]
            while len(sets) > 1:
                sets = [self._combine(a, b) for a, b in zip(sets[::2], sets[1::2], strict=True)]
            state = self._tree(sets[0], dtypes)
            for k, vectors in zip(self.outs, self._finish(state), strict=True):
                self._put_first(k, pointers[k], vectors)

        self._points(point)

    def _tree(self, state, dtypes) -> list[str]:
        """Lanes combined pairwise, halves of halves; the result is in lane 0."""
        code, width = self.code, self.lanes.width
        half = width // 2
        while half:
            order = self.lanes.vector(
                "i32", [k + half if k < half else "poison" for k in range(width)]
            )
            moved = []
            for dtype, v in zip(dtypes, state, strict=True):
                kind = self.lanes.type(dtype)
                moved.append(
                    code.value(f"shufflevector {kind} {v}, {kind} poison, <{width} x i32> {order}")
                )
            state = self._combine(state, moved)
            half //= 2
        return state

    def _put_first(self, k, pointer, vectors) -> None:
        """Store lane 0 as the one element at `pointer`."""
        code, operand = self.code, self.operands[k]
        raw, kind = self.access.raw(operand.dtype), memory_type(operand.dtype)
        packed, align = self._encoded(k, vectors), operand.dtype.to_real().itemsize
        for part in range(2 if operand.dtype.kind == "c" else 1):
            element = code.value(f"extractelement {raw} {packed}, i64 {part}")
            code.do(f"store {kind} {element}, ptr {code.at(pointer, part * align)}, align {align}")

    def _scan_across(self, pointers) -> None:
        """One element after the other: the width is 1."""
        initial = self._initial()

        def body(known, i, mask, *state):
            after = self._element(known, state)
            return self._finish(after), after

        self._blocks(
            self.inner, pointers, BLOCK if self.strided else None, initial,
            lambda n, p, *v: self._run(
                n, p, self.ins, self.outs, body, typed(initial, v)
            ),
        )  # fmt: skip

    def _down(self) -> None:
        """Lanes along kept elements: a tile of states stays in memory near by, while the fold goes
        over it.
        """
        code, kernel = self.code, self.kernel
        initial = [v for _, v in self._initial()]
        scan = kernel.kind == "scan"
        read, write = self._states()

        def fold(rows, i):
            after = read(i)
            for known in rows:
                after = self._element(known, after)
            write(i, after)
            return (self._finish(after) if scan else []), []

        # The next row is in another page, where the processor does not look by itself.
        direct = [k for k in self.ins if k < len(self.operands) and self.operands[k].way == "U"]
        ahead = {k: code.number(self.second, 1 + k) for k in direct if self.variant.second}

        def tile(count, pointers):
            code.repeat(
                [("i64", "0")], lambda i: code.less(i, count),
                lambda i: [write(i, initial) or code.add(i, self.lanes.width)],
            )  # fmt: skip
            unroll = unrolling([*kernel.element, *kernel.combine])
            outs = self.outs if scan else ()

            def rows(group):
                def one(known, i, mask):
                    for pointers in group:
                        for k, step in ahead.items():
                            beyond = code.at(pointers[k], code.mul(step, len(group)))
                            self.access.prefetch(k, beyond, i)
                    return fold(known if together else [known], i)

                loads = None
                if together:
                    loads = Rows([Loads(self, *self._sources(count, p, self.ins)) for p in group])
                steps = 1 if len(group) > 1 else unroll
                self._run(count, group[0], self.ins, outs, one, unroll=steps, loads=loads)
                return []

            together = self._together(unroll)
            if together:
                self._folded_together(pointers, rows, self.ins)
            else:
                moving = self.all if scan else self.ins
                self._folded(pointers, [], lambda pointers: rows([pointers]), moving)
            if not scan:
                self._run(
                    count, pointers, (), self.outs,
                    lambda known, i, mask: (self._finish(read(i)), []),
                )  # fmt: skip

        self._walk(self.tile, tile)

    def _states(self):
        """Memory for the states of a tile: functions that read and write a vector of each."""
        dtypes = [e.dtype for e in self.kernel.init]
        elements = self.tile + self.lanes.width
        places = [self.code.stack(f"[{elements * d.itemsize} x i8]") for d in dtypes]

        def read(i):
            out = []
            for dtype, place in zip(dtypes, places, strict=True):
                out += self.access.decode(dtype, self.access.load(dtype, place, i))
            return out

        def write(i, state):
            for dtype, place, vector in zip(dtypes, places, state, strict=True):
                self.access.store(dtype, place, i, self.access.encode(dtype, [vector]))

        return read, write

    def _together(self, unroll: int) -> bool:
        """Whether a pass over a tile's states takes several folded rows: short bodies would spend
        their time on the states. Rows that are gathered share one buffer."""
        ways = {self.operands[k].way for k in self.ins if k < len(self.operands)}
        folds = self.kernel.kind == "reduce" and self.variant.second
        return folds and unroll > 1 and ways <= {"U", "Z"}


def accumulators(kernel: Kernel) -> int:
    """How many states there are of each lane, where lanes go along the fold."""
    return unrolling([*kernel.element, *kernel.combine], 3) if len(kernel.init) <= 3 else 1


def unrolling(roots, more=1) -> int:
    """How many vectors to have in flight: several for short bodies, whose loop would cost as much
    as they do.
    """
    size = sum(e.op not in ("const", "load") for e in topological(roots))
    return 4 if size <= 4 * more else 2 if size <= 12 * more else 1
