"""Finding a small graph in a larger one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from flambeau import nn
from flambeau.tensor import Tensor

from ...graph import Graph
from ...node import Node
from ...operator_schemas import normalize_function

__all__ = ["InternalMatch", "SubgraphMatcher"]


@dataclasses.dataclass
class InternalMatch:
    """Where a pattern was found.

    `nodes_map` maps nodes of the pattern to what stands for them in the graph; `anchors` are the
    nodes where the search began, `placeholder_nodes` what the pattern's inputs are,
    `returning_nodes` what its results are; `name_node_map` is `nodes_map` by the pattern's names.
    """

    anchors: list[Node]
    nodes_map: dict[Node, Any] = dataclasses.field(default_factory=dict)
    placeholder_nodes: list[Any] = dataclasses.field(default_factory=list)
    returning_nodes: list[Node] = dataclasses.field(default_factory=list)
    name_node_map: dict[str, Any] = dataclasses.field(default_factory=dict)


class SubgraphMatcher:
    """Finds `pattern` in graphs.

    A node matches where opcode, target and arguments do; arguments count by the parameters that
    they are for. An input of the pattern matches anything, the same thing everywhere. Numbers
    and other constants must be equal and of one type, unless `ignore_literals`. With
    `match_output` or `match_placeholder`, outputs or inputs of the graph are wanted for those of
    the pattern.
    """

    def __init__(
        self,
        pattern: Graph,
        match_output: bool = False,
        match_placeholder: bool = False,
        remove_overlapping_matches: bool = True,
        ignore_literals: bool = False,
    ) -> None:
        self.pattern = pattern
        self.match_output, self.match_placeholder = match_output, match_placeholder
        self.remove_overlapping_matches = remove_overlapping_matches
        self.ignore_literals = ignore_literals
        if not len(pattern.nodes):
            raise ValueError("SubgraphMatcher cannot be initialized with an empty pattern")
        for node in pattern.nodes:
            if not node.users and not node.is_impure():
                raise AssertionError(
                    "SubgraphMatcher cannot be initialized with an pattern with dead code"
                )
        self.pattern_placeholder_nodes = [n for n in pattern.nodes if n.op == "placeholder"]
        output = pattern.output_node()
        self.pattern_returning_nodes = output.all_input_nodes
        if match_output:
            self.pattern_anchors = [output]
        else:
            self.pattern_anchors = [n for n in self.pattern_returning_nodes if len(n.users) == 1]
            if any(node.op == "placeholder" for node in self.pattern_returning_nodes):
                raise ValueError("a pattern that returns one of its inputs matches everything")

    # --- nodes ----------------------------------------------------------------------------------

    def _nodes_are_equal(self, pn: Node, gn: Node) -> bool:
        if pn.op != gn.op:
            return False
        if pn.op in ("placeholder", "output"):
            return True
        if pn.op in ("get_attr", "call_module"):
            return self._same_attribute(pn, gn)
        return pn.target == gn.target

    def _same_attribute(self, pn: Node, gn: Node) -> bool:
        """Modules count by path and type, values by path, or by being the same object."""
        found = [_attribute(node) for node in (pn, gn)]
        if None in found:
            return pn.target == gn.target
        if pn.op == "get_attr":
            return _same_value(*found) or (
                pn.target == gn.target and isinstance(found[0], nn.Parameter | nn.Module)
            )
        return pn.target == gn.target and type(found[0]) is type(found[1])

    def _match_nodes(self, pn: Any, gn: Any, found: dict, taken: set) -> bool:
        if type(pn) is not Node:
            return self._match_values(pn, gn, found, taken)
        if pn in found:
            return found[pn] is gn or (type(gn) is not Node and _equal(found[pn], gn))
        if pn.op == "placeholder" and not self.match_placeholder:
            found[pn] = gn
            return True
        if type(gn) is not Node or gn in taken or not self._nodes_are_equal(pn, gn):
            return False
        found[pn] = gn
        taken.add(gn)
        return self._match_arguments(pn, gn, found, taken)

    def _match_arguments(self, pn: Node, gn: Node, found: dict, taken: set) -> bool:
        if pn.op in ("placeholder", "get_attr"):
            return True
        ours, theirs = (pn.args, dict(pn.kwargs)), (gn.args, dict(gn.kwargs))
        same_form = len(pn.args) == len(gn.args) and pn.kwargs.keys() == gn.kwargs.keys()
        if not same_form:
            if pn.op != "call_function":
                return False
            pair = [
                normalize_function(
                    n.target, n.args, dict(n.kwargs), normalize_to_only_use_kwargs=True
                )
                for n in (pn, gn)
            ]
            if pair[0] is None or pair[1] is None:
                return False
            ours, theirs = pair[0], pair[1]
            if ours[1].keys() != theirs[1].keys():
                return False
        return self._match_values(list(ours[0]), list(theirs[0]), found, taken) and all(
            self._match_nodes(value, theirs[1][key], found, taken) for key, value in ours[1].items()
        )

    def _match_values(self, pattern: Any, value: Any, found: dict, taken: set) -> bool:
        if isinstance(pattern, list | tuple):
            return (
                isinstance(value, list | tuple)
                and len(pattern) == len(value)
                and all(
                    self._match_nodes(a, b, found, taken)
                    for a, b in zip(pattern, value, strict=True)
                )
            )
        if isinstance(pattern, dict):
            return (
                isinstance(value, dict)
                and pattern.keys() == value.keys()
                and all(self._match_nodes(pattern[k], value[k], found, taken) for k in pattern)
            )
        if isinstance(pattern, slice) and isinstance(value, slice):
            parts = [(s.start, s.stop, s.step) for s in (pattern, value)]
            return self._match_values(parts[0], parts[1], found, taken)
        if type(value) is Node:
            return False
        return self.ignore_literals or _equal(pattern, value)

    # --- the whole ------------------------------------------------------------------------------

    def _is_contained(self, found: dict[Node, Any]) -> bool:
        """Whether nobody outside reads what is inside and no result."""
        returned = {found[node] for node in self.pattern_returning_nodes}
        inside = {found[n] for n in self.pattern.nodes if n in found and n.op != "placeholder"}
        return all(
            node in returned or node.op == "get_attr" or all(u in inside for u in node.users)
            for node in inside
            if node.op not in ("placeholder", "output")
        )

    def _search(
        self, anchors: list[Node], candidates: dict[Node, list[Node]], found: dict, taken: set
    ) -> Iterator[dict[Node, Any]]:
        if not anchors:
            yield found
            return
        first, *rest = anchors
        for candidate in candidates[first]:
            mapped, used = dict(found), set(taken)
            if self._match_nodes(first, candidate, mapped, used):
                yield from self._search(rest, candidates, mapped, used)

    def match(self, graph: Graph, node_name_match: str = "") -> list[InternalMatch]:
        """All places where the pattern is; those that share nodes with an earlier one are left
        out, unless they were asked for. `node_name_match` limits the search to anchors whose
        names contain it.
        """
        candidates: dict[Node, list[Node]] = {anchor: [] for anchor in self.pattern_anchors}
        for node in graph.nodes:
            for anchor, nodes in candidates.items():
                if node_name_match in node.name and self._nodes_are_equal(anchor, node):
                    nodes.append(node)
        matches: list[InternalMatch] = []
        seen: set[Node] = set()
        distinct: set[frozenset] = set()
        for found in self._search(self.pattern_anchors, candidates, {}, set()):
            inside = {found[n] for n in self.pattern.nodes if n in found and n.op != "placeholder"}
            key = frozenset(found[n] for n in self.pattern_returning_nodes)
            if not self._is_contained(found) or key in distinct:
                continue
            shared = {node for node in inside if node.op not in ("get_attr", "output")}
            if self.remove_overlapping_matches and seen & shared:
                continue
            distinct.add(key)
            seen |= shared
            matches.append(self._described(found))
        return matches

    def _described(self, found: dict[Node, Any]) -> InternalMatch:
        return InternalMatch(
            anchors=[found[node] for node in self.pattern_anchors],
            nodes_map=found,
            placeholder_nodes=[found.get(node) for node in self.pattern_placeholder_nodes],
            returning_nodes=[found[node] for node in self.pattern_returning_nodes],
            name_node_map={node.name: value for node, value in found.items()},
        )


def _attribute(node: Node) -> Any:
    value = node.graph.owning_module
    for part in node.target.split("."):
        value = getattr(value, part, None)
    return value


def _same_value(a: Any, b: Any) -> bool:
    """Whether two values of modules are one: constants by what they hold."""
    if a is b or not all(isinstance(each, Tensor) for each in (a, b)):
        return a is b
    parameter = isinstance(a, nn.Parameter) or isinstance(b, nn.Parameter)
    alike = not parameter and a.shape == b.shape and a.dtype is b.dtype
    return alike and bool((a == b).all())


def _equal(a: Any, b: Any) -> bool:
    """Whether two constants are the same: 1, 1.0 and True are three."""
    return type(a) is type(b) and bool(a is b or a == b)
