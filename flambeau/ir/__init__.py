"""Programs as data."""

from .interpret import evaluate
from .loop import (
    Expr,
    Kernel,
    Pair,
    Pointwise,
    Reduce,
    Scan,
    Value,
    bitcast,
    cast,
    ceil,
    const,
    copysign,
    count,
    floor,
    fma,
    load,
    maximum,
    minimum,
    node,
    other,
    param,
    parts,
    position,
    rem,
    rint,
    select,
    show,
    sqrt,
    state,
    substitute,
    topological,
    trunc,
)  # fmt: skip

__all__ = [
    "Expr", "Kernel", "Pair", "Pointwise", "Reduce", "Scan", "Value", "bitcast", "cast", "ceil", "const", "copysign",
    "count", "evaluate", "floor", "fma", "load", "maximum", "minimum", "node", "other", "param", "parts", "position",
    "rem", "rint", "select", "show", "sqrt", "state", "substitute", "topological", "trunc",
]  # fmt: skip
