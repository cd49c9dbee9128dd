"""The meaning of expressions, in NumPy: the specification that generated code is tested against."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import NamedTuple

from flambeau._base import numpy

from .exact import fma32, fma64
from .loop import Expr, Pair, topological
from .repeat import Cycle

_NAMES = {
    "add": "add", "sub": "subtract", "mul": "multiply", "min": "minimum", "max": "maximum",
    "lt": "less", "le": "less_equal", "eq": "equal", "ne": "not_equal", "neg": "negative",
    "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor", "not": "invert",
    "abs": "abs", "sqrt": "sqrt", "floor": "floor", "ceil": "ceil", "trunc": "trunc",
    "rint": "rint", "copysign": "copysign", "select": "where",
}  # fmt: skip


def evaluate(values, loads, params=(), leaves=None):
    """The arrays (or pairs of arrays) that `values` stand for.

    `loads` and `params` are sequences of arrays or scalars; `leaves` maps other leaf nodes (state,
    position) to arrays, or to functions that make them.
    """
    roots = tuple(e for v in values for e in ((v.re, v.im) if isinstance(v, Pair) else (v,)))
    with numpy.errstate(all="ignore"):
        made = iter(_steps(roots).run(functools.partial(_leaf, loads, params, leaves)))
    return [(next(made), next(made)) if isinstance(v, Pair) else next(made) for v in values]


def _leaf(loads, params, leaves, e: Expr):
    if e.op == "load":
        array = numpy.asarray(loads[e.value])
        return {"re": array.real, "im": array.imag}.get(e.part, array)
    if e.op == "param":
        return e.dtype.numpy.type(params[e.value])
    leaf = leaves[e]
    return leaf() if callable(leaf) else leaf


class _Steps(NamedTuple):
    """Expressions in the order of their evaluation. Each value has a number."""

    constants: list  # the value of each number; None where it is none
    leaves: list[tuple[int, Expr]]
    steps: list[tuple]  # (number, function, numbers of arguments, numbers that nobody reads after)
    roots: list[int]

    def run(self, leaf):
        """The values of the roots, where ``leaf(e)`` gives those of leaves."""
        done = self.constants.copy()
        for k, e in self.leaves:
            done[k] = leaf(e)
        for k, function, arguments, finished in self.steps:
            done[k] = function(*[done[a] for a in arguments])
            for a in finished:
                done[a] = None
        return [done[k] for k in self.roots]


@functools.lru_cache(maxsize=4096)
def _steps(roots) -> _Steps:
    order = topological(roots)
    number = {e: k for k, e in enumerate(order)}
    last = {a: e for e in order for a in e.args}
    finished: dict[Expr, list[int]] = {e: [] for e in order}
    for a, e in last.items():
        if a.op != "const" and a not in roots:
            finished[e].append(number[a])
    return _Steps(
        [e.dtype.numpy.type(e.value) if e.op == "const" else None for e in order],
        [(number[e], e) for e in order if not e.args and e.op != "const"],
        [
            (k, _function(e), [number[a] for a in e.args], finished[e])
            for k, e in enumerate(order)
            if e.args
        ],
        [number[e] for e in roots],
    )


def _function(e: Expr) -> Callable:
    """What makes the value of `e` from those of its arguments."""
    dtype = e.dtype.numpy
    if e.op == "not" and dtype.kind == "b":
        return numpy.logical_not
    if e.op in _NAMES:
        return getattr(numpy, _NAMES[e.op])
    if e.op in ("div", "rem"):
        return functools.partial(_divide, e.op)
    if e.op in ("shl", "shr"):
        return functools.partial(_shift, e.op)
    if e.op == "fma":
        return fma32 if dtype == numpy.float32 else fma64
    if e.op == "cast":
        return lambda a: converted(numpy.asarray(a), dtype)
    if e.op == "bitcast":
        return lambda a: numpy.asarray(a, order="C").view(dtype)
    if e.op == "repeat":
        return functools.partial(_repeat, e.value)
    if e.op == "item":
        return operator.itemgetter(e.value)
    raise NotImplementedError(e.op)


def converted(array, dtype):
    """An array in another type; to half types by way of float32, so that it is rounded twice."""
    if dtype.name in ("float16", "bfloat16"):
        array = array.astype(numpy.float32)
    return array.astype(dtype)


def _repeat(cycle: Cycle, *args):
    """What is carried where each lane has stopped for itself; those that have are left out."""
    count, body = len(cycle.following), _steps((cycle.proceed, *cycle.following))
    whole = numpy.broadcast_arrays(*args)
    lanes = [numpy.ravel(x) for x in whole]
    results = [x.copy() for x in lanes[:count]]
    places = numpy.arange(lanes[0].size)
    for _ in range(cycle.limit):
        known = dict(zip(cycle.variables, lanes, strict=True))
        made = body.run(known.__getitem__)
        proceed, *following = (numpy.broadcast_to(x, places.shape) for x in made)
        if not proceed.all():
            for result, lane in zip(results, lanes, strict=False):
                result[places[~proceed]] = lane[~proceed]
            places = places[proceed]
            lanes = [x[proceed] for x in lanes]
            following = [x[proceed] for x in following]
        if not places.size:
            break
        lanes[:count] = following
    for result, lane in zip(results, lanes, strict=False):
        result[places] = lane
    return [x.reshape(whole[0].shape) for x in results]


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
