"""Functions of sizes: where PyTorch may have symbols, sizes are numbers here."""

import math


class SymInt:
    """Integers that are not known yet: there are none."""


class SymFloat:
    """Numbers that are not known yet: there are none."""


class SymBool:
    """Truth values that are not known yet: there are none."""


def sym_int(a):
    """The number without its fraction."""
    return int(a)


def sym_float(a):
    """The number as a float."""
    return float(a)


def sym_max(a, b):
    """The larger number, a float where one is."""
    return max(a, b) if type(a) is type(b) else float(max(a, b))


def sym_min(a, b):
    """The smaller number, a float where one is."""
    return min(a, b) if type(a) is type(b) else float(min(a, b))


def sym_not(a):
    """The opposite truth value."""
    return not a


def sym_ite(b, t, f):
    """`t` if `b`, else `f`."""
    return t if b else f


def sym_sum(*args):
    """The sum of the numbers: of one sequence of them, or each an argument."""
    return sum(args[0] if len(args) == 1 else args)


def sym_sqrt(a):
    """The square root."""
    return math.sqrt(a)


PUBLIC = (
    "SymBool",
    "SymFloat",
    "SymInt",
    "sym_float",
    "sym_int",
    "sym_ite",
    "sym_max",
    "sym_min",
    "sym_not",
    "sym_sqrt",
    "sym_sum",
)
