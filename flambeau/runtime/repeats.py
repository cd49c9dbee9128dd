"""Rows that repeat, and stages that run only where they do: see `native/repeats.py`."""

from __future__ import annotations

import struct

from .core import Stage, repeats_kernel, run_if_kernel


def repeats_stage(data: tuple[int, ...], rows: int, size: int, most: int) -> Stage:
    """The stage that finds the distinct ones of `rows` of `size` bytes, if there are `most` at
    most. Data are the rows and what `native/repeats.py` says, with a table of `table_size(most)`
    words.
    """
    dims = struct.pack("4q", rows, size, most, table_size(most))
    return Stage(repeats_kernel(), data, dims, 1, 1)


def table_size(most: int) -> int:
    """Words of the table in which `most` rows are looked for: half of it stays free."""
    return 1 << (2 * most).bit_length()


def stage_if(stage: Stage, count: int, most: int, wanted: bool) -> Stage:
    """The stage, which runs where the number that `count` points to is at most `most`, or (not
    `wanted`) where it is larger. A stage without a total runs over so many."""
    head = struct.pack("5q", most, wanted, stage.kernel, stage.total, stage.grain)
    starts = (0, *stage.starts) if stage.starts else ()
    return Stage(run_if_kernel(), (count, *stage.data), head + stage.dims, 1, 1, starts)
