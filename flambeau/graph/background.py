"""Work that goes on beside the program: making programs ready while calls run as they are."""

from __future__ import annotations

import collections
import os
import threading
import traceback
import warnings
from collections.abc import Callable


class Job:
    """`work` in the background. When it is done, or has failed, it is `over`."""

    def __init__(self, work: Callable[[], None], name: str):
        self._work, self._name = work, name
        self._thread: threading.Thread | None = None
        self.done = False

    @property
    def over(self) -> bool:
        """Nothing more is to be expected: also in the child of a fork, where no thread works."""
        return self.done or (self._thread is not None and not self._thread.is_alive())

    def run(self) -> None:
        """Does the work. What goes wrong is told at once: nobody may ask later."""
        try:
            self._work()
        except Exception as error:
            text = "".join(traceback.format_exception(error))
            message = f"compiling {self._name} in the background failed: {error}\n{text}"
            warnings.warn(message, RuntimeWarning, stacklevel=1)
        finally:
            self.done = True

    def handed_to(self, thread: threading.Thread) -> None:
        """The thread that does it."""
        self._thread = thread


class Worker:
    """One thread for all jobs, which ends when there is none left.

    It is no daemon: the interpreter waits at its end for the job that is being done, since code of
    LLVM must not be cut off; jobs that have not begun are dropped.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begins anew, without jobs."""
        self._changed = threading.Condition()
        self._jobs: collections.deque[Job] = collections.deque()
        self._thread: threading.Thread | None = None

    def start(self, work: Callable[[], None], name: str) -> Job:
        """A job that will be done."""
        job = Job(work, name)
        with self._changed:
            self._jobs.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="flambeau compiler")
                self._thread.start()
            job.handed_to(self._thread)
        return job

    def wait(self) -> None:
        """Returns when no job is left."""
        with self._changed:
            self._changed.wait_for(lambda: self._thread is None)

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._jobs or not threading.main_thread().is_alive():
                    self._thread = None
                    self._changed.notify_all()
                    return
                job = self._jobs.popleft()
            job.run()


worker = Worker()


# Threads and locks of its parent mean nothing in the child of a fork.
os.register_at_fork(after_in_child=worker.forget)

__all__ = ["Job", "worker"]
