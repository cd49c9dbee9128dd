"""Scalar expressions and the kernels made of them.

An `Expr` is a value of one lane: a hash-consed node over the real-valued primitives listed in
`PRIMITIVES`, so that equal expressions are the same object. Half types occur only as types of
operands: they are cast on load and on store. A complex value is a `Pair` of real ones. A kernel is
a body of expressions and how it is repeated:

* `Pointwise`: outputs[i] = body[i](loads, params) for each point
* `Reduce`: a monoid with tuple state, folded over some axes
* `Scan`: the same monoid, every prefix kept, along one axis
* `Indexed`: a `Pointwise` with operands that lie where index operands say
"""

import copy
import math
import struct
from typing import Any, NamedTuple

from flambeau.types import DType, by_name

(
    bool_,
    uint8,
    int8,
    int16,
    int32,
    int64,
    float16,
    bfloat16,
    float32,
    float64,
    complex64,
    complex128,
) = map(
    by_name,
    (
        "bool",
        "uint8",
        "int8",
        "int16",
        "int32",
        "int64",
        "float16",
        "bfloat16",
        "float32",
        "float64",
        "complex64",
        "complex128",
    ),
)

# What every primitive means. Integers wrap; `div` and `rem` on integers truncate, and a zero
# divisor gives 0 (whoever must raise says so with `Pointwise.check`). Comparisons give bool, false
# on nan but for `ne`. `min`/`max` take nan from either side. `shr` is arithmetic on signed types; a
# shift count outside the width gives 0 (or the sign).
PRIMITIVES = {
    "load": "operand `value` at this point (`part` re or im of a complex operand)",
    "param": "run-time scalar number `value`",
    "const": "the constant `value`",
    "position": "int64 position along the reduced or scanned axes, row-major",
    "count": "int64 number of elements folded into one result",
    "state": "component `value` of the accumulated state",
    "other": "component `value` of the state that is combined with it",
    "add": "a + b",
    "sub": "a - b",
    "mul": "a * b",
    "div": "a / b",
    "rem": "a - trunc(a / b) * b",
    "neg": "-a",
    "abs": "|a|",
    "sqrt": "square root",
    "fma": "a * b + c, rounded once",
    "floor": "",
    "ceil": "",
    "trunc": "",
    "rint": "to nearest, ties to even",
    "copysign": "|a| with the sign of b",
    "min": "",
    "max": "",
    "lt": "a < b",
    "le": "a <= b",
    "eq": "a == b",
    "ne": "a != b",
    "and": "bitwise",
    "or": "bitwise",
    "xor": "bitwise",
    "not": "bitwise",
    "shl": "a << b",
    "shr": "a >> b",
    "select": "b where a, else c",
    "cast": "to `dtype`; float to int truncates (out of range is unspecified), to bool is != 0",
    "bitcast": "the same bits as `dtype` of equal width",
    "repeat": "the carried values of the loop `value`, a `repeat.Cycle`, together",
    "item": "number `value` of what a loop carries",
    "variable": "inside a loop, number `value` of what it carries or takes from outside",
}


