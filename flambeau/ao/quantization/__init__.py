"""What there is of PyTorch's `torch.ao.quantization`: the marks in models."""

from flambeau._base import missing
from flambeau.nn.modules import stubs as _made

DeQuantStub, QuantStub = _made.DeQuantStub, _made.QuantStub
__getattr__ = missing(globals())
__all__ = ["DeQuantStub", "QuantStub"]
