"""Convolutions of 3 x 3 taps by Winograd's minimal filtering F(4x4, 3x3).

Tiles of 6 x 6 inputs that overlap by two are brought into a basis in which a convolution is a
product for each of 36 points, so that 16 results of a channel take 36 multiplications and not 144
(Winograd 1980; Lavin, Gray 2016). The basis is that of polynomials' values at the points 0, +-5/8,
+-3/2 and infinity: the usual 0, +-1, +-2 doubles the error (Barabasz et al. 2020 on the choice).

Lanes are channels. A task takes some rows of tiles: `Spread` brings them into the basis, a vector
of channels at a time, `_Product` multiplies, `_Gather` comes back. The weights are brought there
before, once, or, where only one task needs them, by that task. `winograd_sums` has the gradient
for the weights.

Results that are not finite set a flag: one nan or infinity spreads over its tile, and transforms
overflow earlier than the convolution does. The caller then runs the direct kernel.
"""

from typing import NamedTuple

from flambeau.types import DType

from .target import Target
from .windows import Function

DIMS = (
    "CHANNELS",  # vectors of input channels
    "GROUPS",  # groups of `Basis.vectors` vectors of output channels
    "PARTS",  # ranges of groups, one for each task
    "BLOCK",  # rows of tiles of one task
    "ROWS",  # rows of tiles, all images'
    "TILE_ROWS",  # of one image
    "TILES",  # in a row
    "HEIGHT_IN",
    "WIDTH_IN",
    "TOP",  # rows and columns of padding
    "LEFT",
    "X_IMAGE",
    "X_CHANNEL",
    "X_ROW",
    "HEIGHT",
    "WIDTH",
    "OUT_IMAGE",
    "OUT_CHANNEL",
    "OUT_ROW",
    "PITCH",  # columns of a row in `lines`
    "SPACE",  # tiles that there is room for
    "W_ROW",
    "W_CHANNEL",
    "BIAS",  # 1 where there is one
    "EPILOGUE",  # the number of the first word for `finish`
    "LATE",  # 1: each task brings the weights into the basis that it needs, group by group
    # the gradient for the weights; OUT is its slope, W its result
    "OUTPUTS",  # vectors of output channels of a part
    "CHUNKS",  # ranges of rows of tiles, each with sums of its own
    "SUMS_CHUNK",
    "SUMS_POINT",
    "SUMS_CHANNEL",
)
_INDEX = {name: index for index, name in enumerate(DIMS)}
SIDE = 6  # of a tile
POINTS = SIDE * SIDE
STEP = 4  # results along a tile's side
MOST_COLUMNS = 320  # of a row in `lines`
INPUT_BYTES = 640 << 10  # for the tiles of a task in the basis; all of it stays in the cache
MOST_TILES = 64
SUMMED = 4  # vectors of input channels that are summed before the sum is added: smaller errors
NEAR, FAR = 0.625, 1.5  # the points: exact in binary, and so are their products


class Basis(NamedTuple):
    """What code is made for: the type, and the vectors of output channels that are made at once."""

    dtype: DType
    vectors: int


def heights(target: Target) -> tuple[int, ...]:
    """Tiles that are multiplied at once: sums of two vectors for each fill the registers."""
    return (12, 8, 4) if target.masks else (6, 4, 2)


