"""Files: PyTorch's formats, written in one step and read without running code; safetensors."""

from . import hub
from .allowed import add_safe_globals, clear_safe_globals, get_safe_globals, safe_globals
from .location import (
    FILE_LIKE,
    MAP_LOCATION,
    default_restore_location,
    location_tag,
    register_package,
)
from .safe import load_safetensors, save_safetensors
from .serialization import get_unsafe_globals_in_checkpoint, load, save

__all__ = [
    "FILE_LIKE",
    "MAP_LOCATION",
    "add_safe_globals",
    "clear_safe_globals",
    "default_restore_location",
    "get_safe_globals",
    "get_unsafe_globals_in_checkpoint",
    "hub",
    "load",
    "load_safetensors",
    "location_tag",
    "register_package",
    "safe_globals",
    "save",
    "save_safetensors",
]
