"""Numbers that have to fit a dtype: checked when an op runs, since plans do not know values."""

import math

from flambeau.types import DType

from .facts import tell

# How PyTorch's messages about numbers spell the types that not every number fits.
_NAMES = {
    "uint8": "uint8_t",
    "int8": "int8_t",
    "int16": "int16_t",
    "int32": "int",
    "int64": "int64_t",
    "float16": "c10::Half",
}
HALF_MOST = 65504.0


def fitting(op, plan, position, kind: type, dtype: DType):
    """`plan` behind a check that its argument at `position`, a number of type `kind`, fits
    `dtype`; the plan itself where all such numbers do.
    """
    name = _NAMES.get(dtype.name)
    if name is None or kind not in (int, float) or (kind is int and name == "int64_t"):
        return plan
    low, high = _range(dtype)
    any_float = dtype.kind == "f"

    def checked(*args):
        number = args[position]
        if not low <= number <= high and not (any_float and not math.isfinite(number)):
            error = RuntimeError(f"value cannot be converted to type {name} without overflow")
            raise tell(op, args, error)
        return plan(*args)

    return checked


def _range(dtype: DType) -> tuple[float, float]:
    """The least and the greatest number; as in PyTorch, negative ones may wrap around once."""
    if dtype.kind == "f":
        return -HALF_MOST, HALF_MOST
    bits = 8 * dtype.itemsize
    if dtype.kind == "u":
        return 1 - 2**bits, 2**bits - 1
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