class Words(Function):
    """The words of these kernels."""

    def dim(self, name: str) -> str:
        return self.code.number("%dims", _INDEX[name])

    def number(self, value: float) -> str:
        return self.vectors.constant(self.shape.dtype, value)

    def sum(self, a, b) -> str:
        return self.code.value(f"fadd {self.vector} {a}, {b}")

    def difference(self, a, b) -> str:
        return self.code.value(f"fsub {self.vector} {a}, {b}")

    def product(self, factor: float, a) -> str:
        return self.code.value(f"fmul {self.vector} {self.number(factor)}, {a}")

    def fma(self, factor: float, a, b) -> str:
        return self.vectors.intrinsic("fma", self.kind, (self.number(factor), a, b))

    def both_ways(self, table, transform):
        """The transform of the rows of a square table, then of its columns; by columns."""
        table = [transform(row) for row in table]
        return [transform(column) for column in zip(*table, strict=True)]

    def transposed(self, rows):
        """As many vectors as there are lanes, with the roles of vector and lane exchanged: each
        round moves one bit of the vector's number to the lane's and back."""
        half = self.lanes // 2
        orders = []
        for start in (0, half):
            pairs = (f"i32 {k}, i32 {self.lanes + k}" for k in range(start, start + half))
            orders.append(f"<{', '.join(pairs)}>")
        for _ in range(half.bit_length()):
            rows = [
                self.code.value(
                    f"shufflevector {self.vector} {rows[k]}, {self.vector} {rows[k + half]}, "
                    f"{self.integers} {order}"
                )
                for k in range(half)
                for order in orders
            ]
        return rows

    def stored(self, values, pointer, apart) -> None:
        for k, value in enumerate(values):
            at = self.code.at(pointer, self.code.mul(k, apart))
            self.code.do(f"store {self.vector} {value}, ptr {at}, align {self.bytes}")

    def loaded(self, pointer) -> str:
        return self.code.value(f"load {self.vector}, ptr {pointer}, align {self.bytes}")

    def point_bytes(self, vectors) -> str:
        """From one point's values to the next one's; a vector more, lest all points fall into one
        set of the cache."""
        count = self.code.add(self.code.mul(vectors, self.dim("SPACE")), 1)
        return self.code.mul(count, self.bytes)

    def clear(self, pointer, count) -> None:
        """Zeros in `count` bytes."""

        def vector(k):
            at = self.code.at(pointer, k)
            self.code.do(f"store {self.vector} zeroinitializer, ptr {at}, align {self.bytes}")

        self.loop(0, count, self.bytes, vector)

    def tile_row(self, number):
        """(image, row in it) of a row of tiles."""
        rows = self.dim("TILE_ROWS")
        return self.quotient(number, rows), self.remainder(number, rows)

    def sum_finite(self, values, finite) -> str:
        """`finite`, or nan where one of the values is not finite."""
        for value in values:
            finite = self.fma(0.0, value, finite)
        return finite

    def all_finite(self, finite) -> str:
        fine = self.code.value(f"fcmp ord {self.vector} {finite}, {finite}")
        name = f"llvm.vector.reduce.and.v{self.lanes}i1"
        return self.code.call("i1", name, f"{self.mask} {fine}")

    def raise_flag(self, fine, flag) -> None:
        """Sets the flag unless `fine`."""
        bad = self.code.value(f"xor i1 {fine}, true")
        store = f"store atomic i64 1, ptr {flag} monotonic, align 8"
        self.when(bad, lambda: self.code.do(store))

    def point_weights(self) -> str:
        """Bytes of the weights of a group at one point, and a vector more for the same reason."""
        wide = self.lanes * self.bytes * self.shape.vectors
        return self.code.add(self.code.mul(self.dim("CHANNELS"), wide), self.bytes)


class _Filter(Words):
    """``void filter(ptr made, ptr w, i64 lo, i64 hi, ptr dims)``: the weights in the basis. `made`
    has, for each group of output channels and each point, a row of `vectors` vectors for each
    input channel; `lo` and `hi` count input channels, through all vectors of output channels."""

    def write(self) -> str:
        code = self.code
        wide = self.bytes * self.shape.vectors
        channels = code.mul(self.dim("CHANNELS"), self.lanes)
        point = self.point_weights()
        w_row = self.dim("W_ROW")
        lanes = code.value(f"mul {self.integers} {self.narrow(w_row)}, {self.iota}")
        every = self.splat("true", "i1")

        def channel(k):
            channel, vector = self.remainder(k, channels), self.quotient(k, channels)
            base = code.at("%w", code.mul(code.mul(vector, self.lanes), w_row))
            base = code.at(base, code.mul(channel, self.dim("W_CHANNEL")))
            taps = [
                [
                    self.gather(
                        code.at(base, code.number("%dims", len(DIMS) + 3 * y + x)), lanes, every
                    )
                    for x in range(3)
                ]
                for y in range(3)
            ]
            columns = [self._transform(c) for c in zip(*taps, strict=True)]
            table = [self._transform(row) for row in zip(*columns, strict=True)]
            group = self.quotient(vector, self.shape.vectors)
            side = self.remainder(vector, self.shape.vectors)
            at = code.at("%made", code.mul(code.mul(group, POINTS), point))
            at = code.at(at, code.add(code.mul(channel, wide), code.mul(side, self.bytes)))
            self.stored([v for row in table for v in row], at, point)

        self.loop("%lo", "%hi", 1, channel)
        code.do("ret void")
        return self.text(
            "define internal void @filter(ptr %made, ptr %w, i64 %lo, i64 %hi, ptr %dims)"
        )

    def _transform(self, taps):
        """Three taps as values at the points, over the products of differences of points."""
        first, middle, last = taps
        found = [self.product(1 / (NEAR * FAR) ** 2, first)]
        for point, other in ((NEAR, FAR), (FAR, NEAR)):
            scale = 1 / (2 * point**2 * (point**2 - other**2))
            even = self.fma(scale * point**2, last, self.product(scale, first))
            found += [self.fma(sign * scale * point, middle, even) for sign in (1, -1)]
        return [*found, last]