class Expr:
    """A node: `op` from `PRIMITIVES`, `args`, the `dtype` of its value, and a constant `value`
    where the op has one.
    """

    __slots__ = ("__weakref__", "args", "dtype", "op", "part", "value")
    op: str
    args: "tuple[Expr, ...]"
    dtype: DType
    part: Any
    value: Any

    def __repr__(self):
        return show(self)

    def _lift(self, other):
        return other if isinstance(other, Expr) else const(other, self.dtype)

    def __add__(self, other):
        return NotImplemented if isinstance(other, Pair) else node("add", self, self._lift(other))

    def __radd__(self, other):
        return node("add", self._lift(other), self)

    def __sub__(self, other):
        return NotImplemented if isinstance(other, Pair) else node("sub", self, self._lift(other))

    def __rsub__(self, other):
        return node("sub", self._lift(other), self)

    def __mul__(self, other):
        return NotImplemented if isinstance(other, Pair) else node("mul", self, self._lift(other))

    def __rmul__(self, other):
        return node("mul", self._lift(other), self)

    def __truediv__(self, other):
        return NotImplemented if isinstance(other, Pair) else node("div", self, self._lift(other))

    def __rtruediv__(self, other):
        return node("div", self._lift(other), self)

    def __neg__(self):
        return node("neg", self)

    def __abs__(self):
        return node("abs", self)

    def __lt__(self, other):
        return node("lt", self, self._lift(other))

    def __le__(self, other):
        return node("le", self, self._lift(other))

    def __gt__(self, other):
        return node("lt", self._lift(other), self)

    def __ge__(self, other):
        return node("le", self._lift(other), self)

    def __and__(self, other):
        return node("and", self, self._lift(other))

    def __or__(self, other):
        return node("or", self, self._lift(other))

    def __xor__(self, other):
        return node("xor", self, self._lift(other))

    def __invert__(self):
        return node("not", self)

    def __lshift__(self, other):
        return node("shl", self, self._lift(other))

    def __rshift__(self, other):
        return node("shr", self, self._lift(other))

    # Equality stays identity (nodes are hash-consed); these two compare values.
    def equals(self, other):
        return node("eq", self, self._lift(other))

    def differs(self, other):
        return node("ne", self, self._lift(other))


class Pair:
    """A complex value: real and imaginary part, two expressions of one floating type."""

    __slots__ = ("im", "re")

    def __init__(self, re, im):
        self.re, self.im = re, im

    @property
    def dtype(self) -> DType:
        return self.re.dtype.to_complex()

    def _lift(self, other):
        if isinstance(other, Pair):
            return other
        if isinstance(other, Expr):
            return Pair(other, const(0.0, self.re.dtype))
        other = complex(other)
        return Pair(const(other.real, self.re.dtype), const(other.imag, self.re.dtype))

    def __add__(self, other):
        other = self._lift(other)
        return Pair(self.re + other.re, self.im + other.im)

    def __radd__(self, other):
        return self._lift(other) + self

    def __sub__(self, other):
        other = self._lift(other)
        return Pair(self.re - other.re, self.im - other.im)

    def __rsub__(self, other):
        return self._lift(other) - self

    def __mul__(self, other):
        if isinstance(other, Expr):
            return Pair(self.re * other, self.im * other)
        other = self._lift(other)
        return Pair(
            self.re * other.re - self.im * other.im, self.re * other.im + self.im * other.re
        )

    def __rmul__(self, other):
        return self * other if isinstance(other, Expr) else self._lift(other) * self

    def __truediv__(self, other):
        if isinstance(other, Expr):
            return Pair(self.re / other, self.im / other)
        other = self._lift(other)
        # Smith's method (R. L. Smith, CACM 5(8), 1962): scale by the larger part, so that squares
        # cannot overflow.
        wide = abs(other.im) <= abs(other.re)
        big, small = select(wide, other.re, other.im), select(wide, other.im, other.re)
        zero = big.equals(0.0)
        ratio = select(zero, const(0.0, big.dtype), small / big)
        scale = big + small * ratio
        re = select(wide, self.re + self.im * ratio, self.re * ratio + self.im)
        im = select(wide, self.im - self.re * ratio, self.im * ratio - self.re)
        return Pair(re / scale, im / scale)

    def __rtruediv__(self, other):
        return self._lift(other) / self

    def __neg__(self):
        return Pair(-self.re, -self.im)

    def equals(self, other):
        other = self._lift(other)
        return self.re.equals(other.re) & self.im.equals(other.im)

    def differs(self, other):
        return ~self.equals(other)

    def conj(self):
        return Pair(self.re, -self.im)


_nodes: dict[tuple, Expr] = {}
_COMPARE = {"lt", "le", "eq", "ne"}


class WrongType(TypeError):
    """A scalar body met a dtype that it is not made for."""


