"""Values that a trace may decide on, and the guards that it leaves in the program.

Along the trace, every node is evaluated on meta tensors, which have shapes and no memory. What
comes out that is no tensor (sizes, dtypes, comparisons of them) is known; what would read a
tensor's elements is not. Plain attributes of modules (numbers, flags, names) are known as they are.
A guard asserts, when the program runs, that such a value is what it was.
"""

from __future__ import annotations

import operator
import os
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flambeau import nn
from flambeau.tensor import PUBLIC, Tensor

from .node import ATOMS, Node, map_arg

if TYPE_CHECKING:
    from .graph import Graph
    from .proxy import TracerBase

ASSERT = PUBLIC["_assert"]
OWN_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep

NOTHING = type("Nothing", (), {"__repr__": lambda self: "<no example>"})()


class _Unknown(Exception):
    pass


def shadow(value: Any) -> Any:
    """The value without its memory."""
    if not isinstance(value, Tensor) or value.device.type == "meta":
        return value
    return value.detach().to("meta").requires_grad_(value.requires_grad)


def give(tracer: TracerBase, node: Node, value: Any) -> None:
    """Says what an input's example is. Numbers among the inputs stay unknown."""
    if isinstance(value, Tensor):
        node.meta["example"] = shadow(value)


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
        return shadow(stored(root, node.target))
    args, kwargs = map_arg(node.args, example), map_arg(node.kwargs, example)
    if node.op == "call_function":
        return node.target(*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], node.target)(*args[1:], **kwargs)
    return call_on_shadows(root.get_submodule(node.target), args, kwargs)


def call_on_shadows(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> Any:
    """A module's result, its parameters and buffers being taken by shape."""
    named = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    shadows = {name: shadow(value) for name, value in named.items()}
    return nn.utils.functional_call.functional_call(module, shadows, args, kwargs)


def guard(tracer: TracerBase | Graph, node: Node, value: Any, what: str) -> None:
    """Asserts in the program that `node` is `value`; `what` says in the error what that is.

    The new nodes are made by `tracer`, a tracer or the graph itself.
    """
    message = f"{what} was {value!r} while the program was traced, and is not any more"
    same = tracer.create_node("call_function", operator.eq, (node, value), {})
    tracer.create_node("call_function", ASSERT, (same, message), {})


def watching(tracer: Any) -> Callable[[nn.Module, str], Any]:
    """A `__getattribute__` of modules that guards, once, each plain attribute which the user's
    code reads in this thread.
    """
    guarded: set[tuple[nn.Module, str]] = set()
    owner = threading.get_ident()
    read = object.__getattribute__

    def getattribute(module: nn.Module, name: str) -> Any:
        value = read(module, name)
        if threading.get_ident() != owner or tracer.evaluating:
            return value
        if isinstance(value, Tensor | nn.Module) or name.startswith("__") or not _is_data(value):
            return value
        if sys._getframe(1).f_code.co_filename.startswith(OWN_FOLDER):
            return value
        path = tracer.submodule_paths.get(module)
        if path is None or (module, name) in guarded or not _holds(module, name, value):
            return value
        guarded.add((module, name))
        path = f"{path}.{name}" if path else name
        guard(tracer, tracer.create_node("get_attr", path, (), {}), value, path)
        return value

    return getattribute


def _is_data(value: Any) -> bool:
    """Whether a value can be compared with itself later: nan cannot."""
    kind = type(value)
    if kind is tuple or kind is list:
        return all(map(_is_data, value))
    return kind in ATOMS and value == value


def _holds(module: nn.Module, name: str, value: Any) -> bool:
    """Whether the attribute is a value that the module or its class holds, not a property."""
    return any(vars(each).get(name) is value for each in (module, *type(module).__mro__))


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
