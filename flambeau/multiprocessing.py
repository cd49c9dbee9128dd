"""Python's `multiprocessing`, through whose queues and pipes tensors go as shared memory: PyTorch's
`torch.multiprocessing`.
"""

import multiprocessing as _multiprocessing
from multiprocessing import *  # noqa: F403

from flambeau._base import missing
from flambeau.processes import (
    ProcessContext,
    ProcessExitedException,
    ProcessRaisedException,
    SpawnContext,
    get_all_sharing_strategies,
    get_sharing_strategy,
    init_reductions,
    set_sharing_strategy,
    spawn,
    start_processes,
)

init_reductions()
__getattr__ = missing(globals())
__all__ = [
    *_multiprocessing.__all__,
    "ProcessContext",
    "ProcessExitedException",
    "ProcessRaisedException",
    "SpawnContext",
    "get_all_sharing_strategies",
    "get_sharing_strategy",
    "set_sharing_strategy",
    "spawn",
    "start_processes",
]
