"""Tracing with shapes: PyTorch's `torch.fx.experimental.meta_tracer`."""

from __future__ import annotations

import inspect
from typing import Any

from flambeau import nn

from .._symbolic_trace import PHBase, Tracer
from ..graph import Graph
from ..graph_module import GraphModule

__all__ = ["MetaTracer", "symbolic_trace"]


class MetaTracer(Tracer):
    """A tracer that gets its example inputs by name."""

    def trace(  # type: ignore[override]
        self,
        root: Any,
        meta_args: dict[str, Any] | None = None,
        concrete_args: dict[str, Any] | None = None,
    ) -> Graph:
        """The graph of `root`; see `Tracer.trace`. `meta_args` are the example inputs."""
        if not meta_args:
            return super().trace(root, concrete_args)
        is_module = isinstance(root, nn.Module)
        function = type(root).forward if is_module else root
        names = list(inspect.signature(function).parameters)[is_module:]
        return super().trace(
            root, concrete_args, tuple(meta_args.get(name, PHBase()) for name in names)
        )


def symbolic_trace(
    root: Any,
    meta_args: dict[str, Any] | None = None,
    concrete_args: dict[str, Any] | None = None,
) -> GraphModule:
    """As `torch.fx.symbolic_trace`, with example inputs by name."""
    tracer = MetaTracer()
    graph = tracer.trace(root, meta_args, concrete_args)
    name = type(root).__name__ if isinstance(root, nn.Module) else root.__name__
    return GraphModule(tracer.root, graph, name)
