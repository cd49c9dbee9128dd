"""Splits a program into several, one for each part that a function names."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from flambeau import nn

from ..aliasing import Memory
from ..graph import Graph
from ..graph_module import GraphModule
from ..node import Node, map_arg

__all__ = ["Partition", "split_module", "split_module_simple"]


class Partition:
    """One part: its nodes, what they read from elsewhere, what others read from it."""

    def __init__(self, name: str):
        self.name = name
        self.submod_name = f"submod_{name}"
        self.nodes: list[Node] = []
        self.inputs: dict[Node, None] = {}
        self.outputs: dict[Node, None] = {}
        self.dependencies: dict[str, None] = {}

    def __repr__(self) -> str:
        return (
            f"name: {self.name},\n nodes: {self.nodes},\n inputs: {list(self.inputs)},\n "
            f"outputs: {list(self.outputs)},\n partitions depended on: {list(self.dependencies)}"
        )


_OUTSIDE = ("placeholder", "get_attr", "output")


def _partitions(graph: Graph, split_callback: Callable[[Node], Any]) -> dict[str, Partition]:
    parts: dict[str, Partition] = {}
    home: dict[Node, Partition] = {}
    for node in graph.nodes:
        if node.op not in _OUTSIDE:
            name = str(split_callback(node))
            home[node] = parts.setdefault(name, Partition(name))
            home[node].nodes.append(node)
    before = Memory(graph).order()
    for node in graph.nodes:
        part = home.get(node)
        for each in before.get(node, ()):
            if part is not None and each in home and home[each] is not part:
                part.dependencies[home[each].name] = None
        for read in node._input_nodes:
            source = home.get(read)
            if source is part or _is_module(read):
                continue
            if source is not None:
                source.outputs[read] = None
            if part is not None:
                part.inputs[read] = None
                if source is not None:
                    part.dependencies[source.name] = None
    return parts


def _in_order(parts: dict[str, Partition]) -> list[Partition]:
    """Parts after those that they depend on, in their own order where that is free."""
    waiting = {name: set(part.dependencies) for name, part in parts.items()}
    users: dict[str, list[str]] = {name: [] for name in parts}
    for name, needed in waiting.items():
        for each in needed:
            users[each].append(name)
    ready = [name for name, needed in waiting.items() if not needed]
    done = []
    for name in ready:
        done.append(parts[name])
        for user in users[name]:
            waiting[user].discard(name)
            if not waiting[user]:
                ready.append(user)
    if len(done) != len(parts):
        raise RuntimeError("cycle exists between partitions!")
    return done


def _copied(
    part: Partition, module: GraphModule, as_tuple: bool, keep_names: bool, keep_inputs: bool
) -> GraphModule:
    """A module of the nodes of one part."""
    graph = Graph()
    values: dict[Node, Node] = {}
    for i, node in enumerate(part.inputs):
        name = node.name if keep_inputs else f"arg_{i}"
        made = values[node] = graph.placeholder(name, node.type)
        made.meta = dict(node.meta)
    for node in part.nodes:
        for read in node._input_nodes:
            if read not in values and _is_module(read):
                values[read] = graph.node_copy(read)
        args, kwargs = (map_arg(a, values.__getitem__) for a in (node.args, node.kwargs))
        kept = node.name if keep_names else None
        values[node] = graph.create_node(node.op, node.target, args, kwargs, kept, node.type)
        values[node].meta = dict(node.meta)
    results = tuple(values[node] for node in part.outputs)
    graph.output(results[0] if len(results) == 1 and not as_tuple else results)
    return GraphModule(module, graph)


def split_module(
    m: GraphModule,
    root_m: nn.Module,
    split_callback: Callable[[Node], Any],
    qualname_map: dict[str, str] | None = None,
    keep_original_order: bool | None = False,
    keep_original_node_name: bool | None = False,
    keep_original_input_name: bool = True,
    *,
    partition_affix: str | None = None,
    tuple_return: bool = False,
) -> GraphModule:
    """A program that calls submodules ``submod_NAME``, one for each value of `split_callback`.

    A part's submodule takes what it reads from others, and gives what others read, with
    `tuple_return` a tuple also of one value. RuntimeError where parts depend on each other in a
    circle. `qualname_map` is filled with the old paths of modules and values under their new ones.
    With `partition_affix`, submodules are called ``submod_AFFIX_NAME``. Parts run in the order in
    which they begin, as far as they depend on each other: `keep_original_order` changes nothing.
    Nodes are named anew unless `keep_original_node_name`, inputs with `keep_original_input_name`
    by what they get, else ``arg_0``, ….
    """
    parts = _partitions(m.graph, split_callback)
    if partition_affix:
        for part in parts.values():
            part.submod_name = f"submod_{partition_affix}_{part.name}"
    ordered = _in_order(parts)
    base = Graph()
    values: dict[Node, Node] = {}
    attributes: dict[str, Any] = {}
    outer = [n for n in m.graph.nodes if n.op in ("placeholder", "get_attr")]
    for node in [n for n in outer if not _is_module(n)]:
        values[node] = base.node_copy(node)
        if node.op == "get_attr":
            attributes[node.target] = _at(m, node.target)
    for part in ordered:
        attributes[part.submod_name] = made = _copied(
            part, m, tuple_return, bool(keep_original_node_name), keep_original_input_name
        )
        if qualname_map is not None:
            for node in made.graph.nodes:
                if node.op in ("get_attr", "call_module"):
                    qualname_map[f"{part.submod_name}.{node.target}"] = node.target
        call = base.call_module(part.submod_name, tuple(values[node] for node in part.inputs))
        if len(part.outputs) == 1 and not tuple_return:
            values[next(iter(part.outputs))] = call
        elif part.outputs:
            _unpack(base, call, part, values)
    output = m.graph.output_node()
    made_output = base.output(map_arg(output.args[0], values.__getitem__), output.type)
    made_output.meta = dict(output.meta)
    base.set_codegen(m.graph._codegen)
    return GraphModule(attributes, base)


def split_module_simple(
    m: GraphModule, node_to_partition: dict[Node, int], *, partition_affix: str | None = None
) -> GraphModule:
    """As `split_module`, with a dict that says which part a node is in. Every part gives a tuple.

    RuntimeError where a node that computes something is in none.
    """

    def part_of(node: Node) -> int:
        if node not in node_to_partition:
            raise RuntimeError(f"node {node} is in no partition")
        return node_to_partition[node]

    return split_module(m, m, part_of, partition_affix=partition_affix, tuple_return=True)


def _unpack(base: Graph, call: Node, part: Partition, values: dict[Node, Node]) -> None:
    for place, node in enumerate(part.outputs):
        values[node] = base.call_function(operator.getitem, (call, place))
        values[node].meta = dict(node.meta)


def _is_module(node: Node) -> bool:
    """Whether a node fetches a module, a branch of control flow: such stay with their readers."""
    owner = node.graph.owning_module
    return node.op == "get_attr" and isinstance(_at(owner, node.target), nn.Module)


def _at(module: Any, path: str) -> Any:
    for part in path.split("."):
        module = getattr(module, part)
    return module
