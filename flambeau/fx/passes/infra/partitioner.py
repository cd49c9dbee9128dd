"""Groups the nodes that a back end can run into parts, as few as possible."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flambeau import nn

from ...aliasing import Memory
from ...graph_module import GraphModule
from ...names import qualified_name
from ...node import Node
from ..operator_support import OperatorSupportBase
from ..utils.fuser_utils import fuse_by_partitions

__all__ = ["CapabilityBasedPartitioner", "Partition"]


class Partition:
    """Nodes that will run together."""

    def __init__(
        self,
        id: int | None = None,
        nodes: Iterable[Node] | None = None,
        node_orders: Iterable[int] | None = None,
    ):
        self.id = id
        nodes = list(nodes or ())
        orders: Iterable[int | None] = [None] * len(nodes) if node_orders is None else node_orders
        self.nodes: dict[Node, int | None] = dict(zip(nodes, orders, strict=True))

    def __repr__(self) -> str:
        return str(list(self.nodes))

    def add_node(self, node: Node, node_order: int | None = None) -> None:
        self.nodes[node] = node_order

    def remove_node(self, node: Node) -> None:
        del self.nodes[node]

    def size(self) -> int:
        return len(self.nodes)


class CapabilityBasedPartitioner:
    """Parts of supported nodes that do not depend on themselves through other nodes.

    A node joins the last part along which it can run: parts have a *level*, the number of parts
    and unsupported nodes in between on the longest way to them. Nodes of one level never depend
    on each other through another level, so that a part per level can have no circle; unconnected
    nodes of a level go separate ways. One look at every edge: linear in the graph's size. With
    `skip_horizontal_fusion`, reading the same value does not connect.
    """

    def __init__(
        self,
        graph_module: GraphModule,
        operator_support: OperatorSupportBase,
        allows_single_node_partition: bool = False,
        non_compute_ops: Sequence[str] | None = None,
        allowed_single_node_partition_ops: Sequence[str] | None = None,
        skip_horizontal_fusion: bool = False,
    ) -> None:
        self.graph_module, self.operator_support = graph_module, operator_support
        self.allows_single_node_partition = allows_single_node_partition
        self.non_compute_ops = frozenset(non_compute_ops or ())
        self.allowed_single_node_partition_ops = frozenset(allowed_single_node_partition_ops or ())
        self.skip_horizontal_fusion = skip_horizontal_fusion

    def _supported(self, modules: Mapping[str, nn.Module], node: Node) -> bool:
        return node.op.startswith("call") and self.operator_support.is_node_supported(modules, node)

    def propose_partitions(self) -> list[Partition]:
        """The parts, in the order in which they run."""
        modules = dict(self.graph_module.named_modules())
        # A supported node has the level of its inputs, an unsupported one the next odd level.
        level: dict[Node, int] = {}
        groups: dict[int, list[Node]] = {}
        before = Memory(self.graph_module.graph).order()
        for node in self.graph_module.graph.nodes:
            needed = (*node._input_nodes, *before.get(node, ()))
            above = max((level[each] for each in needed), default=0)
            supported = self._supported(modules, node)
            if supported:
                level[node] = above + above % 2
                groups.setdefault(level[node], []).append(node)
            elif node.op in ("placeholder", "get_attr"):
                level[node] = 0
            else:
                level[node] = above + 1 - above % 2
        parts = [
            part for place in sorted(groups) for part in self._connected(groups[place], before)
        ]
        kept = [part for part in parts if self._is_worth_it(part)]
        return [Partition(number, nodes) for number, nodes in enumerate(kept)]

    def _connected(self, nodes: list[Node], before: Mapping[Node, set[Node]]) -> list[list[Node]]:
        """The nodes in groups that are joined by edges, or by reading the same thing."""
        owner: dict[Any, Any] = {node: node for node in nodes}

        def find(node: Any) -> Any:
            while owner[node] is not node:
                owner[node] = owner[owner[node]]
                node = owner[node]
            return node

        for node in nodes:
            for read in (*node._input_nodes, *before.get(node, ())):
                if read in owner:
                    owner[find(node)] = find(read)
                elif read.op != "get_attr" and not self.skip_horizontal_fusion:
                    owner[read] = find(node)
        groups: dict[Any, list[Node]] = {}
        for node in nodes:
            groups.setdefault(find(node), []).append(node)
        return list(groups.values())

    def _is_worth_it(self, nodes: list[Node]) -> bool:
        working = [n for n in nodes if _called(n) not in self.non_compute_ops]
        if not working:
            return False
        alone = len(nodes) == 1
        return (
            self.allows_single_node_partition
            or not alone
            or _called(nodes[0]) in self.allowed_single_node_partition_ops
        )

    def fuse_partitions(self, partitions: list[Partition], prefix: str = "fused_") -> GraphModule:
        """The program with a submodule for each part, called ``fused_0`` and so on."""
        return fuse_by_partitions(
            self.graph_module, [list(part.nodes) for part in partitions], prefix=prefix
        )

    def partition_and_fuse(self, prefix: str = "fused_") -> GraphModule:
        """`propose_partitions`, then `fuse_partitions`."""
        return self.fuse_partitions(self.propose_partitions(), prefix)

    def remove_bookend_non_compute_ops(self, partitions: list[Partition]) -> None:
        """Removes nodes that compute nothing from the beginnings and ends of parts."""
        for part in partitions:
            changed = True
            while changed:
                changed = False
                for node in list(part.nodes):
                    if _called(node) not in self.non_compute_ops:
                        continue
                    first = not any(read in part.nodes for read in node._input_nodes)
                    if first or not any(user in part.nodes for user in node.users):
                        part.remove_node(node)
                        changed = True


def _called(node: Node) -> str:
    return qualified_name(node.target) if callable(node.target) else node.target
