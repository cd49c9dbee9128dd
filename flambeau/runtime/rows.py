"""Stages that run together over blocks of rows: the packing of what `native/rows.py` describes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from .core import Stage, rows_kernel

_WORD = 8
_NEAR = 1 << 17  # bytes of a block: they stay in the cache of one core
_LINE = 64


class Part(NamedTuple):
    """A kernel, as in `Stage`, with `each` iterations for each row.

    `data` are pairs: which pointer (k >= 0: number k of the stage's data, -1 - k: scratch block k),
    and bytes to add to it.
    """

    kernel: int
    data: tuple[tuple[int, int], ...]
    dims: bytes
    each: int


class Rows(NamedTuple):
    """`parts` in turn for a block of rows, then for the next, of `total` rows.

    `scratch` are the bytes for each row of what the parts hand to each other. Row r of a scratch
    block lies r times that many bytes behind its pointer. `block` is how many rows a block has.
    """

    parts: Sequence[Part]
    data: tuple[int, ...]
    scratch: tuple[int, ...]
    total: int
    grain: int
    block: int


def block_of(near: int, total: int) -> int:
    """How many of `total` rows make a block, if each moves `near` bytes."""
    return max(1, min(_NEAR // max(near, 1), total))


def rows_stage(rows: Rows) -> Stage:
    """The stage that does what `rows` says."""
    block = rows.block
    slab, places = 0, []
    for nbytes in rows.scratch:
        places += [slab, nbytes]
        slab += -(-nbytes * block // _LINE) * _LINE
    given = len(rows.data)
    most = max(len(part.data) for part in rows.parts)
    head = [len(rows.parts), block, slab, given, len(rows.scratch), most, *places]
    table: list[int] = []
    behind: list[bytes] = []
    position = (len(head) + 5 * len(rows.parts)) * _WORD
    for part in rows.parts:
        pairs = [word for k, add in part.data for word in (k if k >= 0 else given - 1 - k, add)]
        content = part.dims + struct.pack(f"{len(pairs)}q", *pairs)
        table += [part.kernel, position, position + len(part.dims), len(part.data), part.each]
        behind.append(content)
        position += len(content)
    words = [*head, *table]
    dims = struct.pack(f"{len(words)}q", *words) + b"".join(behind)
    return Stage(rows_kernel(), rows.data, dims, rows.total, rows.grain)
