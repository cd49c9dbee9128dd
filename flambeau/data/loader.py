"""`DataLoader`: batches of a dataset, read in this process or by workers."""

import itertools
import math
import os
import warnings
from typing import Any, NamedTuple

from .collate import default_collate, default_convert
from .crew import Crew, WorkerDied, context_of
from .dataset import IterableDataset
from .fetch import fetcher
from .sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler, draw_seed
from .worker import Ended, Failure, Restart

_NOTHING = object()


class _Endless(Sampler):
    """The keys of a stream: there are none, and no end."""

    def __iter__(self):
        return itertools.repeat(None)


class Plan(NamedTuple):
    """What a worker needs to know of its loader."""

    dataset: Any
    num_workers: int
    batched: bool
    collate: Any
    drop_last: bool
    worker_init_fn: Any


_FIXED = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")


class DataLoader:
    """Iterates over batches of `dataset`, in PyTorch's order for equal seeds.

    `batch_size` None loads single samples. `shuffle` draws a random order in each pass; `sampler`
    gives another order, and `batch_sampler` lists of keys, one per batch. `collate_fn` makes a
    batch of a list of samples. `num_workers` processes, of which each holds `prefetch_factor`
    batches ready, load in the background; with `persistent_workers` they live from pass to pass.
    `timeout` is in seconds, 0 meaning none. Each worker calls ``worker_init_fn(id)`` first.
    `generator` draws the order and the workers' seeds. With `in_order` false, batches come as they
    are ready.

    Raises what the dataset raises; from a worker, an exception of the same type that names the
    worker and the sample. RuntimeError if a worker dies.
    """

    _made = False

    def __init__(
        self,
        dataset,
        batch_size=1,
        shuffle=None,
        sampler=None,
        batch_sampler=None,
        num_workers=0,
        collate_fn=None,
        pin_memory=False,
        drop_last=False,
        timeout=0,
        worker_init_fn=None,
        multiprocessing_context=None,
        generator=None,
        *,
        prefetch_factor=None,
        persistent_workers=False,
        pin_memory_device="",
        in_order=True,
    ):
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        _check_order(dataset, batch_size, shuffle, sampler, batch_sampler, drop_last)
        if multiprocessing_context is not None and num_workers == 0:
            raise ValueError(
                "multiprocessing_context can only be used with multi-process loading "
                f"(num_workers > 0), but got num_workers={num_workers}"
            )
        self.dataset, self.generator = dataset, generator
        self.num_workers, self.timeout, self.in_order = num_workers, timeout, in_order
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.pin_memory, self.pin_memory_device = pin_memory, pin_memory_device
        self.worker_init_fn, self.persistent_workers = worker_init_fn, persistent_workers
        self.multiprocessing_context = context_of(multiprocessing_context) if num_workers else None
        if batch_sampler is not None:
            batch_size, drop_last = None, False
        if sampler is None and isinstance(dataset, IterableDataset):
            sampler = _Endless()
        elif sampler is None:
            sampler = (
                RandomSampler(dataset, generator=generator)
                if shuffle
                else SequentialSampler(dataset)
            )
        if batch_size is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_size, self.drop_last = batch_size, drop_last
        self.sampler, self.batch_sampler = sampler, batch_sampler
        default = default_convert if batch_sampler is None else default_collate
        self.collate_fn = default if collate_fn is None else collate_fn
        self._iterator = None
        self._stream_length = None
        self._made = True
        _warn_of_many(num_workers)

    def __class_getitem__(cls, item):
        return cls

    def __setattr__(self, name, value):
        if self._made and name in _FIXED:
            raise ValueError(
                f"{name} attribute should not be set after {type(self).__name__} is initialized"
            )
        super().__setattr__(name, value)

    @property
    def _index_sampler(self):
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    def _plan(self):
        batched = self.batch_sampler is not None
        return Plan(
            self.dataset,
            self.num_workers,
            batched,
            self.collate_fn,
            self.drop_last,
            self.worker_init_fn,
        )

    def __iter__(self):
        if self.pin_memory:
            warnings.warn(
                "'pin_memory' argument is set as true but no accelerator is found, then device "
                "pinned memory won't be used.",
                stacklevel=2,
            )
        if self.num_workers == 0:
            return OwnIterator(self)
        if not self.persistent_workers:
            return CrewIterator(self)
        if self._iterator is None or not self._iterator.alive:
            self._iterator = CrewIterator(self)
        else:
            self._iterator.restart(self._stream_length)
        return self._iterator

    def __len__(self):
        if not isinstance(self.dataset, IterableDataset):
            return len(self._index_sampler)
        self._stream_length = length = len(self.dataset)
        if self.batch_size is None:
            return length
        return length // self.batch_size if self.drop_last else math.ceil(length / self.batch_size)


