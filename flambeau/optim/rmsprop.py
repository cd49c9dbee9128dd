"""RMSprop."""

from __future__ import annotations

from typing import Any

from flambeau.tensor import Tensor

from .functional_form import functional_form
from .kernels import number
from .optimizer import Optimizer, ParamsT, PerParameter, check_range, zeros_like

__all__ = ["Optimizer", "ParamsT", "RMSprop", "rmsprop"]


class RMSprop(PerParameter):
    """RMSprop (Hinton's lecture 6e, 2012), centred as in Graves 2013."""

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_range(lr, "learning rate")
        check_range(eps, "epsilon value")
        check_range(momentum, "momentum value")
        check_range(weight_decay, "weight_decay value")
        check_range(alpha, "alpha value")
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "alpha": alpha,
                "eps": eps,
                "centered": centered,
                "weight_decay": weight_decay,
                "capturable": capturable,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
            },
        )

    _later = dict(
        momentum=0,
        centered=False,
        capturable=False,
        foreach=None,
        maximize=False,
        differentiable=False,
    )

    def _begin(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        state = {"step": 0.0, "square_avg": zeros_like(parameter)}
        if group["momentum"] > 0:
            state["momentum_buffer"] = zeros_like(parameter)
        if group["centered"]:
            state["grad_avg"] = zeros_like(parameter)
        return state

    _op = "_rmsprop_"

    def _numbers(self, state: dict[str, Any], group: dict[str, Any]) -> Any:
        state["step"] += 1
        lr = number(group["lr"])
        return lr, group["alpha"], group["eps"], group["weight_decay"], group["momentum"]


rmsprop = functional_form(
    RMSprop,
    "square_avg grad_avg momentum_buffer step",
    "params, grads, square_avgs, grad_avgs, momentum_buffer_list, state_steps, foreach=None, "
    "maximize=False, differentiable=False, capturable=False, has_complex=False, *, lr, alpha, "
    "eps, weight_decay, momentum, centered",
)
