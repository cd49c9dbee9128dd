"""The gradient for the weights of convolutions that go by tiles: the adjoint of `winograd`.

Tiles of the input and of the slope (4 x 4, spread to 6 x 6) are brought into the basis, their
products summed over all tiles for each of 36 points, and the sums brought back.
"""

from .target import Target
from .windows import Function
from .winograd import (
    FAR,
    INPUT_BYTES,
    MOST_COLUMNS,
    NEAR,
    POINTS,
    SIDE,
    STEP,
    Basis,
    Spread,
    Words,
)


class _SpreadSlope(Spread):
    """The same of tiles of the slope, which do not overlap."""

    name, side = "spread_slope", STEP
    channels, height, width, channel, row = "OUTPUTS", "HEIGHT", "WIDTH", "OUT_CHANNEL", "OUT_ROW"

    def padding(self):
        return 0, 0

    def transform(self, d):
        """The values of the polynomial with these coefficients."""
        found = [d[0]]
        for point in (NEAR, FAR):
            even = self.fma(point**2, d[2], d[0])
            odd = self.fma(point**3, d[3], self.product(point, d[1]))
            found += [self.sum(even, odd), self.difference(even, odd)]
        return [*found, d[3]]


class _Dots(Words):
    """``void dots(ptr tiles, ptr slopes, ptr out, i64 count, i64 add, ptr dims)``: the sums over
    `count` tiles at one point, for all channels; `add`: to what `out` has."""

    def write(self) -> str:
        code, sides = self.code, range(self.shape.vectors)
        height = 8 if self.target.masks else 4
        beside = code.mul(self.dim("SPACE"), self.bytes)
        apart = self.dim("SUMS_CHANNEL")
        add = self.splat(code.value("trunc i64 %add to i1"), "i1")
        zeros = [(self.vector, "zeroinitializer")] * (height * len(sides))

        def block(channel):
            vector, lane = self.quotient(channel, self.lanes), self.remainder(channel, self.lanes)
            left = code.at("%tiles", code.mul(vector, beside))
            left = code.at(left, code.mul(lane, self.size))
            line = code.at("%out", code.mul(channel, apart))

            def group(g):
                right = [code.at("%slopes", code.mul(code.add(g, s), beside)) for s in sides]

                def tile(t, *sums):
                    at = code.mul(t, self.bytes)
                    columns = [self.loaded(code.at(r, at)) for r in right]
                    here, later = code.at(left, at), []
                    for r in range(height):
                        place = code.at(here, r * self.size)
                        factor = code.value(f"load {self.kind}, ptr {place}, align {self.size}")
                        factor = self.splat(factor)
                        for s, column in enumerate(columns):
                            old = sums[r * len(sides) + s]
                            new = self.vectors.intrinsic("fma", self.kind, (factor, column, old))
                            later.append(new)
                    return later

                sums = self.loop(0, "%count", 1, tile, zeros)
                target = code.at(line, code.mul(g, self.bytes))
                for r in range(height):
                    row = code.at(target, code.mul(r, apart))
                    for s in sides:
                        at = code.at(row, s * self.bytes)
                        total = self.sum(self.masked_load(at, add), sums[r * len(sides) + s])
                        code.do(f"store {self.vector} {total}, ptr {at}, align {self.bytes}")

            self.loop(0, self.dim("OUTPUTS"), self.shape.vectors, group)

        self.loop(0, code.mul(self.dim("CHANNELS"), self.lanes), height, block)
        code.do("ret void")
        return self.text(
            "define internal void @dots"
            "(ptr %tiles, ptr %slopes, ptr %out, i64 %count, i64 %add, ptr %dims)"
        )


