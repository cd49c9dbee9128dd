"""A module whose gradients are shared by processes."""

from __future__ import annotations

from typing import Any

from ..modules import Module


class DistributedDataParallel(Module):
    """No module is one: flambeau has no process groups. Programs ask whether theirs is."""

    def __init__(self, module: Module, *args: Any, **options: Any) -> None:
        raise RuntimeError(
            "Default process group has not been initialized, please make sure to call "
            "init_process_group: flambeau has no process groups, so a model trains in one process"
        )
