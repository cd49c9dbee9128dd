"""The native core as text, in the small language of `words`."""

from importlib import import_module

from .allocator import ALLOCATOR
from .backward import BACKWARD
from .batch import BATCH
from .counting import COUNTING, IN_ORDER, IN_WORD, LISTED
from .counting import KERNELS as COUNTS
from .guard import GUARD, GUARD_KINDS
from .launch import HEAD, KINDS, LAUNCH
from .pool import POOL
from .products import PRODUCTS, ROUTINES
from .python import PYTHON
from .record import RECORD
from .repeats import REPEATS
from .rows import ROWS
from .samplers import SAMPLERS
from .sequence import SEQUENCE
from .sorting import FIXED, GOOD_MIDDLE, MIDDLE, SORTING
from .sorting import KERNELS as ORDER
from .tasks import TASKS
from .tensors import TENSORS
from .twister import FUNCTIONS, STAGES, TWISTER

CORE = "\n".join(
    (
        PYTHON, ALLOCATOR, POOL, TENSORS, RECORD, BACKWARD, ROWS, BATCH, SEQUENCE, TASKS, REPEATS,
        GUARD, LAUNCH,
    )
)  # fmt: skip


def translate(source: str, exports: list[str]) -> str:
    """LLVM text of a unit in words: see `words`."""
    # The translator needs Python's parser, which costs time; it runs only where the cache is empty.
    text: str = import_module(".words", __name__).translate(source, exports)
    return text


__all__ = [
    "CORE",
    "COUNTING",
    "COUNTS",
    "FIXED",
    "FUNCTIONS",
    "GOOD_MIDDLE",
    "GUARD_KINDS",
    "HEAD",
    "IN_ORDER",
    "IN_WORD",
    "KINDS",
    "LISTED",
    "MIDDLE",
    "ORDER",
    "PRODUCTS",
    "ROUTINES",
    "SAMPLERS",
    "SORTING",
    "STAGES",
    "TWISTER",
    "translate",
]
