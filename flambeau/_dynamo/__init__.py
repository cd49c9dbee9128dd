"""What programs ask of PyTorch's `torch._dynamo`: it is `torch.compiler` here."""

from flambeau._base import annotations, missing
from flambeau.graph import config, reset

allow_in_graph = assume_constant_result = annotations.unchanged
disable, graph_break, is_compiling = (
    annotations.disable,
    annotations.graph_break,
    annotations.is_compiling,
)
__getattr__ = missing(globals(), submodules=("utils",))
__all__ = [
    "allow_in_graph",
    "assume_constant_result",
    "config",
    "disable",
    "graph_break",
    "is_compiling",
    "reset",
]
