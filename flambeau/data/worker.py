"""The life of a worker process."""

import gc
import os
import pickle
import queue
import random
import threading
import traceback

from flambeau import runtime
from flambeau._base import numpy

from .fetch import fetcher
from .info import WorkerInfo, become
from .transport import send

_LOOK_FOR_PARENT = 5.0  # seconds between looks at whether the main process still lives


class Ended:
    """Instead of a batch: the worker's stream has no more."""


class Restart:
    """Instead of an index: begin another pass over the dataset."""


class Failure:
    """An exception in a worker, to be raised again in the main process, with its text and
    traceback.
    """

    def __init__(self, error: BaseException, where: str):
        self.kind = type(error)
        notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))
        self.text = (
            f"Caught {self.kind.__name__} {where}.{notes}\n"
            f"Original {''.join(traceback.format_exception(error))}"
        )
        try:
            pickle.loads(pickle.dumps(self.kind))
        except Exception:
            self.kind = RuntimeError  # of a class that only the worker knows; the text names it

    def raise_again(self):
        """Raise the same type with the worker's text, or RuntimeError if the type takes no text."""
        if issubclass(self.kind, KeyError):
            raise self.kind(_Plain(self.text))
        try:
            error = self.kind(self.text)
        except Exception:
            error = RuntimeError(self.text)
        raise error


class _Plain(str):
    """A text that a KeyError shows as it is, not as a quoted literal."""

    def __repr__(self):
        return str(self)


def _listen(tasks, arrived, parent):
    """Moves tasks from the pipe to a queue, so that the main process never waits to send one.

    The end of the pipe, or the end of the main process, puts None.
    """
    try:
        while True:
            if not tasks.poll(_LOOK_FOR_PARENT):
                if os.getppid() != parent:
                    break
                continue
            arrived.put(tasks.recv())
    except (EOFError, OSError):
        pass
    arrived.put(None)


def seed_everything(base_seed: int, worker_id: int) -> int:
    """Seed flambeau's, Python's and NumPy's generators as PyTorch's workers do; the seed of the
    first two.
    """
    seed = base_seed + worker_id
    random.seed(seed)
    runtime.default_generator.manual_seed(seed)
    entropy = numpy.array(
        [worker_id, base_seed & 0xFFFFFFFF, base_seed >> 32, 0], dtype=numpy.uint32
    )
    numpy.random.seed(numpy.random.SeedSequence(entropy).generate_state(4))
    return seed


def work(plan, worker_id, base_seed, tasks, results) -> None:
    """Fetch batches for the indices that come through `tasks` until it closes.

    `plan` is the loader's part that workers need: dataset, num_workers, batched, collate,
    drop_last, worker_init_fn.
    """
    gc.freeze()  # the collector then leaves the pages shared with the main process alone
    try:
        runtime.set_num_threads(1)
        seed = seed_everything(base_seed, worker_id)
        become(WorkerInfo(worker_id, plan.num_workers, seed, plan.dataset))
        arrived: queue.SimpleQueue = queue.SimpleQueue()
        listener = threading.Thread(
            target=_listen, args=(tasks, arrived, os.getppid()), daemon=True
        )
        listener.start()
        _serve(plan, worker_id, arrived, results)
    except (KeyboardInterrupt, BrokenPipeError, ConnectionError):
        pass  # the main process was interrupted, or no longer wants the batches


def _serve(plan, worker_id, arrived, results):
    where = f"in DataLoader worker process {worker_id}"
    source, broken = None, None

    def begin():
        return fetcher(plan.dataset, plan.batched, plan.collate, plan.drop_last)

    try:
        if plan.worker_init_fn is not None:
            plan.worker_init_fn(worker_id)
        source = begin()
    except Exception as error:
        broken = Failure(error, where)
    while (task := arrived.get()) is not None:
        number, index = task
        if isinstance(index, Restart):
            try:
                source = source and begin()
            except Exception as error:
                broken = Failure(error, where)
            continue
        if broken:
            send(results, number, broken)
            continue
        try:
            value = source.fetch(index)
        except StopIteration as stop:
            over = getattr(source, "samples", None) is not None
            value = Ended() if over else Failure(stop, where)
        except Exception as error:
            value = Failure(error, where)
        _deliver(results, number, value, where)


def _deliver(results, number, value, where):
    try:
        send(results, number, value)
    except (BrokenPipeError, ConnectionError):
        raise
    except Exception as error:  # the batch does not pickle
        send(results, number, Failure(error, where))
