"""LLVM text: a builder of structured code, and scalar expressions as vector instructions.

No pass of LLVM's middle end runs over this text: loops, vectors and hoisting are ours, instruction
selection and registers LLVM's. Nothing here may be poison or trap for any input.
"""

import struct

from flambeau._base import numpy
from flambeau.ir import Cycle, Expr, topological
from flambeau.types import DType, by_name

from .target import Target

float32, float64, bool_ = by_name("float32"), by_name("float64"), by_name("bool")


class Code:
    """The text of one function: instructions, blocks, loops. Values and labels are strings."""

    def __init__(self):
        self.lines: list[str | None] = []
        self.allocations: list[str] = []
        self.declarations: set[str] = set()
        self.block = "entry"
        self._number = 0

    def name(self) -> str:
        self._number += 1
        return f"%v{self._number}"

    def label(self) -> str:
        self._number += 1
        return f"b{self._number}"

    def value(self, text: str) -> str:
        """A new value, the result of instruction `text`."""
        name = self.name()
        self.lines.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        self.lines.append("  " + text)

    def call(self, result: str, function: str, arguments: str) -> str:
        """A call of an intrinsic; `arguments` is "type value, type value, …"."""
        kinds = ", ".join(_first_type(a) for a in _split(arguments))
        self.declarations.add(f"declare {result} @{function}({kinds})")
        if result == "void":
            self.do(f"call void @{function}({arguments})")
            return ""
        return self.value(f"call {result} @{function}({arguments})")

    def stack(self, kind: str, align: int = 64) -> str:
        """Memory of the function's frame."""
        name = self.name()
        self.allocations.append(f"  {name} = alloca {kind}, align {align}")
        return name

    def open(self, label: str) -> None:
        self.lines.append(label + ":")
        self.block = label

    def jump(self, label: str) -> None:
        self.do(f"br label %{label}")

    def fork(self, condition: str, yes: str, no: str) -> None:
        self.do(f"br i1 {condition}, label %{yes}, label %{no}")

    def repeat(self, carried, proceed, body) -> list[str]:
        """While `proceed(*values)`: values = `body(*values)`. `carried` is a list of (type, first
        value).
        """
        before, head, inside, done = self.block, self.label(), self.label(), self.label()
        self.jump(head)
        self.open(head)
        names = [self.name() for _ in carried]
        place = len(self.lines)
        self.lines.extend([None] * len(carried))
        self.fork(proceed(*names), inside, done)
        self.open(inside)
        following = body(*names)
        for k, ((kind, first), name, later) in enumerate(
            zip(carried, names, following, strict=True)
        ):
            self.lines[place + k] = (
                f"  {name} = phi {kind} [{first}, %{before}], [{later}, %{self.block}]"
            )
        self.jump(head)
        self.open(done)
        return names

    def branch(self, condition, yes, no, kinds) -> list[str]:
        """The values that `yes()` or `no()` gives; `kinds` are their types."""
        labels = [self.label() for _ in range(3)]
        self.fork(condition, labels[0], labels[1])
        ends = []
        for label, make in zip(labels, (yes, no), strict=False):
            self.open(label)
            values = make()
            ends.append((self.block, values))
            self.jump(labels[2])
        self.open(labels[2])
        (left, a), (right, b) = ends
        return [
            x if x == y else self.value(f"phi {kind} [{x}, %{left}], [{y}, %{right}]")
            for kind, x, y in zip(kinds, a, b, strict=True)
        ]

    # int64 arithmetic of loops
    def add(self, a, b) -> str:
        return self.value(f"add i64 {a}, {b}")

    def sub(self, a, b) -> str:
        return self.value(f"sub i64 {a}, {b}")

    def mul(self, a, b) -> str:
        return self.value(f"mul i64 {a}, {b}")

    def less(self, a, b) -> str:
        return self.value(f"icmp slt i64 {a}, {b}")

    def smaller(self, a, b) -> str:
        return self.value(f"select i1 {self.less(a, b)}, i64 {a}, i64 {b}")

    def at(self, pointer, offset, kind="i8") -> str:
        return self.value(f"getelementptr {kind}, ptr {pointer}, i64 {offset}")

    def number(self, pointer, index) -> str:
        """The int64 number `index` (a value or Python's int) of the array at `pointer`."""
        return self.value(f"load i64, ptr {self.at(pointer, index, 'i64')}, align 8")


def _split(arguments):
    """The arguments of a call at top level of brackets."""
    depth, start = 0, 0
    for k, letter in enumerate(arguments):
        depth += (letter in "<([") - (letter in ">)]")
        if letter == "," and depth == 0:
            yield arguments[start:k].strip()
            start = k + 1
    yield arguments[start:].strip()


