"""Passes as objects."""

from __future__ import annotations

import abc
from typing import NamedTuple

from flambeau import nn

from ...graph_module import GraphModule

__all__ = ["PassBase", "PassResult"]


class PassResult(NamedTuple):
    """What a pass made, and whether that is anything new."""

    graph_module: nn.Module
    modified: bool


class PassBase(abc.ABC):
    """A pass: `call` does the work, `requires` and `ensures` check what comes and what goes."""

    def __call__(self, graph_module: GraphModule) -> PassResult | None:
        self.requires(graph_module)
        result = self.call(graph_module)
        self.ensures(graph_module)
        return result

    @abc.abstractmethod
    def call(self, graph_module: GraphModule) -> PassResult | None:
        """Changes the program."""

    def requires(self, graph_module: GraphModule) -> None:  # noqa: B027
        """Raises where the program is not what the pass takes."""

    def ensures(self, graph_module: GraphModule) -> None:  # noqa: B027
        """Raises where the program is not what the pass promises."""