class _Weights(Words):
    """The kernel before: data are [made, w, flag]. Clears the flag."""

    def write(self, name) -> str:
        code = self.code
        made, w, flag = (code.value(f"load ptr, ptr {code.at('%data', 8 * k)}") for k in range(3))
        code.do(f"store i64 0, ptr {flag}, align 8")
        now = code.value(f"icmp eq i64 {self.dim('LATE')}, 0")
        self.when(
            now,
            lambda: code.do(f"call void @filter(ptr {made}, ptr {w}, i64 %lo, i64 %hi, ptr %dims)"),
        )
        code.do("ret i64 0")
        return self.text(
            f"define i64 @{name}(ptr %data, ptr %dims, ptr %scalars, i64 %lo, i64 %hi)"
        )


class Spread(Words):
    """``void spread(ptr lines, ptr tiles, ptr x, i64 row, i64 first, ptr dims)``: the tiles of one
    row of an image `x`, in the basis, as number `first` and following of `tiles`."""

    name, side = "spread", SIDE
    channels, height, width, channel, row = (
        "CHANNELS", "HEIGHT_IN", "WIDTH_IN", "X_CHANNEL", "X_ROW",
    )  # fmt: skip

    def padding(self):
        """Rows above and columns before."""
        return self.dim("TOP"), self.dim("LEFT")

    def write(self) -> str:
        code, side = self.code, self.side
        point = self.point_bytes(self.dim(self.channels))
        above, self.before = self.padding()
        top = code.sub(code.mul("%row", STEP), above)
        pitch = code.mul(self.dim("PITCH"), self.bytes)
        beside = code.mul(self.dim("SPACE"), self.bytes)

        def channels(c):
            plane = code.at("%x", code.mul(code.mul(c, self.lanes), self.dim(self.channel)))

            def line(k):
                y = code.add(top, k)
                target = code.at("%lines", code.mul(k, pitch))
                inside = code.value(f"icmp ult i64 {y}, {self.dim(self.height)}")
                source = code.at(plane, code.mul(y, self.dim(self.row)))
                code.branch(
                    inside,
                    lambda: self._fill(target, source),
                    lambda: self._clear(target),
                    [],
                )

            self.loop(0, side, 1, line)
            target = code.at("%tiles", code.mul(c, beside))
            target = code.at(target, code.mul("%first", self.bytes))

            def tile(t):
                start = code.at("%lines", code.mul(t, STEP * self.bytes))
                lines = [code.at(start, code.mul(k, pitch)) for k in range(side)]
                table = [
                    [self.loaded(code.at(at, k * self.bytes)) for at in lines] for k in range(side)
                ]
                # By columns and then by rows: point 6 * row + column.
                table = self.both_ways(table, self.transform)
                at = code.at(target, code.mul(t, self.bytes))
                self.stored([v for row in table for v in row], at, point)

            self.loop(0, self.dim("TILES"), 1, tile)

        self.loop(0, self.dim(self.channels), 1, channels)
        code.do("ret void")
        return self.text(
            f"define internal void @{self.name}"
            "(ptr %lines, ptr %tiles, ptr %x, i64 %row, i64 %first, ptr %dims)"
        )

    def _fill(self, target, source):
        """A row of the input, with channels as lanes, behind its padding."""
        code = self.code
        width, apart = self.dim(self.width), self.dim(self.channel)
        target = code.at(target, code.mul(self.before, self.bytes))

        def vector(x):
            mask = self.first(code.sub(width, x))
            at = code.at(source, code.mul(x, self.size))
            rows = [
                self.masked_load(code.at(at, code.mul(k, apart)), mask) for k in range(self.lanes)
            ]
            self.stored(self.transposed(rows), code.at(target, code.mul(x, self.bytes)), self.bytes)

        self.loop(0, width, self.lanes, vector)
        return []

    def _clear(self, target):
        self.clear(target, self.code.mul(self.dim("PITCH"), self.bytes))
        return []

    def transform(self, d):
        """Six values as the coefficients by which the points' products count."""
        squares, both = NEAR**2 + FAR**2, (NEAR * FAR) ** 2
        found = [self.fma(both, d[0], self.fma(-squares, d[2], d[4]))]
        for point, other in ((NEAR, FAR), (FAR, NEAR)):
            even = self.fma(-(other**2), d[2], d[4])
            odd = self.fma(-(other**2), d[1], d[3])
            found += [self.fma(sign * point, odd, even) for sign in (1, -1)]
        return [*found, self.fma(both, d[1], self.fma(-squares, d[3], d[5]))]


