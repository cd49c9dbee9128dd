"""Runs a program and notes the shape of every value."""

from __future__ import annotations

from typing import Any, NamedTuple

from flambeau.tensor import Size, Tensor

from ..interpreter import Interpreter
from ..node import Node, map_aggregate

__all__ = ["ShapeProp", "TensorMetadata"]


class TensorMetadata(NamedTuple):
    """What is known of a tensor without its elements."""

    shape: Any
    dtype: Any
    requires_grad: bool
    stride: tuple[int, ...]
    memory_format: Any
    is_quantized: bool
    qparams: dict[str, Any]


def _extract_tensor_metadata(result: Tensor, include_contiguity: bool = True) -> TensorMetadata:
    return TensorMetadata(
        Size(result.shape),
        result.dtype,
        result.requires_grad,
        tuple(result.stride()),
        None,
        False,
        {},
    )


class ShapeProp(Interpreter):
    """Runs a program and leaves in every node's ``meta["tensor_meta"]`` a `TensorMetadata`, or a
    container of them, and in ``meta["type"]`` the value's type.
    """

    def run_node(self, n: Node) -> Any:
        try:
            result = super().run_node(n)
        except Exception as error:
            raise RuntimeError(
                f"ShapeProp error for: node={n.format_node()} with meta={n.meta}"
            ) from error
        found = False

        def describe(value: Any) -> Any:
            nonlocal found
            if not isinstance(value, Tensor):
                return value
            found = True
            return _extract_tensor_metadata(value)

        meta = map_aggregate(result, describe)
        if found:
            n.meta["tensor_meta"] = meta
        n.meta["type"] = type(result)
        return result

    def propagate(self, *args: Any) -> Any:
        """Runs the program with these arguments; gives its result."""
        return super().run(*args)
