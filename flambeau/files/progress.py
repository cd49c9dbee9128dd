"""Bars that show how far a download is: those of the package tqdm where it is installed."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any


class Bar:
    """Shows how much of `total` was counted, on one line: what programs use of tqdm's bars."""

    def __init__(
        self, iterable: Iterable | None = None, total: Any = None, disable: bool = False, **_: Any
    ) -> None:
        self.iterable, self.total, self.disable, self.n = iterable, total, disable, 0

    def update(self, n: Any = 1) -> None:
        """Counts `n` more."""
        self.n += n
        if not self.disable:
            part = f"{self.n / self.total:.1%}" if self.total else str(self.n)
            print(f"\r{part}", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Ends the line."""
        if not self.disable and self.n:
            print(file=sys.stderr)
        self.disable = True

    def set_description(self, *_: Any, **__: Any) -> None:
        """Shows nothing: there is no room."""

    def __iter__(self) -> Iterator:
        for item in self.iterable or ():
            yield item
            self.update()
        self.close()

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def tqdm(*args: Any, **kwargs: Any) -> Any:
    """tqdm's bar, or one that counts."""
    try:
        from tqdm.auto import tqdm as made  # an optional package
    except ImportError:
        made = Bar
    return made(*args, **kwargs)


__all__ = ["Bar", "tqdm"]
