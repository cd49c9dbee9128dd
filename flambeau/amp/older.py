"""The older names of autocast and GradScaler, one pair for each type of device."""

from __future__ import annotations

import functools
import types
import warnings
from collections.abc import Callable
from typing import Any

from flambeau.types import by_name

from . import autocast_mode, grad_scaler


def _deprecated(device: str, name: str, instead: str) -> None:
    warnings.warn(
        f"`torch.{device}.amp.{name}(args...)` is deprecated. "
        f"Please use `torch.amp.{name}({instead})` instead.",
        FutureWarning,
        stacklevel=3,
    )


def _wrapper(device: str, name: str) -> Callable:
    """`custom_fwd` or `custom_bwd` of one type of device."""
    newer = getattr(autocast_mode, name)

    @functools.wraps(newer)
    def older(*args: Any, **kwargs: Any) -> Any:
        _deprecated(device, name, f"args..., device_type='{device}'")
        return newer(*args, **kwargs, device_type=device)

    return older


def _of(device: str, half: Any) -> types.SimpleNamespace:
    """What ``torch.DEVICE.amp`` contains."""

    class autocast(autocast_mode.autocast):
        __doc__ = f'``torch.autocast("{device}")``.'

        def __init__(
            self, enabled: bool = True, dtype: Any = half, cache_enabled: bool = True
        ) -> None:
            _deprecated(device, "autocast", f"'{device}', args...")
            super().__init__(device, dtype, enabled, cache_enabled)

    class GradScaler(grad_scaler.GradScaler):
        __doc__ = f'``torch.amp.GradScaler("{device}")``.'

        def __init__(
            self,
            init_scale: float = 2.0**16,
            growth_factor: float = 2.0,
            backoff_factor: float = 0.5,
            growth_interval: int = 2000,
            enabled: bool = True,
        ) -> None:
            _deprecated(device, "GradScaler", f"'{device}', args...")
            super().__init__(
                device, init_scale, growth_factor, backoff_factor, growth_interval, enabled
            )

    for made in (autocast, GradScaler):  # where pickles find them
        made.__module__, made.__qualname__ = f"flambeau.{device}.amp", made.__name__
    custom = {name: _wrapper(device, name) for name in ("custom_fwd", "custom_bwd")}
    return types.SimpleNamespace(autocast=autocast, GradScaler=GradScaler, **custom)


cpu = _of("cpu", by_name("bfloat16"))
cuda = _of("cuda", by_name("float16"))
