"""Adafactor."""

from __future__ import annotations

from math import sqrt
from typing import Any

from flambeau.tensor import PUBLIC, Tensor

from .kernels import number, update
from .optimizer import PerParameter, zeros_like


class Adafactor(PerParameter):
    """Adam's second moments as a product of row and column means (Shazeer, Stern 2018).

    A matrix of n rows and m columns takes n + m numbers of state. `lr` bounds the relative step,
    1 / sqrt(step); `d` clips an update whose root mean square is larger; `eps` are the smallest
    second moment (None: the dtype's epsilon) and the smallest root mean square of a parameter.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        for value, what in (
            (lr, "Learning rate"),
            (0.0 if eps[0] is None else eps[0], "epsilon1"),
            (eps[1], "epsilon2"),
            (weight_decay, "weight_decay"),
        ):
            if not value >= 0.0:
                raise ValueError(f"{what} should be >= 0 but is: {value}")
        if not beta2_decay <= 0.0:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        if not d >= 1.0:
            raise ValueError(f"Clipping threshold d should be >= 1 but is: {d}")
        super().__init__(
            params,
            {
                "lr": lr,
                "beta2_decay": beta2_decay,
                "eps": eps,
                "d": d,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
            },
        )

    _later = dict(foreach=None)

    def _begin(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        if parameter.is_complex():
            raise RuntimeError("Adafactor does not support complex parameters")
        if parameter.dim() < 2:
            return {"step": 0.0, "variance": zeros_like(parameter)}
        *lead, rows, columns = parameter.shape
        return {
            "step": 0.0,
            "row_var": parameter.new_zeros((*lead, rows, 1)),
            "col_var": parameter.new_zeros((*lead, 1, columns)),
        }

    def _update(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        size = sqrt(parameter.numel())
        weight, shrink, rate = self._numbers(state, group)
        smallest, least_scale = group["eps"]
        if smallest is None:
            smallest = PUBLIC["finfo"](parameter.dtype).eps
        scale = parameter.norm(2).div(size).clamp(min=least_scale)
        square = gradient.square()
        if parameter.dim() < 2:
            variance = state["variance"]
            update("_blend_", variance, square, {}, (weight,))
        else:
            rows, columns = state["row_var"], state["col_var"]
            update("_blend_", rows, square.mean(-1, keepdim=True), {}, (weight,))
            update("_blend_", columns, square.mean(-2, keepdim=True), {}, (weight,))
            variance = rows @ columns / rows.mean(-2, keepdim=True).clamp(min=smallest)
        change = variance.clamp(min=smallest * smallest).rsqrt() * gradient
        clipping = change.norm(2).div(size * group["d"]).clamp(min=1.0)
        update("_descend_", parameter, change * (scale / clipping), {}, (shrink, rate))

    _number_names = ("weight", "shrink", "rate")

    def _numbers(self, state: dict[str, Any], group: dict[str, Any]) -> Any:
        lr = number(group["lr"])
        step = state["step"] = state["step"] + 1
        return step ** group["beta2_decay"], 1 - lr * group["weight_decay"], min(lr, 1 / sqrt(step))
