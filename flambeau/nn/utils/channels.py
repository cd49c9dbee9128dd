"""Removing channels that a model does not need: smaller layers with the same results.

A *link* is a layer that makes channels (the producer), what works on each channel by itself, and
the layer that takes them in (the consumer). A channel is superfluous where the consumer does not
read it, or where it is the same everywhere: then what it contributes goes into the consumer's bias.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from flambeau.ops import Fused, Pointwise, interpreting, perform_plainly
from flambeau.tensor import Tensor, no_grad

from .. import operations as ops
from ..modules import activation as act
from ..modules.batchnorm import _BatchNorm
from ..modules.container import Sequential
from ..modules.conv import _ConvNd
from ..modules.dropout import _DropoutNd
from ..modules.flatten import Flatten
from ..modules.linear import Identity, Linear
from ..modules.module import Module
from ..modules.pooling import (
    MaxPool2d,
    _AdaptiveAvgPoolNd,
    _AdaptiveMaxPoolNd,
    _AvgPoolNd,
    _MaxPoolNd,
)
from ..modules.upsampling import Upsample

_ELEMENTWISE = (
    act.CELU, act.ELU, act.GELU, act.Hardshrink, act.Hardsigmoid, act.Hardswish, act.Hardtanh,
    act.LeakyReLU, act.LogSigmoid, act.Mish, act.PReLU, act.ReLU, act.SELU, act.SiLU, act.Sigmoid,
    act.Softplus, act.Softshrink, act.Softsign, act.Tanh, act.Tanhshrink, act.Threshold,
)  # fmt: skip
# What a constant image passes through as it is.
_SPATIAL = (Upsample, _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd, _AvgPoolNd, _MaxPoolNd)
_POOLING_OPS = frozenset(
    f"{kind}_pool{rank}d" for kind in ("max", "adaptive_avg", "adaptive_max") for rank in (1, 2, 3)
)


class Link(NamedTuple):
    producer: Any
    between: tuple  # modules, and (op, arguments, place of the channels) for functions
    consumer: Any


def cut(module: Module, inputs: tuple, exact: bool) -> None:
    """Remove superfluous channels from all links until there are none; see `prune.shrink`."""
    with no_grad():
        found = _called(module, inputs) if inputs else _sequences(module)
        held = Counter(id(p) for each in module.modules() for p in each._parameters.values())
        links = [link for link in found if _fits(link, held)]
        while any([_cut_link(link, exact) for link in links]):
            pass


# --- finding links -------------------------------------------------------------------------------


def _is_dense(module: Any) -> bool:
    """Whether every output channel reads every input channel."""
    return isinstance(module, Linear) or (isinstance(module, _ConvNd) and module.groups == 1)


def _is_depthwise(module: Any) -> bool:
    return isinstance(module, _ConvNd) and (
        module.groups == module.in_channels == module.out_channels and not module.transposed
    )


def _by_channel(module: Any) -> bool:
    """Whether the module works on each channel by itself."""
    if isinstance(module, Flatten):
        return module.start_dim == 1 and module.end_dim == -1
    if isinstance(module, _AvgPoolNd):  # a border of zeros would not be constant
        padding = module.padding
        padded = any(padding) if isinstance(padding, tuple) else padding
        return not padded and getattr(module, "divisor_override", None) is None
    kinds = (*_ELEMENTWISE, *_SPATIAL, _BatchNorm, _DropoutNd, Identity)
    return isinstance(module, kinds) or _is_depthwise(module)


def _fits(link: Link, held: Counter) -> bool:
    """Whether the channels of the producer are the consumer's, and nobody else has a hand in it.

    `held` says how many modules have a parameter.
    """
    producer, between, consumer = link
    images = isinstance(producer, _ConvNd)
    flat = any(isinstance(each, Flatten) for each in between)
    if images != (isinstance(consumer, _ConvNd) or flat) or (
        flat and isinstance(consumer, _ConvNd)
    ):
        return False
    channels = producer.weight.shape[_outputs(producer)]
    inputs = consumer.weight.shape[1 - _outputs(consumer)]
    if inputs % channels or (inputs != channels and not (images and flat)):
        return False
    for step in between:
        if isinstance(step, _SPATIAL) and not images:
            return False
        counts = (getattr(step, name, channels) for name in ("num_features", "in_channels"))
        if any(count != channels for count in counts):
            return False
        if isinstance(step, act.PReLU) and step.num_parameters not in (1, channels):
            return False
    modules = [each for each in (producer, *between, consumer) if isinstance(each, Module)]
    return all(held[id(p)] == 1 for m in modules for p in m._parameters.values() if p is not None)


def _flat(module: Module) -> Iterator[Module]:
    """The modules of nested Sequentials, in the order of their calls."""
    for child in module.children():
        yield from _flat(child) if type(child) is Sequential else (child,)


def _sequences(module: Module) -> Iterator[Link]:
    """The links within the Sequentials of a module: nobody else sees what passes there."""
    uses = Counter(map(id, _occurrences(module)))
    inner = {id(c) for m in module.modules() for c in m.children() if type(m) is Sequential}
    for sequence in module.modules():
        if type(sequence) is Sequential and id(sequence) not in inner:
            yield from _chained(list(_flat(sequence)), uses)


def _occurrences(module: Module) -> Iterator[Module]:
    for child in module.children():
        yield child
        yield from _occurrences(child)


def _watched(module: Any) -> bool:
    """Whether hooks or parametrizations hang on a module, so that it is not what it seems."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
    return any(hooks) or hasattr(module, "parametrizations")


