"""Averages of a model's weights over training: stochastic weight averaging (Izmailov et al. 2018),
exponential moving averages, and the schedule that goes with them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any

from flambeau.nn import BatchNorm1d, BatchNorm2d, BatchNorm3d, Module, SyncBatchNorm
from flambeau.tensor import PUBLIC, Tensor, no_grad

from .optimizer import Optimizer
from .schedule import LRScheduler, _per_group

Average = Callable[[Tensor, Tensor, Any], Tensor]
_NORMS = (BatchNorm1d, BatchNorm2d, BatchNorm3d, SyncBatchNorm)
AverageOfMany = Callable[[list[Tensor], list[Tensor], Any], None]


def get_swa_avg_fn() -> Average:
    """The update of an equal average: (average, newcomer, how many it averages) to the average."""

    @no_grad()
    def swa_update(averaged: Tensor, current: Tensor, num_averaged: Any) -> Tensor:
        return averaged + (current - averaged) / (num_averaged + 1)

    return swa_update


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """The update of an exponential moving average, as `get_swa_avg_fn`."""
    if not 0.0 <= decay <= 1.0:
        raise ValueError(
            f"Invalid decay value {decay} provided. Please provide a value in [0,1] range."
        )

    @no_grad()
    def ema_update(averaged: Tensor, current: Tensor, num_averaged: Any) -> Tensor:
        return decay * averaged + (1 - decay) * current

    return ema_update


def _of_many(average: Average) -> AverageOfMany:
    @no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], num_averaged: Any) -> None:
        for mean, newcomer in zip(averaged, current, strict=True):
            mean.copy_(average(mean, newcomer.to(mean.device), num_averaged))

    return update


def get_swa_multi_avg_fn() -> AverageOfMany:
    """The update of equal averages, in place, for lists of tensors."""
    return _of_many(get_swa_avg_fn())


def get_ema_multi_avg_fn(decay: float = 0.999) -> AverageOfMany:
    """The update of exponential moving averages, in place, for lists of tensors."""
    return _of_many(get_ema_avg_fn(decay))


class AveragedModel(Module):
    """A copy of `model` whose parameters are averages of the model's.

    `avg_fn` (one tensor at a time) or `multi_avg_fn` (lists, in place) say how; without either it
    is the equal average. With `use_buffers` buffers are averaged as well, otherwise copied.
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: Module,
        device: Any = None,
        avg_fn: Average | None = None,
        multi_avg_fn: AverageOfMany | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = copy.deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", PUBLIC["tensor"](0, device=device))
        self.avg_fn, self.multi_avg_fn = avg_fn, multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def _averaged(self, model: Module) -> list[Tensor]:
        buffers = model.buffers() if self.use_buffers else ()
        return [tensor.detach() for tensor in (*model.parameters(), *buffers)]

    def update_parameters(self, model: Module) -> None:
        """Take the present parameters of `model` into the average."""
        averaged, current = self._averaged(self.module), self._averaged(model)
        if self.n_averaged == 0:
            for mean, newcomer in zip(averaged, current, strict=True):
                mean.copy_(newcomer)
        elif self.multi_avg_fn is not None:
            self.multi_avg_fn(averaged, current, self.n_averaged.to(averaged[0].device))
        else:
            _of_many(self.avg_fn or get_swa_avg_fn())(averaged, current, self.n_averaged)
        if not self.use_buffers:
            for mine, theirs in zip(self.module.buffers(), model.buffers(), strict=True):
                mine.detach().copy_(theirs.detach())
        self.n_averaged += 1


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Compute the statistics of the model's batch norms anew, by one pass over `loader`.

    Batches are tensors, or lists and tuples whose first element is the model's input.
    """
    norms = {module: module.momentum for module in model.modules() if isinstance(module, _NORMS)}
    if not norms:
        return
    training = model.training
    model.train()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # which makes it an equal average
    try:
        for batch in loader:
            value = batch[0] if isinstance(batch, list | tuple) else batch
            model(value if device is None else value.to(device))
    finally:
        for norm, momentum in norms.items():
            norm.momentum = momentum
        model.train(training)


def _cosine(share: float) -> float:
    return (1 - math.cos(math.pi * share)) / 2


def _linear(share: float) -> float:
    return share


_STRATEGIES = {"cos": _cosine, "linear": _linear}


class SWALR(LRScheduler):
    """Anneals each group's rate to `swa_lr` in `anneal_epochs` epochs, and keeps it there."""

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: Any,
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        for group, rate in zip(
            optimizer.param_groups, _per_group("swa_lr", optimizer, swa_lr), strict=True
        ):
            group["swa_lr"] = rate
        if anneal_strategy not in _STRATEGIES:
            raise ValueError(
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self._anneal_strategy = anneal_strategy
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _share(self, step: int) -> float:
        """How far the rate has gone towards `swa_lr` at a step: from 0 to 1."""
        return _STRATEGIES[self._anneal_strategy](
            max(0.0, min(1.0, step / max(1, self.anneal_epochs)))
        )

    def get_lr(self) -> list[Any]:
        """The rates of the groups for `last_epoch`."""
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._share(step - 1), self._share(step)
        rates = []
        for group, rate in zip(self.optimizer.param_groups, self._rates(), strict=True):
            goal = group["swa_lr"]
            start = goal if before == 1 else (rate - before * goal) / (1 - before)
            rates.append(goal * now + start * (1 - now))
        return rates
