"""Tables of measurements: PyTorch's `torch.utils.benchmark.Compare`."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable

from .measurement import Measurement, select_unit, unit_to_english

_GREEN, _RED, _END = "\033[92m\033[1m", "\033[2m\033[91m", "\033[0m\033[0m"
# How near to the best time counts as best, and how far from it is bad.
_BEST, _BAD = 1.05, 2.0


class Colorize(enum.Enum):
    """Among which times the best ones are coloured."""

    NONE = "none"
    COLUMNWISE = "columnwise"
    ROWWISE = "rowwise"


class Compare:
    """A table for each label: a row for each environment, number of threads and sub-label, a column
    for each description.
    """

    def __init__(self, results: list[Measurement]) -> None:
        self._results: list[Measurement] = []
        self.extend_results(results)
        self._trims = self._warns = False
        self._colorize = Colorize.NONE

    def extend_results(self, results: Iterable[Measurement]) -> None:
        """Adds measurements to the table."""
        for result in results:
            if not isinstance(result, Measurement):
                raise ValueError(f"Expected an instance of Measurement, got {type(result)} instead")
            self._results.append(result)

    def trim_significant_figures(self) -> None:
        """Shows only digits that the measurements are sure of."""
        self._trims = True

    def colorize(self, rowwise: bool = False) -> None:
        """Shows the best times of each column (or row) in green, much longer ones in red."""
        self._colorize = Colorize.ROWWISE if rowwise else Colorize.COLUMNWISE

    def highlight_warnings(self) -> None:
        """Adds the distance of the quartiles, as a part of the median, where it is large."""
        self._warns = True

    def print(self) -> None:
        """Prints the tables."""
        print(self)

    def __str__(self) -> str:
        groups: dict[str | None, list[Measurement]] = {}
        for result in Measurement.merge(self._results):
            groups.setdefault(result.label, []).append(result)
        return "\n".join(self._table(label, group) for label, group in groups.items())

    def _table(self, label: str | None, results: list[Measurement]) -> str:
        columns = list(dict.fromkeys(result.description or "" for result in results))
        places = {
            (r.num_threads, r.task_spec.env or "", r.as_row_name, r.description or ""): r
            for r in results
        }
        rows = list(dict.fromkeys(key[:3] for key in places))
        rows.sort(key=lambda row: row[0])  # else as they came
        sign, unit = select_unit(min(result.median for result in results))
        table = [[places.get((*row, column)) for column in columns] for row in rows]
        texts = [[self._text(result, unit) for result in line] for line in table]
        names = _row_names(rows)
        widths = [max(map(len, column)) for column in zip(columns, *texts, strict=True)]
        first = max(map(len, [*names, ""]))

        def joined(name: str, cells: list[str]) -> str:
            return "  |  ".join([name.ljust(first), *cells])

        heads = [c.center(width) for c, width in zip(columns, widths, strict=True)]
        head = joined("", heads)
        title = f" {results[0].task_spec.stmt if label is None else label} "
        lines = [f"[{title.center(len(head) - 2, '-')}]", head.rstrip()]
        threads = None
        for number, (row, name) in enumerate(zip(rows, names, strict=True)):
            if row[0] != threads:
                threads = row[0]
                lines.append(f"{threads} threads: ".ljust(len(head), "-"))
            cells = [
                self._coloured(text.center(width), table, number, column)
                for column, (text, width) in enumerate(zip(texts[number], widths, strict=True))
            ]
            lines.append(joined(name, cells))
        noted = self._warns and any(result.has_warnings for result in results)
        lines += ["", f"Times are in {unit_to_english(sign)} ({sign})."]
        lines += ["(! XX%) is the distance of the quartiles, as a part of the median."] * noted
        return "\n".join([*lines, ""])

    def _text(self, result: Measurement | None, unit: float) -> str:
        if result is None:
            return ""
        value, decimals = result.median / unit, 1
        if self._trims and value > 0:
            before = math.floor(math.log10(value)) + 1
            decimals = result.significant_figures - before
            value, decimals = round(value, decimals), min(max(decimals, 0), 3)
        text = f"{value:.{decimals}f}"
        if self._warns and result.has_warnings:
            text = f"(! {result.iqr / result.median:.0%}) {text}"
        return text

    def _coloured(self, text: str, table: list, row: int, column: int) -> str:
        result = table[row][column]
        if self._colorize is Colorize.NONE or result is None:
            return text
        rowwise = self._colorize is Colorize.ROWWISE
        others = table[row] if rowwise else [line[column] for line in table]
        best = min(other.median for other in others if other is not None)
        if result.median <= _BEST * best:
            return _GREEN + text + _END
        return _RED + text + _END if result.median >= _BAD * best else text


def _row_names(rows: list[tuple[int, str, str]]) -> list[str]:
    """The names of rows, behind the first of which, where it changes, their environment stands."""
    environments = [f"({env})" if env else "" for _, env, _ in rows]
    width, before, names = max(map(len, environments)), None, []
    for (_, _, name), env in zip(rows, environments, strict=True):
        shown = env if env != before else ""
        names.append(f"  {shown.ljust(max(width, 2))}  {name}")
        before = env
    return names


__all__ = ["Colorize", "Compare"]
