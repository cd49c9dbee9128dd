"""Types of what is taken out of typed containers."""

from __future__ import annotations

import operator
import typing

from ..graph import Graph

__all__ = ["annotate_getitem_nodes"]


def annotate_getitem_nodes(graph: Graph) -> None:
    """Gives ``x[i]`` the type that the annotation of `x` says: tuples, lists and named tuples."""
    for node in graph.nodes:
        if node.target is not operator.getitem:
            continue
        source, index = node.args[0], node.args[1]
        if not isinstance(index, int) or source.type is None:
            continue
        origin, arguments = typing.get_origin(source.type), typing.get_args(source.type)
        if origin is tuple and arguments and arguments[-1] is ...:
            node.type = arguments[0]
        elif origin is tuple and -len(arguments) <= index < len(arguments):
            node.type = arguments[index]
        elif origin is list and arguments:
            node.type = arguments[0]
        elif hasattr(source.type, "_fields"):
            node.type = list(source.type.__annotations__.values())[index]
