"""Several matrix products with one right-hand side, made one product."""

from __future__ import annotations

import operator
from typing import Any

from .._symbolic_trace import symbolic_trace
from ..aliasing import Memory
from ..graph_module import GraphModule
from ..names import torch
from ..node import Node

__all__ = ["merge_matmul"]


def _depends(node: Node, on: set[Node], first: Node) -> bool:
    """Whether `node` depends on one of `on`, the first of which is `first`."""
    seen, frontier = {node}, [node]
    while frontier:
        for read in frontier.pop()._input_nodes:
            if read in on:
                return True
            if read not in seen and not read < first:
                seen.add(read)
                frontier.append(read)
    return False


def merge_matmul(in_mod: Any) -> GraphModule:
    """A program with one product for all of ``a @ w``, ``b @ w``, … that do not need each other.

    The left operands, which must be matrices, are put one below the other, and the product cut.
    """
    traced = in_mod if isinstance(in_mod, GraphModule) else symbolic_trace(in_mod)
    graph, library = traced.graph, torch()
    products = (library.matmul, library.mm, operator.matmul)
    groups: dict[Any, list[Node]] = {}
    memory = Memory(graph)
    for node in graph.nodes:
        if any(map(memory.is_written, (node, *node._input_nodes))):
            continue
        if node.op == "call_function" and node.target in products and not node.kwargs:
            right = node.args[1]
            key = right.target if right.op == "get_attr" else right
            groups.setdefault(key, []).append(node)
    for nodes in groups.values():
        free: list[Node] = []
        for node in nodes:
            if not free or not _depends(node, set(free), free[0]):
                free.append(node)
        if len(free) > 1:
            _merge(graph, free, library)
    graph.eliminate_dead_code()
    traced.recompile()
    return traced


def _merge(graph: Any, products: list[Node], library: Any) -> None:
    lefts = [node.args[0] for node in products]
    right = products[0].args[1]
    place = max([*lefts, right])
    users = min((user for node in products for user in node.users), default=None)
    if users is not None and users <= place:
        return
    with graph.inserting_before(max(products) if users is None else users):
        sizes = [graph.call_method("size", (left, 0)) for left in lefts]
        stacked = graph.call_function(library.cat, (lefts, 0))
        product = graph.call_function(library.matmul, (stacked, right))
        parts = graph.call_function(library.split, (product, sizes))
        for made in (*sizes, stacked, product, parts):
            made.stack_trace = products[0].stack_trace
        for number, node in enumerate(products):
            part = graph.call_function(operator.getitem, (parts, number))
            part.meta = dict(node.meta)
            node.replace_all_uses_with(part)
