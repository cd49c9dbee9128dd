"""Windows for convolution kernels: what they are described by, and how a panel of them is packed.

`Survey` finds where a vector of places lies in the input, as runs and masks, `Pack` copies the
windows there. Both are functions of the module that `convolution` makes.
"""

from typing import NamedTuple

from flambeau.types import DType

from .llvm import Code, Lanes, scalar_type
from .target import Target

# Words of a kernel's descriptor; strides and offsets are in bytes. Behind them the offsets of tap
# rows and tap columns in the input's coordinates, then the weights' offsets of a block of channels.
DIMS = (
    "PLACES",  # elements of one output channel of one image
    "WIDTH",  # places in a row
    "HEIGHT_IN",
    "WIDTH_IN",
    "STEP_Y",  # input rows from one row of places to the next
    "STEP_X",
    "TAP_ROWS",
    "TAP_COLUMNS",
    "X_FIRST",
    "X_IMAGE",
    "X_GROUP",
    "X_CHANNEL",
    "X_ROW",
    "X_COLUMN",
    "CHANNELS",  # of one group
    "BLOCK",  # channels that are packed at once
    "GROUPS",
    "ROWS",  # output channels of one group
    "OUT_GROUP",
    "OUT_ROW",
    # correlate
    "SLIVERS",  # panels of one image
    "PARTS",  # ranges of output channels, one for each task
    "PART_ROWS",
    "OUT_IMAGE",
    "OUT_FIRST",
    "OUT_Y",
    "OUT_X",
    "W_GROUP",
    "W_ROW",
    "W_CHANNEL",
    "BIAS",  # 1 where there is one
    "ADD",  # 1: to what there is
    "GUARD",  # 1 where there is a flag that must be set
    "EPILOGUE",  # the number of the first word for `finish`
    # contract
    "IMAGES",
    "CHUNKS",  # of images, each with sums of its own
    "PANEL",  # vectors in a row of the panel
    "GRAD_FIRST",
    "GRAD_IMAGE",
    "GRAD_GROUP",
    "GRAD_ROW",
    "OUT_CHUNK",
)
_INDEX = {name: index for index, name in enumerate(DIMS)}
TAPS = 64  # tap rows, and tap columns, at most
MOST_TAPS = 256
NO_SCRATCH = 1 << 40  # what a kernel returns where there is no memory, as native code does


class Shape(NamedTuple):
    """What code is made for: the type, the reading step (0: any), whether results are scattered."""

    dtype: DType
    step: int
    scattered: bool
    taps: tuple[int, int] = (0, 0)  # rows and columns of taps, where the code is made for them


