"""The older names of `torch.amp`: PyTorch's `torch.cuda.amp`."""

from flambeau._base import missing
from flambeau.amp import older

GradScaler, autocast = older.cuda.GradScaler, older.cuda.autocast
custom_bwd, custom_fwd = older.cuda.custom_bwd, older.cuda.custom_fwd
__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd"]
__getattr__ = missing(globals(), submodules=("autocast_mode", "grad_scaler"))
