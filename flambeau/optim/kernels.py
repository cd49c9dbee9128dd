"""Whole updates of one parameter: a single op call where the fused op exists, tensor ops otherwise.

The fused ops run one kernel over parameter, gradient and state. Bias corrections and learning
rates are computed in Python's double precision and passed as scalars.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from flambeau.tensor import Tensor, function_of, is_grad_enabled


@functools.cache
def _fused(name: str) -> Callable | None:
    return function_of(name)


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
    fused = _fused("fused_sgd_")
    if fused is not None and (momentum == 0 or buffer is not None) and not is_grad_enabled():
        fused(parameter, gradient, buffer, lr, momentum, dampening, weight_decay, nesterov)
        return buffer
    if weight_decay != 0:
        gradient = gradient.add(parameter, alpha=weight_decay)
    if momentum != 0:
        if buffer is None:
            buffer = gradient.detach().clone()
        else:
            buffer.mul_(momentum).add_(gradient, alpha=1 - dampening)
        gradient = gradient.add(buffer, alpha=momentum) if nesterov else buffer
    parameter.add_(gradient, alpha=-lr)
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
    correction: float,
    eps: float,
) -> None:
    """One step of Adam.

    `weight_decay` adds to the gradient, `shrink` multiplies the parameter first (decoupled decay);
    `step_size` is lr / (1 - beta1^t), `correction` is sqrt(1 - beta2^t).
    """
    fused = _fused("fused_adam_")
    if fused is not None and not is_grad_enabled():
        fused(
            parameter, gradient, average, square, maximum,
            beta1, beta2, weight_decay, shrink, step_size, correction, eps,
        )  # fmt: skip
        return
    if weight_decay != 0:
        gradient = gradient.add(parameter, alpha=weight_decay)
    if shrink != 1:
        parameter.mul_(shrink)
    average.lerp_(gradient, 1 - beta1)
    square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    if maximum is not None:
        maximum.copy_(maximum.maximum(square))
        square = maximum
    denominator = (square.sqrt() / correction).add_(eps)
    parameter.addcdiv_(average, denominator, value=-step_size)


def number(value: Any) -> float:
    """A hyper-parameter as a Python number; it may be given as a tensor."""
    return value.item() if isinstance(value, Tensor) else value
