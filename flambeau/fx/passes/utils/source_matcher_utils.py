"""Nodes grouped by the module or function that they came from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from ...graph import Graph
from ...node import Node

__all__ = ["SourcePartition", "check_subgraphs_connected", "get_source_partitions"]


@dataclasses.dataclass
class SourcePartition:
    """The nodes of one module call or function."""

    nodes: list[Node]
    source: Any
    input_nodes: list[Node] = dataclasses.field(default_factory=list)
    output_nodes: list[Node] = dataclasses.field(default_factory=list)
    params: list[Node] = dataclasses.field(default_factory=list)


def _source(node: Node) -> tuple[str, Any] | None:
    """The name and kind of where a node came from: its innermost module, or its function."""
    if "source_fn_stack" in node.meta:
        return node.meta["source_fn_stack"][-1]
    stack = node.meta.get("nn_module_stack")
    if stack:
        path, kind = list(stack.values())[-1]
        return path, kind
    return (node.name, node.target) if node.op == "call_function" else None


def get_source_partitions(
    graph: Graph, wanted_sources: list[Any], filter_fn: Callable[[Node], bool] | None = None
) -> dict[Any, list[SourcePartition]]:
    """For each wanted module type or function its parts of the program."""
    groups: dict[Any, dict[str, list[Node]]] = {}
    for node in graph.nodes:
        found = _source(node)
        if found is not None and found[1] in wanted_sources:
            groups.setdefault(found[1], {}).setdefault(found[0], []).append(node)
    made = {
        source: [_partition(source, nodes) for nodes in named.values()]
        for source, named in groups.items()
    }
    if filter_fn is None:
        return made
    kept = {
        source: [p for p in parts if all(map(filter_fn, p.output_nodes))]
        for source, parts in made.items()
    }
    return {source: parts for source, parts in kept.items() if parts}


def _partition(source: Any, nodes: list[Node]) -> SourcePartition:
    inside = set(nodes)
    reads = dict.fromkeys(r for n in nodes for r in n._input_nodes if r not in inside)
    return SourcePartition(
        nodes,
        source,
        [node for node in reads if node.op != "get_attr"],
        [node for node in nodes if any(user not in inside for user in node.users)],
        [node for node in reads if node.op == "get_attr"]
        + [node for node in nodes if node.op == "get_attr"],
    )


def check_subgraphs_connected(subgraph1: SourcePartition, subgraph2: SourcePartition) -> bool:
    """Whether the second reads a result of the first."""
    return any(read in subgraph1.nodes for node in subgraph2.nodes for read in node._input_nodes)
