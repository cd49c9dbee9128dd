"""PyTorch's `torch.cuda.amp.autocast_mode`."""

from flambeau.amp import older

autocast = older.cuda.autocast
custom_bwd, custom_fwd = older.cuda.custom_bwd, older.cuda.custom_fwd
__all__ = ["autocast", "custom_bwd", "custom_fwd"]