def _check_workers(num_workers, timeout, prefetch_factor, persistent_workers):
    if num_workers < 0:
        raise ValueError(
            "num_workers option should be non-negative; use num_workers=0 to disable "
            "multiprocessing."
        )
    if timeout < 0:
        raise ValueError("timeout option should be non-negative")
    if num_workers == 0 and prefetch_factor is not None:
        raise ValueError(
            "prefetch_factor option could only be specified in multiprocessing.let num_workers > 0 "
            "to enable multiprocessing, otherwise set prefetch_factor to None."
        )
    if prefetch_factor is not None and prefetch_factor < 0:
        raise ValueError("prefetch_factor option should be non-negative")
    if persistent_workers and num_workers == 0:
        raise ValueError("persistent_workers option needs num_workers > 0")


def _check_order(dataset, batch_size, shuffle, sampler, batch_sampler, drop_last):
    if isinstance(dataset, IterableDataset):
        unwanted = (
            ("shuffle", shuffle, shuffle not in (False, None)),
            ("sampler", sampler, sampler is not None),
            ("batch_sampler", batch_sampler, batch_sampler is not None),
        )
        for name, value, given in unwanted:
            if given:
                raise ValueError(
                    f"DataLoader with IterableDataset: expected unspecified {name} option, but got "
                    f"{name}={value}"
                )
    if sampler is not None and shuffle:
        raise ValueError("sampler option is mutually exclusive with shuffle")
    if batch_sampler is not None:
        if batch_size != 1 or shuffle or sampler is not None or drop_last:
            raise ValueError(
                "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and "
                "drop_last"
            )
    elif batch_size is None and drop_last:
        raise ValueError(
            "batch_size=None option disables auto-batching and is mutually exclusive with drop_last"
        )


def _warn_of_many(num_workers):
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if num_workers > (cores or 1):
        warnings.warn(
            f"This DataLoader will create {num_workers} worker processes in total. Our suggested "
            f"max number of worker in current system is {cores}, which is smaller than what this "
            "DataLoader is going to create. Please be aware that excessive worker creation might "
            "get DataLoader running slow or even freeze, lower the worker number to avoid "
            "potential slowness/freeze if necessary.",
            stacklevel=3,
        )


class Iterator:
    """One pass over a loader. The order of draws is PyTorch's: workers' seed first, then the
    sampler's.
    """

    def __init__(self, loader):
        # Not the loader itself: with persistent workers it holds this, and a cycle would keep them
        # alive.
        self._sampler = loader._index_sampler
        self._plan = loader._plan()
        self._expected = loader._stream_length
        self._indices = iter(self._sampler)
        self._base_seed = draw_seed(loader.generator)
        self._given = 0

    def __iter__(self):
        return self

    def __len__(self):
        return len(self._sampler)

    def __next__(self):
        batch = self._next_batch()
        self._given += 1
        if self._expected is not None and self._given > self._expected:
            self._warn_of_surplus()
        return batch

    def _next_batch(self):
        raise NotImplementedError

    def _warn_of_surplus(self):
        text = (
            f"Length of IterableDataset {self._plan.dataset} was reported to be "
            f"{self._expected}(when "
            f"accessing len(dataloader)), but {self._given} samples have been fetched. "
        )
        if self._plan.num_workers:
            text += (
                "For multiprocessing data-loading, this could be caused by not properly "
                "configuring the IterableDataset replica at each worker."
            )
        warnings.warn(text, stacklevel=3)


