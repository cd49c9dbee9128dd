"""Programs as the ops that they perform: `make_fx`.

The program runs on example tensors, and an interpreter writes down every op that reaches a door:
what Python decided on the way is not in the graph.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from flambeau import nn, ops
from flambeau.tensor import Tensor, door_of
from flambeau.types import pytree

from ..graph import Graph, _PyTreeCodeGen, _PyTreeInfo
from ..graph_module import GraphModule
from ..node import Node

__all__ = ["get_proxy_mode", "make_fx"]

_modes: list[_Recording] = []


def get_proxy_mode() -> Any:
    """The recording that runs, or None."""
    return _modes[-1] if _modes else None


def _place(tensor: Tensor) -> tuple:
    """What is the same for all tensor objects of one value: those that nodes of autograd keep are
    others than the program's. What has no memory is itself.
    """
    if not tensor.storage.ptr:
        return (id(tensor),)
    return tensor.storage.ptr, tensor.offset, tensor.layout


class _Recording:
    """Writes ops into a graph, and performs them."""

    def __init__(self, table: dict[Any, Callable]):
        self.graph, self.root = Graph(), nn.Module()
        self.nodes: dict[tuple, Node] = {}
        self.held: list[Tensor] = []  # so that identities stay theirs
        self.table = {getattr(key, "__name__", key): own for key, own in table.items()}

    def input(self, tensor: Tensor, name: str) -> None:
        self._remember(tensor, self.graph.placeholder(name))

    def _remember(self, tensor: Tensor, node: Node) -> None:
        self.nodes[_place(tensor)] = node
        self.held.append(tensor)
        node.meta["val"] = tensor

    def arg(self, value: Any) -> Any:
        """The node of a tensor; tensors from elsewhere become constants."""
        if isinstance(value, list | tuple):
            return type(value)(self.arg(each) for each in value)
        if not isinstance(value, Tensor):
            return value
        if _place(value) not in self.nodes:
            kind = "_param_constant" if isinstance(value, nn.Parameter) else "_tensor_constant"
            name = next(name for i in range(10**9) if not hasattr(self.root, name := f"{kind}{i}"))
            setattr(self.root, name, value)
            self._remember(value, self.graph.get_attr(name))
        return self.nodes[_place(value)]

    def process(self, op: Any, args: tuple, target: Any) -> Any:
        """What a door hands over: see `flambeau.ops.modes.interpreting`."""
        own = self.table.get(op.name)
        if own is not None and target is None:
            with ops.interpreting(self):
                return own(*args)
        result = ops.perform_plainly(op, args, target)
        function, positional, named = _call_of(op, args, target)
        if target is ops.INPLACE:
            function = op.inplace
        elif target is not None:
            named["out"] = target
        node = self.graph.call_function(
            function,
            tuple(map(self.arg, positional)),
            {name: self.arg(value) for name, value in named.items()},
        )
        if isinstance(result, Tensor):
            self._remember(result, node)
        elif isinstance(result, tuple | list):
            for place, each in enumerate(result):
                if isinstance(each, Tensor):
                    self._remember(each, self.graph.call_function(operator.getitem, (node, place)))
        return result


def _call_of(op: Any, args: tuple, target: Any) -> tuple[Callable, list[Any], dict[str, Any]]:
    """The op's public function, positional arguments without trailing defaults, and the others."""
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for argument, value in zip(op.schema.arguments, args, strict=True):
        default = argument.has_default and type(value) is type(argument.default)
        if default and value == argument.default:
            if not argument.keyword:
                positional.append(value)
        elif argument.keyword:
            named[argument.name] = value
        else:
            positional.append(value)
    for argument in reversed(op.schema.arguments[: len(positional)]):
        if argument.has_default and positional[-1] is argument.default:
            positional.pop()
        else:
            break
    own = op.name if op.namespace in ("", "aten") else f"{op.namespace}.{op.name}"
    return door_of(own), positional, named


def make_fx(
    f: Callable,
    decomposition_table: dict[Any, Callable] | None = None,
    tracing_mode: str = "real",
    _allow_non_fake_inputs: bool = False,
    *,
    pre_dispatch: bool = False,
    record_module_stack: bool = False,
    _allow_fake_constant: bool = False,
    _error_on_data_dependent_ops: bool = True,
) -> Callable[..., GraphModule]:
    """A function of example inputs that gives the program of `f` on them, in ops.

    `decomposition_table` maps ops or their public functions to functions in whose ops they are
    written down instead. ``tracing_mode="fake"`` computes nothing: the examples are taken by
    shape. Gradients that `f` computes are recorded as well.
    """
    if tracing_mode not in ("real", "fake", "symbolic"):
        raise AssertionError(f"Unexpected tracing type: {tracing_mode}")

    def made(*args: Any) -> GraphModule:
        leaves, spec = pytree.tree_flatten(args)
        recording = _Recording(decomposition_table or {})
        if tracing_mode != "real":
            leaves = [_shadow(leaf) for leaf in leaves]
        for number, leaf in enumerate(leaves, 1):
            if isinstance(leaf, Tensor):
                recording.input(leaf, f"arg{number - 1}_1")
            else:
                recording.graph.placeholder(f"arg{number - 1}_1")
        _modes.append(recording)
        try:
            with ops.interpreting(recording):
                result = f(*pytree.tree_unflatten(leaves, spec))
        finally:
            _modes.pop()
        results, out_spec = pytree.tree_flatten(result)
        returned = [recording.arg(each) for each in results]
        flat = all(child.is_leaf() for child in spec.children_specs)
        if flat and out_spec.is_leaf():
            recording.graph.output(returned[0])
        else:
            names = [f"arg{number}" for number in range(len(args))]
            recording.graph.set_codegen(_PyTreeCodeGen(_PyTreeInfo(names, spec, out_spec)))
            recording.graph.output(returned)
        return GraphModule(recording.root, recording.graph, getattr(f, "__name__", "f"))

    return made


def _shadow(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value.detach().to("meta").requires_grad_(value.requires_grad)
