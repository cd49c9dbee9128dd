"""Whether a graph is well formed: what is not is named here, and never later."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

from flambeau import nn
from flambeau.tensor import Tensor

from .names import shown_target
from .node import OPCODES, Node, freeze

if TYPE_CHECKING:
    from .graph import Graph


def lint(graph: Graph) -> None:
    """Raises RuntimeError or ValueError at the first node that is wrong.

    Checked are opcodes, types of targets, links and users, order, names, the number of arguments,
    and, where the graph has a module, that it has what nodes refer to.
    """
    seen: set[Node] = set()
    names: set[str] = set()
    for node in graph.nodes:
        _check_node(graph, node)
        _check_inputs(graph, node, seen)
        if node.name in names:
            raise RuntimeError(f"Node redefined name {node.name}!")
        names.add(node.name)
        seen.add(node)
    _check_ends(graph)
    for node in graph.nodes:
        _check_users(node, seen)
        if graph.owning_module is not None and node.op in ("get_attr", "call_module"):
            _check_path(node, graph.owning_module)
        _check_call(node, graph.owning_module)


def _check_node(graph: Graph, node: Node) -> None:
    if node.op not in OPCODES:
        raise RuntimeError(f"Node {node} had unknown opcode {node.op}!")
    if not node.name.isidentifier():
        raise RuntimeError(f"Node '{node.name}' has a name that no program can use!")
    if node.graph is not graph:
        raise RuntimeError(f"Node '{node}' does not belong to this Graph!")
    if node._next._prev is not node or node._prev._next is not node:
        raise RuntimeError(f"Node '{node}' is not linked to its neighbours!")
    if node.op == "call_function":
        if not callable(node.target):
            raise ValueError(
                f"Node {node} target {node.target} has type {type(node.target).__name__} but a "
                "Callable is expected"
            )
    elif not isinstance(node.target, str):
        raise ValueError(
            f"Node {node} target {node.target} has type {type(node.target).__name__} but a str is "
            "expected"
        )


def _check_inputs(graph: Graph, node: Node, seen: set[Node]) -> None:
    found: dict[Node, None] = {}
    freeze(node.args, found)
    freeze(node.kwargs, found)
    if found.keys() != node._input_nodes.keys():
        raise RuntimeError(f"Node '{node}' reads other nodes than it has told its inputs!")
    for argument in found:
        if argument.graph is not graph:
            raise RuntimeError(
                f"Argument '{argument}' of Node '{node}' does not belong to this Graph, but was "
                "used as an argument! If you are copying nodes from another graph, make sure to "
                f"use ``arg_transform`` on node_copy() to remap values\n{graph}"
            )
        if argument._erased:
            raise RuntimeError(
                f"Argument '{argument}' of Node '{node}' was erased from this Graph, but is "
                f"still used as an argument!\n{graph}"
            )
        if argument not in seen:
            raise RuntimeError(
                f"Argument '{argument}' of Node '{node}' was used before it has been defined! "
                "Please check that Nodes in the graph are topologically ordered\n"
                f"{graph}"
            )


def _check_users(node: Node, seen: set[Node]) -> None:
    for user in node.users:
        if user not in seen:
            raise RuntimeError(f"Node '{node}' has the user '{user}', which is not in its graph!")
        if node not in user._input_nodes:
            raise RuntimeError(f"Node '{node}' has the user '{user}', which does not read it!")


def _check_ends(graph: Graph) -> None:
    """Inputs come first, the output last."""
    begun = ended = optional = None
    parameters: set[str] = set()
    for node in graph.nodes:
        if ended is not None:
            raise RuntimeError(f"Node '{node}' comes after the output '{ended}'!")
        if node.op == "output":
            ended = node
            if len(node.args) != 1 or node.kwargs:
                raise RuntimeError(f"Node '{node}' must have one argument: what is returned!")
        elif node.op == "placeholder":
            if begun is not None:
                raise RuntimeError(f"Placeholder '{node}' comes after Node '{begun}'!")
            if len(node.args) > 1 or node.kwargs:
                raise RuntimeError(f"Placeholder '{node}' may have one argument, its default!")
            name = node.target.lstrip("*")
            if not name.isidentifier() or name in parameters:
                why = "is one already" if name in parameters else "cannot be one"
                raise RuntimeError(f"Placeholder '{node}' is the parameter {name}, which {why}!")
            if optional is not None and not node.args and name == node.target:
                raise RuntimeError(
                    f"Placeholder '{node}' has no default, and comes after '{optional}', which has!"
                )
            parameters.add(name)
            optional = node if node.args else optional
        else:
            begun = node


def _check_path(node: Node, module: Any) -> None:
    holder, path = module, node.target.split(".")
    for place, part in enumerate(path):
        before = ".".join(path[:place])
        if not hasattr(holder, part):
            raise RuntimeError(
                f"Node {node} target {node.target} references nonexistent attribute {part} of "
                f"{before}"
            )
        holder = getattr(holder, part)
        if place < len(path) - 1 and not isinstance(holder, nn.Module | Tensor):
            raise RuntimeError(
                f"Node {node} target {node.target} {part} of {before} does not reference an "
                "nn.Module"
            )
    if node.op == "call_module" and not isinstance(holder, nn.Module):
        raise RuntimeError(
            f"Node {node} target {node.target} {path[-1]} of {'.'.join(path[:-1])} does not "
            "reference an nn.Module"
        )


@functools.lru_cache(4096)
def _misfit(called: Any, positional: int, names: tuple[str, ...]) -> str:
    """Why a function does not take so many arguments and others of these names; or ""."""
    try:
        inspect.signature(called).bind(*[None] * positional, **dict.fromkeys(names))
    except TypeError as error:
        return str(error)
    except ValueError:  # a built-in whose signature Python does not know
        return ""
    return ""


def _check_call(node: Node, module: Any) -> None:
    """That the callee takes so many arguments, by these names."""
    if node.op == "call_method":
        if not node.args:
            raise RuntimeError(f"Node {node} calls the method {node.target} of nothing!")
        return
    called, count = node.target, len(node.args)
    if node.op == "call_module" and module is not None:
        owner = module.get_submodule(node.target)
        called = vars(owner).get("forward")
        if called is None:
            called, count = type(owner).forward, count + 1
    elif node.op != "call_function":
        return
    check = _misfit if called.__hash__ is not None else _misfit.__wrapped__
    error = check(called, count, tuple(node.kwargs))
    if error:
        raise RuntimeError(
            f"Node {node} calls {shown_target(node.target)}, which does not take these "
            f"arguments: {error}\n  {node.format_node()}"
        )
