"""Adadelta."""

from __future__ import annotations

from typing import Any

from flambeau.tensor import Tensor

from .functional_form import functional_form
from .kernels import number
from .optimizer import Optimizer, ParamsT, PerParameter, check_range, zeros_like

__all__ = ["Adadelta", "Optimizer", "ParamsT", "adadelta"]


class Adadelta(PerParameter):
    """Adadelta (Zeiler 2012)."""

    def __init__(
        self,
        params: Any,
        lr: Any = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_range(lr, "learning rate")
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        check_range(eps, "epsilon value")
        check_range(weight_decay, "weight_decay value")
        super().__init__(
            params,
            {
                "lr": lr,
                "rho": rho,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "capturable": capturable,
                "foreach": foreach,
                "differentiable": differentiable,
            },
        )

    _later = dict(maximize=False, capturable=False, foreach=None, differentiable=False)

    def _begin(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {
            "step": 0.0,
            "square_avg": zeros_like(parameter),
            "acc_delta": zeros_like(parameter),
        }

    _op = "_adadelta_"

    def _numbers(self, state: dict[str, Any], group: dict[str, Any]) -> Any:
        state["step"] += 1
        return number(group["lr"]), group["rho"], group["eps"], group["weight_decay"]


adadelta = functional_form(
    Adadelta,
    "square_avg acc_delta step",
    "params, grads, square_avgs, acc_deltas, state_steps, capturable=False, foreach=None, "
    "differentiable=False, has_complex=False, *, lr, rho, eps, weight_decay, maximize",
)
