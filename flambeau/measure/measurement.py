"""What a timer found out: a task, its times, and what they say."""

from __future__ import annotations

import math
import statistics
import textwrap
from collections.abc import Iterable
from typing import Any, NamedTuple

_UNITS = ((1e-9, "ns", "nanoseconds"), (1e-6, "us", "microseconds"), (1e-3, "ms", "milliseconds"))
# Beyond these parts of the median, the middle half of the times casts doubt on it.
_WIDE, _VERY_WIDE = 0.1, 0.25


def select_unit(seconds: float) -> tuple[str, float]:
    """(sign, seconds) of the unit in which a time reads best."""
    for (unit, sign, _), above in zip(_UNITS, (1e-6, 1e-3, 1.0), strict=True):
        if seconds < above:
            return sign, unit
    return "s", 1.0


def unit_to_english(sign: str) -> str:
    """The word for the sign of a unit of time."""
    return {"s": "seconds"}.get(sign) or next(word for _, s, word in _UNITS if s == sign)


class TaskSpec(NamedTuple):
    """What is measured, and what it is called."""

    stmt: str
    setup: str = "pass"
    global_setup: str = ""
    label: str | None = None
    sub_label: str | None = None
    description: str | None = None
    env: str | None = None
    num_threads: int = 1

    @property
    def title(self) -> str:
        """The label, or else the statement, and what distinguishes it."""
        if self.label is not None:
            return self.label + (f": {self.sub_label}" if self.sub_label else "")
        if "\n" not in self.stmt:
            return self.stmt + (f": {self.sub_label}" if self.sub_label else "")
        beside = f" ({self.sub_label})" if self.sub_label else ""
        return f"stmt:{beside}\n{textwrap.indent(self.stmt, '  ')}"

    def setup_str(self) -> str:
        """The setup as people read it; empty where nothing is set up."""
        if self.setup == "pass" or not self.setup:
            return ""
        if "\n" in self.setup:
            return f"setup:\n{textwrap.indent(self.setup, '  ')}"
        return f"setup: {self.setup}"

    def summarize(self) -> str:
        """Title, description and setup."""
        parts = [self.title, self.description or "", self.setup_str()]
        several = any("\n" in part for part in parts)
        return ("\n\n" if several else "\n").join(part for part in parts if part)


class Measurement:
    """The times of runs of a task. Each of `raw_times`, in seconds, is that of `number_per_run`
    runs.

    `times`, `mean`, `median` and `iqr`, the distance between the quartiles, are those of one run;
    `metadata` is the user's. The parts of `task_spec` are attributes, too.
    """

    def __init__(
        self,
        number_per_run: int,
        raw_times: list[float],
        task_spec: TaskSpec,
        metadata: dict[Any, Any] | None = None,
    ) -> None:
        self.number_per_run, self.raw_times = number_per_run, raw_times
        self.task_spec, self.metadata = task_spec, metadata

    def __getattr__(self, name: str) -> Any:
        if name in TaskSpec._fields:
            return getattr(self.task_spec, name)
        raise AttributeError(f"Measurement has no attribute {name!r}")

    @property
    def times(self) -> list[float]:
        return [time / self.number_per_run for time in self.raw_times]

    @property
    def mean(self) -> float:
        return statistics.fmean(self._some())

    @property
    def median(self) -> float:
        return statistics.median(self._some())

    @property
    def iqr(self) -> float:
        times = self._some()
        return self._quartile(3) - self._quartile(1) if len(times) > 1 else 0.0

    def _some(self) -> list[float]:
        if not self.raw_times:
            raise ValueError("a measurement without times has no statistics")
        return self.times

    def _quartile(self, which: int) -> float:
        return statistics.quantiles(self.times, n=4, method="inclusive")[which - 1]

    @property
    def significant_figures(self) -> int:
        """The digits of the median that another measurement would probably confirm; 1 at least.

        The standard error of a median of n normal values is 1.253 sigma / sqrt(n), and sigma is
        the distance of the quartiles / 1.349; within 1.96 errors lie 95 % of all medians.
        """
        error = 1.96 * 1.253 * self.iqr / 1.349 / math.sqrt(len(self.raw_times))
        if error <= 0 or self.median <= 0:
            return 1 if len(self.raw_times) < 2 else 15
        return max(math.floor(-math.log10(error / self.median)), 1)

    @property
    def has_warnings(self) -> bool:
        """Whether the times are spread so far that the median means little."""
        return not self.meets_confidence()

    def meets_confidence(self, threshold: float = _WIDE) -> bool:
        """Whether the quartiles are less than this part of the median apart."""
        return self.iqr / self.median < threshold if self.median else False

    @property
    def title(self) -> str:
        """What the task is called."""
        return self.task_spec.title

    @property
    def env(self) -> str:
        """Where it was measured, in the user's words."""
        return "Unspecified env" if self.task_spec.env is None else self.task_spec.env

    @property
    def as_row_name(self) -> str:
        """What the task is called in a table."""
        spec = self.task_spec
        return spec.sub_label or spec.stmt or "[Unknown]"

    @staticmethod
    def merge(measurements: Iterable[Measurement]) -> list[Measurement]:
        """One measurement for each task, with the times of all that are equal."""
        grouped: dict[TaskSpec, list[Measurement]] = {}
        for each in measurements:
            grouped.setdefault(each.task_spec, []).append(each)
        return [
            Measurement(1, [time for each in group for time in each.times], spec)
            for spec, group in grouped.items()
        ]

    def __repr__(self) -> str:
        spec, lines = self.task_spec, []
        sign, unit = select_unit(self.median)
        several = len(self.raw_times) > 1
        lines.append(f"  {'Median: ' if several else ''}{self.median / unit:.2f} {sign}")
        if several:
            low, high = self._quartile(1) / unit, self._quartile(3) / unit
            lines.append(f"  IQR:    {self.iqr / unit:.2f} {sign} ({low:.2f} to {high:.2f})")
        measurements = f"{len(self.raw_times)} measurement{'s' if several else ''}"
        runs = f"{self.number_per_run} run{'s' if self.number_per_run > 1 else ''}"
        threads = f"{spec.num_threads} thread{'s' if spec.num_threads > 1 else ''}"
        each = " per measurement" if several else ""
        lines.append(f"  {measurements}, {runs}{each}, {threads}")
        if several and self.has_warnings:
            part = self.iqr / self.median
            might = "suggests significant" if part > _VERY_WIDE else "could indicate system"
            lines.append(f"  WARNING: the interquartile range is {part:.1%} of the median, which")
            lines.append(f"           {might} environmental influence.")
        head = f"<{type(self).__module__}.{type(self).__name__} object at {id(self):#x}>"
        return "\n".join([head, spec.summarize(), *lines])

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


__all__ = ["Measurement", "TaskSpec", "select_unit", "unit_to_english"]
