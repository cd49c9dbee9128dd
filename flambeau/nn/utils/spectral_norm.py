"""Spectral normalisation (Miyato et al. 2018, arXiv:1802.05957), recomputed before each forward.

The form with properties is `flambeau.nn.utils.parametrizations.spectral_norm`.
"""

from __future__ import annotations

from typing import Any

from flambeau.tensor import Tensor, no_grad

from .. import operations as ops
from ..functional import normalize
from ..modules import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, Module
from ..parameter import Parameter, is_lazy
from .renamed_state import add_renaming, remove_renaming

__all__ = [
    "SpectralNorm",
    "SpectralNormLoadStateDictPreHook",
    "SpectralNormStateDictHook",
    "spectral_norm",
    "remove_spectral_norm",
]


def matrix_of(weight: Tensor, dim: int) -> Tensor:
    """The weight as a matrix whose rows belong to dimension `dim`."""
    if dim != 0:
        weight = weight.permute(dim, *(axis for axis in range(weight.dim()) if axis != dim))
    return weight.reshape(weight.size(0), -1)


def dimension_of_outputs(module: Module) -> int:
    """Which dimension of the module's weight counts its outputs."""
    transposed = isinstance(module, ConvTranspose1d | ConvTranspose2d | ConvTranspose3d)
    return 1 if transposed else 0


def check_iterations(n_power_iterations: int) -> None:
    """Raise ValueError unless the number is positive."""
    if n_power_iterations <= 0:
        raise ValueError(
            "Expected n_power_iterations to be positive, but "
            f"got n_power_iterations={n_power_iterations}"
        )


class SpectralNorm:
    """The hook that divides a weight by an estimate of its largest singular value.

    The estimate is ``u · W v``; power iteration improves the vectors in training mode.
    """

    # Of the format in state dictionaries: from 1 on they hold v, and not the normalised weight.
    _version = 1

    def __init__(
        self, name: str = "weight", n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12
    ) -> None:
        check_iterations(n_power_iterations)
        self.name, self.n_power_iterations = name, n_power_iterations
        self.dim, self.eps = dim, eps

    def reshape_weight_to_matrix(self, weight: Tensor) -> Tensor:
        """The weight as a matrix with one row for each output."""
        return matrix_of(weight, self.dim)

    def compute_weight(self, module: Module, do_power_iteration: bool) -> Tensor:
        """The normalised weight, after steps of power iteration if wanted."""
        weight = getattr(module, self.name + "_orig")
        left, right = (getattr(module, self.name + suffix) for suffix in ("_u", "_v"))
        matrix = self.reshape_weight_to_matrix(weight)
        if do_power_iteration:
            with no_grad():
                for _ in range(self.n_power_iterations):
                    right.copy_(normalize(ops.mv(matrix.t(), left), dim=0, eps=self.eps))
                    left.copy_(normalize(ops.mv(matrix, right), dim=0, eps=self.eps))
                # Backward of this forward must not see the steps of the next one.
                left, right = left.clone(), right.clone()
        return weight / ops.dot(left, ops.mv(matrix, right))

    def __call__(self, module: Module, inputs: Any) -> None:
        weight = self.compute_weight(module, do_power_iteration=module.training)
        setattr(module, self.name, weight)

    def remove(self, module: Module) -> None:
        """Make the present normalised value a parameter again."""
        with no_grad():
            weight = self.compute_weight(module, do_power_iteration=False)
        for suffix in ("", "_u", "_v", "_orig"):
            delattr(module, self.name + suffix)
        module.register_parameter(self.name, Parameter(weight.detach()))
        remove_renaming(module, _names_of_parametrization(self.name))
        for hooks in (module._state_dict_hooks, module._load_state_dict_pre_hooks):
            for key, hook in list(hooks.items()):
                if getattr(getattr(hook, "hook", hook), "fn", None) is self:
                    del hooks[key]

    def _solve_v_and_rescale(self, matrix: Tensor, left: Tensor, sigma: Tensor) -> Tensor:
        """A vector v in the direction where ``W v`` is ``left``, with ``left · W v = sigma``."""
        right = ops.mv(ops.linalg_pinv(matrix.t() @ matrix), ops.mv(matrix.t(), left))
        return right * (sigma / ops.dot(left, ops.mv(matrix, right)))

    @staticmethod
    def apply(
        module: Module, name: str, n_power_iterations: int, dim: int, eps: float
    ) -> SpectralNorm:
        """Move a parameter to ``name_orig`` and hook its computation in front of ``forward``."""
        if _hook_key(module, name) is not None:
            raise RuntimeError(
                f"Cannot register two spectral_norm hooks on the same parameter {name}"
            )
        hook = SpectralNorm(name, n_power_iterations, dim, eps)
        weight = module._parameters[name]
        if weight is None:
            raise ValueError(f"`SpectralNorm` cannot be applied as parameter `{name}` is None")
        if is_lazy(weight):
            raise ValueError(
                "The module passed to `SpectralNorm` can't have uninitialized parameters. "
                "Make sure to run the dummy forward before applying spectral normalization"
            )
        with no_grad():
            rows, columns = hook.reshape_weight_to_matrix(weight).shape
            left = normalize(weight.new_empty(rows).normal_(0, 1), dim=0, eps=eps)
            right = normalize(weight.new_empty(columns).normal_(0, 1), dim=0, eps=eps)
        delattr(module, name)
        module.register_parameter(name + "_orig", weight)
        # A plain tensor, so that the name can be read before the first forward call.
        setattr(module, name, weight.detach())
        module.register_buffer(name + "_u", left)
        module.register_buffer(name + "_v", right)
        module.register_forward_pre_hook(hook)
        module._register_state_dict_hook(SpectralNormStateDictHook(hook))
        add_renaming(module, _names_of_parametrization(name))
        module._register_load_state_dict_pre_hook(SpectralNormLoadStateDictPreHook(hook))
        return hook


