"""Control flow that can be recorded: `torch.cond`, `torch.while_loop` and `map`.

On values they are Python's. On proxies each becomes one node, whose branches and bodies are
programs of their own, kept by the module that is traced.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau import ops
from flambeau.tensor import Tensor
from flambeau.types import pytree

from . import faces
from ._symbolic_trace import Tracer
from .graph_module import GraphModule
from .known import stored

__all__ = ["cond", "map", "while_loop"]


class _BranchTracer(Tracer):
    """Traces a function that may call the modules and read the parameters of the outer root."""

    def __init__(self, outer: Any):
        super().__init__()
        self.outer_root = outer.root

    def _look_at_root(self) -> None:
        self.root = self.outer_root
        super()._look_at_root()


def _kept(tracer: Any, function: Callable, name: str) -> Any:
    """The proxy of a function's program, which the traced module keeps."""
    graph = _BranchTracer(tracer).trace(function)
    paths = [node.target for node in graph.nodes if node.op in ("get_attr", "call_module")]
    program = GraphModule({path: stored(tracer.root, path) for path in paths}, graph, name)
    path = tracer.get_fresh_qualname(f"{name}_")
    setattr(tracer.root, path, program)
    return tracer.create_proxy("get_attr", path, (), {})


def cond(pred: Any, true_fn: Callable, false_fn: Callable, operands: Any = ()) -> Any:
    """``true_fn(*operands)`` where `pred` (a bool, or a tensor with one element) is true, else
    ``false_fn(*operands)``.

    Functions get traced values as operands only: RuntimeError where they take them from outside.
    """
    proxy = faces.find_proxy((pred, operands))
    if proxy is None:
        return (true_fn if pred else false_fn)(*operands)
    branches = [
        _kept(proxy.tracer, function, name)
        for function, name in ((true_fn, "true_graph"), (false_fn, "false_graph"))
    ]
    args = (pred, *branches, tuple(operands))
    return proxy.tracer.create_proxy("call_function", cond, args, {})


def while_loop(cond_fn: Callable, body_fn: Callable, carried_inputs: Any) -> Any:
    """The carried values after ``body_fn(*values)`` was repeated while ``cond_fn(*values)``."""
    proxy = faces.find_proxy((carried_inputs,))
    if proxy is None:
        values = tuple(carried_inputs)
        while cond_fn(*values):
            found = body_fn(*values)
            values = tuple(found) if isinstance(found, tuple | list) else (found,)
        return values
    functions = [
        _kept(proxy.tracer, function, name)
        for function, name in (
            (cond_fn, "while_loop_cond_graph"),
            (body_fn, "while_loop_body_graph"),
        )
    ]
    args = (*functions, tuple(carried_inputs))
    return proxy.tracer.create_proxy("call_function", while_loop, args, {})


def map(f: Callable, xs: Any, *args: Any) -> Any:
    """What `f` makes of each slice of `xs` along its first dimension, stacked.

    `xs` may be a tree of tensors; `args` go to every call.
    """
    proxy = faces.find_proxy((xs, args))
    if proxy is not None:
        program = _kept(proxy.tracer, f, "body_graph")
        return proxy.tracer.create_proxy("call_function", map, (program, xs, *args), {})
    leaves, spec = pytree.tree_flatten(xs)
    if not leaves or not all(isinstance(leaf, Tensor) for leaf in leaves):
        raise ValueError("map takes a tree of tensors with at least one tensor")
    slices = zip(*(leaf.unbind(0) for leaf in leaves), strict=True)
    made = [f(pytree.tree_unflatten(each, spec), *args) for each in slices]
    out_spec = pytree.tree_structure(made[0])
    columns = zip(*(pytree.tree_leaves(each) for each in made), strict=True)
    return pytree.tree_unflatten([ops.find("stack").door(list(each)) for each in columns], out_spec)
