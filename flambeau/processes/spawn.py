"""Processes that run a function: PyTorch's `torch.multiprocessing.spawn`, and how tensors go to
other processes.
"""

import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import traceback
import warnings
from multiprocessing import connection, reduction

from flambeau.nn import Parameter
from flambeau.tensor import Tensor, UntypedStorage, sharing


class ProcessException(Exception):
    """A process of `spawn` ended badly: its number among them and its process id."""

    def __init__(self, msg: str, error_index: int, pid: int):
        super().__init__(msg)
        self.msg, self.error_index, self.pid = msg, error_index, pid

    def __reduce__(self):
        return type(self), (self.msg, self.error_index, self.pid)


class ProcessRaisedException(ProcessException):
    """It raised an exception."""


class ProcessExitedException(ProcessException):
    """It was killed, or ended with an exit code other than 0."""

    def __init__(self, msg, error_index, error_pid, exit_code, signal_name=None):
        super().__init__(msg, error_index, error_pid)
        self.exit_code, self.signal_name = exit_code, signal_name

    def __reduce__(self):
        parts = (self.msg, self.error_index, self.pid, self.exit_code, self.signal_name)
        return type(self), parts


def _run(function, index, args, report):
    """What a process runs: its traceback goes to the file `report`."""
    try:
        function(index, *args)
    except KeyboardInterrupt:
        pass  # of the terminal, which the parent got too
    except Exception:
        with open(report, "wb") as file:
            pickle.dump(traceback.format_exc(), file)
        sys.exit(1)


class ProcessContext:
    """The processes that `start_processes` started."""

    def __init__(self, processes, reports):
        self.processes, self._reports = processes, reports
        self._alive = {process.sentinel: index for index, process in enumerate(processes)}

    def pids(self) -> list[int]:
        """The process ids."""
        return [process.pid for process in self.processes]

    def join(self, timeout: float | None = None, grace_period: float | None = None) -> bool:
        """Waits until one process has ended; whether all have.

        Where one ended badly, the others are ended too (after `grace_period` seconds, if given),
        and ProcessRaisedException or ProcessExitedException tells which.
        """
        if not self._alive:
            return True
        for sentinel in connection.wait(list(self._alive), timeout):
            index = self._alive.pop(sentinel)
            process = self.processes[index]
            process.join()
            if process.exitcode:
                self._end_all(grace_period)
                self._raise(index)
        if not self._alive:
            self._forget_reports()
        return not self._alive

    def _end_all(self, grace_period):
        for process in self.processes:
            if grace_period is not None:
                process.join(grace_period)
            if process.is_alive():
                process.terminate()
        for process in self.processes:
            process.join(10)
            if process.is_alive():
                process.kill()
                process.join()

    def _forget_reports(self):
        for report in self._reports:
            if os.path.exists(report):
                os.unlink(report)

    def _raise(self, index):
        process, report = self.processes[index], self._reports[index]
        told = os.path.getsize(report) if os.path.exists(report) else 0
        if told:
            with open(report, "rb") as file:
                text = pickle.load(file)
            self._forget_reports()
            message = f"\n\n-- Process {index} terminated with the following error:\n{text}"
            raise ProcessRaisedException(message, index, process.pid)
        self._forget_reports()
        code, name = process.exitcode, None
        if code < 0:
            name = signal.Signals(-code).name
            message = f"process {index} terminated with signal {name}"
        else:
            message = f"process {index} terminated with exit code {code}"
        raise ProcessExitedException(message, index, process.pid, code, name)


SpawnContext = ProcessContext


def start_processes(fn, args=(), nprocs=1, join=True, daemon=False, start_method="spawn"):
    """Runs ``fn(i, *args)`` in `nprocs` processes, i from 0; waits for them, or returns their
    `ProcessContext` where `join` is false.
    """
    context = multiprocessing.get_context(start_method)
    processes, reports = [], []
    for index in range(nprocs):
        handle, report = tempfile.mkstemp(prefix="flambeau-spawn-")
        os.close(handle)
        process = context.Process(target=_run, args=(fn, index, args, report), daemon=daemon)
        process.start()
        processes.append(process)
        reports.append(report)
    made = ProcessContext(processes, reports)
    while join and not made.join():
        pass
    return None if join else made


def spawn(fn, args=(), nprocs=1, join=True, daemon=False, start_method="spawn"):
    """`start_processes` by the start method "spawn"; another one warns."""
    if start_method != "spawn":
        warnings.warn(
            "This method only supports start_method=spawn (got: "
            f"{start_method}).\nTo use a different start_method use:\n"
            "\t\t torch.multiprocessing.start_processes(...)",
            FutureWarning,
            stacklevel=2,
        )
    return start_processes(fn, args, nprocs, join, daemon, start_method="spawn")


# Tensors on their way to another process.


def _send_storage(storage):
    block = sharing.share(storage.memory)
    return _storage, (reduction.DupFd(block.descriptor), block.nbytes)


def _storage(duplicate, nbytes):
    return UntypedStorage.of(sharing.from_descriptor(duplicate.detach(), nbytes))


def _send_tensor(tensor):
    sharing.check_sendable(tensor)
    state = (type(tensor), tensor.requires_grad, tensor.__dict__)
    if tensor.is_meta:
        return tensor.__reduce_ex__(2)
    storage = UntypedStorage.of(sharing.root(tensor._storage))
    return _tensor, (storage, tensor.layout, tensor._offset, *state)


def _tensor(storage, layout, offset, cls, requires_grad, attributes):
    return sharing.rebuilt(cls, storage.memory, layout, offset, requires_grad, attributes)


def init_reductions():
    """From now on tensors go to other processes as shared memory, not as copies."""
    for kind, send in (
        (Tensor, _send_tensor),
        (Parameter, _send_tensor),
        (UntypedStorage, _send_storage),
    ):
        reduction.ForkingPickler.register(kind, send)


# PyTorch's names for ways to share memory. Here it is always the first; the other, which programs
# choose to spare descriptors, makes no difference.
_STRATEGIES = ("file_descriptor", "file_system")
_chosen = [_STRATEGIES[0]]


def get_all_sharing_strategies() -> set[str]:
    """The names that `set_sharing_strategy` takes."""
    return set(_STRATEGIES)


def get_sharing_strategy() -> str:
    """The name that was set."""
    return _chosen[0]


def set_sharing_strategy(new_strategy: str) -> None:
    """Notes how the program wants memory to be shared; ValueError for an unknown name."""
    if new_strategy not in _STRATEGIES:
        raise ValueError(f"unknown sharing strategy {new_strategy!r}")
    _chosen[0] = new_strategy
