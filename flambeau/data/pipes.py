"""Chains of steps over samples: PyTorch's data pipes.

A step is a class; its functional form, such as ``.map(f)``, is a method of every pipe. Each
iteration of a pipe starts anew and is independent of others.
"""

from __future__ import annotations

import fnmatch
import functools
import itertools
import os
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy as copied
from copy import deepcopy
from typing import Any, ClassVar

from flambeau.tensor import PUBLIC

from .collate import default_collate
from .dataset import Dataset, IterableDataset
from .info import get_worker_info
from .sampler import SequentialSampler


class _Forms:
    """Gives a class of pipes the functional forms that were registered for it."""

    functions: ClassVar[dict[str, Callable]]

    def __getattr__(self, name: str) -> Any:
        if name in type(self).functions:
            return functools.partial(type(self).functions[name], self)
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    @classmethod
    def register_function(cls, name: str, function: Callable) -> None:
        """Makes ``pipe.name(…)`` stand for ``function(pipe, …)``."""
        cls.functions[name] = function

    @classmethod
    def register_datapipe_as_function(cls, name: str, made: Callable, **_: Any) -> None:
        """Makes ``pipe.name(…)`` stand for a step behind the pipe. ValueError if it is taken."""
        if name in cls.functions:
            raise ValueError(f"Unable to add DataPipe function name {name} as it is already taken")
        cls.functions[name] = made

    def __repr__(self) -> str:
        return type(self).__qualname__

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__


class IterDataPipe(_Forms, IterableDataset):
    """A pipe that gives samples one after the other: subclasses have ``__iter__``."""

    functions: ClassVar[dict[str, Callable]] = {}

    def __len__(self) -> int:
        raise TypeError(f"{type(self).__name__} instance doesn't have valid length")


class MapDataPipe(_Forms, Dataset):
    """A pipe whose samples have keys: subclasses have ``__getitem__`` and ``__len__``."""

    functions: ClassVar[dict[str, Callable]] = {}

    def __len__(self) -> int:
        raise TypeError(f"{type(self).__name__} instance doesn't have valid length")


class functional_datapipe:
    """Decorator of a class of pipes: gives it a functional form."""

    def __init__(self, name: str, enable_df_api_tracing: bool = False) -> None:
        self.name = name

    def __call__(self, cls: type) -> type:
        kind = MapDataPipe if issubclass(cls, MapDataPipe) else IterDataPipe
        kind.register_datapipe_as_function(self.name, cls)
        return cls


class DataChunk(list):
    """A batch of samples: a list that prints as such."""

    def __init__(self, items: Iterable) -> None:
        super().__init__(items)
        self.items = list(self)

    def raw_iterator(self) -> Iterator:
        """The samples themselves."""
        return iter(self.items)


class IterableWrapper(IterDataPipe):
    """The samples of an iterable, of a copy for each iteration unless `deepcopy` is False."""

    def __init__(self, iterable: Any, deepcopy: bool = True) -> None:
        self.iterable, self.deepcopy = iterable, deepcopy

    def __iter__(self) -> Iterator:
        yield from deepcopy(self.iterable) if self.deepcopy else self.iterable

    def __len__(self) -> int:
        return len(self.iterable)


def _applied(function: Callable, sample: Any, input_col: Any, output_col: Any) -> Any:
    """The sample with what `function` makes of its columns."""
    if input_col is None:
        return function(sample)
    several = isinstance(input_col, list | tuple)
    result = function(*(sample[c] for c in input_col)) if several else function(sample[input_col])
    kind, made = type(sample), list(sample) if isinstance(sample, tuple) else sample
    if output_col is None:
        made[input_col[0] if several else input_col] = result
        for column in sorted(input_col[1:], reverse=True) if several else ():
            del made[column]
    elif output_col == -1:
        made.append(result)
    else:
        made[output_col] = result
    return kind(made) if kind is tuple else made


@functional_datapipe("map")
class Mapper(IterDataPipe):
    """Each sample as `fn` makes it: of the columns `input_col`, put at `output_col` (-1: behind all
    others; None: in place of the first of them).
    """

    def __init__(
        self, datapipe: Any, fn: Callable, input_col: Any = None, output_col: Any = None
    ) -> None:
        if input_col is None and output_col is not None:
            raise ValueError("`output_col` must be None when `input_col` is None.")
        self.datapipe, self.fn = datapipe, fn
        self.input_col, self.output_col = input_col, output_col

    def __iter__(self) -> Iterator:
        for sample in self.datapipe:
            yield _applied(self.fn, sample, self.input_col, self.output_col)

    def __len__(self) -> int:
        return len(self.datapipe)


