"""The preferred device beside the CPU: PyTorch's `torch.accelerator`. None is there."""

from flambeau._base import missing
from flambeau.tensor import current_accelerator, device_count, is_available, synchronize

__all__ = ["current_accelerator", "device_count", "is_available", "synchronize"]
__getattr__ = missing(globals(), later={"Graph": "flambeau.graph"})
