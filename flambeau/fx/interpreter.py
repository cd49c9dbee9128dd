"""`Interpreter`: runs a graph node by node, and `Transformer`, which makes a new one on the way."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from flambeau import nn

from . import faces
from . import traceback as fx_traceback
from ._symbolic_trace import Tracer
from .codegen import last_uses
from .graph import Graph
from .graph_module import GraphModule
from .node import ATOMS, OPCODES, Node, map_arg
from .proxy import Proxy

__all__ = ["Interpreter", "Transformer"]


class Interpreter:
    """Runs the graph of a module one node at a time.

    Subclasses override `run_node` or one method for each opcode: `placeholder`, `get_attr`,
    `call_function`, `call_method`, `call_module`, `output`. With `garbage_collect_values`, a
    value is dropped after its last use.
    """

    def __init__(
        self, module: nn.Module, garbage_collect_values: bool = True, graph: Graph | None = None
    ):
        self.module = module
        self.graph: Graph = module.graph if graph is None else graph  # type: ignore[assignment]
        self.submodules = dict(module.named_modules())
        self.env: dict[Node, Any] = {}
        self.name = "Interpreter"
        self.garbage_collect_values = garbage_collect_values
        self.extra_traceback = True
        self.user_to_last_uses = last_uses(list(self.graph.nodes)) if garbage_collect_values else {}

    def run(
        self,
        *args: Any,
        initial_env: dict[Node, Any] | None = None,
        enable_io_processing: bool = True,
    ) -> Any:
        """The program's result. `initial_env` has values of nodes that are not to be run."""
        env = self.env = {} if initial_env is None else initial_env
        if enable_io_processing:
            args = self.graph.process_inputs(*args)
        self.args_iter: Iterator = iter(args)
        run_node, ending = self.run_node, self.user_to_last_uses
        plain = type(self).run_node is Interpreter.run_node
        if plain and not fx_traceback.has_preserved_node_meta():
            perform = {op: getattr(self, op) for op in OPCODES}
            fetch = self.fetch_args_kwargs_from_env

            def run_node(n: Node) -> Any:  # what the method does, without a look at each handler
                return perform[n.op](n.target, *fetch(n))

        for node in self.graph.nodes:
            if node in env:
                continue
            try:
                env[node] = run_node(node)
            except Exception as error:
                if self.extra_traceback:
                    self._say_where(node, error)
                raise
            if node in ending:
                for used in ending[node]:
                    env.pop(used, None)
            if node.op == "output":
                result = env[node]
                return self.graph.process_outputs(result) if enable_io_processing else result
        return None

    def boxed_run(self, args_list: list[Any]) -> Any:
        """As `run` with a list of arguments, which is emptied, so that they can be freed early."""
        args, args_list[:] = list(args_list), []
        return self.run(*args)

    def _say_where(self, node: Node, error: Exception) -> None:
        text = f"While executing {node.format_node()}"
        text += f"\nOriginal traceback:\n{node.stack_trace}" if node.stack_trace else ""
        if text not in getattr(error, "__notes__", ()):
            error.add_note(text)

    def run_node(self, n: Node) -> Any:
        """The value of a node, its arguments being in `env`."""
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        if not fx_traceback.has_preserved_node_meta():
            return getattr(self, n.op)(n.target, args, kwargs)
        with fx_traceback.set_current_meta(n):
            return getattr(self, n.op)(n.target, args, kwargs)

    # --- opcodes --------------------------------------------------------------------------------

    def placeholder(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        """The next argument of the program; its default where there is no more."""
        if target.startswith("*"):
            return list(self.args_iter)
        try:
            return next(self.args_iter)
        except StopIteration:
            if args:
                return args[0]
            raise RuntimeError(
                f"Expected positional argument for parameter {target}, but one was not passed in!"
            ) from None

    def get_attr(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        """A value of the module."""
        return self.fetch_attr(target)

    def call_function(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        """A function's result."""
        return target(*args, **kwargs)

    def call_method(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        """A method's result; the first argument is its self."""
        return getattr(args[0], target)(*args[1:], **kwargs)

    def call_module(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        """A submodule's result."""
        called = self.submodules.get(target)
        return (self.fetch_attr(target) if called is None else called)(*args, **kwargs)

    def output(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        """The program's result."""
        return args[0]

    # --- values ---------------------------------------------------------------------------------

    def fetch_attr(self, target: str) -> Any:
        """What stands at a dotted path of the module."""
        found = self.submodules.get(target)
        if found is not None:
            return found
        value: Any = self.module
        parts = target.split(".")
        for place, part in enumerate(parts):
            if not hasattr(value, part):
                raise RuntimeError(
                    f"Node referenced nonexistent target {'.'.join(parts[: place + 1])}"
                )
            value = getattr(value, part)
        return value

    def fetch_args_kwargs_from_env(self, n: Node) -> tuple[tuple, dict[str, Any]]:
        """A node's arguments, with values for nodes."""
        env, value = self.env, self._value
        args = tuple(
            [
                env[a] if (kind := type(a)) is Node else a if kind in ATOMS else value(a)
                for a in n._args
            ]
        )
        return args, {k: self._value(v) for k, v in n._kwargs.items()} if n._kwargs else {}

    def _value(self, arg: Any) -> Any:
        kind = type(arg)
        if kind is Node:
            return self.env[arg]
        if kind in ATOMS:
            return arg
        if issubclass(kind, list):
            return [self._value(each) for each in arg]
        return map_arg(arg, self.env.__getitem__)

    def map_nodes_to_values(self, args: Any, n: Node) -> Any:
        """`args` with values for nodes. RuntimeError for a node that has not run."""

        def load(each: Node) -> Any:
            if each not in self.env:
                raise RuntimeError(
                    f"Node {n} referenced nonexistent value {each}! Run Graph.lint() to diagnose "
                    "such issues"
                )
            return self.env[each]

        return map_arg(args, load)


class _TransformerTracer(Tracer):
    """Takes every module for a leaf."""

    def __init__(self, graph: Graph):
        super().__init__()
        self.graph = graph

    def is_leaf_module(self, _: nn.Module, __: str) -> bool:
        return True


class Transformer(Interpreter):
    """An interpreter on proxies: `transform()` gives the module of what its methods record.

    Overridden methods get proxies, and may do with them what a traced program may.
    """

    def __init__(self, module: GraphModule):
        super().__init__(module)
        self.new_graph = Graph()
        self.new_graph.set_codegen(module.graph._codegen)
        self.tracer = _TransformerTracer(self.new_graph)
        self.tracer.root = module
        self.tracer._look_at_root()

    def placeholder(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Proxy:
        default = args[0] if args else inspect.Signature.empty
        arguments = () if default is inspect.Signature.empty else (default,)
        return self.tracer.create_proxy("placeholder", target, arguments, {})

    def get_attr(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Proxy:
        return self.tracer.create_proxy("get_attr", target, args, kwargs)

    def call_function(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        return self.tracer.create_proxy("call_function", target, args, kwargs)

    def call_method(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        return self.tracer.create_proxy("call_method", target, args, kwargs)

    def call_module(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        return self.tracer.create_proxy("call_module", target, args, kwargs)

    def run_node(self, n: Node) -> Any:
        made = super().run_node(n)
        if type(made) is Proxy:
            made.node.type = made.node.type or n.type
        return made

    def transform(self) -> GraphModule:
        """The new module."""
        with faces.showing(), fx_traceback.preserve_node_meta():
            result = super().run(enable_io_processing=False)
        if result is not None:
            kind = self.graph.output_node().type
            self.new_graph.output(map_result(result), kind)
        return GraphModule(self.module, self.new_graph, type(self.module).__name__)


def map_result(value: Any) -> Any:
    """A result that may hold proxies, with their nodes."""
    if issubclass(type(value), Proxy):
        return value.node
    if isinstance(value, tuple | list):
        parts = [map_result(each) for each in value]
        if hasattr(value, "_fields"):
            return type(value)(*parts)
        return tuple(parts) if isinstance(value, tuple) else parts
    if isinstance(value, dict):
        return {key: map_result(each) for key, each in value.items()}
    return value
