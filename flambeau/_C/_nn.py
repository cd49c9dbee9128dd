"""PyTorch's `torch._C._nn`: the ops of `torch.nn.functional`."""

from flambeau._base import missing
from flambeau.tensor import public as _public

__getattr__ = missing(globals(), find=_public("nn"))
