"""Debugging of printed programs."""

from __future__ import annotations

from collections.abc import Callable

from ..graph_module import GraphModule

__all__ = ["set_trace"]

LINE = "import pdb; pdb.set_trace()\n"


def set_trace(gm: GraphModule) -> GraphModule:
    """Lets the program stop in Python's debugger when it begins; changes `gm` and gives it."""

    def transformer(before: Callable | None) -> Callable[[list[str]], list[str]]:
        return lambda lines: [LINE, *(before(lines) if before is not None else lines)]

    gm.graph.on_generate_code(transformer)
    gm.recompile()
    return gm
