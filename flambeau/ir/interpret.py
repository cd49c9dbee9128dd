"""The meaning of expressions, in NumPy: the specification that generated code is tested against."""

from __future__ import annotations

import functools

from flambeau._base import numpy

from .exact import fma32, fma64
from .loop import Expr, Pair, topological
from .repeat import Cycle

_BINARY = {
    "add": "add", "sub": "subtract", "mul": "multiply", "min": "minimum", "max": "maximum",
    "lt": "less", "le": "less_equal", "eq": "equal", "ne": "not_equal",
    "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor", "copysign": "copysign",
}  # fmt: skip
_UNARY = {
    "neg": "negative", "abs": "abs", "sqrt": "sqrt", "floor": "floor", "ceil": "ceil",
    "trunc": "trunc", "rint": "rint", "not": "invert",
}  # fmt: skip


def evaluate(values, loads, params=(), leaves=None):
    """The arrays (or pairs of arrays) that `values` stand for.

    `loads` and `params` are sequences of arrays or scalars; `leaves` maps other leaf nodes (state,
    position) to arrays, or to functions that make them.
    """
    leaves, done = leaves or {}, {}
    roots = tuple(e for v in values for e in ((v.re, v.im) if isinstance(v, Pair) else (v,)))
    with numpy.errstate(all="ignore"):
        for e, finished in _steps(roots):
            if e in leaves:
                leaf = leaves[e]
                done[e] = leaf() if callable(leaf) else leaf
            else:
                done[e] = _evaluate(e, [done[a] for a in e.args], loads, params)
            for a in finished:
                del done[a]
    return [(done[v.re], done[v.im]) if isinstance(v, Pair) else done[v] for v in values]


@functools.lru_cache(maxsize=4096)
def _steps(roots):
    """What `roots` reach, in order, each with what nobody reads after it."""
    order = topological(roots)
    last = {a: e for e in order for a in e.args}
    finished: dict[Expr, list[Expr]] = {e: [] for e in order}
    for a, e in last.items():
        if a not in roots:
            finished[e].append(a)
    return tuple(finished.items())


def _evaluate(e: Expr, args, loads, params):
    dtype = e.dtype.numpy
    if e.op == "load":
        array = numpy.asarray(loads[e.value])
        return {"re": array.real, "im": array.imag}.get(e.part, array)
    if e.op == "param":
        return dtype.type(params[e.value])
    if e.op == "const":
        return dtype.type(e.value)
    if e.op in _BINARY:
        return getattr(numpy, _BINARY[e.op])(*args)
    if e.op in _UNARY:
        return (
            numpy.logical_not(args[0])
            if e.op == "not" and dtype.kind == "b"
            else getattr(numpy, _UNARY[e.op])(args[0])
        )
    if e.op in ("div", "rem"):
        return _divide(e.op, *args)
    if e.op in ("shl", "shr"):
        return _shift(e.op, *args)
    if e.op == "fma":
        return (fma32 if dtype == numpy.float32 else fma64)(*args)
    if e.op == "select":
        return numpy.where(*args)
    if e.op == "cast":
        return numpy.asarray(args[0]).astype(dtype)
    if e.op == "bitcast":
        return numpy.asarray(args[0], order="C").view(dtype)
    if e.op == "repeat":
        return _repeat(e.value, args)
    if e.op == "item":
        return args[0][e.value]
    raise NotImplementedError(e.op)


def _repeat(cycle: Cycle, args):
    count = len(cycle.following)
    fixed = dict(zip(cycle.variables[count:], args[count:], strict=True))
    values = list(args[:count])
    active = numpy.True_
    for _ in range(cycle.limit):
        known = {**fixed, **dict(zip(cycle.variables, values, strict=False))}
        proceed, *following = evaluate([cycle.proceed, *cycle.following], (), leaves=known)
        active = active & proceed
        if not numpy.any(active):
            break
        values = [numpy.where(active, f, v) for f, v in zip(following, values, strict=True)]
    return values


def _divide(op, a, b):
    a, b = numpy.asarray(a), numpy.asarray(b)
    if a.dtype.kind == "f":
        return a / b if op == "div" else numpy.fmod(a, b)
    safe = numpy.where(b == 0, 1, b).astype(b.dtype)
    remainder = numpy.where(b == 0, 0, numpy.fmod(a, safe)).astype(a.dtype)
    if op == "rem":
        return remainder
    return numpy.where(b == 0, 0, (a - remainder) // safe).astype(a.dtype)


def _shift(op, a, b):
    a, b = numpy.asarray(a), numpy.asarray(b)
    bits = a.dtype.itemsize * 8
    inside = (b >= 0) & (b < bits)
    count = numpy.where(inside, b, 0).astype(a.dtype)
    if op == "shl":
        return numpy.where(inside, numpy.left_shift(a, count), 0).astype(a.dtype)
    return numpy.where(inside, numpy.right_shift(a, count), numpy.where(a < 0, -1, 0)).astype(
        a.dtype
    )
