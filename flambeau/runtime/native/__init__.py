"""The native core as text, in the small language of `words`."""

from .allocator import ALLOCATOR
from .launch import HEAD, KINDS, LAUNCH
from .pool import POOL
from .products import PRODUCTS, ROUTINES
from .python import PYTHON
from .tensors import TENSORS
from .words import translate

CORE = "\n".join((PYTHON, ALLOCATOR, POOL, TENSORS, LAUNCH))

__all__ = ["CORE", "HEAD", "KINDS", "PRODUCTS", "ROUTINES", "translate"]
