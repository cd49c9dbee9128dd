"""What values are made of: element types, devices, layouts, op schemas."""

from .device import Device, cpu, meta
from .dtype import DTYPES, PYTHON_TYPES, DType, by_name, can_cast, from_numpy, promote
from .layout import Layout, contiguous, dense_like, is_contiguous, layout, row_major
from .schema import PLAIN, TENSOR_TYPES, Argument, Schema

__all__ = [
    "DTYPES",
    "PLAIN",
    "PYTHON_TYPES",
    "TENSOR_TYPES",
    "Argument",
    "DType",
    "Device",
    "Layout",
    "by_name",
    "can_cast",
    "contiguous",
    "cpu",
    "dense_like",
    "from_numpy",
    "is_contiguous",
    "layout",
    "meta",
    "promote",
    "row_major",
    "Schema",
]
