"""Convolution kernels: windows packed into panels that stay in the cache, and register tiles.

A convolution is the product of the weights, [rows, channels * taps], with the matrix whose columns
are the windows of the input. That matrix is never made. A task packs a *panel* of it, the windows
of a few vectors of places (an output's neighbouring elements), into memory that stays in the cache,
and multiplies it in *tiles* whose sums are in registers (Goto, van de Geijn 2008; Georganas et al.
2018). Only packing knows of padding, strides and dilation: it reads a vector of places as *runs*,
pieces that lie in one row of the input, under masks.

`windows` has the packing. Two kernels are made of them. `correlate` sums over channels and taps:
the convolution, and its gradient for the input, where `DIMS` say which taps meet. `contract` sums
over places: the gradient for the weights. For groups of one channel, where panels would be used
only once, there are those of `sweep`, and for most convolutions of 3 x 3 taps those of `winograd`.
None of the sums depends on how many threads there are.
"""

import hashlib
import struct

from flambeau.runtime import jit

from . import sweep, winograd, winograd_sums
from .build import host
from .finish import Ending, Finish
from .target import Target
from .windows import DIMS, MOST_TAPS, TAPS, Function, Pack, Shape, Survey

PANEL_ROWS = 640  # rows of a panel of `correlate`
PANEL_VECTORS = 2048  # vectors of a panel of `contract`
SPARE = 1  # vectors between the rows of that panel: rows should not meet in the cache
MAX_VECTORS = 4  # of a tile of `correlate`


class _Tile(Function):
    """``void tileN(ptr w, ptr panel, ptr out, ptr bias, i64 bias_step, i64 count, i64 valid, i64
    add, i64 left, ptr tables, ptr dims)``: N vectors of places in `height` output channels, of
    which `valid` are there. `left` places are left from the first one on. `add`: to what `out`
    has."""

    def __init__(self, shape, target, number):
        super().__init__(shape, target)
        self.number = number
        self.height = tile_height(target, number)

    def write(self) -> str:
        code = self.code
        last = code.sub("%valid", 1)
        w_row, offsets = self.dim("W_ROW"), self.weight_offsets()
        lines = [code.at("%w", code.mul(code.smaller(r, last), w_row)) for r in range(self.height)]
        begin = []
        for r in range(self.height):
            at = code.at("%bias", code.mul(code.smaller(r, last), "%bias_step"))
            value = self.splat(code.value(f"load {self.kind}, ptr {at}, align {self.size}"))
            begin += [(self.vector, value)] * self.number

        def term(k, panel, *sums):
            offset = code.number(offsets, k)
            columns = [
                code.value(
                    f"load {self.vector}, ptr {code.at(panel, v * self.bytes)}, align {self.bytes}"
                )
                for v in range(self.number)
            ]
            later = []
            for r, line in enumerate(lines):
                at = code.at(line, offset)
                factor = self.splat(code.value(f"load {self.kind}, ptr {at}, align {self.size}"))
                for v, column in enumerate(columns):
                    old = sums[r * self.number + v]
                    later.append(self.vectors.intrinsic("fma", self.kind, (factor, column, old)))
            return [code.at(panel, self.number * self.bytes), *later]

        sums = self.loop(0, "%count", 1, term, [("ptr", "%panel"), *begin])[1:]
        self._store(sums)
        code.do("ret void")
        return self.text(
            f"define internal void @tile{self.number}(ptr %w, ptr %panel, ptr %out, ptr %bias, "
            "i64 %bias_step, i64 %count, i64 %valid, i64 %add, i64 %left, ptr %tables, ptr %dims)"
        )

    def _store(self, sums):
        code = self.code
        out_row = self.dim("OUT_ROW")
        masks = [self.first(code.sub("%left", v * self.lanes)) for v in range(self.number)]
        adds = self.splat(code.value("trunc i64 %add to i1"), "i1")
        before = [code.value(f"and {self.mask} {m}, {adds}") for m in masks]
        offsets = []
        if self.shape.scattered:
            for v in range(self.number):
                at = code.at("%tables", v * self.table.size + self.table.places + 4 * self.lanes)
                offsets.append(code.value(f"load {self.integers}, ptr {at}, align 4"))
        for r in range(self.height):
            line = code.at("%out", code.mul(out_row, r))

            def row(r=r, line=line):
                for v, (mask, known) in enumerate(zip(masks, before, strict=True)):
                    value = sums[r * self.number + v]
                    if self.shape.scattered:
                        old = self.gather(line, offsets[v], known)
                        value = code.value(f"fadd {self.vector} {value}, {old}")
                        self.scatter(value, line, offsets[v], mask)
                        continue
                    at = code.at(line, v * self.bytes)
                    old = self.masked_load(at, known)
                    value = code.value(f"fadd {self.vector} {value}, {old}")
                    self.masked_store(value, at, mask)

            self.when(code.less(r, "%valid"), row)


