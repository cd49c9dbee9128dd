"""Timers of statements: PyTorch's `torch.utils.benchmark.Timer`."""

from __future__ import annotations

import itertools
import sys
import textwrap
import time
import timeit
from collections.abc import Callable, Iterator
from typing import Any

from flambeau.tensor import PUBLIC

from .measurement import Measurement, TaskSpec

_PACKAGE = __name__.partition(".")[0]
# A block of runs is so long that reading the clock is nothing beside it.
_BLOCKS = 1000


class set_torch_threads:
    """A with block in which kernels run on that many threads."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __enter__(self) -> None:
        self._before = PUBLIC["get_num_threads"]()
        PUBLIC["set_num_threads"](self._count)

    def __exit__(self, *exception: object) -> None:
        PUBLIC["set_num_threads"](self._before)


class Timer:
    """Times a statement: on one thread unless `num_threads` says otherwise, and warmed up.

    `stmt` is Python text that sees `globals` and what `setup` (text, too) makes; `torch` is there
    of itself. `label`, `sub_label` and `description` name the task in tables (`Compare`): the
    table, the row and the column; `env` is where it runs. NotImplementedError for statements in
    other languages.
    """

    def __init__(
        self,
        stmt: str = "pass",
        setup: str = "pass",
        global_setup: str = "",
        timer: Callable[[], float] = time.perf_counter,
        globals: dict[str, Any] | None = None,
        label: str | None = None,
        sub_label: str | None = None,
        description: str | None = None,
        env: str | None = None,
        num_threads: int = 1,
        language: Any = "python",
    ) -> None:
        if str(language).rpartition(".")[2].lower() not in ("python", "py"):
            raise NotImplementedError(f"statements are timed in Python only, not in {language}")
        if global_setup:
            raise ValueError("global_setup is C++, and statements are timed in Python only")
        stmt, setup = (textwrap.dedent(text).strip() for text in (stmt, setup))
        names = {"torch": sys.modules[_PACKAGE], **(globals or {})}
        self._timer = timeit.Timer(stmt, setup, timer, names)
        self._task_spec = TaskSpec(stmt, setup, "", label, sub_label, description, env, num_threads)

    def timeit(self, number: int = 1_000_000) -> Measurement:
        """One time, of `number` runs, after a hundredth as many that do not count."""
        with set_torch_threads(self._task_spec.num_threads):
            self._timer.timeit(max(number // 100, 2))
            return self._measured(number, [self._timer.timeit(number)])

    def repeat(self, repeat: int = -1, number: int = -1) -> list[float]:
        """Times of `number` runs, `repeat` of them, as in Python's `timeit`."""
        with set_torch_threads(self._task_spec.num_threads):
            times = 5 if repeat < 0 else repeat
            return self._timer.repeat(times, 1_000_000 if number < 0 else number)

    def autorange(
        self, callback: Callable[[int, float], object] | None = None
    ) -> tuple[int, float]:
        """(runs, time): so many runs that they take a fifth of a second, as in `timeit`."""
        with set_torch_threads(self._task_spec.num_threads):
            return self._timer.autorange(callback)

    def blocked_autorange(
        self,
        callback: Callable[[int, float], object] | None = None,
        min_run_time: float = 0.2,
    ) -> Measurement:
        """Times of blocks of runs, until they took `min_run_time` seconds together.

        Each block is as short as is possible without the clock being part of what is measured, so
        that the times say how much they vary. `callback(number, time)` is called for each.
        """
        with set_torch_threads(self._task_spec.num_threads):
            number = self._block_size(min_run_time)
            times = []
            for spent in self._blocks(number, callback):
                times.append(spent)
                if sum(times) >= min_run_time:
                    return self._measured(number, times)
        raise AssertionError("blocks do not end")

    def adaptive_autorange(
        self,
        threshold: float = 0.1,
        *,
        min_run_time: float = 0.01,
        max_run_time: float = 10.0,
        callback: Callable[[int, float], object] | None = None,
    ) -> Measurement:
        """As `blocked_autorange`, until the quartiles are less than `threshold` of the median
        apart, or `max_run_time` is over.
        """
        with set_torch_threads(self._task_spec.num_threads):
            number = self._block_size(0.05)
            measured = self._measured(number, [])
            judged, total = 0.0, 0.0
            for spent in self._blocks(number, callback):
                measured.raw_times.append(spent)
                total += spent
                enough = total >= min_run_time and len(measured.raw_times) > 3
                if total >= max_run_time:
                    break
                # Judging sorts all times: not after each block, then.
                if enough and total >= 1.1 * judged:
                    judged = total
                    if measured.meets_confidence(threshold):
                        break
        return measured

    def _blocks(self, number: int, callback: Callable | None) -> Iterator[float]:
        for _ in itertools.count():
            spent = self._timer.timeit(number)
            if callback is not None:
                callback(number, spent)
            yield spent

    def _block_size(self, min_run_time: float) -> int:
        """How many runs take a small part of that time, and much more than reading the clock."""
        self._timer.timeit(2)  # the first run may compile kernels
        overhead = min(self._timer.timeit(0) for _ in range(5))
        number = 1
        while True:
            spent = self._timer.timeit(number)
            if overhead <= spent * 1e-4 and spent >= min_run_time / _BLOCKS:
                return number
            if spent > min_run_time:
                return number
            number *= 10

    def _measured(self, number: int, times: list[float]) -> Measurement:
        return Measurement(number, times, self._task_spec)


__all__ = ["Timer", "set_torch_threads"]
