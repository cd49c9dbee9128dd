"""What values are made of: element types, devices, layouts, op schemas."""

from . import pytree
from .device import Device, cpu, meta
from .dtype import (
    DTYPES,
    PYTHON_TYPES,
    STRUCT_LETTERS,
    UNPROMOTED,
    AbsentDType,
    DType,
    as_dtype,
    by_name,
    can_cast,
    complex32,
    from_numpy,
    promote,
)
from .layout import (
    Layout,
    channels_last,
    contiguous,
    dense_like,
    dense_order,
    is_contiguous,
    is_dense,
    layout,
    looks_channels_last,
    row_major,
)
from .schema import PLAIN, TENSOR_TYPES, Argument, Schema

Number = bool | int | float
__all__ = [
    "AbsentDType",
    "DTYPES",
    "PLAIN",
    "PYTHON_TYPES",
    "STRUCT_LETTERS",
    "TENSOR_TYPES",
    "UNPROMOTED",
    "Argument",
    "DType",
    "Device",
    "Layout",
    "Number",
    "as_dtype",
    "by_name",
    "can_cast",
    "channels_last",
    "complex32",
    "contiguous",
    "cpu",
    "dense_like",
    "dense_order",
    "from_numpy",
    "is_contiguous",
    "is_dense",
    "layout",
    "looks_channels_last",
    "meta",
    "promote",
    "pytree",
    "row_major",
    "Schema",
]
