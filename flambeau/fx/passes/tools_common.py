"""Facts about nodes that several passes need."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from flambeau import nn
from flambeau.tensor import Tensor

from ..graph_module import GraphModule
from ..names import qualified_name
from ..node import Node
from .utils.fuser_utils import sort_nodes

__all__ = [
    "FxNetAccFusionsFinder",
    "get_acc_ops_name",
    "get_node_target",
    "is_node_output_tensor",
    "legalize_graph",
    "stable_topological_sort",
]

Tensors = tuple[Tensor, ...] | list[Tensor]
TensorOrTensors = Tensor | Tensors
NodeList = list[Node]
NodeSet = set[Node]
Names = list[str]
CALLABLE_NODE_OPS = {"call_module", "call_function", "call_method"}


def get_acc_ops_name(k: Any) -> str:
    """The public name of a function or class."""
    return k if isinstance(k, str) else qualified_name(k)


def get_node_target(submodules: Mapping[str, nn.Module], node: Node) -> str:
    """What a node calls, as a text: a function's name, a module's type, a method's name."""
    if node.op not in CALLABLE_NODE_OPS:
        raise AssertionError(
            f"Expect op types of {', '.join(sorted(CALLABLE_NODE_OPS))}, but found {node.op}"
        )
    if node.op == "call_module":
        kind = type(submodules[node.target])
        return qualified_name(kind)
    return qualified_name(node.target) if node.op == "call_function" else node.target


def is_node_output_tensor(node: Node) -> bool:
    """Whether ``meta["type"]`` says that the node gives a tensor (`ShapeProp`)."""
    kind = node.meta.get("type")
    return kind is not None and issubclass(kind, Tensor)


def legalize_graph(gm: GraphModule) -> GraphModule:
    """Brings the nodes into an order in which they can run."""
    sort_nodes(gm.graph)
    return gm


stable_topological_sort = legalize_graph


@dataclasses.dataclass
class FxNetAccFusionsFinder:
    """Groups nodes that must stay together: those that hand each other what is no tensor."""

    module: GraphModule
    acc_nodes: NodeSet

    def __call__(self) -> dict[Node, NodeSet]:
        """For each node of a group all nodes of it."""
        groups: dict[Node, NodeSet] = {}
        for node in self.acc_nodes:
            if node in groups or node.op not in CALLABLE_NODE_OPS or is_node_output_tensor(node):
                continue
            group: NodeSet = {node}
            frontier = [node]
            while frontier:
                current = frontier.pop()
                near = [*current.users] if not is_node_output_tensor(current) else []
                near += [
                    read
                    for read in current._input_nodes
                    if read.op in CALLABLE_NODE_OPS and not is_node_output_tensor(read)
                ]
                for other in near:
                    if other not in group and other.op in CALLABLE_NODE_OPS:
                        group.add(other)
                        frontier.append(other)
            if group <= self.acc_nodes:
                for member in group:
                    groups[member] = group
            else:
                self.acc_nodes = self.acc_nodes - group
        return groups
