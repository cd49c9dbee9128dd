"""Programs as the ops that they perform: `make_fx`.

The program runs on example tensors, and an interpreter writes down every op that reaches a door:
what Python decided on the way is not in the graph.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flambeau import nn, ops
from flambeau.tensor import Tensor, door_of
from flambeau.types import pytree

from ..graph import Graph, _PyTreeCodeGen, _PyTreeInfo
from ..graph_module import GraphModule
from ..known import guard, shadow
from ..node import Node
from ..proxy import user_stack

__all__ = ["get_proxy_mode", "make_fx"]

_modes: list[_Recording] = []


def get_proxy_mode() -> Any:
    """The recording that runs, or None."""
    return _modes[-1] if _modes else None


def _place(tensor: Tensor) -> tuple:
    """What is the same for all tensor objects of one value: those that nodes of autograd keep are
    others than the program's. What has no memory is itself.
    """
    if not tensor._storage.ptr:
        return (id(tensor),)
    return tensor._storage.ptr, tensor._offset, tensor.layout


class _Recording:
    """Writes ops into a graph, and performs them."""

    def __init__(self, table: dict[Any, Callable], stack_traces: bool = False):
        self.graph, self.root = Graph(), nn.Module()
        self.stack_traces = stack_traces
        self.modules: dict[str, tuple[str, type]] = {}  # that run now, by path
        self.nodes: dict[tuple, Node] = {}
        self.held: list[Tensor] = []  # so that identities stay theirs
        self.table = {getattr(key, "__name__", key): own for key, own in table.items()}

    def run(
        self, f: Callable, args: tuple, tracing_mode: str, watched: nn.Module | None
    ) -> GraphModule:
        """Runs `f` and gives its program. The modules of `watched` are noted."""
        leaves, spec = pytree.tree_flatten(args)
        if tracing_mode != "real":
            leaves = [shadow(leaf) for leaf in leaves]
        flat = all(child.is_leaf() for child in spec.children_specs)
        names = _input_names(f, len(leaves)) if flat else [f"arg{i}" for i in range(len(leaves))]
        nodes = [self.graph.placeholder(f"{name}_1") for name in names]
        for leaf, node in zip(leaves, nodes, strict=True):
            if isinstance(leaf, Tensor):
                self._remember(leaf, node)
                if tracing_mode == "symbolic":
                    shape = self.graph.call_function(getattr, (node, "shape"))
                    guard(self.graph, shape, tuple(leaf.shape), f"the shape of {node.name}")
        _modes.append(self)
        try:
            with ops.interpreting(self), _noting(watched, self.modules):
                result = f(*pytree.tree_unflatten(leaves, spec))
        finally:
            _modes.pop()
        results, out_spec = pytree.tree_flatten(result)
        returned = [self.arg(each) for each in results]
        if flat and out_spec.is_leaf():
            self.graph.output(returned[0])
        else:
            whole = [f"arg{i}" for i in range(len(args))] if not flat else names
            self.graph.set_codegen(_PyTreeCodeGen(_PyTreeInfo(whole, spec, out_spec)))
            self.graph.output(returned)
        return GraphModule(self.root, self.graph, getattr(f, "__name__", type(f).__name__))

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
        if self.modules:
            node.meta["nn_module_stack"] = dict(self.modules)
        if self.stack_traces:
            node.stack_trace = user_stack()
        if isinstance(result, Tensor):
            self._remember(result, node)
        elif isinstance(result, tuple | list):
            for place, each in enumerate(result):
                if isinstance(each, Tensor):
                    self._remember(each, self.graph.call_function(operator.getitem, (node, place)))
        return result


@contextmanager
def _noting(root: nn.Module | None, running: dict[str, tuple[str, type]]) -> Iterator[None]:
    """Keeps `running` up to date with the modules of `root` that run."""
    if root is None:
        yield
        return
    paths = {module: path for path, module in root.named_modules()}

    def begin(module: nn.Module, args: Any) -> None:
        if module in paths:
            running[paths[module]] = (paths[module], type(module))

    def end(module: nn.Module, args: Any, result: Any) -> None:
        running.pop(paths.get(module, ""), None)

    before = nn.modules.module.register_module_forward_pre_hook(begin)
    after = nn.modules.module.register_module_forward_hook(end, always_call=True)
    try:
        yield
    finally:
        before.remove()
        after.remove()


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
    record_stack_traces: bool = False,
    proxy_module_inputs: bool = False,
    _disable_torch_fn_metadata_mode: bool = False,
) -> Callable[..., GraphModule]:
    """A function of example inputs that gives the program of `f` on them, in ops.

    `decomposition_table` maps ops or their public functions to functions in whose ops they are
    written down instead. ``tracing_mode="fake"`` computes nothing: the examples are taken by
    shape. Sizes are numbers: with ``tracing_mode="symbolic"``, which asks for a program for other
    sizes too, the program asserts that they are those of the examples. Gradients that `f` computes
    are recorded as well. `record_stack_traces` notes the user's lines, `record_module_stack` the
    modules around each op, where `f` is a module.
    """
    if tracing_mode not in ("real", "fake", "symbolic"):
        raise AssertionError(f"Unexpected tracing type: {tracing_mode}")

    def made(*args: Any) -> GraphModule:
        recording = _Recording(decomposition_table or {}, record_stack_traces)
        watched = f if record_module_stack and isinstance(f, nn.Module) else None
        return recording.run(f, args, tracing_mode, watched)

    return made


def _input_names(f: Callable, count: int) -> list[str]:
    """What the placeholders are called: as the parameters are."""
    try:
        called = f.forward if isinstance(f, nn.Module) else f
        parameters = list(inspect.signature(called).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    plain = [p.name for p in parameters if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    return [plain[i] if i < len(plain) else f"arg{i}" for i in range(count)]
