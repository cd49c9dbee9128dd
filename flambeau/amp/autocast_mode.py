"""Autocast around the two halves of an autograd function."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from flambeau.tensor import Tensor
from flambeau.tensor import autocast as casting
from flambeau.types import by_name

autocast = casting.autocast
is_autocast_available = casting.is_autocast_available

__all__ = ["autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]


def _cast(value: Any, device_type: str, dtype: Any) -> Any:
    """The floating-point tensors within lists and dictionaries in `dtype`; float64 stays."""
    if isinstance(value, Tensor):
        eligible = value.is_floating_point() and value.dtype is not by_name("float64")
        return value.to(dtype) if eligible and value.device.type == device_type else value
    if isinstance(value, dict):
        return {
            _cast(key, device_type, dtype): _cast(each, device_type, dtype)
            for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        parts = [_cast(each, device_type, dtype) for each in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def _check(device_type: Any) -> None:
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")


def custom_fwd(
    fwd: Callable | None = None, *, device_type: str, cast_inputs: Any = None
) -> Callable:
    """Decorator of ``forward`` of an autograd function.

    Without `cast_inputs` it runs under autocast as its caller does. With it, and where autocast is
    on, its floating-point inputs are cast to that dtype and autocast is off inside. `custom_bwd`
    makes ``backward`` do the same.
    """
    _check(device_type)
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def decorated(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        enabled = casting.is_autocast_enabled(device_type)
        ctx._dtype = casting.get_autocast_dtype(device_type)
        ctx._fwd_used_autocast = enabled and cast_inputs is None
        if cast_inputs is None or not enabled:
            return fwd(ctx, *args, **kwargs)
        with autocast(device_type, enabled=False):
            args, kwargs = _cast((args, kwargs), device_type, cast_inputs)
            return fwd(ctx, *args, **kwargs)

    return decorated


def custom_bwd(bwd: Callable | None = None, *, device_type: str) -> Callable:
    """Decorator of ``backward``: autocast is as it was in ``forward``; see `custom_fwd`."""
    _check(device_type)
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def decorated(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        with autocast(device_type, ctx._dtype, enabled=ctx._fwd_used_autocast):
            return bwd(ctx, *args, **kwargs)

    return decorated
