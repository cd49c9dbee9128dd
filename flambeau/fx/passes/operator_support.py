"""Which nodes a back end can run."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from typing import Any

from flambeau import nn
from flambeau.types import DType

from ..names import qualified_name
from ..node import Node
from .shape_prop import TensorMetadata

__all__ = [
    "OpSupports",
    "OperatorSupport",
    "OperatorSupportBase",
    "any_chain",
    "chain",
    "create_op_support",
]

TargetTypeName = str
SupportedArgumentDTypes = Any
CALLABLE_NODE_OPS = {"call_module", "call_function", "call_method"}
IsNodeSupported = Callable[[Mapping[str, nn.Module], Node], bool]


def get_node_target(submodules: Mapping[str, nn.Module], node: Node) -> str:
    """What a node calls, as a text: a function's name, a module's type, a method's name."""
    if node.op not in CALLABLE_NODE_OPS:
        raise AssertionError(f"Expect op types of {sorted(CALLABLE_NODE_OPS)}, but found {node.op}")
    if node.op == "call_module":
        kind = type(submodules[node.target])
        return f"{kind.__module__}.{kind.__qualname__}"
    return qualified_name(node.target) if node.op == "call_function" else node.target


class OperatorSupportBase(abc.ABC):
    """Says whether a node can be run."""

    @abc.abstractmethod
    def is_node_supported(self, submodules: Mapping[str, nn.Module], node: Node) -> bool:
        """Whether the back end runs the node; `submodules` are the program's, by path."""
        raise NotImplementedError


class OperatorSupport(OperatorSupportBase):
    """A table: names of what is called (`get_node_target`) to None, or to the dtypes of
    positional and of keyword arguments that are taken.
    """

    _support_dict: Mapping[str, SupportedArgumentDTypes]

    def __init__(self, support_dict: Mapping[str, SupportedArgumentDTypes] | None = None):
        self._support_dict = support_dict or {}

    def is_node_supported(self, submodules: Mapping[str, nn.Module], node: Node) -> bool:
        if node.op not in CALLABLE_NODE_OPS:
            return True
        target = get_node_target(submodules, node)
        if target not in self._support_dict:
            return False
        wanted = self._support_dict[target]
        if wanted is None:
            return True
        positional, named = wanted
        return all(
            _dtype_of(arg) in taken for arg, taken in zip(node.args, positional, strict=False)
        ) and all(
            name not in node.kwargs or _dtype_of(node.kwargs[name]) in taken
            for name, taken in named.items()
        )


def _dtype_of(arg: Any) -> DType | None:
    meta = arg.meta.get("tensor_meta") if type(arg) is Node else None
    return meta.dtype if isinstance(meta, TensorMetadata) else None


class _FromFunction(OperatorSupportBase):
    def __init__(self, function: IsNodeSupported):
        self.function = function

    def is_node_supported(self, submodules: Mapping[str, nn.Module], node: Node) -> bool:
        return self.function(submodules, node)


def create_op_support(is_node_supported: IsNodeSupported) -> OperatorSupportBase:
    """Support as a function says."""
    return _FromFunction(is_node_supported)


def chain(*op_support: OperatorSupportBase) -> OperatorSupportBase:
    """Supported where all say so."""
    return _FromFunction(
        lambda mods, node: all(s.is_node_supported(mods, node) for s in op_support)
    )


def any_chain(*op_support: OperatorSupportBase) -> OperatorSupportBase:
    """Supported where one says so."""
    return _FromFunction(
        lambda mods, node: any(s.is_node_supported(mods, node) for s in op_support)
    )


class OpSupports:
    """Ready-made conditions."""

    @classmethod
    def decline_if_input_dtype(cls, dtype: DType) -> OperatorSupportBase:
        """Not nodes that read a tensor of this dtype."""
        return _FromFunction(
            lambda _, node: all(_dtype_of(arg) is not dtype for arg in node.all_input_nodes)
        )

    @classmethod
    def decline_if_node_in_names(cls, disallow_set: set[str]) -> OperatorSupportBase:
        """Not nodes of these names."""
        return _FromFunction(lambda _, node: node.name not in disallow_set)
