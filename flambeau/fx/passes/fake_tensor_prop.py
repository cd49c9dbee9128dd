"""Shapes without arithmetic: runs a program on meta tensors."""

from __future__ import annotations

from typing import Any

from flambeau import nn
from flambeau.tensor import Tensor

from ..interpreter import Interpreter
from ..node import Node, map_aggregate
from .shape_prop import _extract_tensor_metadata

__all__ = ["FakeTensorProp"]


def _shadow(value: Any) -> Any:
    return value.detach().to("meta") if isinstance(value, Tensor) else value


class FakeTensorProp(Interpreter):
    """Leaves in every node's ``meta["val"]`` a meta tensor like its value, and ``tensor_meta``.

    Nothing is computed. Parameters and buffers are taken by shape.
    """

    def run_node(self, n: Node) -> Any:
        result = super().run_node(n)
        n.meta["val"] = result
        if isinstance(result, Tensor):
            n.meta["tensor_meta"] = _extract_tensor_metadata(result)
        return result

    def get_attr(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        return _shadow(self.fetch_attr(target))

    def call_module(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        module = self.fetch_attr(target)
        named = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        shadows = {name: _shadow(value) for name, value in named.items()}
        return nn.utils.stateless.functional_call(module, shadows, args, kwargs)

    def propagate(self, *args: Any) -> Any:
        """Runs the program on tensors like these; gives a result without elements."""
        return super().run(*map_aggregate(args, _shadow))
