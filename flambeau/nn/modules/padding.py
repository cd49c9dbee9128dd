"""Padding layers."""

from __future__ import annotations

from typing import Any

from flambeau.tensor import Tensor

from .. import operations as ops
from .module import Module
from .tuples import _ntuple, _pair, _quadruple

_sextuple = _ntuple(6, "_sextuple")


class _Pad(Module):
    """Pads the last axes; `padding` is one number or (before, after) for each, last axis first."""

    _mode: str
    _spread: Any

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = type(self)._spread(padding)

    def forward(self, input: Tensor) -> Tensor:
        return ops.pad(input, self.padding, self._mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPadNd(_Pad):
    """Pads with one value."""

    _mode = "constant"

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return ops.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPadNd):
    """Pads (N, C, L) with one value."""

    _spread = staticmethod(_pair)


class ConstantPad2d(_ConstantPadNd):
    """Pads (N, C, H, W) with one value."""

    _spread = staticmethod(_quadruple)


class ConstantPad3d(_ConstantPadNd):
    """Pads (N, C, D, H, W) with one value."""

    _spread = staticmethod(_sextuple)


class _ZeroPadNd(_ConstantPadNd):
    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad1d(_ZeroPadNd):
    """Pads (N, C, L) with zeros."""

    _spread = staticmethod(_pair)


class ZeroPad2d(_ZeroPadNd):
    """Pads (N, C, H, W) with zeros."""

    _spread = staticmethod(_quadruple)


class ZeroPad3d(_ZeroPadNd):
    """Pads (N, C, D, H, W) with zeros."""

    _spread = staticmethod(_sextuple)


class _ReflectionPadNd(_Pad):
    _mode = "reflect"


class ReflectionPad1d(_ReflectionPadNd):
    """Pads (N, C, L) with its mirror image."""

    _spread = staticmethod(_pair)


class ReflectionPad2d(_ReflectionPadNd):
    """Pads (N, C, H, W) with its mirror image."""

    _spread = staticmethod(_quadruple)


class ReflectionPad3d(_ReflectionPadNd):
    """Pads (N, C, D, H, W) with its mirror image."""

    _spread = staticmethod(_sextuple)


class _ReplicationPadNd(_Pad):
    _mode = "replicate"


class ReplicationPad1d(_ReplicationPadNd):
    """Pads (N, C, L) with its border."""

    _spread = staticmethod(_pair)


class ReplicationPad2d(_ReplicationPadNd):
    """Pads (N, C, H, W) with its border."""

    _spread = staticmethod(_quadruple)


class ReplicationPad3d(_ReplicationPadNd):
    """Pads (N, C, D, H, W) with its border."""

    _spread = staticmethod(_sextuple)


class _CircularPadNd(_Pad):
    _mode = "circular"

    def forward(self, input: Tensor) -> Tensor:
        axes = len(self.padding) // 2
        if input.dim() not in (axes + 1, axes + 2):
            raise ValueError(
                f"expected {axes + 1}D or {axes + 2}D input (got {input.dim()}D input)"
            )
        return super().forward(input)


class CircularPad1d(_CircularPadNd):
    """Pads (N, C, L) with its other end."""

    _spread = staticmethod(_pair)


class CircularPad2d(_CircularPadNd):
    """Pads (N, C, H, W) with its other end."""

    _spread = staticmethod(_quadruple)


class CircularPad3d(_CircularPadNd):
    """Pads (N, C, D, H, W) with its other end."""

    _spread = staticmethod(_sextuple)
