"""Whether a kernel is well-formed: `FLAMBEAU_VERIFY=1` asks for every kernel before it is compiled.

Expressions are made by many hands: ops, fusion, derivatives. What they make must be typed as
`loop.PRIMITIVES` says, and must read nothing that a kernel of its kind does not have.
"""

from __future__ import annotations

from typing import Any

from flambeau._base import Memo

from .loop import Expr, Kernel, parts, topological
from .repeat import Cycle


class Invalid(Exception):
    """A kernel or a program that contradicts itself: a mistake of whoever made it."""


_ARITHMETIC = frozenset(("add", "sub", "mul", "div", "rem", "min", "max", "neg", "abs"))
_FLOATING = frozenset(("sqrt", "floor", "ceil", "trunc", "rint", "copysign", "fma"))
_COMPARING = frozenset(("lt", "le", "eq", "ne"))
_BITWISE = frozenset(("and", "or", "xor", "not"))
_SHIFTS = frozenset(("shl", "shr"))
_COUNTS = dict.fromkeys(("neg", "abs", "sqrt", "floor", "ceil", "trunc", "rint", "not"), 1)
_COUNTS |= {"cast": 1, "bitcast": 1, "item": 1, "fma": 3, "select": 3}
_COUNTS |= dict.fromkeys(("load", "param", "const", "position", "count", "state", "other"), 0)
_COUNTS["variable"] = 0
_LEAVES = frozenset(("load", "param", "position", "count", "state", "other", "variable"))

# The leaves that the expressions of a kernel may read, besides constants and parameters.
_READS: dict[str, dict[str, frozenset[str]]] = {
    "pointwise": {"body": frozenset(("load", "position"))},
    "indexed": {"body": frozenset(("load",))},
    "reduce": {
        "init": frozenset(("count",)),
        "element": frozenset(("load", "position", "count")),
        "combine": frozenset(("state", "other", "count")),
        "finish": frozenset(("state", "count")),
    },
}
_READS["scan"] = _READS["reduce"]
_verified = Memo(8192)


def verify(kernel: Kernel) -> None:
    """Raises `Invalid` where the kernel is not well-formed, with what is wrong, and the kernel."""
    if kernel.key in _verified:  # after many passes, most kernels are those of before
        return
    try:
        _Check(kernel).run()
        _verified.get_or(kernel.key, bool)
    except Invalid as wrong:
        raise Invalid(f"{wrong}\n  in {kernel!r}") from None


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise Invalid(message)


