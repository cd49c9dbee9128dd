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
Event = ExternalStream = device = _made.Absent
# Graphs are captured on the CPU as well, and recipes for that have streams.
Stream, StreamContext, stream = _made.Stream, _made.Stream, _made.stream
current_stream = default_stream = _made.current_stream
get_device_capability = get_device_name = get_device_properties = set_device = _made.synchronize
BFloat16Tensor = BoolTensor = ByteTensor = CharTensor = DoubleTensor = FloatTensor = _made.Absent
HalfTensor = IntTensor = LongTensor = ShortTensor = _made.Absent
AcceleratorError, OutOfMemoryError = _made.AcceleratorError, _made.OutOfMemoryError
get_rng_state_all, set_rng_state_all = _made.get_rng_state_all, _made.set_rng_state_all
seed = seed_all = _made.seed_all
memory_stats = _made.memory_stats
reset_accumulated_memory_stats = reset_peak_memory_stats = _made.reset_memory_stats
reset_max_memory_allocated = reset_max_memory_cached = _made.reset_memory_stats
mem_get_info = _made.synchronize
is_tf32_supported = _absent.is_available
default_generators = ()
_GRAPHS = (
    "CUDAGraph",
    "graph",
    "graph_pool_handle",
    "is_current_stream_capturing",
    "make_graphed_callables",
)
__getattr__ = missing(
    globals(), submodules=("amp", "graphs"), later=dict.fromkeys(_GRAPHS, "flambeau.graph")
)
__all__ = [
    "AcceleratorError",
    "BFloat16Tensor",
    "BoolTensor",
    "ByteTensor",
    "CharTensor",
    "DoubleTensor",
    "Event",
    "ExternalStream",
    "FloatTensor",
    "HalfTensor",
    "IntTensor",
    "LongTensor",
    "OutOfMemoryError",
    "ShortTensor",
    "Stream",
    "StreamContext",
    "current_device",
    "current_stream",
    "default_stream",
    "default_generators",
    "device",
    "device_count",
    "empty_cache",
    "get_device_capability",
    "get_device_name",
    "get_device_properties",
    "get_rng_state_all",
    "ipc_collect",
    "is_available",
    "is_bf16_supported",
    "is_initialized",
    "is_tf32_supported",
    "manual_seed",
    "manual_seed_all",
    "max_memory_allocated",
    "max_memory_reserved",
    "mem_get_info",
    "memory_allocated",
    "memory_reserved",
    "memory_stats",
    "reset_accumulated_memory_stats",
    "reset_max_memory_allocated",
    "reset_max_memory_cached",
    "reset_peak_memory_stats",
    "seed",
    "seed_all",
    "set_device",
    "set_rng_state_all",
    "stream",
    "synchronize",
]
