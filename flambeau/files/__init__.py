"""Files: PyTorch's zip format, written atomically and read without running code."""

from .archive import load, save
from .pickled import add_safe_globals, clear_safe_globals, get_safe_globals, safe_globals

__all__ = [
    "add_safe_globals",
    "clear_safe_globals",
    "get_safe_globals",
    "load",
    "safe_globals",
    "save",
]
