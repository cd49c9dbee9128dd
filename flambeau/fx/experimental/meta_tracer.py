"""Tracing with shapes: PyTorch's `torch.fx.experimental.meta_tracer`."""

from __future__ import annotations

import inspect
from typing import Any

from flambeau import nn

from .._symbolic_trace import PHBase
from .._symbolic_trace import symbolic_trace as _trace
from ..graph_module import GraphModule

__all__ = ["symbolic_trace"]


def symbolic_trace(
    root: Any,
    meta_args: dict[str, Any] | None = None,
    concrete_args: dict[str, Any] | None = None,
) -> GraphModule:
    """As `torch.fx.symbolic_trace`, with example inputs by name."""
    function = type(root).forward if isinstance(root, nn.Module) else root
    names = list(inspect.signature(function).parameters)[isinstance(root, nn.Module) :]
    examples = tuple((meta_args or {}).get(name, PHBase()) for name in names)
    return _trace(root, concrete_args, examples if meta_args else None)
