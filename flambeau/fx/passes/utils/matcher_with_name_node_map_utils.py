"""Matches with names that the pattern itself gives to its nodes."""

from __future__ import annotations

from typing import Any

from ...graph import Graph
from ...graph_module import GraphModule
from ...node import Node
from .matcher_utils import InternalMatch, SubgraphMatcher

__all__ = ["SubgraphMatcherWithNameNodeMap"]


class SubgraphMatcherWithNameNodeMap(SubgraphMatcher):
    """Finds a pattern that returns its results and, last, a dict from names to inner values.

    `name_node_map` of a match has these names.
    """

    def __init__(self, pattern_gm: GraphModule, *args: Any, **kwargs: Any) -> None:
        graph = Graph()
        values: dict[Node, Node] = {}
        results = graph.graph_copy(pattern_gm.graph, values)
        *returned, names = results
        if not isinstance(names, dict):
            raise AssertionError("the pattern returns no dict of names as its last result")
        graph.output(tuple(returned))
        graph.owning_module = pattern_gm
        self.names: dict[str, Node] = dict(names)
        super().__init__(graph, *args, **kwargs)

    def match(self, graph: Graph, node_name_match: str = "") -> list[InternalMatch]:
        found = super().match(graph, node_name_match)
        for match in found:
            match.name_node_map = {name: match.nodes_map[n] for name, n in self.names.items()}
        return found
