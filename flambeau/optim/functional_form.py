"""Updates as functions of lists of tensors: what PyTorch keeps beside each optimizer's class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau.tensor import Tensor, set_grad_enabled

from .optimizer import PerParameter

# What a class keeps as pairs in its groups, and the functions take one by one.
_PAIRS = {
    "betas": ("beta1", "beta2"),
    "etas": ("etaminus", "etaplus"),
    "step_sizes": ("step_size_min", "step_size_max"),
}


def functional_form(
    optimizer: type[PerParameter], keys: str, signature: str
) -> Callable[..., None]:
    """The update of `optimizer` as a function of PyTorch's `signature`.

    Its lists after the parameters and the gradients are the states that `keys` names; all else are
    options of the group. A state that is a number there is a tensor of one element here.
    """
    name = optimizer.__name__.lower()
    lists = [part.strip() for part in signature.split(",")][: 2 + len(keys.split())]
    rest = f"[{', '.join(lists[2:])}]"

    def update(told: dict[str, Any], parameters: Any, gradients: Any, states: Any) -> None:
        options = {key: value for key, value in told.items() if key not in lists}
        named = zip(keys.split(), states, strict=True)
        _update_all(optimizer, parameters, gradients, dict(named), options)

    space: dict[str, Any] = {"update": update}
    exec(
        f"def {name}({signature}):\n    update(dict(locals()), {lists[0]}, {lists[1]}, {rest})",
        space,
    )
    form = space[name]
    form.__doc__ = f"One step of `{optimizer.__name__}` for lists of tensors, in place."
    form.__module__ = optimizer.__module__
    return form


def _update_all(
    optimizer: type[PerParameter],
    parameters: list[Tensor],
    gradients: list[Tensor],
    states: dict[str, list[Any]],
    options: dict[str, Any],
) -> None:
    """One step for each parameter, unless `found_inf` says that gradients overflowed."""
    found, scale = options.pop("found_inf", None), options.pop("grad_scale", None)
    if found is not None and found.item():
        return
    for pair, (first, second) in _PAIRS.items():
        if first in options:
            options[pair] = (options[first], options[second])
    # The class's own defaults that functions do not have: weight decay as it is in the paper.
    group = {"decoupled_weight_decay": optimizer.__name__ == "AdamW", **options}
    worker = object.__new__(optimizer)
    with set_grad_enabled(bool(group.get("differentiable"))):
        for place, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
            if scale is not None:
                gradient = gradient / scale
            if group["maximize"]:
                gradient = -gradient
            _update_one(worker, parameter, gradient, states, place, group)


def _update_one(
    worker: PerParameter,
    parameter: Tensor,
    gradient: Tensor,
    states: dict[str, list[Any]],
    place: int,
    group: dict[str, Any],
) -> None:
    given = {key: values[place] for key, values in states.items() if place < len(values)}
    numbers = {key: given[key] for key in worker._number_state if key in given}
    state = given | {key: float(value) for key, value in numbers.items()}
    step = worker._update_complex if parameter.is_complex() else worker._update
    step(parameter, gradient, state, group)
    for key, value in given.items():
        if key in numbers and isinstance(value, Tensor):
            value.fill_(state[key])
        elif value is not state[key]:
            states[key][place] = state[key]
