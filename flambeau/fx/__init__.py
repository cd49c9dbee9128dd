"""Programs as data: recorded, changed, printed, run. PyTorch's `torch.fx`."""

from flambeau._base import missing

from . import control, immutable_collections, operator_schemas, traceback
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
from .subgraph_rewriter import replace_pattern
from .tensor_type import Dyn, TensorType

__getattr__ = missing(globals(), submodules=("experimental", "passes"))
__all__ = [
    "PH",
    "CodeGen",
    "Dyn",
    "Graph",
    "GraphModule",
    "Interpreter",
    "Node",
    "Proxy",
    "ProxyableClassMeta",
    "TensorType",
    "Tracer",
    "Transformer",
    "control",
    "has_side_effect",
    "immutable_collections",
    "is_fx_tracing",
    "map_arg",
    "operator_schemas",
    "replace_pattern",
    "symbolic_trace",
    "traceback",
    "wrap",
]
