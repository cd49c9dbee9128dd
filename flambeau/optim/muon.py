"""Muon."""

from __future__ import annotations

from math import sqrt
from typing import Any

from flambeau.tensor import Tensor

from .kernels import number, update
from .optimizer import PerParameter, zeros_like

_MOST_STEPS = 100


def orthogonalized(
    matrix: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float
) -> Tensor:
    """A matrix near to the orthogonal factor of the polar decomposition of `matrix`, in bfloat16.

    Newton-Schulz iteration with the quintic polynomial a x + b x^3 + c x^5 on the singular values
    (K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024).
    """
    a, b, c = coefficients
    wide = matrix.size(0) <= matrix.size(1)
    x = matrix.bfloat16() if wide else matrix.bfloat16().T
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = x.addmm(gram.addmm(gram, gram, beta=b, alpha=c), x, beta=a)
    return x if wide else x.T


class Muon(PerParameter):
    """Momentum whose updates are orthogonalised: for the matrices of hidden layers.

    Other parameters (embeddings, biases, norms, the last layer) belong to an optimizer such as
    AdamW. `adjust_lr_fn` is "original" (also None), which scales the rate of a matrix of n rows and
    m columns by sqrt(max(1, n / m)), or "match_rms_adamw", by 0.2 sqrt(max(n, m)).
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        for value, what in (
            (lr, "Learning rate"),
            (momentum, "momentum"),
            (weight_decay, "weight decay"),
        ):
            if not value >= 0.0:
                raise ValueError(f"{what} should be >= 0 but is: {value}")
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        if ns_steps >= _MOST_STEPS:
            raise ValueError("Number of steps must be less than 100 for computational efficiency")
        if len(ns_coefficients) != 3:
            raise ValueError("Coefficients must be a tuple of exactly 3 values")
        super().__init__(
            params,
            {
                "lr": lr,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "nesterov": nesterov,
                "ns_coefficients": ns_coefficients,
                "eps": eps,
                "ns_steps": ns_steps,
                "adjust_lr_fn": adjust_lr_fn,
            },
        )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, whose parameters must be matrices."""
        super().add_param_group(param_group)
        for parameter in self.param_groups[-1]["params"]:
            if parameter.dim() != 2:
                raise ValueError(
                    "Muon only supports 2D parameters whereas we found a parameter with size: "
                    f"{parameter.shape}"
                )

    def _begin(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        if parameter.is_complex():
            raise RuntimeError("Muon does not support complex parameters")
        return {"momentum_buffer": zeros_like(parameter)}

    def _update(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        shrink, rate = self._numbers(state, group)
        momentum = group["momentum"]
        direction = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
        if group["nesterov"]:
            direction = gradient.lerp(direction, momentum)
        ns = group["ns_coefficients"], group["ns_steps"], group["eps"]
        rows, columns = parameter.shape
        if group["adjust_lr_fn"] == "match_rms_adamw":
            adjusted = 0.2 * sqrt(max(rows, columns))
        else:
            adjusted = sqrt(max(1, rows / columns))
        direction = orthogonalized(direction, *ns).to(parameter.dtype) * adjusted
        update("_descend_", parameter, direction, state, (shrink, rate))

    _number_names = ("shrink", "rate")

    def _numbers(self, state: dict[str, Any], group: dict[str, Any]) -> Any:
        lr = number(group["lr"])
        return 1 - lr * group["weight_decay"], lr
