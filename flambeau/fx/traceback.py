"""Notes on nodes that pass from one graph to the next: PyTorch's `torch.fx.traceback`."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .node import Node

__all__ = [
    "annotate",
    "annotate_fn",
    "format_stack",
    "get_current_meta",
    "get_current_replay_node",
    "has_preserved_node_meta",
    "preserve_node_meta",
    "set_current_meta",
    "set_current_replay_node",
    "set_stack_trace",
]


class _State(threading.local):
    meta: dict[str, Any] | None = None  # of the node that an interpreter runs
    preserving = False
    replayed: Node | None = None


_state = _State()


@contextmanager
def preserve_node_meta(enable: bool = True) -> Iterator[None]:
    """While it lasts, nodes that are made take over the notes of the node that is being run."""
    before = _state.preserving, _state.meta
    _state.preserving, _state.meta = enable, {}
    try:
        yield
    finally:
        _state.preserving, _state.meta = before


@contextmanager
def annotate(annotation_dict: dict[str, Any]) -> Iterator[None]:
    """Nodes made while it lasts have these entries in ``meta["custom"]``."""
    before = _state.meta
    custom = {**((before or {}).get("custom", {})), **annotation_dict}
    _state.meta = {**(before or {}), "custom": custom}
    try:
        yield
    finally:
        _state.meta = before


def annotate_fn(annotation_dict: dict[str, Any]) -> Callable[[Callable], Callable]:
    """A decorator: nodes that a function makes are annotated, as by `annotate`."""

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def annotated(*args: Any, **kwargs: Any) -> Any:
            with annotate(annotation_dict):
                return function(*args, **kwargs)

        return annotated

    return decorate


@contextmanager
def set_current_replay_node(node: Node | None) -> Iterator[None]:
    """Says for a while which node a program replays."""
    before, _state.replayed = _state.replayed, node
    try:
        yield
    finally:
        _state.replayed = before


def get_current_replay_node() -> Node | None:
    """The node that `set_current_replay_node` named."""
    return _state.replayed


def has_preserved_node_meta() -> bool:
    """Whether `preserve_node_meta` is on."""
    return _state.preserving


def get_current_meta() -> dict[str, Any]:
    """The notes that new nodes get."""
    return _state.meta or {}


def set_stack_trace(stack: list[str]) -> None:
    """Says which lines new nodes come from."""
    if _state.preserving and stack and _state.meta is not None:
        _state.meta["stack_trace"] = "".join(stack)


def format_stack() -> list[str]:
    """The lines that new nodes come from."""
    trace = get_current_meta().get("stack_trace")
    return [trace] if trace else []


# Notes on a node's value: a node that replaces it may have another.
_OF_VALUES = frozenset(("example", "example_value", "tensor_meta", "val"))


class set_current_meta:
    """The node that is being run, for the time of a with block."""

    __slots__ = ("before", "node")

    def __init__(self, node: Node):
        self.node = node

    def __enter__(self) -> None:
        self.before = _state.meta
        _state.meta = {k: v for k, v in self.node.meta.items() if k not in _OF_VALUES}

    def __exit__(self, *exception: Any) -> None:
        _state.meta = self.before


def inherited() -> dict[str, Any] | None:
    """What a new node's `meta` begins with; None where nobody asked for anything."""
    return _state.meta