def node(op: str, *args: Expr, dtype: DType | None = None, value=None, part: str = "") -> Expr:
    """The one node with these properties. The dtype follows from the arguments but for leaves and
    casts.
    """
    if dtype is None:
        dtype = bool_ if op in _COMPARE else args[1 if op == "select" else 0].dtype
        operands = args[1:] if op == "select" else args
        if any(a.dtype is not operands[0].dtype for a in operands):
            raise WrongType(f"{op} of different types: {', '.join(a.dtype.name for a in args)}")
    # A float constant is keyed by its bits: 0.0 is not -0.0, and nan is nan.
    mark = struct.pack("<d", value) if isinstance(value, float) else value
    key = (op, args, dtype, mark.__class__, mark, part)
    made = _nodes.get(key)
    if made is None:
        made = object.__new__(Expr)
        made.op, made.args, made.dtype, made.value, made.part = op, args, dtype, value, part
        _nodes[key] = made
    return made


def const(value, dtype: DType):
    """A constant of `dtype`; a `Pair` for complex types."""
    if isinstance(value, Expr | Pair):
        return value
    if dtype.kind == "c":
        value = complex(value)
        part = dtype.to_real()
        return Pair(const(value.real, part), const(value.imag, part))
    value = {"b": bool, "f": float}.get(dtype.kind, int)(value)
    return node("const", dtype=dtype, value=value)


def load(index: int, dtype: DType):
    """Operand number `index`; a `Pair` for complex types."""
    if dtype.kind == "c":
        part = dtype.to_real()
        return Pair(
            node("load", dtype=part, value=index, part="re"),
            node("load", dtype=part, value=index, part="im"),
        )
    return node("load", dtype=dtype, value=index)


def param(index: int, dtype: DType):
    """Run-time scalar in slot `index` of the kernel's 8-byte scalar slots: int64, float64, or
    complex in two slots.

    `dtype` is one of int64, float64, complex128: what the slot holds; cast it to what the body
    wants.
    """
    if dtype.kind == "c":
        return Pair(param(index, float64), param(index + 1, float64))
    return node("param", dtype=dtype, value=index)


def cast(x, dtype: DType):
    """`x` as `dtype`; complex to real keeps the real part, real to complex adds a zero."""
    if dtype.kind == "c":
        part = dtype.to_real()
        if isinstance(x, Pair):
            return Pair(cast(x.re, part), cast(x.im, part))
        return Pair(cast(x, part), const(0.0, part))
    if isinstance(x, Pair):
        return x.differs(0.0) if dtype is bool_ else cast(x.re, dtype)
    if x.dtype is dtype:
        return x
    if x.op == "const" and (
        dtype.kind not in "iu" or (math.isfinite(x.value) and _fits(int(x.value), dtype))
    ):
        return const(x.value, dtype)
    return node("cast", x, dtype=dtype)


def _fits(value: int, dtype: DType) -> bool:
    bits = dtype.itemsize * 8
    return (
        0 <= value < 2**bits if dtype.kind == "u" else -(2 ** (bits - 1)) <= value < 2 ** (bits - 1)
    )


def bitcast(x: Expr, dtype: DType) -> Expr:
    return x if x.dtype is dtype else node("bitcast", x, dtype=dtype)


def select(condition: Expr, yes, no):
    """`yes` where `condition`, else `no`; both of one type, numbers lifted to the other's."""
    if isinstance(yes, Pair) or isinstance(no, Pair):
        pair = yes if isinstance(yes, Pair) else no
        yes, no = pair._lift(yes), pair._lift(no)
        return Pair(select(condition, yes.re, no.re), select(condition, yes.im, no.im))
    if not isinstance(yes, Expr):
        yes = const(yes, no.dtype)
    return node("select", condition, yes, yes._lift(no))


def unary(op: str):
    return lambda x: node(op, x)


sqrt, floor, ceil, trunc, rint = map(unary, ("sqrt", "floor", "ceil", "trunc", "rint"))