def _first_type(argument):
    return (
        argument[: argument.index(">") + 1]
        if argument.startswith("<")
        else argument.split(" ", 1)[0]
    )


def scalar_type(dtype: DType) -> str:
    """The type of one lane of a value; half types are carried as their bits."""
    if dtype.kind == "f":
        return {2: "i16", 4: "float", 8: "double"}[dtype.itemsize]
    return "i1" if dtype is bool_ else f"i{dtype.itemsize * 8}"


def memory_type(dtype: DType) -> str:
    """The type of one component of an element in memory."""
    return "i8" if dtype is bool_ else scalar_type(dtype.to_real())


_FLOAT = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv", "rem": "frem"}
_INTEGER = {"add": "add", "sub": "sub", "mul": "mul", "and": "and", "or": "or", "xor": "xor"}
_BOOL = {
    "add": "or", "sub": "xor", "mul": "and", "div": "and", "min": "and", "max": "or", "and": "and",
    "or": "or", "xor": "xor",
}  # fmt: skip
_COMPARE = {
    "lt": ("olt", "slt", "ult"), "le": ("ole", "sle", "ule"),
    "eq": ("oeq", "eq", "eq"), "ne": ("une", "ne", "ne"),
}  # fmt: skip
_ROUNDING = {"floor", "ceil", "trunc", "rint"}


