"""CUDA devices: PyTorch's `torch.cuda`. None is there."""

from flambeau._base import absent as _absent
from flambeau._base import missing
from flambeau.tensor import accelerator as _made

is_initialized = is_bf16_supported = _absent.is_initialized
is_available, device_count, current_device = (
    _made.is_available,
    _made.device_count,
    _made.synchronize,
)
empty_cache = ipc_collect = _made.empty_cache
manual_seed, manual_seed_all = _made.manual_seed, _made.manual_seed_all
max_memory_allocated = max_memory_reserved = memory_reserved = _made.memory_allocated
memory_allocated, synchronize = _made.memory_allocated, _made.synchronize
Event = ExternalStream = Stream = device = _made.Absent
get_device_capability = get_device_name = get_device_properties = set_device = _made.synchronize
default_generators = ()
_GRAPHS = (
    "CUDAGraph",
    "graph",
    "graph_pool_handle",
    "is_current_stream_capturing",
    "make_graphed_callables",
)
__getattr__ = missing(
    globals(), submodules=("amp",), later=dict.fromkeys(_GRAPHS, "flambeau.graph")
)
__all__ = [
    "Event",
    "ExternalStream",
    "Stream",
    "current_device",
    "default_generators",
    "device",
    "device_count",
    "empty_cache",
    "get_device_capability",
    "get_device_name",
    "get_device_properties",
    "ipc_collect",
    "is_available",
    "is_bf16_supported",
    "is_initialized",
    "manual_seed",
    "manual_seed_all",
    "max_memory_allocated",
    "max_memory_reserved",
    "memory_allocated",
    "memory_reserved",
    "set_device",
    "synchronize",
]
