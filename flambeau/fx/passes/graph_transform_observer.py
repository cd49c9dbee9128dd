"""What a pass makes and removes, noted while it runs."""

from __future__ import annotations

import copy
import pathlib
from collections.abc import Callable
from typing import Any

from ..graph_module import GraphModule

__all__ = ["GraphTransformObserver"]


class GraphTransformObserver:
    """A with block around a pass: afterwards `created_nodes` and `erased_nodes` hold names, and
    `difference` what `Graph.diff` says. With `log_url`, a folder, drawings of before and after
    are written there.
    """

    def __init__(
        self, gm: GraphModule, passname: str, subsystem: str | None = None,
        log_url: str | None = None
    ) -> None:  # fmt: skip
        self.gm, self.passname, self.log_url = gm, passname, log_url
        self.created_nodes: set[str] = set()
        self.erased_nodes: set[str] = set()
        self.difference = ""

    def __enter__(self) -> GraphTransformObserver:
        self.before = copy.deepcopy(self.gm.graph)
        return self

    def __exit__(self, *exception: Any) -> None:
        old = {node.name for node in self.before.nodes}
        new = {node.name for node in self.gm.graph.nodes}
        self.created_nodes, self.erased_nodes = new - old, old - new
        self.difference = self.before.diff(self.gm.graph)
        if self.log_url is not None and self.difference:
            folder = pathlib.Path(self.log_url)
            folder.mkdir(parents=True, exist_ok=True)
            for name, graph in (("input", self.before), ("output", self.gm.graph)):
                (folder / f"{self.passname}_{name}_graph.svg").write_text(graph.to_svg())

    def apply_gm_pass(self, pass_fn: Callable[[GraphModule], Any]) -> Any:
        """Runs a pass on the module inside the block."""
        with self:
            return pass_fn(self.gm)

    def apply_graph_pass(self, pass_fn: Callable[[Any], Any]) -> Any:
        """Runs a pass on the graph inside the block."""
        with self:
            return pass_fn(self.gm.graph)
