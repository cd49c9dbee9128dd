"""Data pipes whose samples have keys: PyTorch's `torch.utils.data.datapipes.map`."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterator
from copy import deepcopy as copied
from typing import Any

from .pipes import DataChunk, MapDataPipe, Shuffling, functional_datapipe


class SequenceWrapper(MapDataPipe):
    """The samples of a sequence or a dict, of a copy unless `deepcopy` is False."""

    def __init__(self, sequence: Any, deepcopy: bool = True) -> None:
        self.sequence = copied(sequence) if deepcopy else sequence

    def __getitem__(self, index: Any) -> Any:
        return self.sequence[index]

    def __len__(self) -> int:
        return len(self.sequence)


@functional_datapipe("map")
class Mapper(MapDataPipe):
    """Each sample as `fn` makes it."""

    def __init__(self, datapipe: Any, fn: Callable) -> None:
        self.datapipe, self.fn = datapipe, fn

    def __getitem__(self, index: Any) -> Any:
        return self.fn(self.datapipe[index])

    def __len__(self) -> int:
        return len(self.datapipe)


@functional_datapipe("batch")
class Batcher(MapDataPipe):
    """Lists of `batch_size` samples; the last may have fewer, or is left out."""

    def __init__(
        self,
        datapipe: Any,
        batch_size: int,
        drop_last: bool = False,
        wrapper_class: type = DataChunk,
    ) -> None:
        if batch_size <= 0:
            raise AssertionError("Batch size is required to be larger than 0!")
        self.datapipe, self.batch_size = datapipe, batch_size
        self.drop_last, self.wrapper_class = drop_last, wrapper_class

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(f"Index {index} is out of bound.")
        start = index * self.batch_size
        stop = min(start + self.batch_size, len(self.datapipe))
        return self.wrapper_class([self.datapipe[place] for place in range(start, stop)])

    def __len__(self) -> int:
        count, size = len(self.datapipe), self.batch_size
        return count // size if self.drop_last else -(-count // size)


class _Several(MapDataPipe):
    """A step over several pipes."""

    def __init__(self, *datapipes: Any) -> None:
        if not datapipes:
            raise ValueError(
                f"Expected at least one DataPipe to {type(self).__name__}, but got nothing"
            )
        self.datapipes = datapipes


@functional_datapipe("concat")
class Concater(_Several):
    """The samples of one pipe after those of the other."""

    def __getitem__(self, index: int) -> Any:
        ends = list(itertools.accumulate(map(len, self.datapipes)))
        if not 0 <= index < ends[-1]:
            raise IndexError(f"Index {index} is out of range.")
        number = bisect.bisect_right(ends, index)
        return self.datapipes[number][index - (ends[number - 1] if number else 0)]

    def __len__(self) -> int:
        return sum(map(len, self.datapipes))


@functional_datapipe("zip")
class Zipper(_Several):
    """Tuples of a sample of each pipe."""

    def __getitem__(self, index: Any) -> tuple:
        return tuple(pipe[index] for pipe in self.datapipes)

    def __len__(self) -> int:
        return min(map(len, self.datapipes))


class Shuffler(Shuffling):
    """The samples in random order: those at `indices`, or at 0, 1, …"""

    def __init__(self, datapipe: Any, *, indices: list | None = None) -> None:
        super().__init__(datapipe)
        self.indices = list(range(len(datapipe))) if indices is None else indices

    def __iter__(self) -> Iterator:
        order = list(self.indices)
        if self._enabled:
            order = self.drawn().sample(order, len(order))[::-1]
        for index in order:
            yield self.datapipe[index]


MapDataPipe.register_function("shuffle", Shuffler)
__all__ = ["Batcher", "Concater", "Mapper", "SequenceWrapper", "Shuffler", "Zipper"]