class Lanes:
    """Expressions as vectors of `width` lanes."""

    def __init__(self, code: Code, width: int, target: Target):
        self.code, self.width, self.target = code, width, target
        self.iota32 = self.vector("i32", range(width))

    def type(self, dtype: DType) -> str:
        return f"<{self.width} x {scalar_type(dtype)}>"

    def of(self, kind: str) -> str:
        return f"<{self.width} x {kind}>"

    def vector(self, kind, values) -> str:
        return "<" + ", ".join(f"{kind} {v}" for v in values) + ">"

    def splat(self, kind: str, value: str) -> str:
        """A scalar in every lane."""
        first = self.code.value(f"insertelement {self.of(kind)} poison, {kind} {value}, i64 0")
        if self.width == 1:
            return first
        vector, zeros = self.of(kind), f"<{self.width} x i32> zeroinitializer"
        return self.code.value(f"shufflevector {vector} {first}, {vector} poison, {zeros}")

    def constant(self, dtype: DType, value) -> str:
        return f"splat ({scalar_type(dtype)} {literal(dtype, value)})"

    def mask(self, count: str) -> str:
        """Lanes below the i64 `count`."""
        narrow = self.code.value(f"trunc i64 {count} to i32")
        return self.code.value(
            f"icmp ult {self.of('i32')} {self.iota32}, {self.splat('i32', narrow)}"
        )

    def values(self, expressions, known: dict) -> list[str]:
        """Code for `expressions`; `known` maps nodes to values and grows by what is emitted."""
        expressions = list(expressions)
        for e in topological(expressions):
            if e not in known:
                known[e] = self.emit(e, [known[a] for a in e.args])
        return [known[e] for e in expressions]

    def select(self, dtype: DType, condition, yes, no) -> str:
        kind = self.type(dtype)
        return self.code.value(f"select {self.of('i1')} {condition}, {kind} {yes}, {kind} {no}")

    def emit(self, e: Expr, args):
        """The value of `e`; of a loop, the list of what it carries."""
        op, dtype, value = e.op, e.dtype, self.code.value
        if op == "const":
            return self.constant(dtype, e.value)
        source = e.args[0].dtype if e.args else dtype
        kind = self.type(source)
        if op in _COMPARE:
            ordered, signed, unsigned = _COMPARE[op]
            if source.kind == "f":
                return value(f"fcmp {ordered} {kind} {args[0]}, {args[1]}")
            return value(
                f"icmp {signed if source.kind == 'i' else unsigned} {kind} {args[0]}, {args[1]}"
            )
        if op == "select":
            return self.select(dtype, *args)
        if op == "cast":
            return self.cast(args[0], source, dtype)
        if op == "repeat":
            return self._repeat(e.value, args)
        if op == "item":
            return args[0][e.value]
        if op == "bitcast":
            if scalar_type(source) == scalar_type(dtype):
                return args[0]
            return value(f"bitcast {kind} {args[0]} to {self.type(dtype)}")
        if dtype.kind == "f":
            return self._float(op, dtype, args)
        if dtype is bool_:
            return self._bool(op, args)
        return self._integer(op, dtype, args)

    def _repeat(self, cycle: Cycle, args) -> list[str]:
        """A loop that runs until no lane is active. Lanes that are done keep their values."""
        code, test, count = self.code, self.of("i1"), len(cycle.following)
        dtypes = [v.dtype for v in cycle.variables[:count]]
        fixed = args[count:]

        def known(state):
            return dict(zip(cycle.variables, [*state, *fixed], strict=True))

        def some(active):
            return code.call("i1", f"llvm.vector.reduce.or.v{self.width}i1", f"{test} {active}")

        def body(i, going, active, *state):
            names = known(state)
            after = self.values(cycle.following, names)
            after = [
                self.select(dtype, active, new, old)
                for dtype, new, old in zip(dtypes, after, state, strict=True)
            ]
            [proceed] = self.values([cycle.proceed], known(after))
            active = code.value(f"and {test} {active}, {proceed}")
            i = code.add(i, 1)
            going = code.value(f"and i1 {some(active)}, {code.less(i, cycle.limit)}")
            return [i, going, active, *after]

        [active] = self.values([cycle.proceed], known(args[:count]))
        carried = [("i64", "0"), ("i1", some(active)), (test, active)]
        carried += [(self.type(dtype), a) for dtype, a in zip(dtypes, args, strict=False)]
        return code.repeat(carried, lambda i, going, *_: going, body)[3:]

    def intrinsic(self, name: str, kind: str, args, extra="") -> str:
        suffix = kind.replace("<", "v").replace(">", "").replace(" x ", "")
        suffix = suffix.replace("float", "f32").replace("double", "f64")
        vector = self.of(kind)
        arguments = ", ".join(f"{vector} {a}" for a in args) + extra
        return self.code.call(vector, f"llvm.{name}.v{self.width}{suffix}", arguments)

    def _float(self, op, dtype, args) -> str:
        kind, value, scalar = self.type(dtype), self.code.value, scalar_type(dtype)
        if dtype.itemsize == 2:
            if op == "neg":
                return value(f"xor {kind} {args[0]}, splat (i16 -32768)")
            raise TypeError(f"{op} of {dtype.name}: cast to float32 first")
        if op in _FLOAT:
            return value(f"{_FLOAT[op]} {kind} {args[0]}, {args[1]}")
        if op == "neg":
            return value(f"fneg {kind} {args[0]}")
        if op in ("min", "max"):
            # The first select is one instruction on x86; it gives b where either is nan. The second
            # puts nan of a.
            a, b = args
            better = value(f"fcmp {'olt' if op == 'min' else 'ogt'} {kind} {a}, {b}")
            best = self.select(dtype, better, a, b)
            return self.select(dtype, value(f"fcmp uno {kind} {a}, {a}"), a, best)
        if op in _ROUNDING or op in ("sqrt", "abs", "copysign", "fma"):
            return self.intrinsic("fabs" if op == "abs" else op, scalar, args)
        raise NotImplementedError(op)

    def _bool(self, op, args) -> str:
        if op in _BOOL:
            return self.code.value(f"{_BOOL[op]} {self.of('i1')} {args[0]}, {args[1]}")
        if op == "not":
            return self.code.value(f"xor {self.of('i1')} {args[0]}, splat (i1 true)")
        if op == "rem":
            return "zeroinitializer"
        if op in ("neg", "abs") or op in _ROUNDING:
            return args[0]
        raise NotImplementedError(f"{op} of bool")

    def _integer(self, op, dtype, args) -> str:
        kind, value, scalar = self.type(dtype), self.code.value, scalar_type(dtype)
        signed = dtype.kind == "i"
        if op in _INTEGER:
            return value(f"{_INTEGER[op]} {kind} {args[0]}, {args[1]}")
        if op == "neg":
            return value(f"sub {kind} zeroinitializer, {args[0]}")
        if op == "not":
            return value(f"xor {kind} {args[0]}, splat ({scalar} -1)")
        if op == "abs":
            return self.intrinsic("abs", scalar, args, ", i1 false") if signed else args[0]
        if op in ("min", "max"):
            return self.intrinsic(("s" if signed else "u") + op, scalar, args)
        if op in _ROUNDING:
            return args[0]
        if op in ("shl", "shr"):
            return self._shift(op, dtype, args)
        if op in ("div", "rem"):
            return self._divide(op, dtype, args)
        raise NotImplementedError(f"{op} of {dtype.name}")

    def _shift(self, op, dtype, args) -> str:
        kind, value, scalar = self.type(dtype), self.code.value, scalar_type(dtype)
        bits = dtype.itemsize * 8
        inside = value(f"icmp ult {kind} {args[1]}, splat ({scalar} {bits})")
        if op == "shr" and dtype.kind == "i":
            count = self.select(dtype, inside, args[1], f"splat ({scalar} {bits - 1})")
            return value(f"ashr {kind} {args[0]}, {count}")
        count = self.select(dtype, inside, args[1], "zeroinitializer")
        shifted = value(f"{'shl' if op == 'shl' else 'lshr'} {kind} {args[0]}, {count}")
        return self.select(dtype, inside, shifted, "zeroinitializer")

    def _divide(self, op, dtype, args) -> str:
        """Truncating division. Divisors 0 and -1 are replaced by 1, and their results put in
        afterwards.

        Up to 32 bits by floating division: the quotient of integers below 2**k differs from the
        next integer by a relative 2**-k at least, so truncating the rounded quotient is exact with
        more than k bits of significand.
        """
        kind, value, scalar = self.type(dtype), self.code.value, scalar_type(dtype)
        a, b = args
        zero = value(f"icmp eq {kind} {b}, zeroinitializer")
        one, bad = f"splat ({scalar} 1)", zero
        if dtype.kind == "i":
            minus = value(f"icmp eq {kind} {b}, splat ({scalar} -1)")
            bad = value(f"or {self.of('i1')} {zero}, {minus}")
        divisor = self.select(dtype, bad, one, b)
        if dtype.itemsize == 8:
            if op == "rem":
                return value(f"srem {kind} {a}, {divisor}")
            quotient = value(f"sdiv {kind} {a}, {divisor}")
        else:
            wide = float64 if dtype.itemsize == 4 else float32
            above, below = self.cast(a, dtype, wide), self.cast(divisor, dtype, wide)
            ratio = value(f"fdiv {self.type(wide)} {above}, {below}")
            quotient = self.cast(ratio, wide, dtype)
            if op == "rem":
                return value(f"sub {kind} {a}, {value(f'mul {kind} {quotient}, {divisor}')}")
        if dtype.kind == "i":
            quotient = self.select(
                dtype, minus, value(f"sub {kind} zeroinitializer, {a}"), quotient
            )
        return self.select(dtype, zero, "zeroinitializer", quotient)

    def cast(self, x: str, source: DType, target: DType) -> str:
        if source is target:
            return x
        value, old, new = self.code.value, self.type(source), self.type(target)
        if source.kind == "f" and source.itemsize == 2:
            if target is bool_:
                bits = value(f"and {old} {x}, splat (i16 32767)")
                return value(f"icmp ne {old} {bits}, zeroinitializer")
            return self.cast(self._widen(x, source), float32, target)
        if target.kind == "f" and target.itemsize == 2:
            return self._narrow(self.cast(x, source, float32), target)
        if target is bool_:
            return value(
                f"{'fcmp une' if source.kind == 'f' else 'icmp ne'} {old} {x}, zeroinitializer"
            )
        if source.kind == "f" and target.kind == "f":
            return value(f"{'fpext' if target.itemsize == 8 else 'fptrunc'} {old} {x} to {new}")
        if source.kind == "f":
            # Out of range is poison in LLVM: frozen, it is whatever the instruction gives (on x86
            # the least integer).
            wide = "i64" if target.itemsize == 8 else "i32"
            number = value(f"fptosi {old} {x} to {self.of(wide)}")
            number = value(f"freeze {self.of(wide)} {number}")
            return (
                number
                if target.itemsize >= 4
                else value(f"trunc {self.of(wide)} {number} to {new}")
            )
        if target.kind == "f":
            return value(f"{'sitofp' if source.kind == 'i' else 'uitofp'} {old} {x} to {new}")
        if source is not bool_ and target.itemsize <= source.itemsize:
            return x if target.itemsize == source.itemsize else value(f"trunc {old} {x} to {new}")
        return value(f"{'sext' if source.kind == 'i' else 'zext'} {old} {x} to {new}")

    def _widen(self, x, source) -> str:
        """Bits of a half type as float32."""
        value, wide, whole = self.code.value, self.of("i32"), self.of("float")
        if source.name == "float16" and self.target.half:
            half = value(f"bitcast {self.of('i16')} {x} to {self.of('half')}")
            return value(f"fpext {self.of('half')} {half} to {whole}")
        bits = value(f"zext {self.of('i16')} {x} to {wide}")
        if source.name == "bfloat16":
            return value(f"bitcast {wide} {value(f'shl {wide} {bits}, splat (i32 16)')} to {whole}")
        # The exponent is rebiased by a product with 2**112, which normalises subnormal numbers as
        # well.
        magnitude = value(
            f"shl {wide} {value(f'and {wide} {bits}, splat (i32 32767)')}, splat (i32 13)"
        )
        scaled = value(f"bitcast {wide} {magnitude} to {whole}")
        scaled = value(f"fmul {whole} {scaled}, splat (float {_hex(2.0**112)})")
        finite = value(f"bitcast {whole} {scaled} to {wide}")
        special = value(f"icmp uge {wide} {magnitude}, splat (i32 {0x7C00 << 13})")
        infinite = value(f"or {wide} {magnitude}, splat (i32 {0x7F800000})")
        chosen = value(f"select {self.of('i1')} {special}, {wide} {infinite}, {wide} {finite}")
        sign = value(f"shl {wide} {value(f'and {wide} {bits}, splat (i32 32768)')}, splat (i32 16)")
        return value(f"bitcast {wide} {value(f'or {wide} {chosen}, {sign}')} to {whole}")

    def _narrow(self, x, target) -> str:
        """float32 as bits of a half type, to nearest, ties to even."""
        value, wide, whole = self.code.value, self.of("i32"), self.of("float")
        if target.name == "float16" and self.target.half:
            half = value(f"fptrunc {whole} {x} to {self.of('half')}")
            return value(f"bitcast {self.of('half')} {half} to {self.of('i16')}")
        bits = value(f"bitcast {whole} {x} to {wide}")
        if target.name == "bfloat16":
            high = value(f"lshr {wide} {bits}, splat (i32 16)")
            odd = value(f"and {wide} {high}, splat (i32 1)")
            rounded = value(f"add {wide} {value(f'add {wide} {bits}, splat (i32 32767)')}, {odd}")
            rounded = value(f"lshr {wide} {rounded}, splat (i32 16)")
            nan = value(f"fcmp uno {whole} {x}, {x}")
            quiet = value(f"or {wide} {high}, splat (i32 64)")
            chosen = value(f"select {self.of('i1')} {nan}, {wide} {quiet}, {wide} {rounded}")
            return value(f"trunc {wide} {chosen} to {self.of('i16')}")
        return self._narrow_float16(bits)

    def _narrow_float16(self, bits) -> str:
        """Three ranges: too large or nan; subnormal, rounded by adding 0.5 (whose last bit is
        2**-24); normal.
        """
        value, wide, whole, test = self.code.value, self.of("i32"), self.of("float"), self.of("i1")

        def put(op, a, number):
            return value(f"{op} {wide} {a}, splat (i32 {number})")

        magnitude = put("and", bits, 0x7FFFFFFF)
        nan = value(f"icmp ugt {wide} {magnitude}, splat (i32 {0x7F800000})")
        large = value(
            f"select {test} {nan}, {wide} splat (i32 {0x7E00}), {wide} splat (i32 {0x7C00})"
        )
        moved = value(f"bitcast {wide} {magnitude} to {whole}")
        moved = value(f"fadd {whole} {moved}, splat (float {_hex(0.5)})")
        small = put("sub", value(f"bitcast {whole} {moved} to {wide}"), 0x3F000000)
        odd = put("and", put("lshr", magnitude, 13), 1)
        normal = value(f"add {wide} {put('add', magnitude, 0xFFF - (112 << 23))}, {odd}")
        normal = put("lshr", normal, 13)
        is_large = value(f"icmp uge {wide} {magnitude}, splat (i32 {143 << 23})")
        is_small = value(f"icmp ult {wide} {magnitude}, splat (i32 {113 << 23})")
        chosen = value(f"select {test} {is_small}, {wide} {small}, {wide} {normal}")
        chosen = value(f"select {test} {is_large}, {wide} {large}, {wide} {chosen}")
        sign = put("and", put("lshr", bits, 16), 0x8000)
        return value(f"trunc {wide} {value(f'or {wide} {chosen}, {sign}')} to {self.of('i16')}")


def _hex(value: float) -> str:
    return "0x" + struct.pack(">d", value).hex().upper()


def literal(dtype: DType, value) -> str:
    """A constant as LLVM writes it: floats by the bits of the double of equal value."""
    if dtype is bool_:
        return "true" if value else "false"
    if dtype.kind != "f":
        bits = dtype.itemsize * 8
        wrapped = int(value) & ((1 << bits) - 1)
        return str(wrapped - (1 << bits) if wrapped >> (bits - 1) else wrapped)
    if dtype.itemsize == 2:
        with numpy.errstate(all="ignore"):
            return str(
                int(numpy.asarray(value, numpy.float32).astype(dtype.numpy).view(numpy.int16))
            )
    if dtype.itemsize == 4:
        with numpy.errstate(over="ignore"):
            value = float(numpy.float32(value))
    return _hex(value)
