"""Nodes made into submodules."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence

from ...aliasing import Memory
from ...graph import Graph
from ...graph_module import GraphModule
from ...node import Node

__all__ = [
    "erase_nodes",
    "fuse_as_graphmodule",
    "fuse_by_partitions",
    "insert_subgm",
    "topo_sort",
    "validate_partition",
]


def topo_sort(nodes: Sequence[Node]) -> list[Node]:
    """The nodes in an order in which they can run. AssertionError where there is none."""
    given = set(nodes)
    waiting = {node: sum(read in given for read in node._input_nodes) for node in nodes}
    ready = [node for node, count in waiting.items() if not count]
    for node in ready:
        for user in node.users:
            if user in waiting:
                waiting[user] -= 1
                if not waiting[user]:
                    ready.append(user)
    if len(ready) != len(waiting):
        raise AssertionError("topological sorted nodes doesn't have same length as input nodes")
    return ready


def validate_partition(partition: Sequence[Node]) -> bool:
    """Whether the nodes can run together: none depends on another through a node outside."""
    inside = set(partition)
    frontier = [u for node in partition for u in node.users if u not in inside]
    seen = set(frontier)
    while frontier:
        node = frontier.pop()
        if node in inside:
            return False
        for user in node.users:
            if user not in seen:
                seen.add(user)
                frontier.append(user)
    return True


def fuse_as_graphmodule(
    gm: GraphModule,
    nodes: Sequence[Node],
    module_name: str,
    partition_lookup_table: Mapping[Node, int | None] | None = None,
    *,
    always_return_tuple: bool = False,
    validate: bool = True,
) -> tuple[GraphModule, tuple[Node, ...], tuple[Node, ...]]:
    """A module of these nodes, what it reads, and those of its nodes that others read.

    Nodes are in the order in which they run, or are brought into it (`validate`).
    `partition_lookup_table` has the same nodes as keys; with `always_return_tuple`, one result is
    in a tuple as well. AssertionError where a node of another program is among them, or where they
    depend on each other through others (`validate`).
    """
    inside = set(nodes)
    if partition_lookup_table is not None and partition_lookup_table.keys() != inside:
        raise AssertionError("partition_lookup_table names other nodes than the partition has")
    inputs: dict[Node, None] = {}
    for node in nodes:
        if node.graph.owning_module is not gm:
            raise AssertionError(f"{node} is not in the program of {gm._get_name()}")
        for read in node._input_nodes:
            if read not in inside:
                inputs[read] = None
    if validate and not validate_partition(nodes):
        raise AssertionError("Invalid partition, found dependency cycles")
    outputs = [node for node in nodes if any(user not in inside for user in node.users)]
    graph = Graph()
    values: dict[Node, Node] = {}
    for node in inputs:
        values[node] = graph.placeholder(node.name, node.type)
        values[node].meta = dict(node.meta)
    if validate:
        nodes = [node for node in gm.graph.nodes if node in inside]
    for node in nodes:
        values[node] = graph.node_copy(node, values.__getitem__)
    results = tuple(values[node] for node in outputs)
    graph.output(results[0] if len(results) == 1 and not always_return_tuple else results)
    return GraphModule(gm, graph, module_name), tuple(inputs), tuple(outputs)


def insert_subgm(
    gm: GraphModule,
    sub_gm: GraphModule,
    orig_inputs: Sequence[Node],
    orig_outputs: Sequence[Node],
    insertion_point: Node | None = None,
) -> GraphModule:
    """Calls a submodule made by `fuse_as_graphmodule` after `insertion_point`, or at the end, and
    lets its results stand for `orig_outputs`; changes `gm` and gives it.
    """
    name = type(sub_gm).__name__
    gm.add_submodule(name, sub_gm)
    graph = gm.graph
    end = graph.inserting_before(graph.output_node())
    with end if insertion_point is None else graph.inserting_after(insertion_point):
        call = graph.call_module(name, tuple(orig_inputs))
    call.meta = dict(orig_outputs[-1].meta) if len(orig_outputs) == 1 else {}
    place: Node = call
    results = sub_gm.graph.output_node().args[0]
    for index, node in enumerate(orig_outputs):
        made = call
        if isinstance(results, tuple):
            with graph.inserting_after(place):
                place = made = graph.call_function(operator.getitem, (call, index))
            made.meta = dict(node.meta)
        node.replace_all_uses_with(made)
    return gm


def erase_nodes(gm: GraphModule, nodes: Sequence[Node]) -> None:
    """Erases nodes that only each other read."""
    for node in reversed(topo_sort(nodes)):
        gm.graph.erase_node(node)


def fuse_by_partitions(
    gm: GraphModule,
    partitions: Sequence[Iterable[Node]],
    prefix: str = "fused_",
    always_return_tuple: bool = False,
) -> GraphModule:
    """Exchanges each group of nodes for a call of a submodule; changes `gm` and gives it.

    AssertionError where no order is left in which all can run, and write to memory when they must.
    """
    order = {node: place for place, node in enumerate(gm.graph.nodes)}
    before = Memory(gm.graph).order()
    home: dict[Node, Node] = {}  # the calls that nodes went to
    for number, partition in enumerate(partitions):
        nodes = sorted(partition, key=order.__getitem__)
        module, inputs, outputs = fuse_as_graphmodule(
            gm,
            nodes,
            f"{prefix}{number}",
            always_return_tuple=always_return_tuple,
            validate=False,
        )
        insert_subgm(gm, module, inputs, outputs, nodes[-1])
        home |= dict.fromkeys(nodes, nodes[-1].next)
        erase_nodes(gm, nodes)
    moved: dict[Node, set[Node]] = {}
    for node, needed in before.items():
        moved.setdefault(home.get(node, node), set()).update(home.get(n, n) for n in needed)
    for node, needed in moved.items():
        needed.discard(node)
    sort_nodes(gm.graph, moved)
    gm.recompile()
    return gm


def sort_nodes(graph: Graph, before: Mapping[Node, set[Node]] | None = None) -> None:
    """Brings the nodes into an order in which they can run, as near to theirs as possible.

    `before` says which nodes must come before one besides those that it reads.
    """
    more = before or {}
    done: set[Node] = set()
    begun: set[Node] = set()
    for node in list(graph.nodes):
        stack = [node]
        while stack:
            current = stack[-1]
            needed = (*current._input_nodes, *more.get(current, ()))
            missing = [each for each in needed if each not in done]
            if current in done or not missing:
                stack.pop()
                if current not in done:
                    done.add(current)
                    graph._root.prepend(current)
            elif current in begun:
                raise AssertionError("Invalid partition, found dependency cycles")
            else:
                begun.add(current)
                stack += missing
