"""Ops that may overwrite their first argument, made in-place methods."""

from __future__ import annotations

from typing import Any

from flambeau.tensor import Tensor
from flambeau.types import pytree

from ..graph_module import GraphModule
from ..names import public_name
from ..node import Node
from .fake_tensor_prop import FakeTensorProp

__all__ = ["reinplace"]

# In-place methods that draw numbers of their own, whatever the argument holds.
_OTHERS = frozenset(("bernoulli", "normal"))


def _storages(node: Node) -> set[Any]:
    values = pytree.tree_leaves(node.meta.get("val"))
    return {value._storage for value in values if isinstance(value, Tensor)}


def _inplace_method(node: Node) -> str | None:
    """The in-place method that does what `node` does."""
    name = node.target if node.op == "call_method" else None
    if node.op == "call_function":
        home, _, own = (public_name(node.target) or "").rpartition(".")
        name = own if home == "torch" else None
    if name is None or name.endswith("_") or name in _OTHERS or "out" in node.kwargs:
        return None
    return name + "_" if hasattr(Tensor, name + "_") else None


class _Memory:
    """Which values lie in one memory, and where in the program that is read for the last time."""

    def __init__(self, nodes: list[Node]):
        self.kept: set[Any] = set()
        self.last: dict[Any, int] = {}
        self.same: dict[Any, Any] = {}
        for place, node in enumerate(nodes):
            if node.op in ("placeholder", "get_attr"):
                self.kept |= _storages(node)
            for read in node._input_nodes:
                self.last.update(dict.fromkeys(_storages(read), place))

    def of(self, node: Node) -> set[Any]:
        """The memory of a value, as far as it is one of those that were joined."""
        return {self.same.get(storage, storage) for storage in _storages(node)}

    def join(self, made: Any, old: Any) -> None:
        """Says that the value in `made` is to be written to `old`."""
        self.same[made] = old
        self.last[old] = max(self.last[old], self.last.get(made, -1))


def _may_overwrite(node: Node, place: int, memory: _Memory) -> bool:
    first, *others = node.args
    before, after = first.meta.get("val"), node.meta.get("val")  # type: ignore[union-attr]
    if not isinstance(before, Tensor) or not isinstance(after, Tensor):
        return False
    if before.layout is not after.layout or 0 in before.stride():
        return False
    (old,), (new,) = memory.of(first), memory.of(node)  # type: ignore[arg-type]
    if old is new or old in memory.kept or memory.last[old] > place:
        return False
    read = pytree.tree_leaves((others, dict(node.kwargs)))
    return not any(type(each) is Node and old in memory.of(each) for each in read)


def reinplace(gm: GraphModule, *sample_args: Any) -> GraphModule:
    """Makes ops in-place methods where nobody can tell: shape, dtype and memory order stay, the
    first argument was made by the program, and neither it nor a view of it is read later.

    For programs that run without gradients, on inputs like `sample_args`. Changes `gm` and gives
    it.
    """
    FakeTensorProp(gm).propagate(*sample_args)
    nodes = list(gm.graph.nodes)
    memory = _Memory(nodes)
    for place, node in enumerate(nodes):
        if not node.args or type(node.args[0]) is not Node:
            continue
        method = _inplace_method(node)
        if method is None or not _may_overwrite(node, place, memory):
            continue
        (old,), (new,) = memory.of(node.args[0]), memory.of(node)
        memory.join(new, old)
        node.op, node.target = "call_method", method
    gm.recompile()
    return gm
