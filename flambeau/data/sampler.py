"""Samplers: the order in which samples are taken. For equal seeds it is PyTorch's order."""

import itertools
import math

from flambeau._base import numpy
from flambeau.runtime import Generator, Stream, default_generator

_DRAWN_AT_ONCE = 32  # PyTorch draws with replacement in groups of 32


def stream_of(generator: Generator | None) -> Stream:
    """The stream behind a generator; the default generator's for None."""
    return (default_generator if generator is None else generator).stream


def draw_seed(generator: Generator | None) -> int:
    """A seed in [0, 2**63), by the one draw that PyTorch makes for it."""
    return int(stream_of(generator).random((), numpy.int64))


class Sampler:
    """An order of keys: a subclass defines ``__iter__``, and mostly ``__len__``."""

    def __class_getitem__(cls, item):
        return cls

    def __iter__(self):
        raise NotImplementedError


class SequentialSampler(Sampler):
    """0, 1, 2, ..."""

    def __init__(self, data_source):
        self.data_source = data_source

    def __iter__(self):
        return iter(range(len(self.data_source)))

    def __len__(self):
        return len(self.data_source)


class RandomSampler(Sampler):
    """The indices of `data_source` in random order, or `num_samples` of them drawn with
    replacement.

    Without `generator`, each pass draws a seed for one from the default generator.
    """

    def __init__(self, data_source, replacement=False, num_samples=None, generator=None):
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = generator
        if not isinstance(replacement, bool):
            raise TypeError(
                f"replacement should be a boolean value, but got replacement={replacement}"
            )
        if not isinstance(self.num_samples, int) or self.num_samples <= 0:
            raise ValueError(
                "num_samples should be a positive integer value, but got "
                f"num_samples={self.num_samples}"
            )

    @property
    def num_samples(self) -> int:
        """How many indices a pass gives; the data may grow between passes."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self):
        count, wanted = len(self.data_source), self.num_samples
        if self.generator is None:
            stream = Stream(draw_seed(None))
        else:
            stream = self.generator.stream
        if self.replacement:
            for _ in range(wanted // _DRAWN_AT_ONCE):
                yield from stream.integers(0, count, _DRAWN_AT_ONCE).tolist()
            yield from stream.integers(0, count, wanted % _DRAWN_AT_ONCE).tolist()
            return
        for _ in range(wanted // count):
            yield from stream.permutation(count).tolist()
        yield from stream.permutation(count)[: wanted % count].tolist()

    def __len__(self):
        return self.num_samples


class SubsetRandomSampler(Sampler):
    """The given `indices` in random order."""

    def __init__(self, indices, generator=None):
        self.indices, self.generator = indices, generator

    def __iter__(self):
        for place in stream_of(self.generator).permutation(len(self.indices)).tolist():
            yield self.indices[place]

    def __len__(self):
        return len(self.indices)


class WeightedRandomSampler(Sampler):
    """`num_samples` indices of `weights`, drawn in proportion to them."""

    def __init__(self, weights, num_samples, replacement=True, generator=None):
        if not isinstance(num_samples, int) or isinstance(num_samples, bool) or num_samples <= 0:
            raise ValueError(
                f"num_samples should be a positive integer value, but got num_samples={num_samples}"
            )
        if not isinstance(replacement, bool):
            raise ValueError(
                f"replacement should be a boolean value, but got replacement={replacement}"
            )
        self.weights = numpy.asarray(weights, numpy.float64)
        if self.weights.ndim != 1:
            raise ValueError(
                "weights should be a 1d sequence but given weights have shape "
                f"{tuple(self.weights.shape)}"
            )
        self.num_samples, self.replacement, self.generator = num_samples, replacement, generator

    def __iter__(self):
        stream = stream_of(self.generator)
        yield from stream.multinomial(self.weights, self.num_samples, self.replacement).tolist()

    def __len__(self):
        return self.num_samples


class BatchSampler(Sampler):
    """Lists of `batch_size` indices of `sampler`; the last may be shorter, or is left out with
    `drop_last`.
    """

    def __init__(self, sampler, batch_size, drop_last):
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size <= 0:
            raise ValueError(
                f"batch_size should be a positive integer value, but got batch_size={batch_size}"
            )
        if not isinstance(drop_last, bool):
            raise ValueError(f"drop_last should be a boolean value, but got drop_last={drop_last}")
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def __iter__(self):
        indices = iter(self.sampler)
        while batch := list(itertools.islice(indices, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self):
        if self.drop_last:
            return len(self.sampler) // self.batch_size
        return -(-len(self.sampler) // self.batch_size)


class DistributedSampler(Sampler):
    """The share of rank `rank` out of `num_replicas`: every so-manieth index of an order that all
    ranks agree on.

    `set_epoch` before each pass gives each its own order. The indices are filled up from the front
    so that all ranks get equally many, or cut with `drop_last`.
    """

    def __init__(
        self, dataset, num_replicas=None, rank=None, shuffle=True, seed=0, drop_last=False
    ):
        if num_replicas is None or rank is None:
            raise RuntimeError("Requires distributed package to be available")
        if not 0 <= rank < num_replicas:
            raise ValueError(
                f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]"
            )
        self.dataset, self.num_replicas, self.rank = dataset, num_replicas, rank
        self.shuffle, self.seed, self.drop_last, self.epoch = shuffle, seed, drop_last, 0
        count = len(dataset)
        self.num_samples = (
            math.ceil((count - num_replicas) / num_replicas)
            if drop_last and count % num_replicas
            else math.ceil(count / num_replicas)
        )
        self.total_size = self.num_samples * num_replicas

    def __iter__(self):
        count = len(self.dataset)
        order = range(count)
        if self.shuffle:
            order = Stream(self.seed + self.epoch).permutation(count).tolist()
        if not self.drop_last:
            order = itertools.islice(itertools.cycle(order), self.total_size)
        return itertools.islice(order, self.rank, self.total_size, self.num_replicas)

    def __len__(self):
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Shuffle by `seed` + `epoch` from the next pass on."""
        self.epoch = epoch
