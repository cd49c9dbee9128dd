"""PyTorch's path to what the rules of packages for ONNX are declared with."""

from flambeau._base import absent as _absent
from flambeau._base import missing

parse_args = _absent.parse_args
__getattr__ = missing(globals())
__all__ = ["parse_args"]
