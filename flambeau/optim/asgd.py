"""ASGD."""

from __future__ import annotations

from typing import Any

from flambeau.tensor import Tensor

from .functional_form import functional_form
from .kernels import number
from .optimizer import Optimizer, ParamsT, PerParameter, check_range, zeros_like

__all__ = ["ASGD", "Optimizer", "ParamsT", "asgd"]


class ASGD(PerParameter):
    """Averaged stochastic gradient descent (Polyak, Juditsky 1992)."""

    _number_state = ("step", "eta", "mu")

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_range(lr, "learning rate")
        check_range(weight_decay, "weight_decay value")
        super().__init__(
            params,
            {
                "lr": lr,
                "lambd": lambd,
                "alpha": alpha,
                "t0": t0,
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
            "eta": number(group["lr"]),
            "mu": 1.0,
            "ax": zeros_like(parameter),
        }

    _op = "_asgd_"

    def _numbers(self, state: dict[str, Any], group: dict[str, Any]) -> Any:
        step = state["step"] = state["step"] + 1
        rate, share, lambd = state["eta"], state["mu"], group["lambd"]
        lr = number(group["lr"])
        state["eta"] = lr / ((1 + lambd * lr * step) ** group["alpha"])
        state["mu"] = 1 / max(1, step - group["t0"])
        return rate, 1 - lambd * rate, share, group["weight_decay"]


asgd = functional_form(
    ASGD,
    "ax mu eta step",
    "params, grads, axs, mus, etas, state_steps, foreach=None, maximize=False, "
    "differentiable=False, capturable=False, has_complex=False, *, lambd, lr, t0, alpha, "
    "weight_decay",
)
