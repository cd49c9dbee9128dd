"""Choices about attention: PyTorch's `torch.nn.attention`."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterator
from typing import Any

from flambeau._base import missing


class SDPBackend(enum.Enum):
    """PyTorch's ways of computing `scaled_dot_product_attention`. Here there is one."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4


@contextlib.contextmanager
def sdpa_kernel(backends: Any, set_priority: bool = False) -> Iterator[None]:
    """A with block in which PyTorch would use only the given backends; it changes nothing."""
    if not isinstance(backends, list | SDPBackend):
        raise AssertionError(
            "Backend must be an instance of SDPBackend or a list of SDPBackend instances, "
            f"got {type(backends).__name__}"
        )
    yield


WARN_FOR_UNFUSED_KERNELS = False
__all__ = ["WARN_FOR_UNFUSED_KERNELS", "SDPBackend", "sdpa_kernel"]
__getattr__ = missing(globals(), submodules=("bias", "flex_attention"))
