"""Whether processes can be joined to groups: what there is of PyTorch's `torch.distributed`."""

from flambeau._base import absent as _absent
from flambeau._base import missing

is_available, is_initialized = _absent.is_available, _absent.is_initialized
is_gloo_available = is_mpi_available = is_nccl_available = _absent.is_available
is_torchelastic_launched = _absent.is_initialized
__getattr__ = missing(globals())
__all__ = [
    "is_available",
    "is_gloo_available",
    "is_initialized",
    "is_mpi_available",
    "is_nccl_available",
    "is_torchelastic_launched",
]