def tile_height(target: Target, vectors: int) -> int:
    """Output channels in a tile of `correlate` with so many vectors of places: the sums fill the
    registers."""
    return min(24 // vectors, 12) if target.masks else min(12 // vectors, 6)


def _tile_sizes(target: Target) -> tuple[int, int]:
    """Output channels and panel rows of a tile of `contract`."""
    return (4, 6) if target.masks else (3, 3)


class _Correlate(Function):
    """The kernel: data are [out, x, w, bias, flag]; with a flag (`GUARD`), nothing is done unless
    it is set."""

    def write(self, name) -> str:
        code = self.code
        end = self._stop()
        vectors = MAX_VECTORS
        panel, self.tables = self.room(PANEL_ROWS * vectors * self.bytes, vectors * self.table.size)
        none = code.stack("i64", 8)
        code.do(f"store i64 0, ptr {none}")
        out, x, w = (code.value(f"load ptr, ptr {code.at('%data', 8 * k)}") for k in range(3))

        def task(t):
            sliver, rest = self.split(t, "SLIVERS")
            part, rest = self.split(rest, "PARTS")
            group, image = self.split(rest, "GROUPS")
            first, number = self._sliver(sliver)
            function, height = self._tile(number)
            place = code.mul(first, self.lanes)
            left = code.sub(self.dim("PLACES"), place)

            def survey(v):
                table = code.at(self.tables, code.mul(v, self.table.size))
                at = code.add(place, code.mul(v, self.lanes))
                code.do(f"call void @survey(ptr {table}, i64 {at}, ptr %dims)")

            self.loop(0, number, 1, survey)
            source = self.moved(
                code.at(x, self.dim("X_FIRST")), (image, "X_IMAGE"), (group, "X_GROUP")
            )
            result = self.moved(
                code.at(out, self.dim("OUT_FIRST")), (image, "OUT_IMAGE"), (group, "OUT_GROUP")
            )
            if not self.shape.scattered:
                result = code.at(result, code.mul(place, self.size))
            weights = self.moved(w, (group, "W_GROUP"))
            start = code.mul(part, self.dim("PART_ROWS"))
            stop = code.smaller(code.add(start, self.dim("PART_ROWS")), self.dim("ROWS"))

            def block(channel):
                self._pack(panel, source, channel, number)
                bias, step = self.bias(channel, group, none)
                count = self._terms(channel)
                add = code.value(f"zext i1 {code.less(0, channel)} to i64")
                add = code.value(f"or i64 {add}, {self.dim('ADD')}")

                def tile(row):
                    at = (
                        code.at(self.moved(weights, (channel, "W_CHANNEL"), (row, "W_ROW")), 0),
                        panel,
                        self.moved(result, (row, "OUT_ROW")),
                        code.at(bias, code.mul(row, step)),
                    )
                    pointers = ", ".join(f"ptr {p}" for p in at)
                    valid = code.sub(stop, row)
                    numbers = f"i64 {step}, i64 {count}, i64 {valid}, i64 {add}, i64 {left}"
                    code.do(
                        f"call void {function}({pointers}, {numbers}, ptr {self.tables}, ptr %dims)"
                    )

                self.loop(start, stop, height, tile)

            self.loop(0, self.dim("CHANNELS"), self.dim("BLOCK"), block)
            row = code.add(code.mul(group, self.dim("ROWS")), start)
            places = code.smaller(left, code.mul(number, self.lanes))
            behind = code.add(code.add(self.dim("BIAS"), self.dim("GUARD")), 3)
            self.finish(image, (row, code.sub(stop, start)), (place, places), behind)

        self.loop("%lo", end, 1, task)
        self.done()
        return self.text(
            f"define i64 @{name}(ptr %data, ptr %dims, ptr %scalars, i64 %lo, i64 %hi)"
        )

    def _stop(self):
        """Where the tasks end: at once where a flag is asked for and not set."""
        code = self.code
        asked = code.value(f"icmp ne i64 {self.dim('GUARD')}, 0")
        place = code.value(f"select i1 {asked}, i64 {code.add(self.dim('BIAS'), 3)}, i64 0")
        flag = code.value(f"load ptr, ptr {code.at('%data', place, 'ptr')}, align 8")
        flag = code.value(f"select i1 {asked}, ptr {flag}, ptr %dims")
        unset = code.value(f"icmp eq i64 {code.number(flag, 0)}, 0")
        idle = code.value(f"and i1 {asked}, {unset}")
        return code.value(f"select i1 {idle}, i64 %lo, i64 %hi")

    def _sliver(self, sliver):
        """First vector and number of vectors: all slivers of an image are about equal."""
        code, slivers = self.code, self.dim("SLIVERS")
        total = self.quotient(code.add(self.dim("PLACES"), self.lanes - 1), self.lanes)
        first = self.quotient(code.mul(sliver, total), slivers)
        after = self.quotient(code.mul(code.add(sliver, 1), total), slivers)
        return first, code.sub(after, first)

    def _terms(self, channel):
        code = self.code
        taps = code.mul(self.dim("TAP_ROWS"), self.dim("TAP_COLUMNS"))
        return code.mul(self._channels(channel), taps)

    def _channels(self, channel):
        left = self.code.sub(self.dim("CHANNELS"), channel)
        return self.code.smaller(left, self.dim("BLOCK"))

    def _pack(self, panel, source, channel, number):
        code = self.code
        pitch = code.mul(number, self.bytes)
        image = self.moved(source, (channel, "X_CHANNEL"))
        channels = self._channels(channel)

        def vector(v):
            table = code.at(self.tables, code.mul(v, self.table.size))
            at = code.at(panel, code.mul(v, self.bytes))
            code.do(
                f"call void @pack(ptr {at}, i64 {pitch}, ptr {image}, i64 {channels}, "
                f"ptr {table}, ptr %dims)"
            )

        self.loop(0, number, 1, vector)

    def _tile(self, number):
        """The function for tiles of so many vectors, and its height."""
        code, chosen, height = self.code, "@tile1", str(tile_height(self.target, 1))
        for k in range(2, MAX_VECTORS + 1):
            same = code.value(f"icmp eq i64 {number}, {k}")
            chosen = code.value(f"select i1 {same}, ptr @tile{k}, ptr {chosen}")
            own = tile_height(self.target, k)
            height = code.value(f"select i1 {same}, i64 {own}, i64 {height}")
        return chosen, height


class _Dot(Function):
    """``void dot(ptr panel, i64 pitch, ptr grad, ptr out, i64 rows, i64 columns, i64 images, i64
    whole, i64 rest, i64 add, ptr dims)``: sums over places, for a tile of output channels and panel
    rows, of which `rows` and `columns` are there. An image has `whole` vectors, and one more of
    `rest` lanes if that is not 0."""

    def write(self) -> str:
        code = self.code
        height, width = _tile_sizes(self.target)
        lines = self._lines("%grad", self.dim("GRAD_ROW"), "%rows", height)
        panels = self._lines("%panel", "%pitch", "%columns", width)
        step = self.dim("GRAD_IMAGE")
        tail = self.first("%rest")
        zeros = [(self.vector, "zeroinitializer")] * (height * width)
        bytes_whole = code.mul("%whole", self.bytes)
        more = code.value(f"zext i1 {code.less(0, '%rest')} to i64")

        def image(i, at, *sums):
            source = code.mul(i, step)

            def term(load):
                def body(offset, *sums):
                    beside = code.add(source, offset)
                    here = code.add(at, offset)
                    left = [load(code.at(line, beside)) for line in lines]
                    right = [self.load(code.at(p, here)) for p in panels]
                    return [
                        self.vectors.intrinsic("fma", self.kind, (a, b, sums[r * width + c]))
                        for r, a in enumerate(left)
                        for c, b in enumerate(right)
                    ]

                return body

            carried = [(self.vector, s) for s in sums]
            sums = self.loop(0, bytes_whole, self.bytes, term(self.load), carried)
            end = code.add(bytes_whole, code.mul(more, self.bytes))
            carried = [(self.vector, s) for s in sums]
            part = term(lambda pointer: self.masked_load(pointer, tail))
            sums = self.loop(bytes_whole, end, self.bytes, part, carried)
            return [code.add(at, end), *sums]

        sums = self.loop(0, "%images", 1, image, [("i64", "0"), *zeros])[1:]
        self._store(sums, height, width)
        code.do("ret void")
        return self.text(
            "define internal void @dot(ptr %panel, i64 %pitch, ptr %grad, ptr %out, i64 %rows, "
            "i64 %columns, i64 %images, i64 %whole, i64 %rest, i64 %add, ptr %dims)"
        )

    def _lines(self, base, pitch, count, number):
        """Pointers to rows; those behind the last point to it."""
        code = self.code
        last = code.sub(count, 1)
        return [code.at(base, code.mul(code.smaller(k, last), pitch)) for k in range(number)]

    def _store(self, sums, height, width):
        code = self.code
        adds = code.value("trunc i64 %add to i1")
        out_row = self.dim("OUT_ROW")
        for r in range(height):

            def row(r=r):
                line = code.at("%out", code.mul(out_row, r))
                for c in range(width):

                    def column(c=c):
                        at = code.at(line, c * self.size)
                        total = self.total(sums[r * width + c])
                        old = code.value(f"load {self.kind}, ptr {at}, align {self.size}")
                        both = code.value(f"fadd {self.kind} {total}, {old}")
                        chosen = code.value(
                            f"select i1 {adds}, {self.kind} {both}, {self.kind} {total}"
                        )
                        code.do(f"store {self.kind} {chosen}, ptr {at}, align {self.size}")

                    self.when(code.less(c, "%columns"), column)

            self.when(code.less(r, "%rows"), row)


class _Contract(_Correlate):
    """The kernel: data are [out, x, grad, flag]; for the flag see `_Correlate`."""

    def write(self, name) -> str:
        code = self.code
        stop = self._stop()
        bytes_of_panel = (PANEL_VECTORS + MOST_TAPS * SPARE) * self.bytes
        panel, table = self.room(bytes_of_panel, self.table.size)
        out, x, grad = (code.value(f"load ptr, ptr {code.at('%data', 8 * k)}") for k in range(3))
        out, x, grad = (
            code.at(pointer, self.dim(first))
            for pointer, first in ((out, "OUT_FIRST"), (x, "X_FIRST"), (grad, "GRAD_FIRST"))
        )
        pitch = code.mul(code.add(self.dim("PANEL"), SPARE), self.bytes)
        taps = code.mul(self.dim("TAP_ROWS"), self.dim("TAP_COLUMNS"))
        places = self.dim("PLACES")
        total = self.quotient(code.add(places, self.lanes - 1), self.lanes)

        def task(t):
            chunk, rest = self.split(t, "CHUNKS")
            group, block = self.split(rest, "GROUPS")
            channel = code.mul(block, self.dim("BLOCK"))
            begin, end = self.images(chunk)
            source = self.moved(x, (group, "X_GROUP"), (channel, "X_CHANNEL"))
            slopes = self.moved(grad, (group, "GRAD_GROUP"))
            result = self.moved(out, (chunk, "OUT_CHUNK"), (group, "OUT_GROUP"))
            result = code.at(result, code.mul(code.mul(channel, taps), self.size))
            channels = self._channels(channel)

            def span(first):
                number = code.smaller(code.sub(total, first), self.dim("PANEL"))
                several = self.quotient(self.dim("PANEL"), number)

                def images(image):
                    count = code.smaller(code.sub(end, image), several)
                    self._fill(
                        (panel, pitch, table),
                        self.moved(source, (image, "X_IMAGE")),
                        (first, number, count, channels),
                    )
                    later = code.value(f"icmp ne i64 {first}, 0")
                    moved = code.value(f"icmp ne i64 {image}, {begin}")
                    add = code.value(f"zext i1 {code.value(f'or i1 {later}, {moved}')} to i64")
                    add = code.value(f"or i64 {add}, {self.dim('ADD')}")
                    lines = self.moved(slopes, (image, "GRAD_IMAGE"))
                    lines = code.at(lines, code.mul(first, self.bytes))
                    left = code.sub(places, code.mul(first, self.lanes))
                    left = code.smaller(left, code.mul(number, self.lanes))
                    rows = code.mul(channels, taps)
                    self._tiles((panel, pitch), lines, result, (rows, count, left, add))

                self.loop(begin, end, several, images)

            self.loop(0, total, self.dim("PANEL"), span)

        self.loop("%lo", stop, 1, task)
        self.done()
        return self.text(
            f"define i64 @{name}(ptr %data, ptr %dims, ptr %scalars, i64 %lo, i64 %hi)"
        )

    def _fill(self, memory, source, sizes):
        code = self.code
        panel, pitch, table = memory
        first, number, count, channels = sizes

        def vector(v):
            place = code.mul(code.add(first, v), self.lanes)
            code.do(f"call void @survey(ptr {table}, i64 {place}, ptr %dims)")

            def image(i):
                at = code.mul(code.add(code.mul(i, number), v), self.bytes)
                code.do(
                    f"call void @pack(ptr {code.at(panel, at)}, i64 {pitch}, "
                    f"ptr {self.moved(source, (i, 'X_IMAGE'))}, i64 {channels}, "
                    f"ptr {table}, ptr %dims)"
                )

            self.loop(0, count, 1, image)

        self.loop(0, number, 1, vector)

    def _tiles(self, memory, lines, result, sizes):
        code = self.code
        panel, pitch = memory
        rows, count, left, add = sizes
        height, width = _tile_sizes(self.target)
        whole = self.quotient(left, self.lanes)
        rest = self.remainder(left, self.lanes)

        def across(column):
            source = code.at(panel, code.mul(column, pitch))
            target = code.at(result, code.mul(column, self.size))

            def down(row):
                grad = self.moved(lines, (row, "GRAD_ROW"))
                out = self.moved(target, (row, "OUT_ROW"))
                code.do(
                    f"call void @dot(ptr {source}, i64 {pitch}, ptr {grad}, ptr {out}, "
                    f"i64 {code.sub(self.dim('ROWS'), row)}, i64 {code.sub(rows, column)}, "
                    f"i64 {count}, i64 {whole}, i64 {rest}, i64 {add}, ptr %dims)"
                )

            self.loop(0, self.dim("ROWS"), height, down)

        self.loop(0, rows, width, across)


_KERNELS = {
    "correlate": _Correlate,
    "contract": _Contract,
    "sweep": sweep.Sweep,
    "sweep_sums": sweep.SweepSums,
}


def module(
    kernel: str, shape: tuple, target: Target, name: str, ending: Ending | None = None
) -> str:
    """The LLVM text of a kernel as function `name`; `ending` is its epilogue."""
    *parts, main = _functions(kernel, shape, target)
    if ending is not None:
        main.finishes = True
        parts.append(Finish(ending, target))
    texts = [*(part.write() for part in parts), main.write(name)]
    declarations = sorted(set().union(*(part.code.declarations for part in (*parts, main))))
    attributes = f"attributes #0 = {{ {target.attributes} }}"
    return "\n".join([*texts, *declarations, attributes, ""])


def _functions(kernel, shape, target) -> list:
    """The functions of a kernel's module; the last one is the kernel."""
    for family in (winograd, winograd_sums):
        if kernel in family.KERNELS:
            return family.functions(kernel, shape, target)
    parts: list = []
    if kernel in ("correlate", "contract"):
        parts += [Survey(shape, target), Pack(shape, target)]
    if kernel == "correlate":
        parts += [_Tile(shape, target, number + 1) for number in range(MAX_VECTORS)]
    if kernel == "contract":
        parts.append(_Dot(shape, target))
    return [*parts, _KERNELS[kernel](shape, target)]


_addresses: dict[tuple, int] = {}


def kernel(name: str, shape: Shape | winograd.Basis, ending: Ending | None = None) -> int:
    """The address of a kernel on this processor; `ending` is its epilogue: of `correlate` and
    `winograd`, whose data it follows."""
    key = name, shape, ending and ending.key
    if key not in _addresses:
        target = host()
        what = repr((shape, target)) + (Finish(ending, target).write() if ending else "")
        digest = hashlib.sha1(what.encode(), usedforsecurity=False).hexdigest()
        symbol = f"fl_{name}_{digest[:12]}"
        (_addresses[key],) = jit.compile(module(name, shape, target, symbol, ending), [symbol])
    return _addresses[key]


def descriptor(values: dict[str, int], rows, columns, offsets=(), words=()) -> bytes:
    """The words that a kernel reads: `DIMS`, offsets of tap rows and columns, weights' offsets, and
    the words of the epilogue."""
    taps = [*rows, *columns, *offsets]
    values = values | {"EPILOGUE": len(DIMS) + len(taps)}
    numbers = [*(values.get(name, 0) for name in DIMS), *taps, *words]
    return struct.pack(f"{len(numbers)}q", *numbers)


__all__ = [
    "Ending",
    "MAX_VECTORS",
    "MOST_TAPS",
    "PANEL_ROWS",
    "PANEL_VECTORS",
    "TAPS",
    "Shape",
    "descriptor",
    "host",
    "kernel",
]