def _chained(steps: list, uses: Counter) -> Iterator[Link]:
    start = None
    between: list[Any] = []
    for step in steps:
        alone = not isinstance(step, Module) or (uses[id(step)] <= 1 and not _watched(step))
        if alone and _is_dense(step):
            if start is not None:
                yield Link(start, tuple(between), step)
            start, between = step, []
        elif start is not None and alone and (isinstance(step, tuple) or _by_channel(step)):
            between.append(step)
        else:
            start = None


class _Watch:
    """An interpreter that notes which functions a model calls outside its layers."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, list[Tensor], Any]] = []  # step, tensors in, result
        self.inside = 0

    def process(self, op: Any, args: tuple, target: Any) -> Any:
        result = perform_plainly(op, args, target)
        if not self.inside:
            self._note((op, args, target), args, result, target is None)
        return result

    def _note(self, step: Any, args: Any, result: Any, plain: bool) -> None:
        given = _tensors(args)
        if not (plain and any(result is each for each in given)):  # dropout, out of training
            self.events.append((step, given, result))

    def enter(self, module: Any, args: Any) -> None:
        self.inside += 1

    def leave(self, module: Any, args: tuple, result: Any) -> None:
        self.inside -= 1
        if not self.inside:
            self._note(module, args, result, not getattr(module, "inplace", False))


def _tensors(values: Any) -> list[Tensor]:
    if isinstance(values, list | tuple):
        return [tensor for value in values for tensor in _tensors(value)]
    return [values] if isinstance(values, Tensor) else []


def _called(module: Module, inputs: tuple) -> Iterator[Link]:
    """The links that a call of the module shows: values with one reader each."""
    watch, training = _Watch(), [(each, each.training) for each in module.modules()]
    leaves = [each for each in module.modules() if _is_dense(each) or _by_channel(each)]
    plain = [each for each in leaves if not _watched(each)]
    handles = [each.register_forward_pre_hook(watch.enter) for each in plain]
    handles += [each.register_forward_hook(watch.leave) for each in plain]
    try:
        with interpreting(watch):
            result = module.eval()(*inputs)
    finally:
        for handle in handles:
            handle.remove()
        for each, mode in training:
            each.training = mode
    readers: dict[int, list] = {}
    for event in watch.events:
        for tensor in event[1]:
            readers.setdefault(id(tensor), []).append(event)
    for tensor in _tensors(list(result.values()) if isinstance(result, dict) else result):
        readers.setdefault(id(tensor), []).append((None, [], None))
    uses = Counter(id(event[0]) for event in watch.events)
    for event in watch.events:
        if isinstance(event[0], Module) and _is_dense(event[0]):
            if id(event[0].weight) in readers:  # a function used it, too
                continue
            yield from _chained(_followed(event, readers), uses)


def _followed(event: tuple, readers: dict) -> list:
    """A layer and what reads its result, one after the other, up to the next layer."""
    steps = [event[0]]
    while len(following := readers.get(id(event[2]), ())) == 1:
        before, event = event[2], following[0]
        step = event[0]
        if isinstance(step, tuple):
            step = _as_step(step, before, event[2])
        steps.append(step)
        if not isinstance(step, tuple) and (step is None or _is_dense(step)):
            break
    return steps


def _as_step(call: tuple, before: Tensor, after: Any) -> Any:
    """A function's call as a step of a link, or None where it does not go by channels."""
    op, args, target = call
    if target is not None or not isinstance(after, Tensor):
        return None
    if op.name in ("flatten", "view", "reshape") and after.dim() == 2:
        return Flatten() if len(before) == len(after) and len(before) else None
    if op.name == "dropout":
        return Identity()
    if op.name in _POOLING_OPS:
        return MaxPool2d(1)  # stands for all that leave constants as they are
    alone = len(_tensors(args)) == 1
    if alone and isinstance(op, Pointwise | Fused):
        return op, args, next(i for i, value in enumerate(args) if value is before)
    return None


