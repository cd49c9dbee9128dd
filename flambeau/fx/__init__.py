"""Programs as data: recorded, changed, printed, run. PyTorch's `torch.fx`."""

from ._symbolic_trace import (
    PH,
    ProxyableClassMeta,
    Tracer,
    is_fx_tracing,
    symbolic_trace,
    wrap,
)
from .graph import CodeGen, Graph
from .graph_module import GraphModule
from .interpreter import Interpreter, Transformer
from .node import Node, has_side_effect, map_arg
from .proxy import Proxy

__all__ = [
    "PH",
    "CodeGen",
    "Graph",
    "GraphModule",
    "Interpreter",
    "Node",
    "Proxy",
    "ProxyableClassMeta",
    "Tracer",
    "Transformer",
    "has_side_effect",
    "is_fx_tracing",
    "map_arg",
    "symbolic_trace",
    "wrap",
]
