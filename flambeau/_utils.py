"""PyTorch's path to what distributed training joins gradients with."""

from flambeau._base import missing
from flambeau.tensor import flatten_dense_tensors as _flatten_dense_tensors
from flambeau.tensor import unflatten_dense_tensors as _unflatten_dense_tensors

__getattr__ = missing(globals())
__all__ = ["_flatten_dense_tensors", "_unflatten_dense_tensors"]
