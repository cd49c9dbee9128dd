"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any

from flambeau.tensor import Tensor

from .functional_form import functional_form
from .kernels import number, sgd_
from .optimizer import Optimizer, ParamsT, PerParameter, check_range

__all__ = ["Optimizer", "ParamsT", "SGD", "sgd"]


class SGD(PerParameter):
    """Stochastic gradient descent with momentum (Sutskever et al. 2013)."""

    _number_state = ()

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_range(lr, "learning rate")
        check_range(momentum, "momentum value")
        check_range(weight_decay, "weight_decay value")
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
                "foreach": foreach,
                "differentiable": differentiable,
                "fused": fused,
            },
        )

    _later = dict(nesterov=False, maximize=False, foreach=None, differentiable=False, fused=False)

    def _begin(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {"momentum_buffer": None} if group["momentum"] != 0 else {}

    def _update(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        lr, momentum, dampening, decay = self._numbers(state, group)
        buffer = state.get("momentum_buffer")
        buffer = sgd_(
            parameter, gradient, buffer, lr, momentum, dampening, decay, group["nesterov"]
        )
        if momentum != 0:
            state["momentum_buffer"] = buffer

    def _numbers(self, state: dict[str, Any], group: dict[str, Any]) -> Any:
        return (
            number(group["lr"]),
            group["momentum"],
            group["dampening"],
            group["weight_decay"],
        )


sgd = functional_form(
    SGD,
    "momentum_buffer",
    "params, d_p_list, momentum_buffer_list, has_sparse_grad=False, foreach=None, fused=None, "
    "grad_scale=None, found_inf=None, *, weight_decay, momentum, lr, dampening, nesterov, "
    "maximize",
)
