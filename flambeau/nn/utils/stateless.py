"""The earlier home and parameter names of `torch.func.functional_call`."""

from __future__ import annotations

from typing import Any

from flambeau.tensor import Tensor

from ..modules import Module
from . import functional_call as replacing


def functional_call(
    module: Module,
    parameters_and_buffers: dict[str, Tensor],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """As `torch.func.functional_call`."""
    return replacing.functional_call(
        module, parameters_and_buffers, args, kwargs, tie_weights=tie_weights, strict=strict
    )