def fma(a: Expr, b, c) -> Expr:
    return node("fma", a, a._lift(b), a._lift(c))


def minimum(a: Expr, b) -> Expr:
    return node("min", a, a._lift(b))


def maximum(a: Expr, b) -> Expr:
    return node("max", a, a._lift(b))


def copysign(a: Expr, b) -> Expr:
    return node("copysign", a, a._lift(b))


def rem(a: Expr, b) -> Expr:
    return node("rem", a, a._lift(b))


Value = Expr | Pair


class Place(NamedTuple):
    """Operands (numbers, outputs first) of which the element is meant that input `by` names.

    Which dimension it names them along is the layouts' business: see `compiler.build`. Negative
    numbers count from the end where the place `wraps`.
    """

    by: int
    operands: tuple[int, ...]
    wraps: bool = False


class Kernel:
    """What all kernels have: the types of tensor operands, of run-time scalar slots, of outputs.

    `inputs` and `outputs` may be of any dtype; loads of half types have that dtype and must be cast
    before use, and an output expression is cast to its output's dtype on store.
    """

    __slots__ = ("_expressions", "_key", "check", "inputs", "name", "outputs", "places")
    kind = "kernel"
    # What kernels of some kinds have besides.
    body: Any
    init: Any
    element: Any
    combine: Any
    finish: Any

    def __init__(self, name, inputs, outputs):
        self.name, self.inputs, self.outputs = name, tuple(inputs), tuple(outputs)
        self.check = None
        self.places: tuple[Place, ...] = ()
        self._key = self._expressions = None

    def values(self) -> tuple[tuple[Value, ...], ...]:
        raise NotImplementedError

    def mapped(self, mapping: dict) -> "Kernel":
        """The kernel with leaves replaced as `mapping` (Expr to Expr) says."""
        made = copy.copy(self)
        made._key = made._expressions = None
        for name in ("body", "init", "element", "combine", "finish"):
            if hasattr(made, name):
                setattr(made, name, tuple(substitute(v, mapping) for v in getattr(made, name)))
        if made.check is not None:
            made.check = substitute(made.check, mapping)
        return made

    @property
    def expressions(self) -> "list[Expr]":
        """All nodes of its values and its check, arguments before users."""
        if self._expressions is None:
            roots = [e for group in self.values() for v in group for e in parts(v)]
            roots += [] if self.check is None else [self.check]
            self._expressions = topological(roots)
        return self._expressions

    @property
    def key(self) -> tuple:
        """What two equal kernels have in common, hashable by identity of nodes."""
        if self._key is None:
            groups = tuple(tuple(parts(v) for v in group) for group in self.values())
            self._key = (self.kind, self.inputs, self.outputs, groups, self.check)
        return self._key

    def __repr__(self):
        return f"{self.kind} {self.name}({', '.join(d.name for d in self.inputs)}) -> " + ", ".join(
            show(e) for group in self.values() for v in group for e in parts(v)
        )


class Pointwise(Kernel):
    """outputs[i] = body[i]. `check`, a bool Expr or None: where it holds at any point the kernel
    returns code 1.
    """

    __slots__ = ("body",)
    kind = "pointwise"

    def __init__(self, name, inputs, outputs, body, check=None):
        super().__init__(name, inputs, outputs)
        self.body, self.check = tuple(body), check

    def values(self):
        return (self.body,)


class Indexed(Pointwise):
    """outputs[i] = body[i], with operands at `places`; an index out of range gives code 1, and its
    point reads and writes the first element instead. Inputs that the body does not load are indices
    only.
    """

    __slots__ = ()
    kind = "indexed"

    def __init__(self, name, inputs, outputs, body, places):
        super().__init__(name, inputs, outputs, body)
        self.places = tuple(places)

    @property
    def key(self):
        return (*super().key, self.places)


