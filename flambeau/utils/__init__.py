"""PyTorch's `torch.utils`: only names from elsewhere."""

from flambeau._base import missing

__getattr__ = missing(
    globals(), submodules=("_pytree", "checkpoint", "data", "dlpack", "tensorboard")
)
__all__ = ["checkpoint", "data", "dlpack", "tensorboard"]
