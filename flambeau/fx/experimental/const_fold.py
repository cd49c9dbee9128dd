"""What of a program depends on no input, computed once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau import nn
from flambeau.tensor import Tensor

from .._symbolic_trace import symbolic_trace
from ..aliasing import Memory
from ..graph import Graph
from ..graph_module import GraphModule
from ..node import Node

__all__ = ["FoldedGraphModule", "get_unique_attr_name_in_module", "split_const_subgraphs"]


class FoldedGraphModule(GraphModule):
    """A program whose constant part, `const_subgraph_module`, runs before the first call.

    Its results are kept under `fx_const_folded_attrs_names`. `run_folding` computes them anew:
    after the parameters changed.
    """

    def __init__(
        self,
        root: nn.Module,
        graph: Graph,
        const_subgraph: Graph | None = None,
        fx_const_folded_attrs_name: list[str] | None = None,
        device_for_folded_attrs: str = "cpu",
    ) -> None:
        super().__init__(root, graph)
        self.const_subgraph_module = (
            None if const_subgraph is None else GraphModule(root, const_subgraph)
        )
        self.fx_const_folded_attrs_names = fx_const_folded_attrs_name or []
        self.has_folding_been_run = False
        self.device_for_folded_attrs = device_for_folded_attrs

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.has_folding_been_run:
            self.run_folding()
        return super().__call__(*args, **kwargs)

    def run_folding(self) -> None:
        """Computes the constants."""
        if self.const_subgraph_module is None:
            return
        self.has_folding_been_run = True
        found = self.const_subgraph_module()
        values = found if isinstance(found, tuple) else (found,)
        for name, value in zip(self.fx_const_folded_attrs_names, values, strict=True):
            kept = value
            if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
                kept = nn.Parameter(value.detach(), value.requires_grad)
            setattr(self, name, kept)


def get_unique_attr_name_in_module(mod_traced: nn.Module, name: str) -> str:
    """`name`, with a number where the module has such an attribute."""
    number, found = 1, name
    while hasattr(mod_traced, found):
        found, number = f"{name}_{number}", number + 1
    return found


def _is_constant(node: Node, constant: set[Node], skip: Callable[[Node], bool] | None) -> bool:
    if node.op in ("placeholder", "output") or (skip is not None and skip(node)):
        return False
    if node.op == "get_attr":
        return True
    return (
        not node.is_impure()
        and all(read in constant for read in node._input_nodes)
        and (bool(node._input_nodes))
    )


def split_const_subgraphs(
    module: nn.Module,
    skip_folding_node_fn: Callable[[Node], bool] | None = None,
    device_for_folded_attrs: str = "cpu",
) -> FoldedGraphModule:
    """A program that computes what depends on nothing but parameters and buffers only once.

    Nodes for which `skip_folding_node_fn` holds stay where they are. What is computed lies where
    its operands do: `device_for_folded_attrs` changes nothing.
    """
    traced = module if isinstance(module, GraphModule) else symbolic_trace(module)
    constant: set[Node] = set()
    memory = Memory(traced.graph)
    for node in traced.graph.nodes:
        if memory.is_written(node):
            continue
        if _is_constant(node, constant, skip_folding_node_fn):
            constant.add(node)
    folded = [
        node
        for node in traced.graph.nodes
        if node in constant
        and node.op != "get_attr"
        and any(user not in constant for user in node.users)
    ]
    if not folded:
        return FoldedGraphModule(traced, traced.graph)
    inner = Graph()
    values: dict[Node, Node] = {}
    for node in traced.graph.nodes:
        if node in constant:
            values[node] = inner.node_copy(node, values.__getitem__)
    results = tuple(values[node] for node in folded)
    inner.output(results[0] if len(results) == 1 else results)
    inner.eliminate_dead_code()
    names = []
    for node in folded:
        name = get_unique_attr_name_in_module(traced, f"_FX_CONST_FOLDED_ATTRS_{node.name}")
        setattr(traced, name, nn.Parameter(_empty(), requires_grad=False))
        names.append(name)
        with traced.graph.inserting_before(node):
            made = traced.graph.get_attr(name)
        made.meta = dict(node.meta)
        node.replace_all_uses_with(made)
    traced.graph.eliminate_dead_code()
    return FoldedGraphModule(traced, traced.graph, _owned(inner, traced), names)


def _owned(graph: Graph, module: GraphModule) -> Graph:
    graph.owning_module = module
    return graph


def _empty() -> Tensor:
    return nn.Parameter().data
