"""Adam and AdamW."""

from __future__ import annotations

from math import sqrt
from typing import Any

from flambeau.tensor import Tensor

from .functional_form import functional_form
from .kernels import adam_, number
from .optimizer import Optimizer, ParamsT, PerParameter, check_betas, check_range, zeros_like

__all__ = ["Adam", "AdamW", "Optimizer", "ParamsT", "adam"]


class Adam(PerParameter):
    """Adam (Kingma, Ba 2014), with amsgrad (Reddi et al. 2018) and decoupled weight decay."""

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[Any, Any] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
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
                "amsgrad": amsgrad,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
                "fused": fused,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )

    _later = dict(
        amsgrad=False,
        maximize=False,
        foreach=None,
        capturable=False,
        differentiable=False,
        decoupled_weight_decay=False,
        fused=None,
    )

    def _begin(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        state = {
            "step": 0.0,
            "exp_avg": zeros_like(parameter),
            "exp_avg_sq": zeros_like(parameter),
        }
        if group["amsgrad"]:
            state["max_exp_avg_sq"] = zeros_like(parameter)
        return state

    def _update(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        adam_(
            parameter,
            gradient,
            state["exp_avg"],
            state["exp_avg_sq"],
            state["max_exp_avg_sq"] if group["amsgrad"] else None,
            *self._numbers(state, group),
        )

    def _numbers(self, state: dict[str, Any], group: dict[str, Any]) -> Any:
        lr, (beta1, beta2) = group["lr"], group["betas"]
        if not (type(lr) is type(beta1) is type(beta2) is float):  # they may be tensors
            lr, beta1, beta2 = map(number, (lr, beta1, beta2))
        decay = group["weight_decay"]
        decoupled = group["decoupled_weight_decay"]
        step = state["step"] = state["step"] + 1
        correction = sqrt(1 - beta2**step)
        return (
            beta1,
            beta2,
            0.0 if decoupled else decay,
            1 - lr * decay if decoupled else 1.0,
            lr * correction / (1 - beta1**step),
            group["eps"] * correction,
        )


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov, Hutter 2017)."""

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[Any, Any] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group["decoupled_weight_decay"] = True


adam = functional_form(
    Adam,
    "exp_avg exp_avg_sq max_exp_avg_sq step",
    "params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, state_steps, foreach=None, "
    "capturable=False, differentiable=False, fused=None, grad_scale=None, found_inf=None, "
    "has_complex=False, decoupled_weight_decay=False, *, amsgrad, beta1, beta2, lr, "
    "weight_decay, eps, maximize",
)
