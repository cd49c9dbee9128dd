"""Mixed precision: autocast, and the scaling of gradients that float16 needs."""

from flambeau._base import missing

from . import autocast_mode, grad_scaler, older
from .autocast_mode import autocast, custom_bwd, custom_fwd, is_autocast_available
from .grad_scaler import GradScaler

__all__ = [
    "GradScaler",
    "autocast",
    "autocast_mode",
    "custom_bwd",
    "custom_fwd",
    "grad_scaler",
    "is_autocast_available",
    "older",
]
__getattr__ = missing(globals())
