"""Datasets: where samples come from, and ways to join and divide them."""

import bisect
import itertools
import math
import warnings
from typing import Any

from flambeau.runtime import default_generator

from .tensors import as_tensor


class Dataset:
    """A map from keys, mostly the integers from 0, to samples.

    A subclass defines ``__getitem__`` and mostly ``__len__``. It may define ``__getitems__``, which
    takes a list of keys and returns the list of samples, where that is faster than one at a time.
    """

    def __class_getitem__(cls, item):
        return cls  # Dataset[tuple[Tensor, int]] is for type checkers

    def __getitem__(self, index) -> Any:
        raise NotImplementedError("Subclasses of Dataset should implement __getitem__.")

    def __add__(self, other):
        return ConcatDataset([self, other])


class IterableDataset(Dataset):
    """A stream of samples: a subclass defines ``__iter__``.

    With workers, each has its own copy and iterates over all of it, unless ``__iter__`` asks
    `get_worker_info` which part is its own.
    """

    def __iter__(self):
        raise NotImplementedError("Subclasses of IterableDataset should implement __iter__.")

    def __add__(self, other):
        return ChainDataset([self, other])


class TensorDataset(Dataset):
    """Samples are the tuples of rows of `tensors`, whose first dimensions are equal."""

    def __init__(self, *tensors):
        if any(tensors[0].size(0) != tensor.size(0) for tensor in tensors):
            raise AssertionError("Size mismatch between tensors")
        self.tensors = tensors

    def __getitem__(self, index):
        return tuple(tensor[index] for tensor in self.tensors)

    def __len__(self):
        return self.tensors[0].size(0)

    def batch(self, indices: list) -> list:
        """The samples at `indices` as one tensor per field: what collating them one by one gives,
        sooner.
        """
        rows = as_tensor(indices)
        return [tensor[rows] for tensor in self.tensors]


class StackDataset(Dataset):
    """Samples are tuples, or dicts where the datasets are given by keyword, of one sample of each
    dataset.
    """

    def __init__(self, *args, **kwargs):
        if args and kwargs:
            raise ValueError(
                "Supported either ``tuple``- (via ``args``) or``dict``- (via ``kwargs``) like "
                "input/output, but both types are given."
            )
        self.datasets = kwargs or args
        if not self.datasets:
            raise ValueError("At least one dataset should be passed")
        members = self._members()
        self._length = len(members[0])
        if any(len(dataset) != self._length for dataset in members):
            raise ValueError("Size mismatch between datasets")

    def _members(self):
        return (
            list(self.datasets.values()) if isinstance(self.datasets, dict) else list(self.datasets)
        )

    def _joined(self, fields):
        """A sample out of one value of each dataset."""
        if isinstance(self.datasets, dict):
            return dict(zip(self.datasets, fields, strict=True))
        return tuple(fields)

    def __getitem__(self, index):
        return self._joined([dataset[index] for dataset in self._members()])

    def __getitems__(self, indices):
        columns = []
        for dataset in self._members():
            column = samples_at(dataset, indices)
            if len(column) != len(indices):
                raise ValueError(
                    f"Nested dataset's output size mismatch. Expected {len(indices)}, got "
                    f"{len(column)}"
                )
            columns.append(column)
        return [self._joined(fields) for fields in zip(*columns, strict=True)]

    def __len__(self):
        return self._length


class ConcatDataset(Dataset):
    """The samples of one dataset after those of another."""

    def __init__(self, datasets):
        self.datasets = list(datasets)
        if not self.datasets:
            raise AssertionError("datasets should not be an empty iterable")
        if any(isinstance(dataset, IterableDataset) for dataset in self.datasets):
            raise AssertionError("ConcatDataset does not support IterableDataset")
        self.cumulative_sizes = list(
            itertools.accumulate(len(dataset) for dataset in self.datasets)
        )

    def __len__(self):
        return self.cumulative_sizes[-1]

    def __getitem__(self, index):
        if index < 0:
            if -index > len(self):
                raise ValueError("absolute value of index should not exceed dataset length")
            index += len(self)
        which = bisect.bisect_right(self.cumulative_sizes, index)
        before = self.cumulative_sizes[which - 1] if which else 0
        return self.datasets[which][index - before]


class ChainDataset(IterableDataset):
    """The samples of one stream after those of another."""

    def __init__(self, datasets):
        self.datasets = datasets

    def _checked(self):
        for dataset in self.datasets:
            if not isinstance(dataset, IterableDataset):
                raise AssertionError("ChainDataset only supports IterableDataset")
            yield dataset

    def __iter__(self):
        for dataset in self._checked():
            yield from dataset

    def __len__(self):
        return sum(len(dataset) for dataset in self._checked())


class Subset(Dataset):
    """The samples of `dataset` at `indices`."""

    def __init__(self, dataset, indices):
        self.dataset, self.indices = dataset, indices

    def __getitem__(self, index):
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices):
        return samples_at(self.dataset, [self.indices[i] for i in indices])

    def __len__(self):
        return len(self.indices)


def samples_at(dataset, indices: list) -> list:
    """The samples at `indices`, by the dataset's ``__getitems__`` where it has one."""
    many = getattr(dataset, "__getitems__", None)
    if callable(many):
        return many(indices)
    return [dataset[index] for index in indices]


def random_split(dataset, lengths, generator=default_generator) -> list[Subset]:
    """`dataset` divided at random into subsets of these `lengths`, or of these fractions of it,
    which add up to 1.

    What rounding down leaves over goes to the first subsets, one sample each.
    """
    if math.isclose(sum(lengths), 1) and sum(lengths) <= 1:
        lengths = _lengths_of_fractions(len(dataset), lengths)
    if sum(lengths) != len(dataset):
        raise ValueError("Sum of input lengths does not equal the length of the input dataset!")
    generator = default_generator if generator is None else generator
    indices = generator.stream.permutation(len(dataset)).tolist()
    ends = list(itertools.accumulate(lengths))
    return [
        Subset(dataset, indices[end - length : end])
        for end, length in zip(ends, lengths, strict=True)
    ]


def _lengths_of_fractions(total, fractions):
    lengths = []
    for place, fraction in enumerate(fractions):
        if not 0 <= fraction <= 1:
            raise ValueError(f"Fraction at index {place} is not between 0 and 1")
        lengths.append(math.floor(total * fraction))
    for extra in range(total - sum(lengths)):
        lengths[extra % len(lengths)] += 1
    for place, length in enumerate(lengths):
        if length == 0:
            warnings.warn(
                f"Length of split at index {place} is 0. This might result in an empty dataset.",
                stacklevel=3,
            )
    return lengths
