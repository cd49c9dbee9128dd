"""Nests of loops over the operands of a kernel, and runs of vectors in them.

The descriptor `dims` of a function is an array of int64:

    size of the innermost dimension, steps of the second nest, count,
    index of the second table, rank of the first nest, rank of the second
    for each operand: stride along the innermost dimension
    for each operand: offset of its first element
    for each place: step, how many
    for each operand of `Variant.ahead`: bytes
    first table, then second: for each dimension, innermost first:
        size, strides of the operands, size * strides

Operands are the outputs, the inputs, and (where the body asks for it) the position: a "pointer"
that is a number and whose strides are numbers too, so that it follows any order of loops. Strides
and offsets are in bytes. The first nest goes over what is written (its innermost dimension is a run
of the range [lo, hi)); the second over what is folded.
"""

from typing import NamedTuple

from flambeau.ir import Kernel, cast, parts, topological

from .access import Access, Operand
from .llvm import Code, Lanes, scalar_type
from .loads import Loads
from .target import Target

HEADER = 6
BLOCK = 256  # elements of a strided run gathered at a time
TILE = 1024  # kept elements whose states stay near while a fold goes over them
STRIDED_TILE = 64  # as TILE, where each kept element is in another cache line
TOGETHER = 4  # folded rows that are added to the states of a tile in one pass over them


class Variant(NamedTuple):
    """What is compiled in. `mode` is pointwise, tiled (the same, in tiles over the innermost and
    another dimension), across (lanes along the fold), or down (lanes along kept elements); of
    indexed kernels rows (one place for a row), each (one for each element), or along (the same, the
    innermost dimension being one that is gone through in order)."""

    mode: str
    outputs: tuple[Operand, ...]
    inputs: tuple[Operand, ...]
    position: str  # its way along the innermost dimension, or "" where the body has none
    outer: bool  # the first nest has dimensions besides the innermost
    second: bool  # the second nest has dimensions
    width: int
    ahead: tuple[int, ...] = ()  # operands whose memory is asked for before it is needed
    streams: tuple[int, ...] = ()  # outputs that are written past the cache


def stored(kernel: Kernel, values) -> list[tuple]:
    """The real expressions that outputs receive, cast to the outputs' types."""
    return [parts(cast(value, dtype)) for value, dtype in zip(values, kernel.outputs, strict=True)]


def flat(groups) -> list:
    return [e for group in groups for e in group]


def leaves(expressions) -> set:
    return {e for e in topological(expressions) if not e.args}


def typed(carried, values) -> list[tuple[str, str]]:
    """`values` with the types that `carried` has."""
    return [(kind, value) for (kind, _), value in zip(carried, values, strict=True)]


