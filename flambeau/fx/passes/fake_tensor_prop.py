"""Shapes without arithmetic: runs a program on meta tensors."""

from __future__ import annotations

from typing import Any

from flambeau.tensor import Tensor

from ..interpreter import Interpreter
from ..known import call_on_shadows, shadow
from ..node import Node, map_aggregate
from .shape_prop import _extract_tensor_metadata

__all__ = ["FakeTensorProp"]


class FakeTensorProp(Interpreter):
    """Leaves in every node's ``meta["val"]`` a meta tensor like its value, and ``tensor_meta``.

    Nothing is computed. Parameters and buffers are taken by shape.
    """

    def run_node(self, n: Node) -> Any:
        result = map_aggregate(super().run_node(n), shadow)  # what is made from nothing, too
        n.meta["val"] = result
        if isinstance(result, Tensor):
            n.meta["tensor_meta"] = _extract_tensor_metadata(result)
        return result

    def get_attr(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        return shadow(self.fetch_attr(target))

    def call_module(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        return call_on_shadows(self.fetch_attr(target), args, kwargs)

    def propagate(self, *args: Any) -> Any:
        """Runs the program on tensors like these; gives a result without elements."""
        return super().run(*map_aggregate(args, shadow))
