"""Loops inside an expression: recurrences and series whose length depends on the element."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from .loop import Expr, node, substitute, topological


class Cycle(NamedTuple):
    """The body of a loop. It reads nothing but `variables`: what is carried, then what stays."""

    proceed: Expr
    following: tuple[Expr, ...]
    variables: tuple[Expr, ...]
    limit: int


_depth = 0


def repeat(step: Callable, first: Sequence[Expr], limit: int) -> list[Expr]:
    """The values v that are left of: v = first; while proceed(v): v = following(v), at most `limit`
    times. `step(*v)` returns (proceed, following).

    Every lane stops for itself; a vector runs until its last lane has. What does not depend on the
    carried values is computed before the loop.
    """
    global _depth
    count = len(first)

    def variable(k, dtype):
        return node("variable", dtype=dtype, value=(depth, k))

    depth, _depth = _depth, _depth + 1
    try:
        carried = [variable(k, e.dtype) for k, e in enumerate(first)]
        proceed, following = step(*carried)
    finally:
        _depth = depth
    if [e.dtype for e in following] != [e.dtype for e in first]:
        raise TypeError(f"a loop carries {first}, and its step gives {following}")
    body = [proceed, *following]
    moving = set(carried)
    order = topological(body)
    for e in order:
        if any(a in moving for a in e.args):
            moving.add(e)
    used = [*body, *(a for e in order if e in moving for a in e.args)]
    fixed = [e for e in dict.fromkeys(used) if e not in moving and e.op != "const"]
    names = {e: variable(count + k, e.dtype) for k, e in enumerate(fixed)}
    proceed, *following = (substitute(e, names) for e in body)
    cycle = Cycle(proceed, tuple(following), (*carried, *names.values()), limit)
    whole = node("repeat", *first, *fixed, dtype=first[0].dtype, value=cycle)
    return [node("item", whole, dtype=e.dtype, value=k) for k, e in enumerate(first)]
