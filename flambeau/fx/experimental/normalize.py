"""Programs whose calls name their arguments."""

from __future__ import annotations

import operator
from typing import Any

from .. import traceback as fx_traceback
from ..graph_module import GraphModule
from ..interpreter import Transformer
from ..names import torch
from ..node import Node
from ..operator_schemas import normalize_function, normalize_module
from ..proxy import Proxy

__all__ = ["NormalizeArgs", "NormalizeOperators"]


class NormalizeArgs(Transformer):
    """Makes all arguments keyword arguments with their defaults, where signatures are known."""

    def __init__(self, module: GraphModule, normalize_to_only_use_kwargs: bool = True):
        super().__init__(module)
        self.normalize_to_only_use_kwargs = normalize_to_only_use_kwargs

    def call_function(
        self,
        target: Any,
        args: tuple,
        kwargs: dict[str, Any],
        arg_types: tuple | None = None,
        kwarg_types: dict[str, Any] | None = None,
    ) -> Any:
        pair = normalize_function(
            target, args, kwargs, arg_types, kwarg_types, self.normalize_to_only_use_kwargs
        )
        args, kwargs = (args, kwargs) if pair is None else pair
        return super().call_function(target, args, kwargs)

    def call_module(self, target: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        pair = normalize_module(
            self.module,
            target,
            args,
            kwargs,
            normalize_to_only_use_kwargs=self.normalize_to_only_use_kwargs,
        )
        args, kwargs = (args, kwargs) if pair is None else pair
        return super().call_module(target, args, kwargs)


class NormalizeOperators(Transformer):
    """Makes functions of flambeau of Python's operators, where an operand is a tensor.

    Which nodes are tensors is read from ``meta["type"]`` and ``meta["tensor_meta"]``
    (`ShapeProp`); operators on anything else stay.
    """

    def run_node(self, n: Node) -> Any:
        name = _NAMES.get(n.target) if n.op == "call_function" else None
        if name is None or "tensor_meta" not in n.meta:
            return super().run_node(n)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        if not any(issubclass(type(each), Proxy) for each in args[:1]):
            return super().run_node(n)
        with fx_traceback.set_current_meta(n):
            return self.call_function(getattr(torch(), name), args, kwargs)


_NAMES = {
    operator.add: "add",
    operator.sub: "sub",
    operator.mul: "mul",
    operator.truediv: "div",
    operator.floordiv: "floor_divide",
    operator.mod: "remainder",
    operator.matmul: "matmul",
    operator.pow: "pow",
    operator.neg: "neg",
    operator.eq: "eq",
    operator.ne: "ne",
    operator.lt: "lt",
    operator.le: "le",
    operator.gt: "gt",
    operator.ge: "ge",
}
