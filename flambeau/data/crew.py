"""The worker processes of a loader, seen from the main process."""

import contextlib
import multiprocessing
import os
import signal
import sys
import time
import warnings
import weakref
from multiprocessing import connection as channels

from .fetch import described
from .transport import receive
from .worker import work

_PATIENCE = 5.0  # seconds that a worker gets to end by itself


def context_of(name_or_context):
    """The multiprocessing context to start workers with: fork where it is safe, unless the user
    chose.
    """
    if name_or_context is None:
        return multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    if isinstance(name_or_context, str):
        known = multiprocessing.get_all_start_methods()
        if name_or_context not in known:
            raise ValueError(
                f"multiprocessing_context option should specify a valid start method in {known!r}, "
                f"but got multiprocessing_context={name_or_context!r}"
            )
        return multiprocessing.get_context(name_or_context)
    if not isinstance(name_or_context, multiprocessing.context.BaseContext):
        raise TypeError(
            "multiprocessing_context option should be a valid context object or a string "
            f"specifying the start method, but got multiprocessing_context={name_or_context}"
        )
    return name_or_context


class WorkerDied(RuntimeError):
    """A worker ended while the loader needed it."""


_started: weakref.WeakSet = weakref.WeakSet()  # all workers of this process


def _run(*args):
    """What a worker runs: `work`, without the pipes that a fork inherits."""
    for worker in _started:
        worker.close()
    work(*args)


class Worker:
    """A process, the pipe that takes its tasks there and the pipe that brings its batches back."""

    def __init__(self, context, plan, worker_id, base_seed):
        tasks, self.tasks = context.Pipe(duplex=False)
        self.results, results = context.Pipe(duplex=True)
        self.process = context.Process(
            target=_run, args=(plan, worker_id, base_seed, tasks, results), daemon=True
        )
        _started.add(self)
        with warnings.catch_warnings():
            # Python 3.12 warns of forking beside threads. Workers run nothing that needs the
            # threads of the parent.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.process.start()
        # Only the worker keeps the far ends, and no worker the near ones: so either side sees it
        # when the other is gone.
        tasks.close()
        results.close()
        self.number = worker_id
        self.owed: dict[int, object] = {}  # the keys of the tasks that are out, by their numbers
        self.active = True

    def close(self) -> None:
        """Close both pipes on this side."""
        self.tasks.close()
        self.results.close()

    def describe_death(self) -> str:
        """How the process ended, as PyTorch's message says it."""
        self.process.join(_PATIENCE)
        pid, code = self.process.pid, self.process.exitcode
        if code is not None and code < 0:
            name = signal.strsignal(-code) or f"signal {-code}"
            return f"DataLoader worker (pid {pid}) is killed by signal: {name}. \n  {self.task()}"
        return (
            f"DataLoader worker (pid {pid}) exited unexpectedly with exit code {code}. Details are "
            "lost due to multiprocessing. Rerunning with num_workers=0 may give better error trace."
            f"\n  {self.task()}"
        )

    def task(self) -> str:
        """What the worker is at: tasks are done in the order in which they were given."""
        keys = next(iter(self.owed.values()), None)
        doing = "had nothing to load" if keys is None else f"was loading {described(keys)}"
        return f"worker {self.number} {doing}"


def _stop(workers, owner):
    """Ask all workers to end, wait a while, then make them. Process `owner` started them."""
    if os.getpid() != owner:
        return  # a fork, whose copy is collected
    for worker in workers:
        with contextlib.suppress(OSError):
            worker.tasks.send(None)
        worker.close()
    deadline = time.monotonic() + _PATIENCE
    for worker in workers:
        worker.process.join(max(0.0, deadline - time.monotonic()))
    for end in (multiprocessing.Process.terminate, multiprocessing.Process.kill):
        late = [worker for worker in workers if worker.process.is_alive()]
        for worker in late:
            end(worker.process)
        for worker in late:
            worker.process.join(1.0)
    workers.clear()


class Crew:
    """The workers of one iterator. They end when it is stopped, collected, or the program ends."""

    def __init__(self, plan, context, base_seed):
        self.workers: list[Worker] = []
        self.stop = weakref.finalize(self, _stop, self.workers, os.getpid())
        for worker_id in range(plan.num_workers):
            self.workers.append(Worker(context, plan, worker_id, base_seed))

    def give(self, worker_id: int, task) -> None:
        """Hand `task` to a worker: a number, None where no answer is wanted, and what to load.
        `WorkerDied` if it is dead.
        """
        worker = self.workers[worker_id]
        try:
            worker.tasks.send(task)
        except OSError:
            raise WorkerDied(worker.describe_death()) from None
        number, keys = task
        if number is not None:
            worker.owed[number] = keys

    def collect(self, timeout: float):
        """The number of a task that some worker has done, that worker, and a function that gives
        the result.

        None after `timeout` seconds, where that is not 0. `WorkerDied` if a worker that owes a
        batch is dead.
        """
        deadline = time.monotonic() + timeout if timeout > 0 else None
        owing = {worker.results: worker for worker in self.workers if worker.owed}
        sentinels = {worker.process.sentinel: worker for worker in owing.values()}
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = channels.wait([*owing, *sentinels], left)
            if not ready:
                return None
            done = next((owing[each] for each in ready if each in owing), None)
            # What a worker sent before it died is still good: the pipe comes first, and ends with
            # EOFError.
            worker = done or sentinels[ready[0]]
            if done is None and worker.results.poll():
                continue
            try:
                number, value = receive(worker.results)
            except (EOFError, OSError):
                raise WorkerDied(worker.describe_death()) from None
            del worker.owed[number]
            return number, worker, value
