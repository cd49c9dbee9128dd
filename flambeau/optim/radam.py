"""RAdam."""

from __future__ import annotations

from math import sqrt
from typing import Any

from flambeau.tensor import Tensor

from .kernels import number
from .optimizer import PerParameter, check_betas, check_range, zeros_like


class RAdam(PerParameter):
    """Rectified Adam (Liu et al. 2019)."""

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_range(lr, "learning rate")
        check_range(eps, "epsilon value")
        check_betas(betas)
        check_range(weight_decay, "weight_decay value")
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "decoupled_weight_decay": decoupled_weight_decay,
                "differentiable": differentiable,
            },
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("maximize", False)
            group.setdefault("foreach", None)
            group.setdefault("capturable", False)
            group.setdefault("decoupled_weight_decay", False)
            group.setdefault("differentiable", False)

    def _begin(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {
            "step": 0.0,
            "exp_avg": zeros_like(parameter),
            "exp_avg_sq": zeros_like(parameter),
        }

    def _update(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        step = state["step"] = state["step"] + 1
        average, square = state["exp_avg"], state["exp_avg_sq"]
        beta1, beta2 = group["betas"]
        lr = number(group["lr"])
        if group["weight_decay"] != 0:
            if group["decoupled_weight_decay"]:
                parameter.mul_(1 - lr * group["weight_decay"])
            else:
                gradient = gradient.add(parameter, alpha=group["weight_decay"])
        average.lerp_(gradient, 1 - beta1)
        square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        correction = 1 - beta2**step
        step_size = lr / (1 - beta1**step)
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * step * beta2**step / correction
        if length <= 5.0:  # the variance of the adaptive rate is not tractable yet
            parameter.add_(average, alpha=-step_size)
            return
        rectified = sqrt(
            (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
        )
        denominator = square.sqrt().add_(group["eps"])
        parameter.addcdiv_(average, denominator, value=-step_size * rectified * sqrt(correction))
