"""Families: how ops of one kind turn arguments into plans."""

from .arrays import Opaque, opaque
from .chain import Buffer, Chain, Steps, chain
from .indexed import Indexed, Scatter, indexed, scatter
from .pointwise import Pointwise, pointwise
from .reduction import Fold, Reduction, reduction, scan
from .sequence import Fixed, fixed
from .tracing import Fused, fused
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