@functional_datapipe("collate")
class Collator(Mapper):
    """Each batch as `collate_fn` joins it."""

    def __init__(
        self, datapipe: Any, conversion: Any = None, collate_fn: Callable | None = None
    ) -> None:
        super().__init__(datapipe, collate_fn or conversion or default_collate)


@functional_datapipe("filter")
class Filter(IterDataPipe):
    """The samples for which `filter_fn`, of them or of their columns `input_col`, is true."""

    def __init__(self, datapipe: Any, filter_fn: Callable, input_col: Any = None) -> None:
        self.datapipe, self.filter_fn, self.input_col = datapipe, filter_fn, input_col

    def __iter__(self) -> Iterator:
        for sample in self.datapipe:
            columns = self.input_col
            if columns is None:
                kept = self.filter_fn(sample)
            elif isinstance(columns, list | tuple):
                kept = self.filter_fn(*(sample[c] for c in columns))
            else:
                kept = self.filter_fn(sample[columns])
            if not isinstance(kept, bool):
                raise ValueError(
                    "Boolean output is required for `filter_fn` of FilterIterDataPipe, got "
                    f"{type(kept)}"
                )
            if kept:
                yield sample


@functional_datapipe("batch")
class Batcher(IterDataPipe):
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

    def __iter__(self) -> Iterator:
        samples = iter(self.datapipe)
        while batch := list(itertools.islice(samples, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield self.wrapper_class(batch)

    def __len__(self) -> int:
        count, size = len(self.datapipe), self.batch_size
        return count // size if self.drop_last else -(-count // size)


@functional_datapipe("unbatch")
class UnBatcher(IterDataPipe):
    """The elements of lists, as many levels down as `unbatch_level` says (-1: all)."""

    def __init__(self, datapipe: Any, unbatch_level: int = 1) -> None:
        if unbatch_level < -1:
            raise ValueError("unbatch_level must be -1 or >= 0")
        self.datapipe, self.unbatch_level = datapipe, unbatch_level

    def __iter__(self) -> Iterator:
        for sample in self.datapipe:
            yield from self._elements(sample, self.unbatch_level)

    def _elements(self, sample: Any, level: int) -> Iterator:
        if level == 0 or (level == -1 and not isinstance(sample, list)):
            yield sample
            return
        if not isinstance(sample, list):
            raise IndexError(
                f"unbatch_level {self.unbatch_level} exceeds the depth of the DataPipe"
            )
        for element in sample:
            yield from self._elements(element, level if level == -1 else level - 1)


def _shared_seed() -> int:
    """A seed that the workers of a loader have in common, so that their orders are equal."""
    info = get_worker_info()
    if info is not None:
        return info.seed - info.id
    return int(PUBLIC["randint"](1 << 62, ()).item())


class Shuffling(IterDataPipe):
    """A pipe in random order, if so set."""

    def __init__(self, datapipe: Any) -> None:
        self.datapipe = datapipe
        self._enabled = True
        self._seed: int | None = None

    def set_shuffle(self, shuffle: bool = True) -> Shuffling:
        """Whether the order is random; returns the pipe."""
        self._enabled = shuffle
        return self

    def set_seed(self, seed: int) -> Shuffling:
        """Makes the order of the next iteration follow from a seed; returns the pipe."""
        self._seed = seed
        return self

    def drawn(self) -> random.Random:
        """The random numbers of an iteration."""
        seed, self._seed = self._seed, None
        return random.Random(_shared_seed() if seed is None else seed)

    def __len__(self) -> int:
        return len(self.datapipe)


@functional_datapipe("shuffle")
class Shuffler(Shuffling):
    """The samples in random order, as far as a buffer of `buffer_size` allows."""

    def __init__(self, datapipe: Any, *, buffer_size: int = 10000, unbatch_level: int = 0) -> None:
        if buffer_size <= 0:
            raise ValueError("buffer_size should be larger than 0")
        super().__init__(UnBatcher(datapipe, unbatch_level) if unbatch_level else datapipe)
        self.buffer_size = buffer_size

    def __iter__(self) -> Iterator:
        if not self._enabled:
            yield from self.datapipe
            return
        drawn = self.drawn()
        buffer: list[Any] = []
        for sample in self.datapipe:
            if len(buffer) < self.buffer_size:
                buffer.append(sample)
                continue
            place = drawn.randint(0, len(buffer) - 1)
            yield buffer[place]
            buffer[place] = sample
        while buffer:
            yield buffer.pop(drawn.randint(0, len(buffer) - 1))


@functional_datapipe("sharding_filter")
class ShardingFilter(IterDataPipe):
    """In the workers of a loader, each worker's own part of the samples; there is one group of
    workers only, so that `sharding_group_filter` changes nothing.
    """

    def __init__(self, source_datapipe: Any, sharding_group_filter: Any = None) -> None:
        self.source_datapipe = source_datapipe

    def __iter__(self) -> Iterator:
        info = get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        yield from itertools.islice(self.source_datapipe, first, None, step)

    def __len__(self) -> int:
        info = get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        return len(range(first, len(self.source_datapipe), step))


class Sampler(IterDataPipe):
    """What a sampler of the pipe gives."""

    def __init__(
        self,
        datapipe: Sequence,
        sampler: Callable = SequentialSampler,
        sampler_args: tuple | None = None,
        sampler_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self.datapipe = datapipe
        options = {**(sampler_kwargs or {}), "data_source": datapipe}
        self.sampler = sampler(*(sampler_args or ()), **options)

    def __iter__(self) -> Iterator:
        return iter(self.sampler)

    def __len__(self) -> int:
        return len(self.sampler)


class _Several(IterDataPipe):
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

    def __iter__(self) -> Iterator:
        return itertools.chain.from_iterable(self.datapipes)

    def __len__(self) -> int:
        return sum(map(len, self.datapipes))


@functional_datapipe("zip")
class Zipper(_Several):
    """Tuples of a sample of each pipe, until the shortest ends."""

    def __iter__(self) -> Iterator:
        return zip(*self.datapipes, strict=False)

    def __len__(self) -> int:
        return min(map(len, self.datapipes))


@functional_datapipe("mux")
class Multiplexer(_Several):
    """A sample of each pipe in turn, until the shortest ends."""

    def __iter__(self) -> Iterator:
        return itertools.chain.from_iterable(zip(*self.datapipes, strict=False))

    def __len__(self) -> int:
        return min(map(len, self.datapipes)) * len(self.datapipes)


class _Branch(IterDataPipe):
    """One of several pipes that read one source together."""

    def __init__(self, shared: _Shared, number: int) -> None:
        self.shared, self.number = shared, number

    def __iter__(self) -> Iterator:
        return self.shared.samples(self.number)

    def __len__(self) -> int:
        return len(self.shared.source)


class _Shared:
    """Reads a source once for several branches, and keeps for each what it has not taken.

    A branch that starts again while it has begun starts the source again, for all.
    """

    def __init__(self, source: Any, count: int, choose: Callable, buffer_size: int) -> None:
        self.source, self.count, self.choose, self.most = source, count, choose, buffer_size
        self._restart()

    def _restart(self) -> None:
        self._iterator: Iterator | None = None
        self._waiting: list[deque] = [deque() for _ in range(self.count)]
        self._begun = [False] * self.count

    def samples(self, number: int) -> Iterator:
        if self._begun[number]:
            self._restart()
        self._begun[number] = True
        if self._iterator is None:
            self._iterator = iter(self.source)
        source, waiting = self._iterator, self._waiting
        while True:
            while waiting[number]:
                yield waiting[number].popleft()
            try:
                sample = next(source)
            except StopIteration:
                return
            for branch in self.choose(sample):
                waiting[branch].append(sample)
            if self.most >= 0 and sum(map(len, waiting)) > self.most * self.count:
                raise BufferError(
                    f"DataPipe buffer overflow, buffer size {self.most} is insufficient."
                )


COPIES: dict[str, Callable] = {"shallow": copied, "deep": deepcopy}


def fork(
    datapipe: Any, num_instances: int, buffer_size: int = 1000, copy: str | None = None
) -> list[Any]:
    """`num_instances` pipes with the same samples, which are read once; `buffer_size` says how far
    one may be before another (-1: any). With `copy` "shallow" or "deep" each gets copies.
    """
    if num_instances < 1:
        raise ValueError(f"Expected `num_instances` larger than 0, but {num_instances} is found")
    everybody = range(num_instances)
    if copy not in (None, *COPIES):
        raise ValueError(f"Unknown copy method {copy}: it is None, 'shallow' or 'deep'")
    shared = _Shared(datapipe, num_instances, lambda sample: everybody, buffer_size)
    branches: list[Any] = [_Branch(shared, number) for number in everybody]
    return branches if copy is None else [Mapper(b, COPIES[copy]) for b in branches]


def demux(
    datapipe: Any,
    num_instances: int,
    classifier_fn: Callable,
    drop_none: bool = False,
    buffer_size: int = 1000,
) -> list[Any]:
    """`num_instances` pipes that share the samples out: `classifier_fn` gives the number of the
    pipe that a sample goes to, or None, which needs `drop_none`.
    """
    if num_instances < 1:
        raise ValueError(f"Expected `num_instances` larger than 0, but {num_instances} is found")

    def choose(sample: Any) -> tuple[int, ...]:
        number = classifier_fn(sample)
        if number is None and drop_none:
            return ()
        if number is None or not 0 <= number < num_instances:
            raise ValueError(
                f"Output of the classification fn should be between 0 and {num_instances - 1}. "
                f"{number} is returned."
            )
        return (number,)

    shared = _Shared(datapipe, num_instances, choose, buffer_size)
    return [_Branch(shared, number) for number in range(num_instances)]


@functional_datapipe("groupby")
class Grouper(IterDataPipe):
    """Lists of samples with the same key. A list is given when it has `group_size` samples, the
    longest one when more than `buffer_size` wait (with at least `guaranteed_group_size`, unless
    `drop_remaining`), and all others at the end.
    """

    def __init__(
        self,
        datapipe: Any,
        group_key_fn: Callable,
        *,
        keep_key: bool = False,
        buffer_size: int = 10000,
        group_size: int | None = None,
        guaranteed_group_size: int | None = None,
        drop_remaining: bool = False,
    ) -> None:
        self.datapipe, self.group_key_fn, self.keep_key = datapipe, group_key_fn, keep_key
        self.buffer_size, self.group_size = buffer_size, group_size
        self.least = guaranteed_group_size if guaranteed_group_size is not None else group_size
        self.drop_remaining = drop_remaining

    def __iter__(self) -> Iterator:
        groups: dict[Any, list] = {}
        waiting = 0
        for sample in self.datapipe:
            key = self.group_key_fn(sample)
            group = groups.setdefault(key, [])
            group.append(sample)
            waiting += 1
            if self.group_size is not None and len(group) == self.group_size:
                waiting -= len(group)
                yield self._given(key, groups.pop(key))
            if waiting == self.buffer_size:
                key = max(groups, key=lambda k: len(groups[k]))
                group = groups.pop(key)
                waiting -= len(group)
                if self.least is None or len(group) >= self.least:
                    yield self._given(key, group)
                elif not self.drop_remaining:
                    raise RuntimeError(f"Failed to group items: {group}")
        for key, group in groups.items():
            if not self.drop_remaining or self.least is None or len(group) >= self.least:
                yield self._given(key, group)

    def _given(self, key: Any, group: list) -> Any:
        return (key, DataChunk(group)) if self.keep_key else DataChunk(group)


@functional_datapipe("list_files")
class FileLister(IterDataPipe):
    """The paths of the files in folders whose names are like one of `masks`, in order, also where
    `non_deterministic` would allow any.
    """

    def __init__(
        self,
        root: str | Iterable[str] = ".",
        masks: str | list[str] = "",
        *,
        recursive: bool = False,
        abspath: bool = False,
        non_deterministic: bool = False,
        length: int = -1,
    ) -> None:
        self.roots = [root] if isinstance(root, str) else root
        self.masks = [masks] if isinstance(masks, str) else masks
        self.recursive, self.abspath, self.length = recursive, abspath, length

    def __iter__(self) -> Iterator[str]:
        for root in self.roots:
            for folder, folders, names in os.walk(root):
                folders[:] = sorted(folders) if self.recursive else []
                for name in sorted(names):
                    if any(not m or fnmatch.fnmatch(name, m) for m in self.masks):
                        path = os.path.join(folder, name)
                        yield os.path.abspath(path) if self.abspath else path

    def __len__(self) -> int:
        return self.length if self.length >= 0 else super().__len__()


@functional_datapipe("open_files")
class FileOpener(IterDataPipe):
    """Pairs of a path and the open file. The paths tell how many, whatever `length` says."""

    def __init__(
        self,
        datapipe: Any,
        mode: str = "r",
        encoding: str | None = None,
        length: int = -1,
    ) -> None:
        self.datapipe, self.mode, self.encoding = datapipe, mode, encoding

    def __iter__(self) -> Iterator:
        for path in self.datapipe:
            yield path, open(path, self.mode, encoding=self.encoding)

    def __len__(self) -> int:
        return len(self.datapipe)


@functional_datapipe("read_from_stream")
class StreamReader(IterDataPipe):
    """Pairs of a path and what an open file holds, `chunk` bytes at a time (None: all)."""

    def __init__(self, datapipe: Any, chunk: int | None = None) -> None:
        self.datapipe, self.chunk = datapipe, chunk

    def __iter__(self) -> Iterator:
        for path, stream in self.datapipe:
            with stream:
                while data := stream.read(-1 if self.chunk is None else self.chunk):
                    yield path, data


IterDataPipe.register_function("fork", fork)
IterDataPipe.register_function("demux", demux)
__all__ = [
    "Batcher", "Collator", "Concater", "DataChunk", "FileLister", "FileOpener", "Filter", "Grouper",
    "IterDataPipe", "IterableWrapper", "MapDataPipe", "Mapper", "Multiplexer", "Sampler",
    "ShardingFilter", "Shuffler", "StreamReader", "UnBatcher", "Zipper", "demux", "fork",
    "functional_datapipe",
]  # fmt: skip
