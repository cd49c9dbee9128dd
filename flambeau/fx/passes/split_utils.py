"""Splits a program by tags on its nodes."""

from __future__ import annotations

from typing import Any

from ..graph_module import GraphModule
from ..node import Node
from .split_module import split_module

__all__ = ["getattr_recursive", "setattr_recursive", "split_by_tags"]


def getattr_recursive(obj: Any, name: str) -> Any:
    """The value at a dotted path; None where a part of it is not there."""
    for part in name.split("."):
        if not hasattr(obj, part):
            return None
        obj = getattr(obj, part)
    return obj


def setattr_recursive(obj: Any, attr: str, value: Any) -> None:
    """Sets the value at a dotted path that exists but for its last part."""
    *prefix, field = attr.split(".")
    for part in prefix:
        obj = getattr(obj, part)
    setattr(obj, field, value)


def split_by_tags(
    gm: GraphModule,
    tags: list[str],
    return_fqn_mapping: bool = False,
    return_tuple: bool = False,
    GraphModuleCls: type[GraphModule] = GraphModule,
) -> Any:
    """A program of submodules named by `tags`, from the ``tag`` attribute of the nodes.

    With `return_fqn_mapping` also a dict from new paths to old ones; with `return_tuple`, every
    part gives a tuple. The program and its parts are of the class `GraphModuleCls`.
    """

    def tag_of(node: Node) -> str:
        tag = getattr(node, "tag", None)
        if tag not in tags:
            raise AssertionError(f"node {node} has the tag {tag!r}, which is none of {tags}")
        return tag

    paths: dict[str, str] = {}
    made = split_module(gm, gm, tag_of, paths, tuple_return=return_tuple)
    if GraphModuleCls is not GraphModule:
        for name, part in list(made.named_children()):
            if isinstance(part, GraphModule):
                setattr(made, name, GraphModuleCls(part, part.graph, type(part).__name__))
        made = GraphModuleCls(made, made.graph, type(made).__name__)
    renamed = {}
    for node in made.graph.find_nodes(op="call_module"):
        tag = node.target.removeprefix("submod_")
        module = getattr(made, node.target)
        made.delete_submodule(node.target)
        made.add_submodule(tag, module)
        for new, old in paths.items():
            if new.startswith(node.target + "."):
                renamed[tag + new.removeprefix(node.target)] = old
        node.target = tag
    made.recompile()
    return (made, renamed) if return_fqn_mapping else made
