"""Whole updates of one parameter: a single op call, or tensor ops where the update itself is
differentiated.

The fused ops run one kernel over parameter, gradient and state. Bias corrections and learning
rates are computed in Python's double precision and passed as scalars.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from flambeau.ops import find
from flambeau.tensor import Tensor, is_grad_enabled


@functools.cache
def _fused(name: str) -> Callable:
    return find(name).door


def _fits(parameter: Tensor, gradient: Tensor) -> bool:
    """Whether the fused op takes it: real numbers, and nobody wants to differentiate the update."""
    return (
        not is_grad_enabled() and parameter.layout.dtype.kind == "f" == gradient.layout.dtype.kind
    )


def update(
    name: str, parameter: Tensor, gradient: Tensor, state: dict[str, Any], numbers: Any
) -> None:
    """One update by the op of this name; the tensors of `state` are its other operands, by name."""
    op: Any = find(name)
    names = [a.name for a in op.schema.arguments if a.is_tensor][2:]
    tensors = [state.get(n) for n in names]
    if _fits(parameter, gradient):
        op.door(parameter, gradient, *tensors, *numbers)
        return
    made = op.step(parameter.clone(), gradient, *tensors, *numbers)
    parameter.copy_(made.pop("self"))
    state.update(made)


def sgd_(
    parameter: Tensor,
    gradient: Tensor,
    buffer: Tensor | None,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
) -> Tensor | None:
    """One step of SGD; returns the momentum buffer, which the first step makes."""
    if (momentum == 0 or buffer is not None) and _fits(parameter, gradient):
        _fused("_sgd_")(
            parameter, gradient, buffer, lr, momentum, dampening, weight_decay, nesterov
        )
        return buffer
    if weight_decay != 0:
        gradient = gradient + parameter.clone() * weight_decay
    if momentum != 0:
        if buffer is None:
            buffer = gradient.detach().clone()
        else:
            buffer.mul_(momentum).add_(gradient, alpha=1 - dampening)
        gradient = gradient.add(buffer, alpha=momentum) if nesterov else buffer
    parameter.sub_(gradient * lr)
    return buffer


def adam_(
    parameter: Tensor,
    gradient: Tensor,
    average: Tensor,
    square: Tensor,
    maximum: Tensor | None,
    beta1: float,
    beta2: float,
    weight_decay: float,
    shrink: float,
    step_size: float,
    eps: float,
) -> None:
    """One step of Adam.

    `weight_decay` adds to the gradient, `shrink` multiplies the parameter first (decoupled decay);
    `step_size` is lr c / (1 - beta1^t) and `eps` is c times Adam's, where c is sqrt(1 - beta2^t):
    so no element is divided by c.
    """
    if _fits(parameter, gradient):
        _fused("_adam_")(
            parameter, gradient, average, square, maximum,
            beta1, beta2, weight_decay, shrink, step_size, eps,
        )  # fmt: skip
        return
    if weight_decay != 0:
        gradient = gradient + parameter.clone() * weight_decay
    if shrink != 1:
        parameter.mul_(shrink)
    average.lerp_(gradient, 1 - beta1)
    square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    if maximum is not None:
        square = maximum.copy_(maximum.clone().maximum(square))
    parameter.sub_(average / (square.sqrt() + eps) * step_size)


def number(value: Any) -> Any:
    """A hyper-parameter as a Python number; it may be given as a tensor, which it stays where the
    update is differentiated by it.
    """
    if type(value) is float or not isinstance(value, Tensor):
        return value
    return value if value.requires_grad and is_grad_enabled() else value.item()
