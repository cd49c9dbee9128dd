"""Values that follow from the shapes of example inputs: what a trace may decide on.

Along the trace, every node is evaluated on meta tensors, which have shapes and no memory. What
comes out that is no tensor (sizes, dtypes, comparisons of them) is known; what would read a
tensor's elements is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flambeau.tensor import Tensor

from .node import Node, map_arg

if TYPE_CHECKING:
    from .proxy import TracerBase

NOTHING = type("Nothing", (), {"__repr__": lambda self: "<no example>"})()


class _Unknown(Exception):
    pass


def _shadow(value: Any) -> Any:
    """The value without its memory."""
    return value.detach().to("meta") if isinstance(value, Tensor) else value


def give(tracer: TracerBase, node: Node, value: Any) -> None:
    """Says what an input's example is. Numbers among the inputs stay unknown."""
    if isinstance(value, Tensor):
        node.meta["example"] = _shadow(value)


def follow(tracer: TracerBase, node: Node) -> None:
    """Evaluates a new node, where its arguments have examples."""
    if node.op in ("placeholder", "output"):
        return
    try:
        value = _evaluate(tracer, node)
    except Exception:  # whatever it is, there is no example of this value then
        return
    if not isinstance(value, Tensor) and _is_plain(value) and tracer.known is not None:
        tracer.known[node] = value
    node.meta["example"] = value


def _evaluate(tracer: TracerBase, node: Node) -> Any:
    def example(each: Node) -> Any:
        if "example" not in each.meta:
            raise _Unknown
        return each.meta["example"]

    root = tracer.root  # type: ignore[attr-defined]
    if node.op == "get_attr":
        return _shadow(stored(root, node.target))
    args, kwargs = map_arg(node.args, example), map_arg(node.kwargs, example)
    if node.op == "call_function":
        return node.target(*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], node.target)(*args[1:], **kwargs)
    raise _Unknown


def stored(module: Any, path: str) -> Any:
    """What stands at a dotted path itself, where a tracer would answer with a proxy."""
    for name in path.split("."):
        registries = (module._parameters, module._buffers, module._modules, vars(module))
        module = next(registry[name] for registry in registries if name in registry)
    return module


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return not isinstance(value, Tensor)