class Nests:
    """What the functions of all kernels are made of, in one variant."""

    def __init__(self, kernel: Kernel, variant: Variant, target: Target):
        self.kernel, self.variant, self.target = kernel, variant, target
        self.code = Code()
        self.lanes = Lanes(self.code, variant.width, target)
        self.operands = [*variant.outputs, *variant.inputs]
        # Operands that go through buffers limit a run to a buffer's length; single results do not.
        single = kernel.kind == "reduce" and variant.mode == "across"
        buffered = variant.inputs if single else self.operands
        self.strided = any(o.way == "S" for o in buffered) or any(
            o.way == "Z" for o in variant.outputs if not single
        )
        self.tile = STRIDED_TILE if self.strided else TILE
        block = self.tile if variant.mode == "down" else BLOCK
        self.access = Access(self.code, self.lanes, target, self.operands, block)
        self.all = range(len(self.operands) + bool(variant.position))
        self.outs = range(len(variant.outputs))
        self.ins = range(len(variant.outputs), len(self.all))
        self.known: dict = {}

    def _enter(self) -> None:
        code, count = self.code, len(self.all)
        self.inner = code.number("%dims", 0)
        self.steps = code.number("%dims", 1)
        self.rank_first, self.rank_second = code.number("%dims", 4), code.number("%dims", 5)
        place, ahead = HEADER + 2 * count + 2 * len(self.kernel.places), self.variant.ahead
        self.ahead = {k: code.number("%dims", place + j) for j, k in enumerate(ahead)}
        self.first = code.at("%dims", 8 * (place + len(ahead)))
        self.second = code.at("%dims", code.number("%dims", 3), "i64")
        self.strides = [self._stride(k) for k in self.all]
        self.bases = []
        for k in self.all:
            base = "null"
            if k < len(self.operands):
                base = code.value(f"load ptr, ptr {code.at('%data', 8 * k)}, align 8")
            self.bases.append(code.at(base, code.number("%dims", HEADER + count + k)))
        self.flag = ""
        if self.kernel.check is not None or self.kernel.places:
            self.flag = code.stack("i64", 8)
            code.do(f"store i64 0, ptr {self.flag}")
        self._leaves()
        if self.variant.second and self.variant.mode != "tiled":
            self.second_counters = code.stack("[64 x i64]", 8)
            self._clear(self.second_counters, self.rank_second)

    def _stride(self, k):
        """The stride along the innermost dimension: a number where compiled in."""
        way = self.operands[k].way if k < len(self.operands) else self.variant.position
        if way in "STG":
            return self.code.number("%dims", HEADER + k)
        if way == "Z":
            return 0
        size = self.operands[k].dtype.itemsize
        return -size if way == "R" else size

    def _leaves(self) -> None:
        """Parameters, count, and what follows from them alone: the same for all elements, so
        computed once.
        """
        code, lanes = self.code, self.lanes
        roots = [e for group in self.kernel.values() for v in group for e in parts(v)]
        roots += [] if self.kernel.check is None else [self.kernel.check]
        uniform = set()
        self.inputs: dict[int, list] = {}  # the load nodes of each input
        for e in topological(roots):
            if e.op == "load":
                self.inputs.setdefault(e.value, []).append(e)
            if e.op == "param":
                kind = scalar_type(e.dtype)
                place = code.at("%scalars", 8 * e.value)
                self.known[e] = lanes.splat(kind, code.value(f"load {kind}, ptr {place}, align 8"))
            elif e.op == "count":
                self.known[e] = lanes.splat("i64", code.number("%dims", 2))
            elif e.op != "const" and (not e.args or any(a not in uniform for a in e.args)):
                continue
            uniform.add(e)
            lanes.values([e], self.known)

    # ---------------------------------------------------------------------------------------- nests

    def _clear(self, counters, rank) -> None:
        code = self.code

        def body(d):
            code.do(f"store i64 0, ptr {code.at(counters, d, 'i64')}")
            return [code.add(d, 1)]

        code.repeat([("i64", "0")], lambda d: code.less(d, rank), body)

    def _entry(self, table, d) -> str:
        """The record of dimension `d`."""
        return self.code.at(table, self.code.mul(d, 8 * (1 + 2 * len(self.all))))

    def _start(self, row, pointers) -> list[str]:
        """Pointers at number `row` of the first nest; sets its counters."""
        code = self.code
        self.counters = code.stack("[64 x i64]", 8)

        def body(d, rest, *pointers):
            record = self._entry(self.first, d)
            size = code.number(record, 0)
            here = code.value(f"urem i64 {rest}, {size}")
            code.do(f"store i64 {here}, ptr {code.at(self.counters, d, 'i64')}")
            moved = [
                code.at(p, code.mul(here, code.number(record, 1 + k)))
                for k, p in enumerate(pointers)
            ]
            return [code.add(d, 1), code.value(f"udiv i64 {rest}, {size}"), *moved]

        carried = [("i64", "0"), ("i64", row), *(("ptr", p) for p in pointers)]
        return code.repeat(carried, lambda d, *_: code.less(d, self.rank_first), body)[2:]

    def _advance(self, table, counters, rank, pointers, moving) -> list[str]:
        """Pointers at the next point of a nest: an odometer, whose counters are all zero again
        after its last.
        """
        code = self.code
        before, head, check, carry, done = code.block, *(code.label() for _ in range(4))
        code.jump(head)
        code.open(head)
        d, names, place = code.name(), [code.name() for _ in moving], len(code.lines)
        code.lines.extend([None] * (1 + len(moving)))
        record = self._entry(table, d)
        counter = code.at(counters, d, "i64")
        size, here = code.number(record, 0), code.add(code.number(counter, 0), 1)
        moved = [code.at(p, code.number(record, 1 + k)) for k, p in zip(moving, names, strict=True)]
        full = code.value(f"icmp sge i64 {here}, {size}")
        kept = code.value(f"select i1 {full}, i64 0, i64 {here}")
        code.do(f"store i64 {kept}, ptr {counter}")
        code.fork(full, carry, done)
        code.open(carry)
        count = len(self.all)
        back = [
            code.at(p, code.sub(0, code.number(record, 1 + count + k)))
            for k, p in zip(moving, moved, strict=True)
        ]
        following = code.add(d, 1)
        code.fork(code.less(following, rank), check, done)
        code.open(check)
        code.jump(head)
        code.lines[place] = f"  {d} = phi i64 [0, %{before}], [{following}, %{check}]"
        for j, (k, name) in enumerate(zip(moving, names, strict=True)):
            code.lines[place + 1 + j] = (
                f"  {name} = phi ptr [{pointers[k]}, %{before}], [{back[j]}, %{check}]"
            )
        code.open(done)
        out = list(pointers)
        for k, a, b in zip(moving, moved, back, strict=True):
            out[k] = code.value(f"phi ptr [{a}, %{head}], [{b}, %{carry}]")
        return out

    def _look_ahead(self, pointers, table, rank, left, each) -> None:
        """What to do for later points of a nest; `left` // `each` points are left."""

    def _moved(self, pointers, index) -> list[str]:
        """Pointers `index` elements further along the innermost dimension."""
        code = self.code
        return [
            code.at(p, code.mul(index, s)) if s != 0 else p
            for p, s in zip(pointers, self.strides, strict=True)
        ]

    def _blocks(self, count, pointers, block, carried, body) -> list[str]:
        """`body(count, pointers, *carried)` for pieces of at most `block` elements; all at once if
        that is None.
        """
        code = self.code
        if block is None:
            return body(count, pointers, *[v for _, v in carried])

        def piece(j, *values):
            size = code.smaller(code.sub(count, j), block)
            return [code.add(j, block), *body(size, self._moved(pointers, j), *values)]

        return code.repeat([("i64", "0"), *carried], lambda j, *_: code.less(j, count), piece)[1:]

    def _walk(self, block, body) -> None:
        """`body(count, pointers)` for the runs of the elements [lo, hi) of the first nest."""
        code = self.code
        if not self.variant.outer:
            pointers = self._moved(self.bases, "%lo")
            self._blocks(code.sub("%hi", "%lo"), pointers, block, [], lambda n, p: body(n, p) or [])
            return
        row = code.value(f"udiv i64 %lo, {self.inner}")
        column = code.sub("%lo", code.mul(row, self.inner))
        pointers = self._start(row, self.bases)

        def step(left, column, *pointers):
            self._look_ahead(pointers, self.first, self.rank_first, left, self.inner)
            count = code.smaller(code.sub(self.inner, column), left)
            self._blocks(
                count, self._moved(pointers, column), block, [], lambda n, p: body(n, p) or []
            )
            after = self._advance(self.first, self.counters, self.rank_first, pointers, self.all)
            return [code.sub(left, count), "0", *after]

        carried = [
            ("i64", code.sub("%hi", "%lo")),
            ("i64", column),
            *(("ptr", p) for p in pointers),
        ]
        code.repeat(carried, lambda left, *_: code.less(0, left), step)

    def _points(self, body) -> None:
        """`body(pointers)` for the points [lo, hi) of the first nest, which has no run."""
        code = self.code
        if not self.variant.outer:
            code.repeat(
                [("i64", "%lo")],
                lambda i: code.less(i, "%hi"),
                lambda i: [body(self.bases) or code.add(i, 1)],
            )
            return

        def step(i, *pointers):
            body(pointers)
            return [
                code.add(i, 1),
                *self._advance(self.first, self.counters, self.rank_first, pointers, self.all),
            ]

        carried = [("i64", "%lo"), *(("ptr", p) for p in self._start("%lo", self.bases))]
        code.repeat(carried, lambda i, *_: code.less(i, "%hi"), step)

    def _folded(self, pointers, carried, body, moving) -> list[str]:
        """`body(pointers, *carried)` for each point of the second nest."""
        code = self.code
        if not self.variant.second:
            return body(pointers, *[v for _, v in carried])
        fixed = list(pointers)

        def step(i, *values):
            here = list(fixed)
            for k, p in zip(moving, values, strict=False):
                here[k] = p
            self._look_ahead(here, self.second, self.rank_second, code.sub(self.steps, i), 1)
            following = body(here, *values[len(moving) :])
            after = self._advance(self.second, self.second_counters, self.rank_second, here, moving)
            return [code.add(i, 1), *(after[k] for k in moving), *following]

        first = [("i64", "0"), *(("ptr", pointers[k]) for k in moving), *carried]
        return code.repeat(first, lambda i, *_: code.less(i, self.steps), step)[1 + len(moving) :]

    def _folded_together(self, pointers, body, moving) -> None:
        """`body(group)` for the points of the second nest, `group` the pointers at several of them,
        one after the other; the points that are left make groups of one."""
        code, start, here = self.code, "0", list(pointers)
        for size in (TOGETHER, 1):
            fixed, last = list(here), code.sub(self.steps, size - 1)

            def step(i, *values, size=size, fixed=fixed):
                after, group = list(fixed), []
                for k, p in zip(moving, values, strict=True):
                    after[k] = p
                for _ in range(size):
                    group.append(after)
                    after = self._advance(
                        self.second, self.second_counters, self.rank_second, after, moving
                    )
                body(group)
                return [code.add(i, size), *(after[k] for k in moving)]

            first = [("i64", start), *(("ptr", here[k]) for k in moving)]
            start, *reached = code.repeat(first, lambda i, *_, last=last: code.less(i, last), step)
            for k, p in zip(moving, reached, strict=True):
                here[k] = p

    # ----------------------------------------------------------------------------------------- runs

    def _run(
        self, count, pointers, ins, outs, body, carried=(), unroll=1, masked=False, loads=None
    ) -> list[str]:
        """`count` elements by vectors. `body(known, i, mask, *carried)` gives the vectors of `outs`
        and carried's next.

        With `unroll` > 1 there are that many sets of carried values, and a loop without tail for
        them comes first. `masked`: the body wants the mask of lanes inside the run (None: all).
        `loads`: what is read, where that is not `ins` of one row.
        """
        code, width = self.code, self.lanes.width
        loads = loads or Loads(self, *self._sources(count, pointers, ins))
        buffer, block = self.access.buffer, self.access.block
        targets = [buffer(k, block) if self.operands[k].way != "U" else pointers[k] for k in outs]
        carried = list(carried)
        each = len(carried) // unroll
        past = self._past(targets)
        index, values = "0", [v for _, v in carried]
        if unroll > 1 or loads.many:
            last = code.sub(count, unroll * width - 1)

            def main(i, *values):
                following, pending = [], []
                for u in range(unroll):
                    here = i if u == 0 else code.add(i, u * width)
                    vectors, after = body(
                        loads.whole(here), here, None, *values[u * each : (u + 1) * each]
                    )
                    pending.append((here, vectors))
                    following += after
                stores = [
                    (k, pointer, here, self._encoded(k, vector))
                    for here, vectors in pending
                    for k, pointer, vector in zip(outs, targets, vectors, strict=True)
                ]
                self._store(stores, past)
                return [code.add(i, unroll * width), *following]

            index, *values = code.repeat(
                [("i64", "0"), *carried], lambda i, *_: code.less(i, last), main
            )

        def rest(i, *values):
            left = code.sub(count, i)
            whole = "" if width == 1 else code.value(f"icmp sge i64 {left}, {width}")
            here, mask = loads.part(i, left, whole, masked)
            vectors, after = body(here, i, mask, *values)
            self._put(outs, targets, vectors, i, left, whole, past)
            return [code.add(i, width), *after]

        kinds = [kind for kind, _ in carried[:each]]
        first = [("i64", index), *zip(kinds, values[:each], strict=True)]
        values[:each] = code.repeat(first, lambda i, *_: code.less(i, count), rest)[1:]
        for k in outs:
            if self.operands[k].way != "U":
                self.access.scatter(k, pointers[k], self.strides[k], count)
        return values

    def _encoded(self, k, vector):
        return self.access.encode(self.operands[k].dtype, vector)

    def _sources(self, count, pointers, ins):
        """Where to read vectors from: {operand: (pointer, whether it is a buffer)}; and what is
        already known.
        """
        sources, known = {}, dict(self.known)
        for k in ins:
            if k == len(self.operands):
                sources[k] = pointers[k], True
                continue
            operand = self.operands[k]
            if operand.way == "Z":
                self._learn(known, k, self.access.repeated(operand.dtype, pointers[k]))
            elif operand.way in "TG":
                sources[k] = pointers[k], True
            elif operand.way == "S":
                sources[k] = self.access.gather(k, pointers[k], self.strides[k], count), True
            else:
                sources[k] = pointers[k], False
        return sources, known

    def _learn(self, known, k, vectors) -> None:
        for e in self.inputs.get(k - len(self.outs), ()):
            known[e] = vectors[1 if e.part == "im" else 0]

    def _past(self, targets) -> str:
        """An i1: whether streams may pass the cache, which whole registers do; "": there are
        none.
        """
        if not self.variant.streams:
            return ""
        places = [
            self.code.value(f"ptrtoint ptr {targets[k]} to i64") for k in self.variant.streams
        ]
        for place in places[1:]:
            places[0] = self.code.value(f"or i64 {places[0]}, {place}")
        rest = self.code.value(f"and i64 {places[0]}, {self.target.vector_bytes - 1}")
        return self.code.value(f"icmp eq i64 {rest}, 0")

    def _store(self, stores, past) -> None:
        """Whole vectors: (operand, pointer, element, vector) each."""

        def write(streams):
            for k, pointer, i, packed in stores:
                dtype = self.operands[k].dtype
                self.access.store(dtype, pointer, i, packed, k in streams)
            return []

        if not past:
            write(())
        else:
            self.code.branch(past, lambda: write(self.variant.streams), lambda: write(()), [])

    def _put(self, outs, targets, vectors, i, left, whole, past) -> None:
        """Store vectors: whole ones to buffers, whole ones or tails to operands."""
        direct = []
        for k, pointer, vector in zip(outs, targets, vectors, strict=True):
            packed = self._encoded(k, vector)
            if self.operands[k].way == "U" and whole:
                direct.append((k, pointer, packed))
            else:
                self.access.store(self.operands[k].dtype, pointer, i, packed)
        if not direct:
            return

        def full():
            self._store([(k, pointer, i, packed) for k, pointer, packed in direct], past)
            return []

        def tail():
            for k, pointer, packed in direct:
                self.access.store_tail(k, pointer, i, left, packed)
            return []

        self.code.branch(whole, full, tail, [])
