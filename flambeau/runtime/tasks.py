"""Stages that do not depend on each other, made one: what `native/tasks.py` describes, packed."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from .core import Stage, tasks_kernel

_WORD = 8
_HEAD = 1
_WORDS = 5


def tasks_stage(stages: Sequence[Stage], grain: int) -> Stage:
    """The stage that runs all of `stages` in any order; a thread takes at least `grain` of them."""
    data = tuple(dict.fromkeys(source for stage in stages for source in stage.data))
    number = {source: k for k, source in enumerate(data)}
    table: list[int] = []
    behind: list[bytes] = []
    position = (_HEAD + _WORDS * len(stages)) * _WORD
    for stage in stages:
        starts = stage.starts or (0,) * len(stage.data)
        pairs = [
            word
            for source, start in zip(stage.data, starts, strict=True)
            for word in (number[source], start)
        ]
        content = stage.dims + struct.pack(f"{len(pairs)}q", *pairs)
        places = position + len(stage.dims)
        table += [stage.kernel, position, places, len(stage.data), stage.total]
        behind.append(content)
        position += len(content)
    words = [max(len(stage.data) for stage in stages), *table]
    dims = struct.pack(f"{len(words)}q", *words) + b"".join(behind)
    return Stage(tasks_kernel(), data, dims, len(stages), grain)
