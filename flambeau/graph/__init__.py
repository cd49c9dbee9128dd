"""Programs captured from running code, and their compilation."""

from .compiled import compile
from .graphs import (
    Graph,
    graph,
    graph_pool_handle,
    is_current_stream_capturing,
    make_graphed_callables,
)

CUDAGraph = Graph

__all__ = [
    "CUDAGraph",
    "Graph",
    "compile",
    "graph",
    "graph_pool_handle",
    "is_current_stream_capturing",
    "make_graphed_callables",
]
