"""Stages that run together, step after step of a sequence: the packing of what
`native/sequence.py` describes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from .core import Stage, sequence_kernel

_WORD = 8
_MOVES = ("stays", "moves", "follows")


class Place(NamedTuple):
    """Where a part of a step finds an operand: pointer number `source` of the stage's data.

    It `stays`; or it `moves`, to the row of the step with `row` bytes for each; or it `follows`, to
    the rows of the step that was done before. For rows that have none, it is then pointer number
    `first`, `start` bytes behind it, which stays, or null.
    """

    source: int
    moves: str = "stays"
    row: int = 0
    first: int | None = None
    start: int = 0


class Phase(NamedTuple):
    """A kernel, as in `Stage`, whose range is rows of a step."""

    kernel: int
    places: tuple[Place, ...]
    dims: bytes


def sequence_stage(
    phases: Sequence[Phase], data: tuple[int, ...], steps: Sequence[tuple[int, int]]
) -> Stage:
    """The stage that does all `phases` for a step, then for the next.

    `steps` are first row and number of rows of each, in the order of work.
    """
    most = max(len(phase.places) for phase in phases)
    rows = max(count for _, count in steps)
    head = [len(phases), len(steps), most, rows, *(word for step in steps for word in step)]
    table: list[int] = []
    behind: list[bytes] = []
    position = (len(head) + 4 * len(phases)) * _WORD
    for phase in phases:
        places: list[int] = []
        for source, moves, row, first, start in phase.places:
            places += [source, row, _MOVES.index(moves), -1 if first is None else first, start]
        content = phase.dims + struct.pack(f"{len(places)}q", *places)
        table += [phase.kernel, position, position + len(phase.dims), len(phase.places)]
        behind.append(content)
        position += len(content)
    words = [*head, *table]
    dims = struct.pack(f"{len(words)}q", *words) + b"".join(behind)
    return Stage(sequence_kernel(), data, dims, 1, 1)
