"""RAdam."""

from __future__ import annotations

from math import sqrt
from typing import Any

from flambeau.tensor import Tensor

from .functional_form import functional_form
from .kernels import number
from .optimizer import Optimizer, ParamsT, PerParameter, check_betas, check_range, zeros_like

__all__ = ["Optimizer", "ParamsT", "RAdam", "radam"]


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

    _later = dict(
        maximize=False,
        foreach=None,
        capturable=False,
        decoupled_weight_decay=False,
        differentiable=False,
    )

    def _begin(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {
            "step": 0.0,
            "exp_avg": zeros_like(parameter),
            "exp_avg_sq": zeros_like(parameter),
        }

    _op = "_radam_"

    def _numbers(self, state: dict[str, Any], group: dict[str, Any]) -> Any:
        step = state["step"] = state["step"] + 1
        beta1, beta2 = group["betas"]
        lr, decoupled = number(group["lr"]), group["decoupled_weight_decay"]
        correction = 1 - beta2**step
        rate = lr / (1 - beta1**step)
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * step * beta2**step / correction
        adapts = length > 5.0  # before, the variance of the adaptive rate is not tractable
        if adapts:
            rate *= sqrt(correction) * sqrt(
                (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            )
        return (
            beta1,
            beta2,
            group["eps"],
            0.0 if decoupled else group["weight_decay"],
            1 - lr * group["weight_decay"] if decoupled else 1.0,
            rate,
            float(adapts),
        )


radam = functional_form(
    RAdam,
    "exp_avg exp_avg_sq step",
    "params, grads, exp_avgs, exp_avg_sqs, state_steps, decoupled_weight_decay=False, "
    "foreach=None, differentiable=False, capturable=False, has_complex=False, maximize=False, "
    "*, beta1, beta2, lr, weight_decay, eps",
)
