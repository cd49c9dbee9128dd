"""What a worker process knows about itself."""

from typing import Any, NamedTuple


class WorkerInfo(NamedTuple):
    """A worker's number, out of how many, the seed it started from, and its own copy of the
    dataset.
    """

    id: int
    num_workers: int
    seed: int
    dataset: Any


_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """The `WorkerInfo` of this worker process; None in the main process."""
    return _info


def become(info: WorkerInfo) -> None:
    """Make this process the worker that `info` describes."""
    global _info
    _info = info
