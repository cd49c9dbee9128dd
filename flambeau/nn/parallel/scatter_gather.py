"""Splits batches over devices, and joins what the devices made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flambeau.tensor import Tensor

from .. import operations as ops

__all__ = ["gather", "scatter", "scatter_kwargs"]


def scatter(inputs: Any, target_gpus: Sequence[Any], dim: int = 0) -> Any:
    """Parts of all tensors in nested containers: one such container for each device.

    What is no tensor and no container is the same object in all of them.
    """
    count = len(target_gpus)
    if isinstance(inputs, Tensor):
        parts = inputs.chunk(count, dim)
        return tuple(part.to(device) for part, device in zip(parts, target_gpus, strict=False))
    if isinstance(inputs, tuple | list | dict) and inputs:
        values = inputs.values() if isinstance(inputs, dict) else inputs
        rows = zip(*(scatter(value, target_gpus, dim) for value in values), strict=False)
        return [_like(inputs, row) for row in rows]
    return [inputs for _ in range(count)]


def scatter_kwargs(
    inputs: Sequence[Any],
    kwargs: dict[str, Any] | None,
    target_gpus: Sequence[Any],
    dim: int = 0,
) -> tuple[tuple[Any, ...], tuple[dict[str, Any], ...]]:
    """Positional and named arguments for each device; devices without any get empty ones."""
    positional = scatter(tuple(inputs), target_gpus, dim) if inputs else []
    named = scatter(kwargs, target_gpus, dim) if kwargs else []
    positional += [() for _ in range(len(named) - len(positional))]
    named += [{} for _ in range(len(positional) - len(named))]
    return tuple(positional), tuple(named)


def gather(outputs: Sequence[Any], target_device: Any, dim: int = 0) -> Any:
    """What the devices made, joined tensor by tensor; numbers become rows of a tensor."""
    first = outputs[0]
    if isinstance(first, Tensor):
        parts = [part.to(target_device) for part in outputs]
        return ops.stack(parts) if first.ndim == 0 else ops.cat(parts, dim)
    if first is None:
        return None
    if isinstance(first, dict):
        if any(len(output) != len(first) for output in outputs):
            raise ValueError("All dicts must have the same number of keys")
        joined = [gather([output[key] for output in outputs], target_device, dim) for key in first]
        return _like(first, joined)
    columns = zip(*outputs, strict=True)
    return _like(first, [gather(column, target_device, dim) for column in columns])


def _like(container: Any, values: Sequence[Any]) -> Any:
    """The values in a container like this one."""
    if isinstance(container, dict):
        return type(container)(zip(container, values, strict=True))
    make: Callable[..., Any] = type(container)
    return make(*values) if hasattr(container, "_fields") else make(values)
