"""Adagrad."""

from __future__ import annotations

from typing import Any

from flambeau.tensor import Tensor

from .functional_form import functional_form
from .kernels import number
from .optimizer import Optimizer, ParamsT, PerParameter, check_range, zeros_like

__all__ = ["Adagrad", "Optimizer", "ParamsT", "adagrad"]


class Adagrad(PerParameter):
    """Adagrad (Duchi et al. 2011): steps shrink with the sum of squared gradients."""

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_range(lr, "learning rate")
        check_range(lr_decay, "lr_decay value")
        check_range(weight_decay, "weight_decay value")
        check_range(initial_accumulator_value, "initial_accumulator_value value")
        check_range(eps, "epsilon value")
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "eps": eps,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "fused": fused,
            },
        )
        for group in self.param_groups:
            for parameter in group["params"]:
                start = group["initial_accumulator_value"]
                self.state[parameter].update(
                    {"step": 0.0, "sum": zeros_like(parameter).add_(start)}
                )

    _later = dict(foreach=None, maximize=False, differentiable=False, fused=None)

    def _begin(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        start = group["initial_accumulator_value"]
        return {"step": 0.0, "sum": zeros_like(parameter).add_(start)}

    _op = "_adagrad_"

    def _numbers(self, state: dict[str, Any], group: dict[str, Any]) -> Any:
        step = state["step"] = state["step"] + 1
        rate = number(group["lr"]) / (1 + (step - 1) * group["lr_decay"])
        return rate, group["eps"], group["weight_decay"]


adagrad = functional_form(
    Adagrad,
    "sum step",
    "params, grads, state_sums, state_steps, fused=None, grad_scale=None, found_inf=None, "
    "has_sparse_grad=False, foreach=None, differentiable=False, has_complex=False, *, lr, "
    "weight_decay, lr_decay, eps, maximize",
)
