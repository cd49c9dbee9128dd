"""Rprop."""

from __future__ import annotations

from typing import Any

from flambeau.tensor import Tensor

from .functional_form import functional_form
from .kernels import number
from .optimizer import Optimizer, ParamsT, PerParameter, check_range, zeros_like

__all__ = ["Optimizer", "ParamsT", "Rprop", "rprop"]


class Rprop(PerParameter):
    """Resilient backpropagation (Riedmiller, Braun 1993)."""

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_range(lr, "learning rate")
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        super().__init__(
            params,
            {
                "lr": lr,
                "etas": etas,
                "step_sizes": step_sizes,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    _later = dict(foreach=None, maximize=False, differentiable=False, capturable=False)

    def _begin(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        lengths = zeros_like(parameter).add_(number(group["lr"]))
        return {"step": 0.0, "prev": zeros_like(parameter), "step_size": lengths}

    _op = "_rprop_"

    def _numbers(self, state: dict[str, Any], group: dict[str, Any]) -> Any:
        state["step"] += 1
        return *group["etas"], *group["step_sizes"]


rprop = functional_form(
    Rprop,
    "prev step_size step",
    "params, grads, prevs, step_sizes, state_steps, foreach=None, capturable=False, "
    "maximize=False, differentiable=False, has_complex=False, *, step_size_min, "
    "step_size_max, etaminus, etaplus",
)
