"""Sizes of nodes, and arguments exchanged."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..graph import Graph
from ..graph_module import GraphModule
from ..node import Node, map_arg
from .shape_prop import ShapeProp

__all__ = ["get_size_of_all_nodes", "get_size_of_node", "get_tensor_meta",
           "replace_target_nodes_with", "size_bytes"]  # fmt: skip


class size_bytes(NamedTuple):
    """Bytes of a node's result, and together with its parameters."""

    output_size: int
    total_size: int


def replace_target_nodes_with(
    fx_module: GraphModule, old_op: str, old_target: Any, new_op: str, new_target: Any
) -> None:
    """Exchanges what all nodes with one opcode and target call."""
    graph = Graph()
    values: dict[Node, Node] = {}
    for node in fx_module.graph.nodes:
        if node.op == old_op and node.target == old_target:
            args = map_arg(node.args, values.__getitem__)
            kwargs = map_arg(node.kwargs, values.__getitem__)
            values[node] = graph.create_node(new_op, new_target, args, kwargs, node.name)
            values[node].meta = dict(node.meta)
        else:
            values[node] = graph.node_copy(node, values.__getitem__)
    fx_module.graph = graph


def get_tensor_meta(node: Node) -> Any:
    """What `ShapeProp` noted. RuntimeError where it did not run."""
    found = node.meta.get("tensor_meta")
    if found is None:
        raise RuntimeError(
            f"Node {node} has no tensor metadata associated with it! Check that shape propagation "
            "has run."
        )
    return found


def get_size_of_node(fx_module: GraphModule, node: Node) -> size_bytes:
    """Bytes of the node's result, and of the parameters and buffers of the module it calls."""
    total = 0
    if node.op == "call_module":
        module = fx_module.get_submodule(node.target)
        total = sum(t.numel() * t.itemsize for t in (*module.parameters(), *module.buffers()))
    meta = get_tensor_meta(node)
    output = _bytes(meta)
    return size_bytes(output, total + output)


def _bytes(meta: Any) -> int:
    if hasattr(meta, "dtype"):
        return meta.shape.numel() * meta.dtype.itemsize
    return sum(map(_bytes, meta)) if isinstance(meta, list | tuple) else 0


def get_size_of_all_nodes(fx_module: GraphModule, args: Any = None) -> None:
    """Writes `get_size_of_node` into ``node.size_bytes``; with `args`, runs `ShapeProp` first."""
    if args is not None:
        ShapeProp(fx_module).propagate(*args)
    for node in fx_module.graph.nodes:
        if node.op == "output":
            break
        if "tensor_meta" in node.meta:
            node.size_bytes = get_size_of_node(fx_module, node)
