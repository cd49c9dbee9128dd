"""PyTorch's path to the datasets."""

from flambeau.data import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    random_split,
)

__all__ = [
    "ChainDataset",
    "ConcatDataset",
    "Dataset",
    "IterableDataset",
    "random_split",
    "StackDataset",
    "Subset",
    "TensorDataset",
]