class _Product(Words):
    """``void productN(ptr tiles, ptr weights, ptr out, i64 first, ptr dims)``: the sums over a
    block of channels from vector `first` on, for N tiles at one point, added to those before."""

    def __init__(self, shape, target, height):
        super().__init__(shape, target)
        self.height = height

    def write(self) -> str:
        code, sides = self.code, range(self.shape.vectors)
        wide = self.bytes * self.shape.vectors
        beside = code.mul(self.dim("SPACE"), self.bytes)
        start = code.at("%tiles", code.mul("%first", beside))
        factors = code.at("%weights", code.mul("%first", wide * self.lanes))
        end = code.smaller(code.add("%first", SUMMED), self.dim("CHANNELS"))
        add = self.splat(code.less(0, "%first"), "i1")

        def channels(c, tiles, weights, *sums):
            def channel(k, tiles, weights, *sums):
                columns = [self.loaded(code.at(weights, s * self.bytes)) for s in sides]
                later = []
                for r in range(self.height):
                    at = code.at(tiles, r * self.bytes)
                    factor = code.value(f"load {self.kind}, ptr {at}, align {self.size}")
                    factor = self.splat(factor)
                    for s, column in enumerate(columns):
                        old = sums[r * len(sides) + s]
                        later.append(
                            self.vectors.intrinsic("fma", self.kind, (factor, column, old))
                        )
                return [code.at(tiles, self.size), code.at(weights, wide), *later]

            carried = [("ptr", tiles), ("ptr", weights), *((self.vector, s) for s in sums)]
            _, weights, *sums = self.loop(0, self.lanes, 1, channel, carried)
            return [code.at(tiles, beside), weights, *sums]

        zeros = [(self.vector, "zeroinitializer")] * (self.height * len(sides))
        carried = [("ptr", start), ("ptr", factors), *zeros]
        sums = self.loop("%first", end, 1, channels, carried)[2:]
        for s in sides:
            line = code.at("%out", code.mul(beside, s))
            for r in range(self.height):
                at = code.at(line, r * self.bytes)
                total = self.sum(self.masked_load(at, add), sums[r * len(sides) + s])
                code.do(f"store {self.vector} {total}, ptr {at}, align {self.bytes}")
        code.do("ret void")
        return self.text(
            f"define internal void @product{self.height}"
            "(ptr %tiles, ptr %weights, ptr %out, i64 %first, ptr %dims)"
        )


