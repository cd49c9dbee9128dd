"""The native core as text, in the small language of `words`."""

from importlib import import_module
from typing import Any

from .allocator import ALLOCATOR
from .backward import BACKWARD
from .launch import HEAD, KINDS, LAUNCH
from .pool import POOL
from .products import PRODUCTS, ROUTINES
from .python import PYTHON
from .record import RECORD
from .rows import ROWS
from .tensors import TENSORS

CORE = "\n".join((PYTHON, ALLOCATOR, POOL, TENSORS, RECORD, BACKWARD, ROWS, LAUNCH))


def __getattr__(name: str) -> Any:
    # The translator needs Python's parser, which costs time; it runs only where the cache is empty.
    if name != "translate":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(".words", __name__).translate


__all__ = ["CORE", "HEAD", "KINDS", "PRODUCTS", "ROUTINES", "translate"]
