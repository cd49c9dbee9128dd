"""Marks where a model's quantised part begins and ends."""

from __future__ import annotations

from typing import Any

from flambeau.tensor import Tensor

from .module import Module


class QuantStub(Module):
    """Where a model's quantised part begins: the identity, as long as the model is not quantised.

    `qconfig` says how it would be.
    """

    def __init__(self, qconfig: Any = None) -> None:
        super().__init__()
        if qconfig is not None:
            self.qconfig = qconfig

    def forward(self, x: Tensor) -> Tensor:
        return x


class DeQuantStub(QuantStub):
    """Where it ends: as `QuantStub`."""


__all__ = ["DeQuantStub", "QuantStub"]
