"""PyTorch's path to the loader."""

from flambeau.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    default_collate,
    default_convert,
    get_worker_info,
)

__all__ = [
    "BatchSampler",
    "DataLoader",
    "Dataset",
    "default_collate",
    "default_convert",
    "get_worker_info",
    "IterableDataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
]
