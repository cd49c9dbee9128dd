"""The graph as users see it: PyTorch's `torch.autograd.graph`."""

from flambeau._base import missing
from flambeau.tensor import graph as _made

GradientEdge = _made.GradientEdge
Node = _made.Node
disable_saved_tensors_hooks = _made.disable_saved_tensors_hooks
get_gradient_edge = _made.get_gradient_edge
increment_version = _made.increment_version
register_multi_grad_hook = _made.register_multi_grad_hook
save_on_cpu = _made.save_on_cpu
saved_tensors_hooks = _made.saved_tensors_hooks
__getattr__ = missing(globals())
__all__ = [
    "GradientEdge", "Node", "disable_saved_tensors_hooks", "get_gradient_edge", "increment_version", "register_multi_grad_hook", "save_on_cpu", "saved_tensors_hooks"]
