"""The native core as text, in the small language of `words`."""

from importlib import import_module

from .allocator import ALLOCATOR
from .backward import BACKWARD
from .launch import HEAD, KINDS, LAUNCH
from .pool import POOL
from .products import PRODUCTS, ROUTINES
from .python import PYTHON
from .record import RECORD
from .rows import ROWS
from .samplers import SAMPLERS
from .sorting import FIXED, GOOD_MIDDLE, MIDDLE, SORTING
from .sorting import KERNELS as ORDER
from .tensors import TENSORS
from .twister import FUNCTIONS, TWISTER

CORE = "\n".join((PYTHON, ALLOCATOR, POOL, TENSORS, RECORD, BACKWARD, ROWS, LAUNCH))


def translate(source: str, exports: list[str]) -> str:
    """LLVM text of a unit in words: see `words`."""
    # The translator needs Python's parser, which costs time; it runs only where the cache is empty.
    text: str = import_module(".words", __name__).translate(source, exports)
    return text


__all__ = [
    "CORE",
    "FIXED",
    "FUNCTIONS",
    "GOOD_MIDDLE",
    "HEAD",
    "KINDS",
    "MIDDLE",
    "ORDER",
    "PRODUCTS",
    "ROUTINES",
    "SAMPLERS",
    "SORTING",
    "TWISTER",
    "translate",
]
