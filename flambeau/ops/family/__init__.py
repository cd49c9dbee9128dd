"""Families: how ops of one kind turn arguments into plans."""

from .fused import Fused, fused
from .opaque import Opaque, opaque
from .pointwise import Pointwise, pointwise
from .reduction import Fold, Reduction, reduction, scan
from .view import View, view

__all__ = ["Fold", "Fused", "Opaque", "Pointwise", "Reduction", "View", "fused", "opaque", "pointwise", "reduction", "scan", "view"]
