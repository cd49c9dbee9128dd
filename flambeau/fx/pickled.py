"""Graphs in pickles: the nodes themselves, not the text, which would be traced again.

So in-place operations stay in place, and what passes noted in `meta` is kept. Functions of
flambeau go by their public names.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from .names import public_name, resolve
from .node import Node, map_aggregate

if TYPE_CHECKING:
    from .graph import Graph


class _Place(NamedTuple):
    """Stands for a node: its position."""

    place: int


class _Named(NamedTuple):
    """Stands for a function of flambeau: its public name."""

    name: str


def importable(cls: Any) -> bool:
    """Whether a pickle can name the class: it is not local to a function."""
    found: Any = sys.modules.get(getattr(cls, "__module__", ""))
    for part in getattr(cls, "__qualname__", "<locals>").split("."):
        found = getattr(found, part, None)
    return found is cls


def state_of(graph: Graph) -> dict[str, Any]:
    """What a pickle holds. A tracer class that is local to a function is left out."""
    places = {node: _Place(place) for place, node in enumerate(graph.nodes)}

    def pack(value: Any) -> Any:
        if type(value) is Node:
            return places[value]
        name = public_name(value) if callable(value) and not isinstance(value, type) else None
        return value if name is None else _Named(name)

    rows = [
        (
            node.op,
            node.name,
            pack(node.target) if node.op == "call_function" else node.target,
            map_aggregate(node.args, pack),
            map_aggregate(node.kwargs, pack),
            node.type,
            node.meta,
        )
        for node in graph.nodes
    ]
    tracer = graph._tracer_cls if importable(graph._tracer_cls) else None
    codegen = graph._codegen
    transformer = codegen._body_transformer
    codegen._body_transformer = None  # a function that is registered for a while
    try:
        return {
            "rows": rows,
            "tracer": tracer,
            "extras": graph._tracer_extras,
            "codegen": (type(codegen), dict(vars(codegen))),
            "counts": dict(graph._graph_namespace._base_count),
        }
    finally:
        codegen._body_transformer = transformer


def fill(graph: Graph, state: dict[str, Any]) -> None:
    """Makes the nodes of a state in an empty graph."""
    made: list[Node] = []

    def unpack(value: Any) -> Any:
        if type(value) is _Place:
            return made[value.place]
        return resolve(value.name) if type(value) is _Named else value

    def walk(value: Any) -> Any:
        kind = type(value)
        if kind is _Place or kind is _Named:
            return unpack(value)
        if isinstance(value, tuple):
            parts = [walk(each) for each in value]
            return kind(*parts) if hasattr(kind, "_fields") else tuple(parts)
        if isinstance(value, list):
            return [walk(each) for each in value]
        if isinstance(value, dict):
            return {key: walk(each) for key, each in value.items()}
        if kind is slice:
            return slice(walk(value.start), walk(value.stop), walk(value.step))
        return value

    for op, name, target, args, kwargs, kind, meta in state["rows"]:
        node = Node(graph, name, op, unpack(target), walk(args), walk(kwargs), kind)
        node.meta = meta
        graph._insert(node)
        graph._len += 1
        graph._graph_namespace._used_names.add(name)
        made.append(node)
    graph._graph_namespace._base_count.update(state["counts"])
    graph._tracer_extras = state["extras"]
    kind, attributes = state["codegen"]
    graph._codegen = kind.__new__(kind)
    vars(graph._codegen).update(attributes)
