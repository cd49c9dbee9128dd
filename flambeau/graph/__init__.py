"""Programs captured from running code, and their compilation."""

from .artifacts import load_cache_artifacts, save_cache_artifacts
from .compiled import reset, set_stance
from .front import compile, cudagraph_mark_step_begin, is_compile_supported, list_backends
from .graphs import (
    Graph,
    graph,
    graph_pool_handle,
    is_current_stream_capturing,
    make_graphed_callables,
)
from .library import load_compiled_function
from .limits import config

CUDAGraph = Graph

__all__ = [
    "CUDAGraph",
    "Graph",
    "compile",
    "config",
    "cudagraph_mark_step_begin",
    "graph",
    "graph_pool_handle",
    "is_compile_supported",
    "is_current_stream_capturing",
    "list_backends",
    "load_cache_artifacts",
    "load_compiled_function",
    "make_graphed_callables",
    "reset",
    "save_cache_artifacts",
    "set_stance",
]