class _Check:
    """The check of one kernel."""

    def __init__(self, kernel: Kernel):
        self.kernel = kernel

    def run(self) -> None:
        kernel = self.kernel
        known = _READS.get(kernel.kind)
        _require(known is not None, f"there is no kind of kernel {kernel.kind!r}")
        assert known is not None
        for name, leaves in known.items():
            self._expressions([e for v in getattr(kernel, name) for e in parts(v)], leaves, name)
        if kernel.check is not None:
            _require(kernel.check.dtype.kind == "b", "the check is no bool")
            self._expressions([kernel.check], known["body"], "check")
        results = kernel.finish if "finish" in known else kernel.body
        counts = len(results), len(kernel.outputs)
        _require(counts[0] == counts[1], f"{counts[0]} results for {counts[1]} outputs")
        if "finish" in known:
            self._monoid()
        for place in kernel.places:
            self._place(place)

    def _monoid(self) -> None:
        kernel = self.kernel
        for name in ("element", "combine"):
            types = [e.dtype for v in getattr(kernel, name) for e in parts(v)]
            states = [e.dtype for v in kernel.init for e in parts(v)]
            _require(
                types == states,
                f"{name} has the types {_names(types)}, the state has {_names(states)}",
            )

    def _place(self, place: Any) -> None:
        count, kernel = len(self.kernel.outputs), self.kernel
        inside = 0 <= place.by < len(kernel.inputs)
        _require(inside, f"a place is named by input {place.by} of {len(kernel.inputs)}")
        kind = kernel.inputs[place.by]
        _require(kind.kind in "iu", f"a place is named by a {kind.name}")
        for k in place.operands:
            inside = 0 <= k < count + len(kernel.inputs)
            _require(inside, f"operand {k} has a place, and there is none")

    def _expressions(self, roots: list[Expr], leaves: frozenset[str], name: str) -> None:
        whole = set(roots)
        for e in topological(roots):
            if e.op in _LEAVES and e.op != "param":
                _require(e.op in leaves, f"{name} reads {e!r}, which is not there")
            self._one(e)
            if e.op not in ("cast", "bitcast"):
                halves = [a for a in e.args if _is_half(a)]
                _require(not halves, f"{e.op} of a half type, which must be cast first")
            _require(
                e.op in ("load", "bitcast") or e in whole or not _is_half(e),
                f"{e.op} computes a half type",
            )

    def _one(self, e: Expr) -> None:
        count = _COUNTS.get(e.op, 2)
        if e.op == "repeat":
            return self._cycle(e, e.value)
        _require(len(e.args) == count, f"{e.op} has {len(e.args)} arguments, and takes {count}")
        types = [a.dtype for a in e.args]
        if e.op in _LEAVES:
            return self._leaf(e)
        if e.op == "const":
            _require(e.dtype.kind != "c", "a constant is complex")
        elif e.op == "cast":
            _require(e.dtype.kind != "c", "a cast to a complex type is a pair of casts")
        elif e.op == "bitcast":
            sizes = types[0].itemsize, e.dtype.itemsize
            _require(sizes[0] == sizes[1], f"bitcast from {types[0].name} to {e.dtype.name}")
        elif e.op == "item":
            self._item(e)
        elif e.op in _COMPARING:
            _require(e.dtype.kind == "b", f"{e.op} gives {e.dtype.name}")
            _require(types[0] is types[1], f"{e.op} of {_names(types)}")
        else:
            if e.op == "select":
                _require(types[0].kind == "b", f"select by a {types[0].name}")
                types = types[1:]
            same = all(t is e.dtype for t in types)
            _require(same, f"{e.op} of {_names(types)} gives {e.dtype.name}")
            self._kind(e)

    def _kind(self, e: Expr) -> None:
        allowed = {"select": "bifu"}
        allowed |= dict.fromkeys(_ARITHMETIC, "bifu") | dict.fromkeys(_FLOATING, "f")
        allowed |= dict.fromkeys(_BITWISE, "biu") | dict.fromkeys(_SHIFTS, "iu")
        _require(e.op in allowed, f"there is no primitive {e.op!r}")
        _require(e.dtype.kind in allowed[e.op], f"{e.op} of {e.dtype.name}")

    def _leaf(self, e: Expr) -> None:
        kernel = self.kernel
        if e.op == "load":
            inside = isinstance(e.value, int) and 0 <= e.value < len(kernel.inputs)
            _require(inside, f"input {e.value} is read, and there are {len(kernel.inputs)}")
            given = kernel.inputs[e.value]
            if given.kind == "c":
                _require(e.part in ("re", "im"), f"input {e.value} is complex, and read whole")
                given = given.to_real()
            else:
                _require(e.part == "", f"a part of input {e.value} is read, which is not complex")
            fits = e.dtype is given
            _require(fits, f"input {e.value} is {given.name}, and read as {e.dtype.name}")
        elif e.op == "param":
            _require(e.dtype.name in ("int64", "float64"), f"a parameter is {e.dtype.name}")
            _require(e.value >= 0, f"parameter {e.value} is read")
        elif e.op in ("position", "count"):
            _require(e.dtype.name == "int64", f"{e.op} is {e.dtype.name}")
        elif e.op in ("state", "other"):
            states = [s for v in kernel.init for s in parts(v)]
            inside = 0 <= e.value < len(states)
            _require(inside, f"{e.op} {e.value} is read, and there are {len(states)}")
            fits = states[e.value].dtype is e.dtype
            _require(fits, f"{e.op} {e.value} is read as {e.dtype.name}")

    def _item(self, e: Expr) -> None:
        (whole,) = e.args
        _require(whole.op == "repeat", f"item of {whole.op}")
        following = whole.value.following
        _require(0 <= e.value < len(following), f"item {e.value} of {len(following)}")
        _require(following[e.value].dtype is e.dtype, f"item {e.value} as {e.dtype.name}")

    def _cycle(self, e: Expr, cycle: Cycle) -> None:
        given, names = [a.dtype for a in e.args], [v.dtype for v in cycle.variables]
        _require(given == names, f"a loop takes {_names(names)}, and gets {_names(given)}")
        carried = [f.dtype for f in cycle.following]
        fits = carried == names[: len(carried)]
        _require(fits, f"a loop carries {_names(names)}, and its step gives {_names(carried)}")
        _require(cycle.proceed.dtype.kind == "b", "a loop goes on while a number holds")
        _require(cycle.limit >= 0, f"a loop runs {cycle.limit} times")
        inside = set(cycle.variables)
        for inner in topological([cycle.proceed, *cycle.following]):
            if inner.op in _LEAVES:
                _require(inner in inside, f"a loop reads {inner!r}, which it is not given")
            else:
                self._one(inner)


def _is_half(e: Expr) -> bool:
    return e.dtype.kind == "f" and e.dtype.itemsize == 2


def _names(types: list[Any]) -> str:
    return ", ".join(t.name for t in types)
