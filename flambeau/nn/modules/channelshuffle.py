"""Interleaving groups of channels (Zhang et al. 2017)."""

from __future__ import annotations

from flambeau.tensor import Tensor

from .. import operations as ops
from .module import Module


class ChannelShuffle(Module):
    """Rearranges the channels of (N, C, …) from `groups` blocks to interleaved."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, input: Tensor) -> Tensor:
        return ops.channel_shuffle(input, self.groups)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"
