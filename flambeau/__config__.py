"""What flambeau is built on: PyTorch's `torch.__config__`."""

from flambeau._base import missing
from flambeau.runtime import described as show

__getattr__ = missing(globals())
__all__ = ["show"]
