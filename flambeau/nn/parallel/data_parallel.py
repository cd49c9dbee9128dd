"""DataParallel: a batch split over accelerators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..modules import Module


class DataParallel(Module):
    """Runs its module on parts of a batch, one for each accelerator.

    Where there is none, as here, the module gets the whole batch. State dicts have the prefix
    ``module.``, as PyTorch's.
    """

    def __init__(
        self,
        module: Module,
        device_ids: Sequence[Any] | None = None,
        output_device: Any = None,
        dim: int = 0,
    ) -> None:
        super().__init__()
        self.module = module
        self.device_ids: list[Any] = []

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        return self.module(*inputs, **kwargs)
