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
from flambeau.data import loader as _iterators

_BaseDataLoaderIter = _iterators.Iterator
_MultiProcessingDataLoaderIter = _iterators.CrewIterator
_SingleProcessDataLoaderIter = _iterators.OwnIterator
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