class Reduce(Kernel):
    """A fold. For each kept point: state = init; for each element: state = combine(state, element);
    finish(state).

    `init`: constants. `element`: expressions over loads, params, `position`. `combine`: expressions
    over `state` and `other` leaves, associative and commutative up to rounding. `finish`:
    expressions over `state`, `count`, params. All of `init`, `element`, `combine` have equal length
    and types; complex state is written as two components.
    """

    __slots__ = ("combine", "element", "finish", "init")
    kind = "reduce"

    def __init__(self, name, inputs, outputs, init, element, combine, finish):
        super().__init__(name, inputs, outputs)
        self.init, self.element, self.combine, self.finish = map(
            tuple, (init, element, combine, finish)
        )

    def values(self):
        return (self.init, self.element, self.combine, self.finish)


class Scan(Reduce):
    """The fold's every prefix along one axis, in order: `finish` is applied after each element."""

    __slots__ = ()
    kind = "scan"


def state(index: int, dtype: DType) -> Expr:
    return node("state", dtype=dtype, value=index)


def other(index: int, dtype: DType) -> Expr:
    return node("other", dtype=dtype, value=index)


position = node("position", dtype=int64)
count = node("count", dtype=int64)


def parts(value: Value) -> tuple[Expr, ...]:
    """The real expressions of a value: one, or two of a `Pair`."""
    return (value.re, value.im) if isinstance(value, Pair) else (value,)


def topological(roots) -> list[Expr]:
    """Every node that `roots` reach, arguments before users, each once. Iterative: bodies may be
    deep.
    """
    order, seen, todo = [], set(), [(e, False) for e in reversed(list(roots))]
    while todo:
        e, ready = todo.pop()
        if ready:
            order.append(e)
        elif e not in seen:
            seen.add(e)
            todo.append((e, True))
            todo.extend((a, False) for a in reversed(e.args))
    return order


def substitute(value, mapping: dict):
    """`value` with leaves replaced as `mapping` (Expr to Expr) says."""
    if isinstance(value, Pair):
        return Pair(substitute(value.re, mapping), substitute(value.im, mapping))
    done = dict(mapping)
    for e in topological([value]):
        if e in done:
            continue
        args = tuple(done[a] for a in e.args)
        done[e] = (
            e if args == e.args else node(e.op, *args, dtype=e.dtype, value=e.value, part=e.part)
        )
    return done[value]


def show(expr) -> str:
    """The value as text: %0 a load, $0 a param, constants with their type. What is used more than
    once is a line of its own, `t0 = …`, before the value.
    """
    roots = parts(expr)
    order = topological(roots)
    uses: dict[Expr, int] = {}
    for e in order:
        for a in e.args:
            uses[a] = uses.get(a, 0) + 1
    text: dict[Expr, str] = {}
    lines: list[str] = []
    for e in order:
        text[e] = _show_one(e, [text[a] for a in e.args])
        if e.args and uses.get(e, 0) > 1:
            lines.append(f"t{len(lines)} = {text[e]}")
            text[e] = f"t{len(lines) - 1}"
    value = text[roots[0]] if len(roots) == 1 else f"({', '.join(text[r] for r in roots)})"
    return "\n".join([*lines, value])


def _show_one(e: Expr, args: list[str]) -> str:
    match e.op:
        case "load":
            return f"%{e.value}{'.' + e.part if e.part else ''}"
        case "param":
            return f"${e.value}"
        case "const":
            return f"{e.value}:{e.dtype.name}"
        case "state" | "other":
            return f"{e.op}{e.value}"
        case "variable":
            return "v{}_{}".format(*e.value)
        case "item":
            return f"{args[0]}[{e.value}]"
        case "repeat":
            steps = "; ".join(map(show, e.value.following))
            return f"repeat({', '.join(args)}: while {show(e.value.proceed)}: {steps})"
        case "cast" | "bitcast":
            return f"{e.op}({args[0]}, {e.dtype.name})"
    return f"{e.op}({', '.join(args)})" if args else e.op
