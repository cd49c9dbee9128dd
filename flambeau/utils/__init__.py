"""PyTorch's `torch.utils`: only names from elsewhere."""

from flambeau._base import missing

_SUBMODULES = (
    "_pytree",
    "benchmark",
    "checkpoint",
    "collect_env",
    "data",
    "dlpack",
    "flop_counter",
    "hooks",
    "model_zoo",
    "tensorboard",
)
__getattr__ = missing(
    globals(),
    submodules=_SUBMODULES,
    later={"swap_tensors": "flambeau.tensor.swapping"},
)
__all__ = [*_SUBMODULES, "swap_tensors"]
