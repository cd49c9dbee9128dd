"""PyTorch's path to what a worker knows."""

from flambeau.data import (
    WorkerInfo,
    get_worker_info,
)

__all__ = [
    "get_worker_info",
    "WorkerInfo",
]
