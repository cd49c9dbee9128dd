"""What packages ask of PyTorch's `torch.onnx` when they are imported: there is no export yet."""

from flambeau._base import absent as _absent
from flambeau._base import missing

is_in_onnx_export = _absent.is_initialized
register_custom_op_symbolic = _absent.register_symbolic
__getattr__ = missing(globals(), submodules=("symbolic_helper", "symbolic_opset11"))
__all__ = ["is_in_onnx_export", "register_custom_op_symbolic"]