class SpectralNormStateDictHook:
    """Notes the version of the format in the metadata of a state dict."""

    def __init__(self, fn: SpectralNorm) -> None:
        self.fn = fn

    def __call__(self, module: Module, state_dict: dict, prefix: str, local_metadata: dict) -> None:
        versions = local_metadata.setdefault("spectral_norm", {})
        key = self.fn.name + ".version"
        if key in versions:
            raise RuntimeError(f"Unexpected key in metadata['spectral_norm']: {key}")
        versions[key] = self.fn._version


class SpectralNormLoadStateDictPreHook:
    """Makes a state without v, of the oldest format, one with v."""

    def __init__(self, fn: SpectralNorm) -> None:
        self.fn = fn

    def __call__(
        self,
        state_dict: dict,
        prefix: str,
        local_metadata: dict,
        strict: bool,
        missing_keys: list,
        *others: Any,
    ) -> None:
        versions = local_metadata.get("spectral_norm", {})
        version = versions.get(self.fn.name + ".version")
        if version is not None and version >= 1:
            return
        key = prefix + self.fn.name
        complete = all(key + suffix in state_dict for suffix in ("_orig", "_u", "_v"))
        if version is None and complete and key not in state_dict:
            return  # a new state that lost its metadata
        missing = [key + suffix for suffix in ("_orig", "", "_u") if key + suffix not in state_dict]
        if missing:
            if strict:
                missing_keys.extend(missing)
            return
        with no_grad():
            original = state_dict[key + "_orig"]
            sigma = (original / state_dict.pop(key)).mean()
            matrix = self.fn.reshape_weight_to_matrix(original)
            left = state_dict[key + "_u"]
            state_dict[key + "_v"] = self.fn._solve_v_and_rescale(matrix, left, sigma)


def _names_of_parametrization(name: str) -> dict[str, str]:
    return {
        f"parametrizations.{name}.original": f"{name}_orig",
        f"parametrizations.{name}.0._u": f"{name}_u",
        f"parametrizations.{name}.0._v": f"{name}_v",
    }


def _hook_key(module: Module, name: str) -> Any:
    for key, hook in module._forward_pre_hooks.items():
        if isinstance(hook, SpectralNorm) and hook.name == name:
            return key
    return None


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """Divide a parameter by its largest singular value before each forward call.

    A weight of more than two dimensions counts as a matrix whose rows are its outputs, dimension
    `dim` (0, and 1 for transposed convolutions). Adds the parameter ``name_orig`` and the buffers
    ``name_u``, ``name_v``. States of `parametrizations.spectral_norm` load, too.
    """
    dim = dimension_of_outputs(module) if dim is None else dim
    SpectralNorm.apply(module, name, n_power_iterations, dim, eps)
    return module


def remove_spectral_norm(module: Module, name: str = "weight") -> Module:
    """Take back `spectral_norm`; the weight keeps its normalised value."""
    key = _hook_key(module, name)
    if key is None:
        raise ValueError(f"spectral_norm of '{name}' not found in {module}")
    module._forward_pre_hooks.pop(key).remove(module)
    return module