class _Main(Words):
    """The kernel: data are [sums, x, slope, flag]. Clears the flag."""

    def write(self, name) -> str:
        code = self.code
        line = SIDE * MOST_COLUMNS * self.bytes
        tiles, lines, rows = self.room(INPUT_BYTES, line, line)
        sums, x, grad, flag = (
            code.value(f"load ptr, ptr {code.at('%data', 8 * k)}") for k in range(4)
        )
        code.do(f"store atomic i64 0, ptr {flag} monotonic, align 8")
        self.clear(lines, code.mul(code.mul(self.dim("PITCH"), SIDE), self.bytes))
        read, made = (self.point_bytes(self.dim(n)) for n in ("CHANNELS", "OUTPUTS"))
        slopes = code.at(tiles, code.mul(read, POINTS))
        part_channels = code.mul(self.dim("OUTPUTS"), self.lanes)

        def task(t):
            part, chunk = self.split(t, "PARTS")
            begin, end = (
                self.quotient(code.mul(k, self.dim("ROWS")), self.dim("CHUNKS"))
                for k in (chunk, code.add(chunk, 1))
            )
            planes = code.at(grad, code.mul(code.mul(part, part_channels), self.dim("OUT_CHANNEL")))
            target = self.moved(sums, (chunk, "SUMS_CHUNK"))
            target = code.at(target, code.mul(part, code.mul(self.dim("OUTPUTS"), self.bytes)))

            def block(start):
                count = code.smaller(self.dim("BLOCK"), code.sub(end, start))

                def spread(k):
                    image, row = self.tile_row(code.add(start, k))
                    first = code.mul(k, self.dim("TILES"))
                    for name, memory, made, source in (
                        ("spread", lines, tiles, self.moved(x, (image, "X_IMAGE"))),
                        ("spread_slope", rows, slopes, self.moved(planes, (image, "OUT_IMAGE"))),
                    ):
                        code.do(
                            f"call void @{name}(ptr {memory}, ptr {made}, ptr {source}, "
                            f"i64 {row}, i64 {first}, ptr %dims)"
                        )

                self.loop(0, count, 1, spread)
                number = code.mul(count, self.dim("TILES"))
                add = code.value(f"zext i1 {code.less(begin, start)} to i64")

                def point(p):
                    left = code.at(tiles, code.mul(p, read))
                    right = code.at(slopes, code.mul(p, made))
                    out = self.moved(target, (p, "SUMS_POINT"))
                    code.do(
                        f"call void @dots(ptr {left}, ptr {right}, ptr {out}, i64 {number}, "
                        f"i64 {add}, ptr %dims)"
                    )

                self.loop(0, POINTS, 1, point)

            self.loop(begin, end, self.dim("BLOCK"), block)

        self.loop("%lo", "%hi", 1, task)
        self.done()
        return self.text(
            f"define i64 @{name}(ptr %data, ptr %dims, ptr %scalars, i64 %lo, i64 %hi)"
        )


class _Back(Words):
    """The kernel after it: data are [made, sums, flag]. The sums of all chunks as weights."""

    def write(self, name) -> str:
        code = self.code
        made, sums, flag = (
            code.value(f"load ptr, ptr {code.at('%data', 8 * k)}") for k in range(3)
        )
        channels = code.mul(self.dim("CHANNELS"), self.lanes)
        w_row = self.dim("W_ROW")
        lanes = code.value(f"mul {self.integers} {self.narrow(w_row)}, {self.iota}")
        every = self.splat("true", "i1")

        def task(t):
            channel, vector = self.remainder(t, channels), self.quotient(t, channels)
            start = code.at(
                self.moved(sums, (channel, "SUMS_CHANNEL")), code.mul(vector, self.bytes)
            )

            def chunk(k, *totals):
                at = self.moved(start, (k, "SUMS_CHUNK"))
                return [
                    self.sum(total, self.loaded(self.moved(at, (p, "SUMS_POINT"))))
                    for p, total in enumerate(totals)
                ]

            zeros = [(self.vector, "zeroinitializer")] * POINTS
            totals = self.loop(0, self.dim("CHUNKS"), 1, chunk, zeros)
            table = [totals[k : k + SIDE] for k in range(0, POINTS, SIDE)]
            columns = self.both_ways(table, self._transform)
            base = code.at(made, code.mul(code.mul(vector, self.lanes), w_row))
            base = self.moved(base, (channel, "W_CHANNEL"))
            values = [value for row in zip(*columns, strict=True) for value in row]
            for k, value in enumerate(values):
                self.scatter(value, code.at(base, k * self.size), lanes, every)
            finite = self.sum_finite(values, "zeroinitializer")
            self.raise_flag(self.all_finite(finite), flag)

        self.loop("%lo", "%hi", 1, task)
        code.do("ret i64 0")
        return self.text(
            f"define i64 @{name}(ptr %data, ptr %dims, ptr %scalars, i64 %lo, i64 %hi)"
        )

    def _transform(self, m):
        """Six points' sums as three taps."""
        first = self.product(1 / (NEAR * FAR) ** 2, m[0])
        middle, last = None, m[5]
        for k, point, other in ((1, NEAR, FAR), (3, FAR, NEAR)):
            scale = 1 / (2 * point**2 * (point**2 - other**2))
            even, odd = self.sum(m[k], m[k + 1]), self.difference(m[k], m[k + 1])
            first = self.fma(scale, even, first)
            last = self.fma(scale * point**2, even, last)
            factor = scale * point
            middle = self.fma(factor, odd, middle) if middle else self.product(factor, odd)
        return [first, middle, last]


KERNELS = ("winograd_sums", "winograd_back")


def functions(kernel: str, shape: Basis, target: Target) -> list[Function]:
    """The functions of a kernel's module; the last one is the kernel."""
    if kernel == "winograd_back":
        return [_Back(shape, target)]
    return [
        Spread(shape, target),
        _SpreadSlope(shape, target),
        _Dots(shape, target),
        _Main(shape, target),
    ]
