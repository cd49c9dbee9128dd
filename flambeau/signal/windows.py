"""Window functions: PyTorch's `torch.signal.windows`."""

from flambeau._base import missing as _missing
from flambeau.tensor import signal as _made

globals().update({name: getattr(_made, name) for name in _made.__all__})
__getattr__ = _missing(globals())
__all__ = [*_made.__all__]
