"""Graphs compared, and made modules of."""

from __future__ import annotations

from typing import Any

from flambeau import nn

from ...graph import Graph
from ...graph_module import GraphModule, _copy_attr
from .matcher_utils import SubgraphMatcher

__all__ = ["HolderModule", "compare_graphs", "lift_subgraph_as_module"]


class HolderModule(nn.Module):
    """Holds modules by name."""

    def __init__(self, d: dict[str, nn.Module]):
        super().__init__()
        for name, module in d.items():
            self.add_module(name, module)


def lift_subgraph_as_module(
    gm: GraphModule, subgraph: Graph, comp_name: str = "", class_name: str = "GraphModule"
) -> tuple[GraphModule, dict[str, str]]:
    """A module that runs `subgraph` with what it needs of `gm`, and new paths to old ones."""
    holder = HolderModule({})
    paths: dict[str, str] = {}
    for node in subgraph.nodes:
        if node.op in ("call_module", "get_attr"):
            _copy_attr(gm, holder, node.target)
            paths[f"{comp_name}.{node.target}" if comp_name else node.target] = node.target
    return GraphModule(holder, subgraph, class_name), paths


def compare_graphs(left: Graph, right: Graph) -> bool:
    """Whether two graphs are the same but for names."""
    if len(left.nodes) != len(right.nodes):
        return False
    found: list[Any] = SubgraphMatcher(left, match_output=True, match_placeholder=True).match(right)
    return bool(found)