class Table(NamedTuple):
    """Where `survey` puts what it finds, in bytes from the table's start."""

    lanes: int

    @property
    def runs(self):  # pairs: offset, mask
        return 8

    @property
    def rows(self):
        return self.runs + 16 * (self.lanes + 1)

    @property
    def columns(self):
        return self.rows + 8 * TAPS

    @property
    def places(self):  # the places' offsets: i32 in the input (step 0), then i32 in the output
        return self.columns + 8 * TAPS

    @property
    def size(self):
        return -(-(self.places + 8 * self.lanes) // 64) * 64


class Function:
    """One function of the module: code, and the words for vectors of its type."""

    finishes = False  # whether there is an epilogue

    def __init__(self, shape, target: Target):
        self.shape, self.target = shape, target
        self.code = Code()
        self.size = shape.dtype.itemsize
        self.lanes = target.vector_bytes // self.size
        self.vectors = Lanes(self.code, self.lanes, target)
        self.kind = scalar_type(shape.dtype)
        self.vector = f"<{self.lanes} x {self.kind}>"
        self.mask = f"<{self.lanes} x i1>"
        self.integers = f"<{self.lanes} x i32>"
        self.iota = self.vectors.iota32
        self.bytes = self.lanes * self.size
        self.table = Table(self.lanes)

    def text(self, head: str) -> str:
        code = self.code
        return "\n".join(
            [f"{head} #0 {{", "entry:", *code.allocations, *map(str, code.lines), "}", ""]
        )

    # Words

    def dim(self, name: str) -> str:
        return self.code.number("%dims", _INDEX[name])

    def tap(self, index, columns=False) -> str:
        """The offset of a tap row or column in the input's coordinates."""
        first = self.code.add(self.dim("TAP_ROWS"), index) if columns else index
        return self.code.number("%dims", self.code.add(first, len(DIMS)))

    def weight_offsets(self) -> str:
        code = self.code
        taps = code.add(self.dim("TAP_ROWS"), self.dim("TAP_COLUMNS"))
        return code.at("%dims", code.add(taps, len(DIMS)), "i64")

    def put(self, value, pointer, offset) -> None:
        self.code.do(f"store i64 {value}, ptr {self.code.at(pointer, offset)}, align 8")

    def word(self, pointer, offset) -> str:
        return self.code.value(f"load i64, ptr {self.code.at(pointer, offset)}, align 8")

    def splat(self, value, kind=None) -> str:
        return self.vectors.splat(kind or self.kind, value)

    def narrow(self, value) -> str:
        """An i64 in every lane, as i32."""
        return self.splat(self.code.value(f"trunc i64 {value} to i32"), "i32")

    def first(self, count) -> str:
        """The lanes below an i64 that may be negative, or larger than 32 bits."""
        code = self.code
        count = code.smaller(count, self.lanes)
        count = code.value(f"select i1 {code.less(count, 0)}, i64 0, i64 {count}")
        return self.vectors.mask(count)

    def loop(self, start, stop, step, body, carried=()) -> list[str]:
        """``for i in range(start, stop, step): carried = body(i, *carried)``; their last values."""
        code = self.code

        def inside(i, *values):
            later = body(i, *values) or ()
            return [code.add(i, step), *later]

        return code.repeat([("i64", start), *carried], lambda i, *_: code.less(i, stop), inside)[1:]

    def when(self, condition, body) -> None:
        code = self.code
        inside, done = code.label(), code.label()
        code.fork(condition, inside, done)
        code.open(inside)
        body()
        code.jump(done)
        code.open(done)

    def room(self, *sizes: int) -> list[str]:
        """Memory for one call of a kernel, from the heap: a thread's stack may be small. It is
        `done` that gives it back."""
        code, places, total = self.code, [], 0
        for size in sizes:
            places.append(total)
            total += -(-size // 64) * 64
        self.slab = code.call("ptr", "malloc", f"i64 {total + 64}")
        missing, there = code.label(), code.label()
        code.fork(code.value(f"icmp eq ptr {self.slab}, null"), missing, there)
        code.open(missing)
        code.do(f"ret i64 {NO_SCRATCH}")
        code.open(there)
        number = code.value(f"ptrtoint ptr {self.slab} to i64")
        rest = code.value(f"and i64 {code.sub(64, number)}, 63")
        return [code.at(code.at(self.slab, rest), place) for place in places]

    def done(self) -> None:
        """The end of a kernel that asked for `room`."""
        self.code.call("void", "free", f"ptr {self.slab}")
        self.code.do("ret i64 0")

    def quotient(self, a, b) -> str:
        return self.code.value(f"udiv i64 {a}, {b}")

    def remainder(self, a, b) -> str:
        return self.code.value(f"urem i64 {a}, {b}")

    # Tasks

    def split(self, number, name):
        """(remainder, quotient) by a dim."""
        size = self.dim(name)
        return self.remainder(number, size), self.quotient(number, size)

    def moved(self, pointer, *steps):
        for count, name in steps:
            pointer = self.code.at(pointer, self.code.mul(count, self.dim(name)))
        return pointer

    def finish(self, image, rows, places, number) -> None:
        """The epilogue for `rows` and `places`, (first, how many) each: channels of the output, and
        elements of one. Its data begin with that `number`."""
        if not self.finishes:
            return
        code = self.code
        words = code.at("%dims", self.dim("EPILOGUE"), "i64")
        where = ", ".join(f"i64 {n}" for n in (image, *rows, *places))
        code.do(
            f"call void @finish(ptr null, i64 0, ptr {code.at('%data', number, 'ptr')}, "
            f"ptr {words}, ptr %scalars, {where})"
        )

    def bias(self, channel, group, none):
        """Where a row's sums start, and the bytes to the next row's: the bias counts once."""
        code = self.code
        first = code.value(f"icmp eq i64 {channel}, 0")
        given = code.value(f"icmp ne i64 {self.dim('BIAS')}, 0")
        use = code.value(f"and i1 {first}, {given}")
        # Without a bias there is no fourth pointer: what is read here then is not used.
        source = code.value(f"select i1 {given}, i64 24, i64 0")
        bias = code.value(f"load ptr, ptr {code.at('%data', source)}")
        mine = code.at(bias, code.mul(code.mul(group, self.dim("ROWS")), self.size))
        pointer = code.value(f"select i1 {use}, ptr {mine}, ptr {none}")
        return pointer, code.value(f"select i1 {use}, i64 {self.size}, i64 0")

    def images(self, chunk):
        """First and last (excluded) image of a chunk."""
        return tuple(
            self.quotient(self.code.mul(k, self.dim("IMAGES")), self.dim("CHUNKS"))
            for k in (chunk, self.code.add(chunk, 1))
        )

    def total(self, vector) -> str:
        """The sum of the lanes, added as a tree (`reassoc`), the same at each call."""
        name = f"llvm.vector.reduce.fadd.v{self.lanes}f{8 * self.size}"
        self.code.declarations.add(f"declare {self.kind} @{name}({self.kind}, {self.vector})")
        return self.code.value(
            f"call reassoc {self.kind} @{name}({self.kind} -0.0, {self.vector} {vector})"
        )

    # Memory

    def load(self, pointer) -> str:
        return self.code.value(f"load {self.vector}, ptr {pointer}, align {self.size}")

    def masked_load(self, pointer, mask, otherwise="zeroinitializer") -> str:
        suffix = f"v{self.lanes}f{8 * self.size}"
        return self.code.call(
            self.vector,
            f"llvm.masked.load.{suffix}.p0",
            f"ptr align {self.size} {pointer}, {self.mask} {mask}, {self.vector} {otherwise}",
        )

    def masked_store(self, value, pointer, mask) -> None:
        suffix = f"v{self.lanes}f{8 * self.size}"
        self.code.call(
            "void",
            f"llvm.masked.store.{suffix}.p0",
            f"{self.vector} {value}, ptr align {self.size} {pointer}, {self.mask} {mask}",
        )

    def spots(self, pointer, offsets) -> tuple[str, str]:
        """Pointers at i32 byte offsets: their type and value."""
        kind = f"<{self.lanes} x ptr>"
        text = f"getelementptr i8, ptr {pointer}, {self.integers} {offsets}"
        return kind, self.code.value(text)

    def gather(self, pointer, offsets, mask) -> str:
        kind, spots = self.spots(pointer, offsets)
        suffix = f"v{self.lanes}f{8 * self.size}"
        return self.code.call(
            self.vector,
            f"llvm.masked.gather.{suffix}.v{self.lanes}p0",
            f"{kind} align {self.size} {spots}, {self.mask} {mask}, {self.vector} zeroinitializer",
        )

    def scatter(self, value, pointer, offsets, mask) -> None:
        kind, spots = self.spots(pointer, offsets)
        suffix = f"v{self.lanes}f{8 * self.size}"
        self.code.call(
            "void",
            f"llvm.masked.scatter.{suffix}.v{self.lanes}p0",
            f"{self.vector} {value}, {kind} align {self.size} {spots}, {self.mask} {mask}",
        )

    def bits(self, mask) -> str:
        """A mask of places as the word of the elements that are read: every `step`-th."""
        code, step = self.code, max(self.shape.step, 1)
        count = self.lanes * step
        if step > 1:
            order = [f"i32 {k // step if k % step == 0 else self.lanes}" for k in range(count)]
            mask = code.value(
                f"shufflevector {self.mask} {mask}, {self.mask} zeroinitializer, "
                f"<{count} x i32> <{', '.join(order)}>"
            )
        packed = code.value(f"bitcast <{count} x i1> {mask} to i{count}")
        return code.value(f"zext i{count} {packed} to i64") if count < 64 else packed

    def every_step(self, parts) -> str:
        """The first lane of what was read, and every `step`-th from there on."""
        if len(parts) == 1:
            return parts[0]
        order = ", ".join(f"i32 {2 * k}" for k in range(self.lanes))
        return self.code.value(
            f"shufflevector {self.vector} {parts[0]}, {self.vector} {parts[1]}, "
            f"{self.integers} <{order}>"
        )

    def mask_of(self, word, part=0) -> str:
        """The mask in the bits of a word; `part` counts vectors of what is read."""
        code = self.code
        if part:
            word = code.value(f"lshr i64 {word}, {part * self.lanes}")
        small = code.value(f"trunc i64 {word} to i{self.lanes}")
        return code.value(f"bitcast i{self.lanes} {small} to {self.mask}")


class Survey(Function):
    """``void survey(ptr table, i64 place, ptr dims)``: runs and masks of the vector at `place`."""

    def write(self) -> str:
        code, width = self.code, self.dim("WIDTH")
        row = self.quotient("%place", width)
        column = code.sub("%place", code.mul(row, width))
        inside = self.first(code.sub(self.dim("PLACES"), "%place"))
        y, x, count = self._coordinates(row, column, width)
        self.put(count, "%table", 0)
        if self.shape.step:
            self._runs(row, column, width, count, y, inside)
        else:
            self.put(self.bits(inside), "%table", self.table.runs)
            self._offsets(y, x, ("X_ROW", "STEP_Y"), ("X_COLUMN", "STEP_X"), 0)
        if self.shape.scattered:
            self._offsets(y, x, ("OUT_Y",), ("OUT_X",), 4 * self.lanes)
        self._axis(y, "TAP_ROWS", "STEP_Y", "HEIGHT_IN", self.table.rows)
        self._axis(x, "TAP_COLUMNS", "STEP_X", "WIDTH_IN", self.table.columns)
        code.do("ret void")
        return self.text("define internal void @survey(ptr %table, i64 %place, ptr %dims)")

    def _coordinates(self, row, column, width):
        """Row and column of each lane, and how many rows they lie in."""
        code, kind = self.code, self.integers
        wide = self.narrow(width)
        x = code.value(f"add {kind} {self.narrow(column)}, {self.iota}")

        def wrap(last, x, y, count):
            over = code.value(f"icmp sge {kind} {x}, {wide}")
            less = code.value(f"sub {kind} {x}, {wide}")
            x = code.value(f"select {self.mask} {over}, {kind} {less}, {kind} {x}")
            one = code.value(f"zext {self.mask} {over} to {kind}")
            later = code.sub(last, width)
            return later, x, code.value(f"add {kind} {y}, {one}"), code.add(count, 1)

        last = code.add(column, self.lanes - 1)
        carried = [("i64", last), (kind, x), (kind, self.narrow(row)), ("i64", 1)]
        _, x, y, count = code.repeat(
            carried, lambda last, *_: code.value(f"icmp sge i64 {last}, {width}"), wrap
        )
        return y, x, count

    def _runs(self, row, column, width, count, y, inside):
        code = self.code
        down = code.mul(self.dim("STEP_Y"), self.dim("X_ROW"))
        across = code.mul(self.dim("STEP_X"), self.dim("X_COLUMN"))

        def run(r):
            current = code.add(row, r)
            here = code.value(f"icmp eq {self.integers} {y}, {self.narrow(current)}")
            here = code.value(f"and {self.mask} {here}, {inside}")
            begin = code.mul(code.sub(column, code.mul(r, width)), across)
            place = code.at("%table", code.mul(r, 16))
            self.put(code.add(code.mul(current, down), begin), place, self.table.runs)
            self.put(self.bits(here), place, self.table.runs + 8)

        self.loop(0, count, 1, run)

    def _offsets(self, y, x, down, across, place):
        """i32 offsets of the lanes into the table: products of coordinates with dims."""
        code, total = self.code, None
        for lane, names in ((y, down), (x, across)):
            for name in names:
                lane = code.value(f"mul {self.integers} {lane}, {self.narrow(self.dim(name))}")
            total = lane if total is None else code.value(f"add {self.integers} {total}, {lane}")
        where = code.at("%table", self.table.places + place)
        code.do(f"store {self.integers} {total}, ptr {where}, align 4")

    def _axis(self, lane, count, step, size, place):
        """For each tap along one axis, which lanes read inside the input."""
        code = self.code
        start = code.value(f"mul {self.integers} {lane}, {self.narrow(self.dim(step))}")
        limit = self.narrow(self.dim(size))

        def tap(t):
            offset = self.narrow(self.tap(t, columns=count == "TAP_COLUMNS"))
            at = code.value(f"add {self.integers} {start}, {offset}")
            fine = code.value(f"icmp ult {self.integers} {at}, {limit}")
            self.put(self.bits(fine), code.at("%table", code.mul(t, 8)), place)

        self.loop(0, self.dim(count), 1, tap)


class Pack(Function):
    """``void pack(ptr panel, i64 pitch, ptr x, i64 channels, ptr table, ptr dims)``: the windows
    at one vector of places, one vector for each channel and tap, `pitch` bytes apart."""

    def write(self) -> str:
        code = self.code
        rows, columns = self.dim("TAP_ROWS"), self.dim("TAP_COLUMNS")
        x_row, x_column = self.dim("X_ROW"), self.dim("X_COLUMN")
        self.count = code.number("%table", 0)
        if not self.shape.step:
            where = code.at("%table", self.table.places)
            self.offsets = code.value(f"load {self.integers}, ptr {where}, align 4")

        def channel(c, panel):
            image = code.at("%x", code.mul(c, self.dim("X_CHANNEL")))

            def row(kh, panel):
                valid = self.word(code.at("%table", code.mul(kh, 8)), self.table.rows)
                line = code.at(image, code.mul(self.tap(kh), x_row))

                def column(kw, panel):
                    mask = self.word(code.at("%table", code.mul(kw, 8)), self.table.columns)
                    mask = code.value(f"and i64 {mask}, {valid}")
                    spot = code.at(line, code.mul(self.tap(kw, columns=True), x_column))
                    value = self._places(spot, mask)
                    code.do(f"store {self.vector} {value}, ptr {panel}, align {self.bytes}")
                    return [code.at(panel, "%pitch")]

                return self.loop(0, columns, 1, column, [("ptr", panel)])

            return self.loop(0, rows, 1, row, [("ptr", panel)])

        self.loop(0, "%channels", 1, channel, [("ptr", "%panel")])
        code.do("ret void")
        return self.text(
            "define internal void @pack"
            "(ptr %panel, i64 %pitch, ptr %x, i64 %channels, ptr %table, ptr %dims)"
        )

    def _places(self, spot, mask) -> str:
        """The elements at `spot` for all lanes."""
        code, step = self.code, self.shape.step
        if not step:
            word = code.value(f"and i64 {mask}, {self.word('%table', self.table.runs)}")
            return self.gather(spot, self.offsets, self.mask_of(word))

        def run(r, *parts):
            place = code.at("%table", code.mul(r, 16))
            start = code.at(spot, self.word(place, self.table.runs))
            word = code.value(f"and i64 {mask}, {self.word(place, self.table.runs + 8)}")
            return [
                self.masked_load(code.at(start, k * self.bytes), self.mask_of(word, k), part)
                for k, part in enumerate(parts)
            ]

        zeros = [(self.vector, "zeroinitializer")] * step
        # Most vectors of places lie in one row: no loop then.
        single = code.value(f"icmp eq i64 {self.count}, 1")
        parts = code.branch(
            single,
            lambda: run("0", *(zero for _, zero in zeros)),
            lambda: self.loop(0, self.count, 1, run, zeros),
            [self.vector] * step,
        )
        return self.every_step(parts)
