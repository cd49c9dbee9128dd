"""Intel's graphics processors: PyTorch's `torch.xpu`. They are not used."""

from flambeau._base import absent as _absent
from flambeau._base import missing
from flambeau.tensor import accelerator as _made

is_available, device_count, empty_cache = (
    _absent.is_available,
    _made.device_count,
    _made.empty_cache,
)
manual_seed = _made.manual_seed
__getattr__ = missing(globals())
__all__ = ["device_count", "empty_cache", "is_available", "manual_seed"]
