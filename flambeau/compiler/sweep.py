"""Convolution kernels for groups of one channel: planes that are shifted, weighted and added.

Nothing is packed: a vector of neighbouring columns is read once for each tap, for all rows of an
image, under masks that its columns have in common.
"""

from .windows import Function


class Sweep(Function):
    """The kernel for groups of one channel: data are [out, x, w, bias]. Each output plane is a sum
    of shifted planes, with all weights in registers."""

    def write(self, name) -> str:
        code = self.code
        none = code.stack("i64", 8)
        code.do(f"store i64 0, ptr {none}")
        out, x, w = (code.value(f"load ptr, ptr {code.at('%data', 8 * k)}") for k in range(3))

        def task(t):
            row, rest = self.split(t, "ROWS")
            group, image = self.split(rest, "GROUPS")
            source = self.moved(x, (image, "X_IMAGE"), (group, "X_GROUP"))
            result = self.moved(
                code.at(out, self.dim("OUT_FIRST")),
                (image, "OUT_IMAGE"), (group, "OUT_GROUP"), (row, "OUT_ROW"),
            )  # fmt: skip
            weights = self._weights(self.moved(w, (group, "W_GROUP"), (row, "W_ROW")))
            bias, step = self.bias(0, group, none)
            at = code.at(bias, code.mul(row, step))
            start = self.splat(code.value(f"load {self.kind}, ptr {at}, align {self.size}"))

            def vector(column):
                self._columns(column, source, result, weights, start)

            self.loop(0, self.dim("WIDTH"), self.lanes, vector)

        self.loop("%lo", "%hi", 1, task)
        code.do("ret i64 0")
        return self.text(
            f"define i64 @{name}(ptr %data, ptr %dims, ptr %scalars, i64 %lo, i64 %hi)"
        )

    def _weights(self, w):
        code, (rows, columns) = self.code, self.shape.taps
        offsets = self.weight_offsets()
        found = []
        for k in range(rows * columns):
            at = code.at(w, code.number(offsets, k))
            found.append(self.splat(code.value(f"load {self.kind}, ptr {at}, align {self.size}")))
        return found

    def _columns(self, column, source, result, weights, start):
        """All rows of one vector of columns."""
        code = self.code
        x, inside = self._across(column)
        source = self._beside(source, column)
        if self.shape.scattered:
            out_x = self.narrow(self.dim("OUT_X"))
            offsets = code.value(f"mul {self.integers} {x}, {out_x}")
        else:
            result = code.at(result, code.mul(column, self.size))

        def row(y):
            total = start
            for value, weight in zip(self._windows(source, y), weights, strict=True):
                total = self.vectors.intrinsic("fma", self.kind, (value, weight, total))
            line = code.at(result, code.mul(y, self.dim("OUT_Y")))
            if self.shape.scattered:
                self.scatter(total, line, offsets, inside)
            else:
                self.masked_store(total, line, inside)

        self.loop(0, self.quotient(self.dim("PLACES"), self.dim("WIDTH")), 1, row)

    def _across(self, column):
        """The lanes' columns, and which of them there are; finds what `_windows` reads by."""
        code = self.code
        x = code.value(f"add {self.integers} {self.narrow(column)}, {self.iota}")
        inside = self.first(code.sub(self.dim("WIDTH"), column))
        x_step = code.value(f"mul {self.integers} {x}, {self.narrow(self.dim('STEP_X'))}")
        limit, x_column = self.narrow(self.dim("WIDTH_IN")), self.dim("X_COLUMN")
        self.words, self.shifts = [], []
        for k in range(self.shape.taps[1]):
            shift = self.tap(k, columns=True)
            at = code.value(f"add {self.integers} {x_step}, {self.narrow(shift)}")
            fine = code.value(f"icmp ult {self.integers} {at}, {limit}")
            self.words.append(self.bits(code.value(f"and {self.mask} {fine}, {inside}")))
            self.shifts.append(code.mul(shift, x_column))
        if not self.shape.step:
            self.offsets = code.value(f"mul {self.integers} {x_step}, {self.narrow(x_column)}")
        return x, inside

    def _beside(self, source, column):
        """Where a plane's vector of columns starts."""
        if not self.shape.step:
            return source
        code = self.code
        across = code.mul(code.mul(column, self.dim("STEP_X")), self.dim("X_COLUMN"))
        return code.at(source, across)

    def _windows(self, source, y):
        """The input that each tap meets, at a vector of columns of row `y`."""
        code = self.code
        for k in range(self.shape.taps[0]):
            at = code.add(code.mul(y, self.dim("STEP_Y")), self.tap(k))
            fine = code.value(f"icmp ult i64 {at}, {self.dim('HEIGHT_IN')}")
            fine = code.value(f"sext i1 {fine} to i64")
            line = code.at(source, code.mul(at, self.dim("X_ROW")))
            for word, shift in zip(self.words, self.shifts, strict=True):
                yield self._read(code.at(line, shift), code.value(f"and i64 {fine}, {word}"))

    def _read(self, spot, word):
        if not self.shape.step:
            return self.gather(spot, self.offsets, self.mask_of(word))
        parts = [
            self.masked_load(self.code.at(spot, k * self.bytes), self.mask_of(word, k))
            for k in range(self.shape.step)
        ]
        return self.every_step(parts)


