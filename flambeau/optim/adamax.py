"""Adamax."""

from __future__ import annotations

from typing import Any

from flambeau.tensor import Tensor

from .functional_form import functional_form
from .kernels import number
from .optimizer import Optimizer, ParamsT, PerParameter, check_betas, check_range, zeros_like

__all__ = ["Adamax", "Optimizer", "ParamsT", "adamax"]


class Adamax(PerParameter):
    """Adamax: Adam with the infinity norm (Kingma, Ba 2014)."""

    def __init__(
        self,
        params: Any,
        lr: Any = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
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
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    _later = dict(foreach=None, maximize=False, differentiable=False, capturable=False)

    def _begin(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {
            "step": 0.0,
            "exp_avg": zeros_like(parameter),
            "exp_inf": zeros_like(parameter),
        }

    _op = "_adamax_"

    def _numbers(self, state: dict[str, Any], group: dict[str, Any]) -> Any:
        step = state["step"] = state["step"] + 1
        beta1, beta2 = group["betas"]
        step_size = number(group["lr"]) / (1 - beta1**step)
        return step_size, beta1, beta2, group["eps"], group["weight_decay"]


adamax = functional_form(
    Adamax,
    "exp_avg exp_inf step",
    "params, grads, exp_avgs, exp_infs, state_steps, foreach=None, maximize=False, "
    "differentiable=False, capturable=False, has_complex=False, *, eps, beta1, beta2, lr, "
    "weight_decay",
)
