"""Where the memory of a program lies that is needed for a part of a run only: in one block, and in
results that nobody has written yet.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import NamedTuple

LINE = 64  # bytes: every place begins with a line of the cache
APART = 192  # bytes between neighbours: points of equal number would be 4 KB apart, which collides
LARGE = 1 << 12  # bytes from which memory is worth looking for in results
TRIES = 64  # results that are looked at for one piece
BLOCK = -1  # in a place: the common block


class Piece(NamedTuple):
    """Memory that is needed from one instruction to another, both included. `heir` is the number of
    a piece that ends where this one begins, and whose place it may have.
    """

    nbytes: int
    first: int
    last: int
    heir: int | None = None


class Place(NamedTuple):
    """So many bytes behind the beginning of the common block, or of a result."""

    home: int
    start: int


class Memory(NamedTuple):
    """The place of each piece, and how many bytes the common block has."""

    places: list[Place]
    nbytes: int


def plan_memory(pieces: Sequence[Piece], results: Sequence[tuple[int, int]]) -> Memory:
    """Places for pieces, in the order of time: the place of whom it is heir to; a gap in the result
    that is written next, but not before the piece ends; the smallest gap in the block. `results`
    are the bytes of each, and the instruction that meets it first.
    """
    block, inherited = _Heap(apart=APART), set[int]()
    lenders = sorted((met, k) for k, (nbytes, met) in enumerate(results) if nbytes >= LARGE)
    deadlines = [met for met, _ in lenders]
    heaps = {k: _Heap(results[k][0]) for _, k in lenders}
    places = [Place(BLOCK, 0)] * len(pieces)
    ending = iter(sorted(range(len(pieces)), key=lambda k: pieces[k].last))
    gone = next(ending, None)

    def find(piece: Piece) -> Place:
        behind = bisect.bisect_right(deadlines, piece.last)
        for _, k in lenders[behind : behind + TRIES] if piece.nbytes >= LARGE else ():
            start = heaps[k].take(piece.nbytes)
            if start is not None:
                return Place(k, start)
        return Place(BLOCK, block.grow(piece.nbytes))

    for k in sorted(range(len(pieces)), key=lambda k: (pieces[k].first, -pieces[k].nbytes)):
        piece, heir = pieces[k], pieces[k].heir
        while gone is not None and pieces[gone].last < piece.first:
            if gone not in inherited:
                home, start = places[gone]
                heaps.get(home, block).give(start, pieces[gone].nbytes)
            gone = next(ending, None)
        if heir is not None and heir not in inherited:
            home = places[heir].home
            if home == BLOCK or results[home][1] > piece.last:
                inherited.add(heir)
                places[k] = places[heir]
                continue
        places[k] = find(piece)
    return Memory(places, block.size)


class _Heap:
    """Memory with gaps, in steps of lines; with large pieces `apart`."""

    def __init__(self, nbytes: int = 0, apart: int = 0) -> None:
        self.size, self._apart = -(-nbytes // LINE) * LINE, apart
        self._gaps: list[tuple[int, int]] = []  # bytes and start, the smallest first
        self._at: dict[int, int] = {}  # the bytes of the gap that starts there
        self._until: dict[int, int] = {}  # the start of the gap that ends there
        if self.size:
            self._open(0, self.size)

    def take(self, nbytes: int) -> int | None:
        """Where so many bytes are free, if anywhere."""
        wanted = self._padded(nbytes)
        k = bisect.bisect_left(self._gaps, (wanted, -1))
        if k == len(self._gaps):
            return None
        size, start = self._gaps[k]
        self._close(start)
        if size > wanted:
            self._open(start + wanted, size - wanted)
        return start

    def grow(self, nbytes: int) -> int:
        """The same, where there is room for all."""
        start = self.take(nbytes)
        if start is None:
            start = self._until.get(self.size, self.size)
            if start < self.size:
                self._close(start)
            self.size = start + self._padded(nbytes)
        return start

    def give(self, start: int, nbytes: int) -> None:
        """Memory that was taken is free again."""
        size = self._padded(nbytes)
        if start + size in self._at:
            size += self._close(start + size)
        if start in self._until:
            start = self._until[start]
            size += self._close(start)
        self._open(start, size)

    def _open(self, start: int, size: int) -> None:
        bisect.insort(self._gaps, (size, start))
        self._at[start], self._until[start + size] = size, start

    def _close(self, start: int) -> int:
        size = self._at.pop(start)
        del self._until[start + size]
        del self._gaps[bisect.bisect_left(self._gaps, (size, start))]
        return size

    def _padded(self, nbytes: int) -> int:
        return -(-max(nbytes, 1) // LINE) * LINE + (self._apart if nbytes >= LARGE else 0)
