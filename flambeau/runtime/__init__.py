"""What touches the machine: compiled code, memory, tensors made natively, threads, matrix products.

Importing this starts nothing. The native names below (`empty`, `wrap`, …) are built-in functions of
the core; the first look-up of one starts it, and later look-ups find them directly.
"""

from typing import Any

from . import lapack
from .batch import Inner, batch_stage
from .blas import gemm_kernel
from .core import (
    Launch,
    Memory,
    Recording,
    Saved,
    Stage,
    bind,
    launcher,
    memory,
    native,
    take_events,
)
from .jit import described, host
from .native import FIXED, GOOD_MIDDLE, GUARD_KINDS, IN_ORDER, IN_WORD, LISTED, MIDDLE
from .order import order_kernel
from .random import Generator, Stream, default_generator
from .repeats import repeats_stage, stage_if, table_size
from .rows import Part, Rows, block_of, rows_stage
from .sequence import Phase, Place, sequence_stage
from .tasks import tasks_stage

_NATIVE = frozenset(
    {
        "Storage",
        "alias",
        "chain",
        "configure_backward",
        "configure_nodes",
        "contents",
        "empty",
        "empty_cache",
        "exchange",
        "foreign",
        "get_num_threads",
        "given",
        "log_events",
        "needs_grad",
        "next_order",
        "put",
        "reset_peak",
        "restore",
        "set_cache_limit",
        "set_num_threads",
        "shift_grad",
        "shift_inference",
        "snapshot",
        "unchanged",
        "watch",
        "wrap",
    }
)


def __getattr__(name: str) -> Any:
    if name not in _NATIVE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(native(), name)
    return value


__all__ = [
    "FIXED",
    "GOOD_MIDDLE",
    "GUARD_KINDS",
    "Generator",
    "Inner",
    "IN_ORDER",
    "IN_WORD",
    "LISTED",
    "Launch",
    "MIDDLE",
    "Memory",
    "Part",
    "Phase",
    "Place",
    "Recording",
    "Rows",
    "Saved",
    "Stage",
    "Stream",
    "batch_stage",
    "bind",
    "block_of",
    "default_generator",
    "described",
    "gemm_kernel",
    "host",
    "lapack",
    "launcher",
    "memory",
    "order_kernel",
    "repeats_stage",
    "rows_stage",
    "sequence_stage",
    "stage_if",
    "table_size",
    "take_events",
    "tasks_stage",
    *sorted(_NATIVE),
]