class OwnIterator(Iterator):
    """Loads in this process, when asked."""

    def __init__(self, loader):
        super().__init__(loader)
        if loader.timeout:
            raise AssertionError("timeout needs num_workers > 0")
        plan = self._plan
        self._source = fetcher(plan.dataset, plan.batched, plan.collate, plan.drop_last)

    def _next_batch(self):
        return self._source.fetch(next(self._indices))


class CrewIterator(Iterator):
    """Hands the keys of batches to workers in turn and gives the batches out in the order of the
    keys.

    A task is a number and the keys. At any time `prefetch_factor` tasks per worker are out or done
    but not yet given.
    """

    def __init__(self, loader):
        super().__init__(loader)
        self._timeout, self._in_order = loader.timeout, loader.in_order
        self._prefetch, self._persistent = loader.prefetch_factor, loader.persistent_workers
        self._crew = Crew(self._plan, loader.multiprocessing_context, self._base_seed)
        self._begin()

    @property
    def alive(self) -> bool:
        """Whether the workers can make another pass."""
        return bool(self._crew.workers)

    def _begin(self):
        workers = self._crew.workers
        for worker in workers:
            worker.active = True
        self._turns = itertools.cycle(range(len(workers)))
        self._next_number = self._first_missing = 0
        self._owner: dict[int, Any] = {}  # tasks that are out
        self._done: dict[int, Any] = {}  # results that came before their turn
        for _ in range(self._prefetch * len(workers)):
            self._give_one()

    def restart(self, expected):
        """Make another pass with the same workers."""
        try:
            self._clear()
            self._expected = expected
            self._indices = iter(self._sampler)
            self._given = 0
            self._begin()
        except WorkerDied:
            self._crew.stop()
            raise

    def _clear(self):
        """Take what a pass left early has still to come, and tell the workers to begin anew."""
        while any(worker.owed for worker in self._crew.workers):  # of a pass left early
            self._collect()
        for worker_id in range(len(self._crew.workers)):
            self._crew.give(worker_id, (None, Restart()))

    def _give_one(self):
        """Hand the next keys to the next worker that still has samples, if there are both."""
        workers = self._crew.workers
        chosen = next(
            (i for i in itertools.islice(self._turns, len(workers)) if workers[i].active), None
        )
        if chosen is None:
            return
        try:
            index = next(self._indices)
        except StopIteration:
            return
        self._crew.give(chosen, (self._next_number, index))
        self._owner[self._next_number] = workers[chosen]
        self._next_number += 1

    def _next_result(self):
        """The result of the next task in order, or of any with `in_order` false; `_NOTHING` after
        the last.
        """
        while self._first_missing < self._next_number:
            due = self._first_missing if self._in_order else next(iter(self._done), None)
            if due in self._done:
                self._first_missing += 1
                return self._done.pop(due)
            if self._in_order and due not in self._owner:
                self._first_missing += 1  # its worker had no more samples
                continue
            if not self._owner:
                break
            self._receive()
        return _NOTHING

    def _collect(self):
        answer = self._crew.collect(self._timeout)
        if answer is None:
            tasks = (f"  {worker.task()}" for worker in self._crew.workers if worker.owed)
            first_line = f"DataLoader timed out after {self._timeout} seconds"
            raise RuntimeError("\n".join((first_line, *tasks)))
        return answer

    def _receive(self):
        number, worker, value = self._collect()
        del self._owner[number]
        result = value()
        if isinstance(result, Ended):
            worker.active = False
            self._give_one()
        else:
            self._done[number] = result

    def _next_batch(self):
        try:
            result = self._next_result()
            if result is not _NOTHING:
                self._give_one()
        except (WorkerDied, KeyboardInterrupt):
            self._crew.stop()
            raise
        if result is _NOTHING:
            if not self._persistent:
                self._crew.stop()
            raise StopIteration
        if isinstance(result, Failure):
            result.raise_again()
        return result
