"""Adam for gradients that touch few rows, such as those of embeddings."""

from __future__ import annotations

from math import sqrt
from typing import Any

from flambeau.tensor import Tensor

from .kernels import number
from .optimizer import PerParameter, check_betas, check_range, zeros_like


class SparseAdam(PerParameter):
    """Adam whose moments and parameters change only in the rows where the gradient is not zero.

    Gradients are dense here, also those of ``Embedding(sparse=True)``; a row counts as touched if
    it has an element that is not 0.
    """

    _number_state = ()

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
    ) -> None:
        if not lr > 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        check_range(eps, "epsilon value")
        check_betas(betas)
        defaults = {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize}
        super().__init__(params, defaults)

    def _begin(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {
            "step": 0,
            "exp_avg": zeros_like(parameter),
            "exp_avg_sq": zeros_like(parameter),
        }

    def _update(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        step = state["step"] = state["step"] + 1
        touched = gradient.reshape(gradient.shape[0], -1).ne(0).any(1)
        rows = touched.nonzero().squeeze(1)
        if not len(rows):
            return
        beta1, beta2 = group["betas"]
        values = gradient.index_select(0, rows)
        average = state["exp_avg"].index_select(0, rows).lerp_(values, 1 - beta1)
        square = state["exp_avg_sq"].index_select(0, rows).lerp_(values * values, 1 - beta2)
        state["exp_avg"].index_copy_(0, rows, average)
        state["exp_avg_sq"].index_copy_(0, rows, square)
        step_size = number(group["lr"]) * sqrt(1 - beta2**step) / (1 - beta1**step)
        change = average / square.sqrt().add_(group["eps"])
        parameter.index_add_(0, rows, change, alpha=-step_size)
