"""What the processor can: PyTorch's `torch.backends.cpu`."""

from flambeau._base import missing
from flambeau.tensor import accelerator as _made

get_cpu_capability = _made.get_cpu_capability
__getattr__ = missing(globals())
__all__ = ["get_cpu_capability"]
