"""Result types of mixed operands: tensors with dimensions outrank 0-dim tensors, which outrank
Python numbers.
"""

from flambeau.types import PYTHON_TYPES, DType, Layout, by_name, promote

from .modes import defaults

FLOAT = by_name("float32")
HALVES = (by_name("float16"), by_name("bfloat16"))


def number_type(kind: type) -> DType:
    """The dtype that a Python number of type `kind` has beside tensors: the default dtype for
    float.
    """
    if kind is float:
        return defaults.dtype
    if kind is complex:
        return defaults.dtype.to_complex()
    return PYTHON_TYPES[kind]


def result_type(operands) -> DType:
    """The common dtype of `operands`, each a `Layout` or the type of a Python number."""
    ranks: list[DType | None] = [None, None, None]
    for operand in operands:
        if isinstance(operand, Layout):
            rank, dtype = (0 if operand.ndim else 1), operand.dtype
        else:
            rank, dtype = 2, number_type(operand)
        have = ranks[rank]
        ranks[rank] = dtype if have is None else promote(have, dtype)
    return _outrank(_outrank(ranks[0], ranks[1]), ranks[2])


def _outrank(higher, lower):
    """The higher rank decides within its category; a lower one only lifts the category."""
    if higher is None or lower is None:
        return higher or lower
    if lower.category <= higher.category and higher.kind != "b":
        return higher
    if higher.kind == "f":  # beside a complex number: complex of the same precision
        return higher.to_complex()
    return promote(higher, lower)


def compute_type(dtype: DType) -> DType:
    """What the arithmetic runs in: half types in float32."""
    return FLOAT if dtype in HALVES else dtype
