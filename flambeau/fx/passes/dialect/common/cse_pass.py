"""What is computed twice is computed once."""

from __future__ import annotations

from typing import Any

from ....aliasing import Memory
from ....graph_module import GraphModule
from ....node import Node
from ...infra.pass_base import PassBase, PassResult

__all__ = ["CSEPass", "get_CSE_banned_ops"]


def get_CSE_banned_ops() -> set[Any]:
    """Functions that are never merged besides those with side effects and random draws."""
    return set()


class CSEPass(PassBase):
    """Makes one node of nodes that do the same to the same.

    Nodes with effects, random draws, modules and whatever has to do with memory that is written
    to stay as they are.
    """

    def __init__(self, banned_ops: set[Any] | None = None):
        super().__init__()
        self.banned_ops = banned_ops or set()

    def call(self, graph_module: GraphModule) -> PassResult:
        graph = graph_module.graph
        seen: dict[Any, Node] = {}
        memory, modified = Memory(graph), False
        for node in list(graph.nodes):
            if node.op in ("placeholder", "output", "call_module"):
                continue
            if memory.is_written(node) or any(map(memory.is_written, node._input_nodes)):
                continue
            if node.target in self.banned_ops or node.is_impure():
                continue
            key = (node.op, node.target, _key(node.args), _key(node.kwargs))
            try:
                first = seen.setdefault(key, node)
            except TypeError:  # an argument that cannot be hashed
                continue
            if first is not node:
                node.replace_all_uses_with(first)
                graph.erase_node(node)
                modified = True
        graph_module.recompile()
        return PassResult(graph_module, modified)


def _key(value: Any) -> Any:
    """A hashable form of arguments, in which 1, 1.0 and True differ."""
    if isinstance(value, list | tuple):
        return (type(value), *map(_key, value))
    if isinstance(value, dict):
        return (dict, *((k, _key(v)) for k, v in value.items()))
    if isinstance(value, slice):
        return (slice, _key(value.start), _key(value.stop), _key(value.step))
    return value if type(value) is Node else (type(value), value)
