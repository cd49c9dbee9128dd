"""Forward mode: PyTorch's `torch.autograd.forward_ad`."""

from flambeau._base import missing
from flambeau.tensor import forward as _made

UnpackedDualTensor = _made.UnpackedDualTensor
dual_level = _made.dual_level
enter_dual_level = _made.enter_dual_level
exit_dual_level = _made.exit_dual_level
make_dual = _made.make_dual
unpack_dual = _made.unpack_dual
__getattr__ = missing(globals())
__all__ = [
    "UnpackedDualTensor",
    "dual_level",
    "enter_dual_level",
    "exit_dual_level",
    "make_dual",
    "unpack_dual",
]
