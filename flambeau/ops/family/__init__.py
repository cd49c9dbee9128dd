"""Families: how ops of one kind turn arguments into plans."""

from .chain import Buffer, Chain, Steps, chain
from .fused import Fused, fused
from .indexed import Indexed, Scatter, indexed, scatter
from .opaque import Opaque, opaque
from .pointwise import Pointwise, pointwise
from .reduction import Fold, Reduction, reduction, scan
from .view import View, view

__all__ = [
    "Buffer",
    "Chain",
    "Fold",
    "Fused",
    "Indexed",
    "Opaque",
    "Pointwise",
    "Reduction",
    "Scatter",
    "Steps",
    "View",
    "chain",
    "fused",
    "indexed",
    "opaque",
    "pointwise",
    "reduction",
    "scan",
    "scatter",
    "view",
]
