"""The older names of `torch.amp`: PyTorch's `torch.cpu.amp`."""

from flambeau._base import missing
from flambeau.amp import older

GradScaler, autocast = older.cpu.GradScaler, older.cpu.autocast
__all__ = ["GradScaler", "autocast"]
__getattr__ = missing(globals())
