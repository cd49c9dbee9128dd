"""CUDA devices: PyTorch's `torch.cuda`. None is there."""

from flambeau._base import missing
from flambeau.tensor import device_count, is_available, manual_seed_all, synchronize

__all__ = ["device_count", "is_available", "manual_seed_all", "synchronize"]
_GRAPHS = (
    "CUDAGraph",
    "graph",
    "graph_pool_handle",
    "is_current_stream_capturing",
    "make_graphed_callables",
)
__getattr__ = missing(globals(), later=dict.fromkeys(_GRAPHS, "flambeau.graph"))
