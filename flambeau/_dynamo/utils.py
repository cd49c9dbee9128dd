"""PyTorch's path to small questions about compiling."""

from flambeau._base import missing
from flambeau.graph import is_compile_supported

__getattr__ = missing(globals())
__all__ = ["is_compile_supported"]
