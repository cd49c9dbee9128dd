"""The memory of tensors as objects: PyTorch's `torch.storage`."""

from flambeau._base import missing
from flambeau.tensor import TypedStorage, UntypedStorage

__getattr__ = missing(globals())
__all__ = ["TypedStorage", "UntypedStorage"]
