"""Programs captured from running code, and their compilation."""

from .compiled import compile, cudagraph_mark_step_begin, list_backends, reset, set_stance
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
    "cudagraph_mark_step_begin",
    "graph",
    "graph_pool_handle",
    "is_current_stream_capturing",
    "list_backends",
    "make_graphed_callables",
    "reset",
    "set_stance",
]