class _Gather(Words):
    """``i1 gather(ptr lines, ptr sums, ptr out, ptr bias, i64 row, i64 first, ptr dims)``: the
    results of one row of tiles, for a vector of output channels; whether all are finite."""

    def write(self) -> str:
        code = self.code
        point = self.point_bytes(self.shape.vectors)
        pitch = code.mul(self.dim("PITCH"), self.bytes)
        bias = self.load("%bias")
        source = code.at("%sums", code.mul("%first", self.bytes))

        def tile(t, finite):
            at = code.at(source, code.mul(t, self.bytes))
            table = [
                [self.loaded(code.at(at, code.mul(SIDE * y + x, point))) for x in range(SIDE)]
                for y in range(SIDE)
            ]
            columns = self.both_ways(table, self._transform)
            start = code.at("%lines", code.mul(t, STEP * self.bytes))
            for x, column in enumerate(columns):
                results = [self.sum(value, bias) for value in column]
                finite = self.sum_finite(results, finite)
                self.stored(results, code.at(start, x * self.bytes), pitch)
            return [finite]

        (finite,) = self.loop(0, self.dim("TILES"), 1, tile, [(self.vector, "zeroinitializer")])
        top = code.mul("%row", STEP)
        left = code.smaller(code.sub(self.dim("HEIGHT"), top), STEP)
        self.loop(0, left, 1, lambda y: self._store(y, top, pitch))
        fine = self.all_finite(finite)
        code.do(f"ret i1 {fine}")
        return self.text(
            "define internal i1 @gather"
            "(ptr %lines, ptr %sums, ptr %out, ptr %bias, i64 %row, i64 %first, ptr %dims)"
        )

    def _store(self, y, top, pitch):
        """A row of results, with columns as lanes."""
        code, width = self.code, self.dim("WIDTH")
        line = code.at("%lines", code.mul(y, pitch))
        out = code.at("%out", code.mul(code.add(top, y), self.dim("OUT_ROW")))
        apart = self.dim("OUT_CHANNEL")

        def vector(x):
            mask = self.first(code.sub(width, x))
            at = code.at(line, code.mul(x, self.bytes))
            rows = [self.loaded(code.at(at, k * self.bytes)) for k in range(self.lanes)]
            target = code.at(out, code.mul(x, self.size))
            for k, row in enumerate(self.transposed(rows)):
                self.masked_store(row, code.at(target, code.mul(k, apart)), mask)

        self.loop(0, width, self.lanes, vector)

    def _transform(self, m):
        """The products at six points as four coefficients."""
        near, far = ((self.sum(m[k], m[k + 1]), self.difference(m[k], m[k + 1])) for k in (1, 3))
        return [
            self.sum(m[0], self.sum(near[0], far[0])),
            self.fma(NEAR, near[1], self.product(FAR, far[1])),
            self.fma(NEAR**2, near[0], self.product(FAR**2, far[0])),
            self.fma(NEAR**3, near[1], self.fma(FAR**3, far[1], m[5])),
        ]


