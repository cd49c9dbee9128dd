"""The types of results with names: PyTorch's `torch.return_types`."""

from flambeau._base import missing
from flambeau.ops import result_type_of

__getattr__ = missing(globals(), find=result_type_of)
__all__: list[str] = []
