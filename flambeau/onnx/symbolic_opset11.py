"""PyTorch's path to its rules for ONNX, of which there are none here."""

from flambeau._base import missing

__getattr__ = missing(globals())
__all__: list[str] = []
