"""Activation checkpointing: PyTorch's `torch.utils.checkpoint`."""

from flambeau._base import missing
from flambeau.tensor import checkpoint as _made

CheckpointError, CheckpointFunction = _made.CheckpointError, _made.CheckpointFunction
check_backward_validity, detach_variable = _made.check_backward_validity, _made.detach_variable
checkpoint, checkpoint_sequential = _made.checkpoint, _made.checkpoint_sequential
noop_context_fn = _made.noop_context_fn
set_checkpoint_debug_enabled = _made.set_checkpoint_debug_enabled
set_checkpoint_early_stop = _made.set_checkpoint_early_stop
__getattr__ = missing(globals())
__all__ = [
    "CheckpointError",
    "CheckpointFunction",
    "check_backward_validity",
    "checkpoint",
    "checkpoint_sequential",
    "detach_variable",
    "noop_context_fn",
    "set_checkpoint_debug_enabled",
    "set_checkpoint_early_stop",
]
