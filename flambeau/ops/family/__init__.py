"""Families: how ops of one kind turn arguments into plans."""

from .chain import Buffer, Chain, Steps, chain
from .fixed import Fixed, fixed
from .fused import Fused, fused
from .indexed import Indexed, Scatter, indexed, scatter
from .opaque import Opaque, opaque
from .pointwise import Pointwise, pointwise
from .reduction import Fold, Reduction, reduction, scan
from .view import View, view

__all__ = [
    "Buffer",
    "Chain",
    "Fixed",
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
    "fixed",
    "fused",
    "indexed",
    "opaque",
    "pointwise",
    "reduction",
    "scan",
    "scatter",
    "view",
]
