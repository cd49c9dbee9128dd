"""The preferred device beside the CPU: PyTorch's `torch.accelerator`. None is there."""

from flambeau._base import missing
from flambeau.tensor import accelerator as _made

current_accelerator, device_count = _made.current_accelerator, _made.device_count
is_available, synchronize = _made.is_available, _made.synchronize
__getattr__ = missing(globals(), later={"Graph": "flambeau.graph"})
__all__ = ["current_accelerator", "device_count", "is_available", "synchronize"]