class SweepSums(Sweep):
    """The kernel for the weights' gradients in such groups: data are [out, x, grad]."""

    def write(self, name) -> str:
        code = self.code
        out, x, grad = (code.value(f"load ptr, ptr {code.at('%data', 8 * k)}") for k in range(3))
        zeros = [(self.vector, "zeroinitializer")] * (self.shape.taps[0] * self.shape.taps[1])

        def task(t):
            row, rest = self.split(t, "ROWS")
            group, chunk = self.split(rest, "GROUPS")
            begin, end = self.images(chunk)
            source = self.moved(x, (group, "X_GROUP"))
            slopes = self.moved(grad, (group, "GRAD_GROUP"), (row, "GRAD_ROW"))

            def vector(column, *sums):
                return self._sums(column, source, slopes, (begin, end), sums)

            sums = self.loop(0, self.dim("WIDTH"), self.lanes, vector, zeros)
            at = self.moved(out, (chunk, "OUT_CHUNK"), (group, "OUT_GROUP"), (row, "OUT_ROW"))
            for k, total in enumerate(sums):
                place = code.at(at, k * self.size)
                code.do(f"store {self.kind} {self.total(total)}, ptr {place}, align {self.size}")

        self.loop("%lo", "%hi", 1, task)
        code.do("ret i64 0")
        return self.text(
            f"define i64 @{name}(ptr %data, ptr %dims, ptr %scalars, i64 %lo, i64 %hi)"
        )

    def _sums(self, column, source, slopes, images, sums):
        """`sums` and what one vector of columns adds."""
        code = self.code
        _, inside = self._across(column)
        source = self._beside(source, column)
        slopes = code.at(slopes, code.mul(column, self.size))
        height = self.quotient(self.dim("PLACES"), self.dim("WIDTH"))
        pitch = code.mul(self.dim("WIDTH"), self.size)

        def image(i, *sums):
            plane = self.moved(source, (i, "X_IMAGE"))
            lines = self.moved(slopes, (i, "GRAD_IMAGE"))

            def row(y, *sums):
                slope = self.masked_load(code.at(lines, code.mul(y, pitch)), inside)
                return [
                    self.vectors.intrinsic("fma", self.kind, (value, slope, total))
                    for value, total in zip(self._windows(plane, y), sums, strict=True)
                ]

            return self.loop(0, height, 1, row, [(self.vector, s) for s in sums])

        return self.loop(*images, 1, image, [(self.vector, s) for s in sums])
