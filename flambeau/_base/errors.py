"""Errors that explain themselves: PyTorch's first line, the facts, the remedy, the user's line."""

from typing import TypeVar

from .caller import user_line

E = TypeVar("E", bound=BaseException)


def explain(error_type: type[E], first_line: str, *facts: str) -> E:
    """An error to raise: `first_line`, then each fact indented, then the user's line.

    The first line is PyTorch's wherever programs match on it. A fact is what was the case, the
    rule that it broke, or the remedy; a fact of several lines is indented as a whole, and empty
    facts are left out, so that a caller may pass one conditionally::

        raise explain(
            RuntimeError,
            "mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)",
            "mm(self: float32[2, 3], mat2: float32[4, 5])      k is 3 in self and 4 in mat2",
        )
    """
    lines = [first_line]
    for fact in facts:
        lines += ["  " + line for line in fact.splitlines()]
    if where := user_line():
        lines.append(f"  at {where}")
    return error_type("\n".join(lines))
