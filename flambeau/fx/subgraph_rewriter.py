"""Replacing parts of programs: PyTorch's `torch.fx.subgraph_rewriter`."""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from flambeau import nn

from ._symbolic_trace import symbolic_trace
from .aliasing import Memory, shares_with
from .graph import Graph
from .graph_module import GraphModule, _copy_attr
from .node import Node
from .passes.utils.matcher_utils import InternalMatch, SubgraphMatcher

__all__ = ["Match", "ReplacedPatterns", "replace_pattern", "replace_pattern_with_filters"]


class Match(NamedTuple):
    """Where a pattern was: the node at which it was found, and all of its nodes."""

    anchor: Node
    nodes_map: dict[Node, Any]


@dataclasses.dataclass
class ReplacedPatterns:
    """As `Match`, with the nodes that were put there."""

    anchor: Node
    nodes_map: dict[Node, Any]
    replacements: list[Node]


def replace_pattern(gm: GraphModule, pattern: Any, replacement: Any) -> list[Match]:
    """Puts `replacement` wherever `pattern` is in the program; gives the places.

    Both are functions, modules or graphs with the same inputs, in order. Places do not overlap;
    nobody outside may read what the pattern computes besides its results; and nothing in between
    may write to what the pattern reads.
    """
    found = _replace(gm, pattern, replacement)
    return [Match(each.anchor, each.nodes_map) for each in found]


def replace_pattern_with_filters(
    gm: GraphModule,
    pattern: Any,
    replacement: Any = None,
    match_filters: list[Callable[[InternalMatch, Graph, Graph], bool]] | None = None,
    ignore_literals: bool = False,
    replacement_callback: Callable[[InternalMatch, Graph, Graph], Graph] | None = None,
    node_name_match: str = "",
) -> list[ReplacedPatterns]:
    """As `replace_pattern`, where all filters hold.

    Filters and `replacement_callback`, which makes the replacement for one place, get the match,
    the program's graph and the pattern's. With `ignore_literals`, constants may differ.
    """
    return _replace(
        gm,
        pattern,
        replacement,
        match_filters or [],
        ignore_literals,
        replacement_callback,
        node_name_match,
    )


def _graph_of(program: Any) -> Graph:
    if isinstance(program, Graph):
        return program
    if isinstance(program, GraphModule):
        return program.graph
    return symbolic_trace(program).graph


def _replace(
    gm: GraphModule,
    pattern: Any,
    replacement: Any,
    match_filters: list | None = None,
    ignore_literals: bool = False,
    replacement_callback: Callable | None = None,
    node_name_match: str = "",
) -> list[ReplacedPatterns]:
    graph, pattern_graph = gm.graph, _graph_of(pattern)
    if replacement is None and replacement_callback is None:
        raise AssertionError("Must provide either replacement GraphModule or replacement_callback")
    common = None if replacement is None else _graph_of(replacement)
    matcher = SubgraphMatcher(pattern_graph, ignore_literals=ignore_literals)
    matches = [
        match
        for match in matcher.match(graph, node_name_match)
        if all(accepts(match, graph, pattern_graph) for accepts in match_filters or ())
    ]
    writers = _Writers(graph)
    changed: dict[Node, Any] = {}
    made = []
    for match in matches:
        place = _place_for(match, writers)
        if place is None:
            continue
        if replacement_callback is not None:
            common = replacement_callback(match, graph, pattern_graph)
        assert common is not None
        made.append(_put(graph, match, common, place, changed))
        for module in (replacement, common.owning_module):
            if isinstance(module, nn.Module):
                _take_attributes(gm, made[-1].replacements, module)
        writers.put(made[-1].replacements, place)
        for old in match.returning_nodes:  # its readers may share memory with what replaced it
            if type(changed[old]) is Node:
                writers.memory.root[changed[old]] = writers.memory.root[old]
    gm.recompile()
    return made


