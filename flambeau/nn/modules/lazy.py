"""Modules that take the sizes of their parameters from the first input."""

from __future__ import annotations

import itertools
from typing import Any

from flambeau.tensor import Tensor, no_grad

from ..parameter import is_lazy
from .module import Module


class LazyModuleMixin:
    """To be put in front of a module class: some parameters have no shape before the first call.

    The subclass makes them as `UninitializedParameter` and `UninitializedBuffer`, and gives them
    shapes in `initialize_parameters`, which gets the arguments of the first call. After that the
    module becomes one of the class `cls_to_become`, if that is not None. Loading a state dict gives
    them shapes, too.
    """

    cls_to_become: type | None = None
    _parameters: dict[str, Any]
    _buffers: dict[str, Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.cls_to_become is not None or self.has_uninitialized_params():
            self._infer_parameters(self, args, kwargs)
        # Not super(): the class may be another one now.
        return Module.__call__(self, *args, **kwargs)  # type: ignore[arg-type]

    def _infer_parameters(self, module: Any, args: tuple, kwargs: Any = None) -> None:
        module.initialize_parameters(*args, **(kwargs or {}))
        if module.has_uninitialized_params():
            raise RuntimeError(f"module {module._get_name()} has not been fully initialized")
        if module.cls_to_become is not None:
            module.__class__ = module.cls_to_become

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Give the parameters shapes, by the arguments of ``forward``."""
        raise NotImplementedError(
            f"initialize_parameters is not implemented for {type(self).__name__}"
        )

    def has_uninitialized_params(self) -> bool:
        """Whether a parameter or buffer of the module itself has no shape yet."""
        return any(map(is_lazy, itertools.chain(self._parameters.values(), self._buffers.values())))

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        for name, tensor in self._persistent_members():  # type: ignore[attr-defined]
            keeps = keep_vars or is_lazy(tensor)
            destination[prefix + name] = tensor if keeps else tensor.detach()

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        for name, tensor in itertools.chain(self._parameters.items(), self._buffers.items()):
            value = state_dict.get(prefix + name)
            if is_lazy(tensor) and isinstance(value, Tensor) and not is_lazy(value):
                with no_grad():
                    tensor.materialize(value.shape)
        super()._load_from_state_dict(state_dict, prefix, *args)  # type: ignore[misc]

    def _replicate_for_data_parallel(self) -> Any:
        raise RuntimeError(
            "Modules with uninitialized parameters can't be used with `DataParallel`. "
            "Run a dummy forward pass to correctly initialize the modules"
        )