# --- cutting -------------------------------------------------------------------------------------


def _outputs(layer: Any) -> int:
    """The dimension of the weight that counts output channels."""
    return 1 if getattr(layer, "transposed", False) else 0


def _rows(layer: Any, dimension: int) -> Tensor:
    """The weight as a matrix with a row for each index of a dimension."""
    return layer.weight.movedim(dimension, 0).reshape(layer.weight.shape[dimension], -1)


def _constants(link: Link, channels: int) -> tuple[Tensor, Tensor]:
    """(what each channel is at the consumer if its weights are zero, whether it is that also at
    the border).
    """
    weight, bias = link.producer.weight, link.producer.bias
    values = weight.new_zeros(channels) if bias is None else bias.detach().clone()
    inside = values == values
    for step in link.between:
        if isinstance(step, tuple):
            op, args, place = step
            values = op.door(*args[:place], values[None], *args[place + 1 :])[0]
        elif isinstance(step, _BatchNorm):
            if step.running_mean is None:  # the batch's own deviation: 0
                values = ops.zeros_like(values)
            else:
                values = (values - step.running_mean) / (step.running_var + step.eps).sqrt()
            values = values if step.weight is None else values * step.weight
            values = values if step.bias is None else values + step.bias
        elif _is_depthwise(step):
            inside = inside & ((values == 0) | (not _pads(step)))
            values = values * _rows(step, 0).sum(1)
            values = values if step.bias is None else values + step.bias
        elif isinstance(step, _ELEMENTWISE):
            values = step(values[None])[0]
    return values, inside


def _pads(layer: Any) -> bool:
    """Whether zeros are put around the input."""
    if isinstance(layer, Linear) or layer.padding_mode != "zeros":
        return False
    return (
        layer.transposed
        or layer.padding == "same"
        or any(each for each in layer.padding if layer.padding != "valid")
    )


def _cut_link(link: Link, exact: bool) -> bool:
    """Remove the superfluous channels of a link. Returns whether there were any."""
    producer, consumer = link.producer, link.consumer
    channels = producer.weight.shape[_outputs(producer)]
    columns = _rows(consumer, 1 - _outputs(consumer))
    repeats = columns.shape[0] // channels
    unread = (columns.reshape(channels, -1) == 0).all(1)
    dead = (_rows(producer, _outputs(producer)) == 0).all(1)
    values, inside = _constants(link, channels)
    if exact:
        movable = inside & (consumer.bias is not None) & (not _pads(consumer))
        dead = dead & ((values == 0) & inside | movable)
    gone = unread | dead
    if gone.all():
        gone[0] = False  # a layer keeps a channel
    if not gone.any():
        return False
    _move(values * dead * gone, consumer, repeats)
    keep = (~gone).nonzero().flatten()
    _take(producer, ("weight",), _outputs(producer), keep)
    _take(producer, ("bias",), 0, keep)
    for step in link.between:
        if isinstance(step, Module):
            _take(step, ("weight", "bias", "running_mean", "running_var"), 0, keep)
            _count(step, ("num_features", "in_channels", "out_channels", "groups"), len(keep))
    blocks = keep[:, None] * repeats + ops.arange(repeats)
    _take(consumer, ("weight",), 1 - _outputs(consumer), blocks.flatten())
    _count(producer, ("out_features", "out_channels"), len(keep))
    _count(consumer, ("in_features", "in_channels"), len(keep) * repeats)
    return True


def _move(values: Tensor, consumer: Any, repeats: int) -> None:
    """Put what constant channels contribute into the consumer's bias."""
    if consumer.bias is None or not values.any():
        return
    weight = consumer.weight.movedim(_outputs(consumer), 0)
    sums = weight.reshape(*weight.shape[:2], -1).sum(2)
    consumer.bias.add_(sums @ values.repeat_interleave(repeats).to(sums.dtype))


def _take(module: Any, names: tuple, dimension: int, keep: Tensor) -> None:
    """Keep some indices of a dimension of parameters and buffers: the same objects, smaller."""
    for name in names:
        tensor = getattr(module, name, None)
        if isinstance(tensor, Tensor) and tensor.shape[dimension] > 1:
            tensor.data = tensor.detach().index_select(dimension, keep)
            tensor.grad = None


def _count(module: Any, names: tuple, count: int) -> None:
    for name in names:
        if hasattr(module, name):
            setattr(module, name, count)
    if isinstance(module, act.PReLU) and module.num_parameters > 1:
        module.num_parameters = count
