"""Saving and loading: PyTorch's `torch.serialization`, and safetensors."""

from flambeau._base import missing
from flambeau.files import (
    FILE_LIKE,
    MAP_LOCATION,
    add_safe_globals,
    clear_safe_globals,
    default_restore_location,
    get_safe_globals,
    get_unsafe_globals_in_checkpoint,
    load,
    load_safetensors,
    location_tag,
    register_package,
    safe_globals,
    save,
    save_safetensors,
)

__getattr__ = missing(globals())
__all__ = [
    "FILE_LIKE",
    "MAP_LOCATION",
    "add_safe_globals",
    "clear_safe_globals",
    "default_restore_location",
    "get_safe_globals",
    "get_unsafe_globals_in_checkpoint",
    "load",
    "load_safetensors",
    "location_tag",
    "register_package",
    "safe_globals",
    "save",
    "save_safetensors",
]