class _Main(Words):
    """The kernel: data are [out, x, weights in the basis, flag, w, bias]."""

    def write(self, name) -> str:
        code = self.code
        side = POINTS * (self.shape.vectors * MOST_TILES + 1) * self.bytes
        lines = SIDE * MOST_COLUMNS * self.bytes
        self.tiles, self.sums, self.lines, self.rows = self.room(INPUT_BYTES, side, lines, lines)
        none = code.stack(self.vector)
        code.do(f"store {self.vector} zeroinitializer, ptr {none}, align {self.bytes}")
        out, x, made, flag, w = (
            code.value(f"load ptr, ptr {code.at('%data', 8 * k)}") for k in range(5)
        )
        given = code.value(f"icmp ne i64 {self.dim('BIAS')}, 0")
        place = code.value(f"select i1 {given}, i64 40, i64 0")
        bias = code.value(f"load ptr, ptr {code.at('%data', place)}")
        bias = code.value(f"select i1 {given}, ptr {bias}, ptr {none}")
        self.start = bias, code.mul(self.dim("BIAS"), self.bytes)
        whole = code.mul(code.mul(self.dim("PITCH"), SIDE), self.bytes)
        self.clear(self.lines, whole)

        def task(t):
            part, block = self.remainder(t, self.dim("PARTS")), self.quotient(t, self.dim("PARTS"))
            start = code.mul(block, self.dim("BLOCK"))
            count = code.smaller(self.dim("BLOCK"), code.sub(self.dim("ROWS"), start))

            def spread(k):
                image, row = self.tile_row(code.add(start, k))
                source = code.at(x, code.mul(image, self.dim("X_IMAGE")))
                first = code.mul(k, self.dim("TILES"))
                code.do(
                    f"call void @spread(ptr {self.lines}, ptr {self.tiles}, ptr {source}, "
                    f"i64 {row}, i64 {first}, ptr %dims)"
                )

            self.loop(0, count, 1, spread)
            begin, end = (
                self.quotient(code.mul(p, self.dim("GROUPS")), self.dim("PARTS"))
                for p in (part, code.add(part, 1))
            )

            def group(g):
                weights = self._group(made, w, g, part)
                self._multiply(weights, code.mul(count, self.dim("TILES")))
                for side in range(self.shape.vectors):
                    self._back(g, side, (start, count), out, flag)

            self.loop(begin, end, 1, group)

        self.loop("%lo", "%hi", 1, task)
        self.done()
        return self.text(
            f"define i64 @{name}(ptr %data, ptr %dims, ptr %scalars, i64 %lo, i64 %hi)"
        )

    def _group(self, made, w, group, part):
        """The weights of a group, in the basis: all are there, or they are made in memory that
        this part has for one group."""
        code = self.code
        size = code.mul(self.point_weights(), POINTS)
        place = code.at(made, code.mul(group, size))

        def late():
            own = code.at(made, code.mul(part, size))
            start = code.at(own, code.sub(0, code.mul(group, size)))
            each = code.mul(self.dim("CHANNELS"), self.lanes * self.shape.vectors)
            first = code.mul(group, each)
            code.do(
                f"call void @filter(ptr {start}, ptr {w}, i64 {first}, "
                f"i64 {code.add(first, each)}, ptr %dims)"
            )
            return [own]

        asked = code.value(f"icmp ne i64 {self.dim('LATE')}, 0")
        return code.branch(asked, late, lambda: [place], ["ptr"])[0]

    def _multiply(self, weights, count):
        """All points' products for one group of output channels."""
        code = self.code
        read = self.point_bytes(self.dim("CHANNELS"))
        made = self.point_bytes(self.shape.vectors)
        point_weights = self.point_weights()
        most, *fewer = heights(self.target)

        def point(p):
            factors = code.at(weights, code.mul(p, point_weights))
            source = code.at(self.tiles, code.mul(p, read))
            target = code.at(self.sums, code.mul(p, made))

            def run(height, first):
                at = code.mul(first, self.bytes)
                pointers = f"ptr {code.at(source, at)}, ptr {factors}, ptr {code.at(target, at)}"

                def block(channel):
                    code.do(f"call void @product{height}({pointers}, i64 {channel}, ptr %dims)")

                self.loop(0, self.dim("CHANNELS"), SUMMED, block)

            whole = code.mul(self.quotient(count, most), most)
            self.loop(0, whole, most, lambda first: run(most, first))
            rest = code.sub(count, whole)
            for height, below in zip((most, *fewer), (*fewer, 0), strict=True):
                more = code.less(below, rest)
                fits = code.value(f"icmp sle i64 {rest}, {height}")
                fits = code.value(f"and i1 {more}, {fits}")
                self.when(fits, lambda height=height: run(height, whole))

        self.loop(0, POINTS, 1, point)

    def _back(self, group, side, rows, out, flag):
        """The results of a task for one vector of output channels."""
        code = self.code
        start, count = rows
        vector = code.add(code.mul(group, self.shape.vectors), side)
        channel = code.mul(vector, self.lanes)
        plane = code.at(out, code.mul(channel, self.dim("OUT_CHANNEL")))
        bias, step = self.start
        bias = code.at(bias, code.mul(vector, step))
        sums = code.at(self.sums, code.mul(code.mul(side, self.dim("SPACE")), self.bytes))

        def back(k):
            image, row = self.tile_row(code.add(start, k))
            target = code.at(plane, code.mul(image, self.dim("OUT_IMAGE")))
            first = code.mul(k, self.dim("TILES"))
            fine = code.value(
                f"call i1 @gather(ptr {self.rows}, ptr {sums}, ptr {target}, ptr {bias}, "
                f"i64 {row}, i64 {first}, ptr %dims)"
            )
            self.raise_flag(fine, flag)
            top = code.mul(row, STEP)
            lines = code.smaller(code.sub(self.dim("HEIGHT"), top), STEP)
            places = (code.mul(n, self.dim("WIDTH")) for n in (top, lines))
            number = code.add(self.dim("BIAS"), 5)
            self.finish(image, (channel, self.lanes), tuple(places), number)

        self.loop(0, count, 1, back)


KERNELS = ("winograd", "winograd_weights")


def functions(kernel: str, shape: Basis, target: Target) -> list[Function]:
    """The functions of a kernel's module; the last one is the kernel."""
    if kernel == "winograd_weights":
        return [_Filter(shape, target), _Weights(shape, target)]
    products = [_Product(shape, target, height) for height in heights(target)]
    return [
        _Filter(shape, target),
        Spread(shape, target),
        *products,
        _Gather(shape, target),
        _Main(shape, target),
    ]
