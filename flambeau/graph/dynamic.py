"""Numbers that differ from program to program, such as lengths and what is computed from them.

Kernels take sizes and strides as run-time values, but a number that an op was given, such as the
1/n of a mean, is a constant of the captured kernel. `Sizes` compares the numbers of a function's
captures, in their order: where they differ, later captures leave a parameter in the kernel, so
that a program for other sizes needs no other machine code.
"""

from __future__ import annotations

import struct
from typing import Any

Number = int | float


class Sizes:
    """What the captures of one function have seen. With `always`, no number is a constant."""

    def __init__(self, always: bool = False):
        self._always = always
        self._before: list[tuple[str, Any]] = []  # kernel and number, of the capture before
        self._now: list[tuple[str, Any]] = []
        self._kinds: dict[tuple[int, str], int] = {}  # by place; equal kinds are equal numbers
        self._count = 0

    def start(self) -> None:
        """A capture begins."""
        self._before, self._now = self._now or self._before, []
        self._values: dict[int, Any] = {}  # of each kind
        self._met: dict[tuple, int] = {}  # kinds that are new, by what is known of their numbers

    def kind(self, kernel: str, value: Number) -> int | None:
        """Which parameter the capture's next number, `value`, is; None where it is a constant.

        A wrong guess costs a kernel, never a wrong result.
        """
        position, exact = len(self._now), bits(value)
        self._now.append((kernel, exact))
        place = position, kernel
        kind = self._kinds.get(place)
        if kind is None:
            past = self._before[position] if position < len(self._before) else ("", None)
            if not self._always and (past[0] != kernel or past[1] == exact):
                return None
            kind = self._kinds[place] = self._new((past, exact))
        if self._values.setdefault(kind, exact) != exact:
            kind = self._kinds[place] = self._new((kind, exact))
            self._values[kind] = exact
        return kind

    def _new(self, known: tuple) -> int:
        if known not in self._met:
            self._met[known] = self._count
            self._count += 1
        return self._met[known]


def bits(value: Number) -> Any:
    """What only equal numbers have in common: 0.0 is not -0.0, and nan is nan."""
    return struct.pack("<d", value) if isinstance(value, float) else value


__all__ = ["Number", "Sizes", "bits"]