class _Writers:
    """Where nodes are, and which ones write to memory, as it was when the search began.

    Positions are tuples that end with infinity; what is put before a node has a position between
    those of its neighbours.
    """

    def __init__(self, graph: Graph):
        self.order: dict[Node, tuple] = {n: (i, math.inf) for i, n in enumerate(graph.nodes)}
        self.counts: dict[Node, int] = {}
        self.memory = Memory(graph)
        self.nodes = [node for node in self.order if self.memory.written_by(node)]
        self.places = [self.order[node] for node in self.nodes]

    def put(self, nodes: list[Node], place: Node) -> None:
        """Gives new nodes before `place` their positions and their memory."""
        for node in nodes:
            source = shares_with(node)
            self.memory.root[node] = node if source is None else self.memory.root[source]
            count = self.counts[place] = self.counts.get(place, 0) + 1
            self.order[node] = (*self.order[place][:-1], count, math.inf)

    def between(self, first: tuple, last: tuple) -> list[Node]:
        begin = bisect.bisect_right(self.places, first)
        return self.nodes[begin : bisect.bisect_left(self.places, last)]


def _place_for(match: InternalMatch, writers: _Writers) -> Node | None:
    """The node before which the replacement goes: the first user, or where something is written
    before that, the last result.

    None where there is no such place, or where something is written on the way.
    """
    order = writers.order
    inside = [n for n in match.nodes_map.values() if type(n) is Node and n in order]
    inputs = [n for n in match.placeholder_nodes if type(n) is Node]
    own = set(inside) - set(inputs)
    users = {u for node in match.returning_nodes for u in node.users if u not in own}
    last = max(match.returning_nodes, key=order.__getitem__)
    first_user = min(users, key=order.__getitem__, default=last)
    begin = min(order[n] for n in own)
    memory = writers.memory
    touched = {memory.root[node] for node in own | set(inputs) if node in memory.root}
    for place in sorted({first_user, last}, key=order.__getitem__, reverse=True):
        if order[place] > order[first_user] or any(order[n] >= order[place] for n in inputs):
            continue
        if not any(
            writer not in own and not touched.isdisjoint(memory.written_by(writer))
            for writer in writers.between(begin, order[place])
        ):
            return place
    return None


def _put(
    graph: Graph, match: InternalMatch, replacement: Graph, place: Node, changed: dict[Node, Any]
) -> ReplacedPatterns:
    """Copies the replacement before `place`, and removes what it stands for."""
    inputs = [node for node in replacement.nodes if node.op == "placeholder"]
    if len(inputs) != len(match.placeholder_nodes):
        raise AssertionError(
            f"the pattern has {len(match.placeholder_nodes)} inputs and its replacement "
            f"{len(inputs)}"
        )
    values: dict[Node, Any] = {}
    for node, value in zip(inputs, match.placeholder_nodes, strict=True):
        while type(value) is Node and value in changed:  # replaced by an earlier match
            value = changed[value]
        values[node] = value
    before = set(values)
    with graph.inserting_before(place):
        results = graph.graph_copy(replacement, values)
    made = [values[node] for node in replacement.nodes if node in values and node not in before]
    results = results if isinstance(results, tuple | list) else [results]
    if len(results) != len(match.returning_nodes):
        raise AssertionError(
            f"the pattern has {len(match.returning_nodes)} results and its replacement "
            f"{len(results)}"
        )
    for old, new in zip(match.returning_nodes, results, strict=True):
        old.replace_all_uses_with(new)
        changed[old] = new
    _keep_notes(match, made)
    for node in reversed(next(iter(match.nodes_map)).graph.nodes):
        gone: Any = match.nodes_map.get(node)
        if node.op not in ("placeholder", "output") and not gone.users and not gone._erased:
            graph.erase_node(gone)
    return ReplacedPatterns(match.anchors[0], match.nodes_map, made)


def _keep_notes(match: InternalMatch, made: list[Node]) -> None:
    """New nodes come from the lines and modules from which the old ones came."""
    notes = match.anchors[0].meta
    for node in made:
        for key in ("stack_trace", "nn_module_stack", "custom"):
            if key in notes:
                node.meta[key] = notes[key]


def _take_attributes(gm: GraphModule, nodes: list[Node], source: nn.Module) -> None:
    """What new nodes refer to and the program has not becomes the program's."""
    for node in nodes:
        if node.op in ("get_attr", "call_module") and not _has(gm, node.target):
            if _has(source, node.target):
                _copy_attr(source, gm, node.target)


def _has(module: Any, path: str) -> bool:
    for part in path.split("."):
        if not hasattr(module, part):
            return False
        module = getattr(module, part)
    return True
