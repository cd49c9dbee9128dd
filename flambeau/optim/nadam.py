"""NAdam."""

from __future__ import annotations

from typing import Any

from flambeau.tensor import Tensor

from .functional_form import functional_form
from .kernels import number
from .optimizer import Optimizer, ParamsT, PerParameter, check_betas, check_range, zeros_like

__all__ = ["NAdam", "Optimizer", "ParamsT", "nadam"]


class NAdam(PerParameter):
    """Adam with Nesterov momentum (Dozat 2016)."""

    _number_state = ("step", "mu_product")

    def __init__(
        self,
        params: Any,
        lr: Any = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
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
        check_range(momentum_decay, "momentum_decay value")
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum_decay": momentum_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
            },
        )

    _later = dict(
        decoupled_weight_decay=False,
        maximize=False,
        foreach=None,
        capturable=False,
        differentiable=False,
    )

    def _begin(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {
            "step": 0.0,
            "mu_product": 1.0,
            "exp_avg": zeros_like(parameter),
            "exp_avg_sq": zeros_like(parameter),
        }

    _op = "_nadam_"

    def _numbers(self, state: dict[str, Any], group: dict[str, Any]) -> Any:
        step = state["step"] = state["step"] + 1
        beta1, beta2 = group["betas"]
        lr, decoupled = number(group["lr"]), group["decoupled_weight_decay"]
        decay = group["momentum_decay"]
        mu = beta1 * (1.0 - 0.5 * (0.96 ** (step * decay)))
        mu_next = beta1 * (1.0 - 0.5 * (0.96 ** ((step + 1) * decay)))
        product = state["mu_product"] = state["mu_product"] * mu
        return (
            beta1,
            beta2,
            group["eps"],
            0.0 if decoupled else group["weight_decay"],
            1 - lr * group["weight_decay"] if decoupled else 1.0,
            1 - beta2**step,
            lr * (1.0 - mu) / (1.0 - product),
            lr * mu_next / (1.0 - product * mu_next),
        )


nadam = functional_form(
    NAdam,
    "exp_avg exp_avg_sq mu_product step",
    "params, grads, exp_avgs, exp_avg_sqs, mu_products, state_steps, "
    "decoupled_weight_decay=False, foreach=None, capturable=False, differentiable=False, "
    "has_complex=False, maximize=False, *, beta1, beta2, lr, weight_decay, momentum_decay, "
    "eps",
)
