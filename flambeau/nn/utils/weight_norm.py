"""Weight normalisation (Salimans & Kingma 2016, arXiv:1602.07868), recomputed before each forward.

The form with properties is `flambeau.nn.utils.parametrizations.weight_norm`.
"""

from __future__ import annotations

import warnings
from typing import Any

from flambeau.tensor import Tensor

from .. import operations as ops
from ..modules import Module
from ..parameter import Parameter, is_lazy
from .renamed_state import add_renaming, remove_renaming

__all__ = ["WeightNorm", "weight_norm", "remove_weight_norm"]


def norm_except_dim(tensor: Tensor, dim: int) -> Tensor:
    """The 2-norm over all dimensions but one, which are kept as 1; over all if `dim` is -1."""
    if dim == -1:
        return ops.linalg_vector_norm(tensor)
    if not -tensor.dim() <= dim < tensor.dim():
        raise IndexError(
            "Dimension out of range (expected to be in range of "
            f"[{-tensor.dim()}, {tensor.dim() - 1}], but got {dim})"
        )
    others = [axis for axis in range(tensor.dim()) if axis != dim % tensor.dim()]
    if not others:
        return tensor.abs()
    return ops.linalg_vector_norm(tensor, 2, others, True)


def scaled_direction(direction: Tensor, magnitude: Tensor, dim: int) -> Tensor:
    """``magnitude * direction / |direction|``, the norm being over all dimensions but `dim`."""
    return direction * (magnitude / norm_except_dim(direction, dim))


class WeightNorm:
    """The hook that computes a weight from its magnitude and direction."""

    def __init__(self, name: str, dim: int | None) -> None:
        self.name = name
        self.dim = -1 if dim is None else dim

    def compute_weight(self, module: Module) -> Tensor:
        """The weight that magnitude and direction make at present."""
        magnitude = getattr(module, self.name + "_g")
        return scaled_direction(getattr(module, self.name + "_v"), magnitude, self.dim)

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module))

    @staticmethod
    def apply(module: Module, name: str, dim: int | None) -> WeightNorm:
        """Split a parameter and hook its computation in front of ``forward``."""
        warnings.warn(
            "`torch.nn.utils.weight_norm` is deprecated "
            "in favor of `torch.nn.utils.parametrizations.weight_norm`.",
            FutureWarning,
            stacklevel=3,
        )
        if _hook_key(module, name) is not None:
            raise RuntimeError(
                f"Cannot register two weight_norm hooks on the same parameter {name}"
            )
        weight = getattr(module, name)
        if is_lazy(weight):
            raise ValueError(
                "The module passed to `WeightNorm` can't have uninitialized parameters. "
                "Make sure to run the dummy forward before applying weight normalization"
            )
        hook = WeightNorm(name, dim)
        magnitude = norm_except_dim(weight.detach(), hook.dim)
        del module._parameters[name]
        module.register_parameter(name + "_g", Parameter(magnitude))
        module.register_parameter(name + "_v", Parameter(weight.detach()))
        setattr(module, name, hook.compute_weight(module))
        module.register_forward_pre_hook(hook)
        add_renaming(module, _names_of_parametrization(name))
        return hook

    def remove(self, module: Module) -> None:
        """Make the present value a parameter again."""
        weight = self.compute_weight(module)
        delattr(module, self.name)
        del module._parameters[self.name + "_g"]
        del module._parameters[self.name + "_v"]
        setattr(module, self.name, Parameter(weight.detach()))
        remove_renaming(module, _names_of_parametrization(self.name))


def _names_of_parametrization(name: str) -> dict[str, str]:
    return {
        f"parametrizations.{name}.original0": f"{name}_g",
        f"parametrizations.{name}.original1": f"{name}_v",
    }


def _hook_key(module: Module, name: str) -> Any:
    for key, hook in module._forward_pre_hooks.items():
        if isinstance(hook, WeightNorm) and hook.name == name:
            return key
    return None


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Split a parameter into ``name_g``, its norms, and ``name_v``, its directions. Deprecated.

    Norms are over all dimensions but `dim`, over all with None. The weight is recomputed before
    each forward call. States of `parametrizations.weight_norm` load, too. Returns the module.
    """
    WeightNorm.apply(module, name, dim)
    return module


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    """Take back `weight_norm`; the weight keeps its value. ValueError if there is none."""
    key = _hook_key(module, name)
    if key is None:
        raise ValueError(f"weight_norm of '{name}' not found in {module}")
    module._forward_pre_hooks.pop(key).remove(module)
    return module
