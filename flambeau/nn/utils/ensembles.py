"""Several models as one, for functions that map over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flambeau.tensor import Tensor

from .. import operations as ops
from ..modules import Module
from ..modules.batchnorm import _BatchNorm


def stack_module_state(
    models: Sequence[Module],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(parameters, buffers) by name, those of the models stacked along a new first dimension.

    The stacked parameters are leaves that want gradients as those of the models do. RuntimeError
    unless all models are of one class, and all are in training or none.
    """
    name = "stack_module_state: Expected"
    if len(models) == 0:
        raise RuntimeError(f"{name} at least one model, got 0.")
    if len({model.training for model in models}) > 1:
        raise RuntimeError(f"{name} all models to have the same training/eval mode.")
    if len({type(model) for model in models}) > 1:
        raise RuntimeError(f"{name} all models to be of the same class.")
    parameters = [dict(model.named_parameters()) for model in models]
    buffers = [dict(model.named_buffers()) for model in models]
    return _stacked(parameters), _stacked(buffers)


def _stacked(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    made = {}
    for name in states[0]:
        own = [state[name] for state in states]
        wanted = {tensor.requires_grad for tensor in own}
        if len(wanted) > 1:
            raise RuntimeError(f"Expected {name} to require grad in all models or in none")
        made[name] = ops.stack([tensor.detach() for tensor in own]).requires_grad_(wanted.pop())
    return made


def replace_all_batch_norm_modules_(root: Module) -> Module:
    """Makes all batch norms of a model forget, and never keep, running statistics, which they would
    write in place; returns the model.
    """
    for module in root.modules():
        if isinstance(module, _BatchNorm):
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None
    return root


__all__ = ["replace_all_batch_norm_modules_", "stack_module_state"]
