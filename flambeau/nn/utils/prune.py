"""Pruning: parameters some of whose elements are held at zero by a mask.

A pruned ``weight`` is a plain tensor, recomputed before each forward call as ``weight_mask *
weight_orig``: the mask is a buffer, the original the parameter that is trained.
"""

from __future__ import annotations

import numbers
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

from flambeau.tensor import Tensor

from .. import operations as ops
from ..modules import Module
from . import channels
from .convert_parameters import parameters_to_vector

# --- amounts and dimensions ----------------------------------------------------------------------


def _check_amount(amount: Any) -> None:
    if not isinstance(amount, numbers.Real):
        raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
    whole = isinstance(amount, numbers.Integral)
    if float(amount) < 0 or (not whole and float(amount) > 1):
        raise ValueError(
            f"amount={amount} should either be a float in the range [0, 1] or a non-negative "
            "integer"
        )


def _count(amount: Any, size: int) -> int:
    """How many of `size` units an absolute or relative amount is."""
    count = int(amount) if isinstance(amount, numbers.Integral) else round(amount * size)
    if count > size:
        raise ValueError(
            f"amount={count} should be smaller than the number of parameters to prune={size}"
        )
    return count


def _check_channels(tensor: Tensor, dim: int) -> None:
    if tensor.dim() <= 1:
        raise ValueError(
            "Structured pruning can only be applied to multidimensional tensors. "
            f"Found tensor of shape {tensor.shape} with {tensor.dim()} dims"
        )
    if not -tensor.dim() <= dim < tensor.dim():
        raise IndexError(f"Invalid index {dim} for tensor of size {tensor.shape}")


def _along(tensor: Tensor, dim: int, index: Any) -> tuple:
    """The index that takes `index` in dimension `dim` and everything in the others."""
    whole: list[Any] = [slice(None)] * tensor.dim()
    whole[dim] = index
    return tuple(whole)


def _other_dimensions(tensor: Tensor, dim: int) -> list[int]:
    return [axis for axis in range(tensor.dim()) if axis != dim % tensor.dim()]


def _keep_channels(tensor: Tensor, default_mask: Tensor, dim: int, kept: Tensor) -> Tensor:
    """The default mask, and zero outside the kept channels."""
    mask = ops.zeros_like(tensor)
    mask[_along(tensor, dim, kept)] = 1
    return mask * default_mask.to(dtype=mask.dtype)


# --- methods -------------------------------------------------------------------------------------


class BasePruningMethod(ABC):
    """A way to choose what to prune. Subclasses define `compute_mask` and `PRUNING_TYPE`.

    The type says on what `compute_mask` works when a tensor is pruned again: "unstructured" on the
    elements not yet pruned, as a vector; "structured" on the channels (of dimension ``self.dim``)
    not yet pruned; "global" on the whole tensor.
    """

    PRUNING_TYPE: str
    _tensor_name: str | None = None

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, str(self._tensor_name), self.apply_mask(module))

    @abstractmethod
    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """Return `default_mask` with zeros for what to prune by the importance scores `t`."""

    def apply_mask(self, module: Module) -> Tensor:
        """The module's original tensor times its mask."""
        if self._tensor_name is None:
            raise AssertionError(f"Module {module} has to be pruned")
        mask = getattr(module, self._tensor_name + "_mask")
        original = getattr(module, self._tensor_name + "_orig")
        return mask.to(dtype=original.dtype) * original

    @classmethod
    def apply(
        cls, module: Module, name: str, *args: Any, importance_scores: Any = None, **kwargs: Any
    ) -> BasePruningMethod:
        """Prune the parameter `name`; the other arguments are the constructor's.

        A parameter that is pruned already gets pruned further. Elements are compared by
        `importance_scores` (of the parameter's shape) instead of their values, if given. If a mask
        cannot be computed, the module stays as it was. Returns the method, or the container.
        """
        method = cls(*args, **kwargs)
        method._tensor_name = name
        key = _hook_key(module, name)
        tensor = getattr(module, name)
        if importance_scores is None:
            importance_scores = tensor
        elif importance_scores.shape != tensor.shape:
            raise AssertionError(
                f"importance_scores should have the same shape as parameter {name} of {module}, "
                f"got {importance_scores.shape} vs {tensor.shape}"
            )
        scores = importance_scores.detach()
        if key is None:
            mask = method.compute_mask(scores, default_mask=ops.ones_like(tensor.detach()))
            del module._parameters[name]
            module.register_parameter(name + "_orig", tensor)
        else:
            method = _combined(module._forward_pre_hooks[key], method)
            mask = method.compute_mask(scores, getattr(module, name + "_mask").detach().clone())
            del module._forward_pre_hooks[key]
        module.register_buffer(name + "_mask", mask)
        setattr(module, name, method.apply_mask(module))
        module.register_forward_pre_hook(method)
        return method

    def prune(
        self, t: Tensor, default_mask: Tensor | None = None, importance_scores: Any = None
    ) -> Tensor:
        """Return a pruned version of a tensor that belongs to no module."""
        if importance_scores is None:
            importance_scores = t
        elif importance_scores.shape != t.shape:
            raise AssertionError(
                "importance_scores should have the same shape as tensor t, "
                f"got {importance_scores.shape} vs {t.shape}"
            )
        if default_mask is None:
            default_mask = ops.ones_like(t)
        return t * self.compute_mask(importance_scores, default_mask=default_mask)

    def remove(self, module: Module) -> None:
        """Make the pruned tensor the parameter again: the same object, with zeros in it."""
        name = self._tensor_name
        if name is None:
            raise AssertionError(f"Module {module} has to be pruned before pruning can be removed")
        weight = self.apply_mask(module)
        if hasattr(module, name):
            delattr(module, name)
        original = module._parameters.pop(name + "_orig")
        original.data = weight.detach()
        del module._buffers[name + "_mask"]
        setattr(module, name, original)


def _hook_key(module: Module, name: str) -> Any:
    """The key of the hook that prunes this tensor, None if there is none."""
    keys = [
        key
        for key, hook in module._forward_pre_hooks.items()
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == name
    ]
    if len(keys) > 1:
        raise AssertionError(
            f"Avoid adding multiple pruning hooks to the same tensor {name} of module {module}. "
            "Use a PruningContainer."
        )
    return keys[0] if keys else None


def _combined(before: BasePruningMethod, method: BasePruningMethod) -> PruningContainer:
    container = PruningContainer(before)
    if isinstance(before, PruningContainer):
        container._pruning_methods = before._pruning_methods
    container.add_pruning_method(method)
    return container


class PruningContainer(BasePruningMethod):
    """The methods by which one tensor was pruned, in order."""

    def __init__(self, *args: BasePruningMethod) -> None:
        self._pruning_methods: tuple[BasePruningMethod, ...] = ()
        if len(args) == 1:
            self._tensor_name = args[0]._tensor_name
        for method in args:
            self.add_pruning_method(method)

    def add_pruning_method(self, method: BasePruningMethod) -> None:
        """Append a method, which must act on the same name (ValueError)."""
        if method is not None:
            if not isinstance(method, BasePruningMethod):
                raise TypeError(f"{type(method)} is not a BasePruningMethod subclass")
            if self._tensor_name != method._tensor_name:
                raise ValueError(
                    "Can only add pruning methods acting on the parameter named "
                    f"'{self._tensor_name}' to PruningContainer {self}. "
                    f"Found '{method._tensor_name}'"
                )
        self._pruning_methods += (method,)

    def __len__(self) -> int:
        return len(self._pruning_methods)

    def __iter__(self) -> Iterator[BasePruningMethod]:
        return iter(self._pruning_methods)

    def __getitem__(self, idx: Any) -> Any:
        return self._pruning_methods[idx]

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """Let the last method prune what `default_mask` has not pruned yet."""
        method: Any = self._pruning_methods[-1]
        part = _unpruned_part(method, t, default_mask)
        mask = default_mask.to(dtype=t.dtype).clone()
        mask[part] = method.compute_mask(t[part], default_mask=default_mask[part]).to(mask.dtype)
        return mask


def _unpruned_part(method: Any, tensor: Tensor, mask: Tensor) -> Any:
    """The index of what a method may still prune."""
    kind = method.PRUNING_TYPE
    if kind == "unstructured":
        return mask == 1
    if kind == "global":
        return (slice(None),) * tensor.dim()
    if kind != "structured":
        raise ValueError(f"Unrecognized PRUNING_TYPE {kind}")
    if not hasattr(method, "dim"):
        raise AttributeError(
            'Pruning methods of PRUNING_TYPE "structured" need to have the attribute `dim` defined.'
        )
    if method.dim < -tensor.dim():
        raise IndexError(f"Index is out of bounds for tensor with dimensions {tensor.dim()}")
    alive = mask.sum(dim=_other_dimensions(tensor, method.dim)) != 0
    return _along(tensor, method.dim, alive)


class Identity(BasePruningMethod):
    """Prunes nothing: a mask of ones."""

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        return default_mask

    @classmethod
    def apply(cls, module: Module, name: str) -> Any:  # type: ignore[override]
        """See `BasePruningMethod.apply`."""
        return super().apply(module, name)


class RandomUnstructured(BasePruningMethod):
    """Prunes elements at random: `amount` of them, or this fraction if it is a float."""

    PRUNING_TYPE = "unstructured"

    def __init__(self, amount: Any) -> None:
        _check_amount(amount)
        self.amount = amount

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        count = _count(self.amount, t.numel())
        mask = default_mask.clone()
        if count:
            draws = ops.rand_like(t).reshape(-1)
            mask.view(-1)[ops.topk(draws, count).indices] = 0
        return mask

    @classmethod
    def apply(cls, module: Module, name: str, amount: Any) -> Any:  # type: ignore[override]
        """See `BasePruningMethod.apply`."""
        return super().apply(module, name, amount=amount)


class L1Unstructured(BasePruningMethod):
    """Prunes the smallest elements: `amount` of them, or this fraction if it is a float."""

    PRUNING_TYPE = "unstructured"

    def __init__(self, amount: Any) -> None:
        _check_amount(amount)
        self.amount = amount

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        count = _count(self.amount, t.numel())
        mask = default_mask.clone()
        if count:
            smallest = ops.topk(t.abs().reshape(-1), count, largest=False)
            mask.view(-1)[smallest.indices] = 0
        return mask

    @classmethod
    def apply(  # type: ignore[override]
        cls, module: Module, name: str, amount: Any, importance_scores: Any = None
    ) -> Any:
        """See `BasePruningMethod.apply`."""
        return super().apply(module, name, amount=amount, importance_scores=importance_scores)


class NOfM(BasePruningMethod):
    """Keeps the `n` largest of every `m` elements in a row along `dim`: the pattern that hardware
    for sparse products takes (2 of 4 along the inputs).
    """

    PRUNING_TYPE = "global"  # groups are counted over whole lines, pruned channels included

    def __init__(self, n: int, m: int, dim: int = 1) -> None:
        if not 0 <= n <= m or m < 1:
            raise ValueError(f"n={n} should be from 0 to m={m}, and m at least 1")
        self.n, self.m, self.dim = n, m, dim

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        _check_channels(t, self.dim)
        if t.shape[self.dim] % self.m:
            raise ValueError(
                f"dimension {self.dim} of size {t.shape[self.dim]} is no multiple of m={self.m}"
            )
        # What was pruned before counts as smallest.
        groups = (t.abs() * default_mask - (1 - default_mask)).unflatten(self.dim, (-1, self.m))
        place = self.dim % t.dim() + 1
        smallest = ops.topk(groups, self.m - self.n, dim=place, largest=False).indices
        mask = default_mask.unflatten(self.dim, (-1, self.m)).scatter(place, smallest, 0)
        return mask.reshape(default_mask.shape)

    @classmethod
    def apply(  # type: ignore[override]
        cls,
        module: Module,
        name: str,
        n: int,
        m: int,
        dim: int = 1,
        importance_scores: Tensor | None = None,
    ) -> Any:
        """See `BasePruningMethod.apply`."""
        return super().apply(module, name, n, m, dim, importance_scores=importance_scores)


class RandomStructured(BasePruningMethod):
    """Prunes channels of a dimension at random: `amount` of them, or this fraction."""

    PRUNING_TYPE = "structured"

    def __init__(self, amount: Any, dim: int = -1) -> None:
        _check_amount(amount)
        self.amount, self.dim = amount, dim

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        _check_channels(t, self.dim)
        size = t.shape[self.dim]
        count = _count(self.amount, size)
        if not count:
            return default_mask
        draws = ops.rand(size)
        kept = draws > ops.kthvalue(draws, count).values
        return _keep_channels(t, default_mask, self.dim, kept)

    @classmethod
    def apply(  # type: ignore[override]
        cls, module: Module, name: str, amount: Any, dim: int = -1
    ) -> Any:
        """See `BasePruningMethod.apply`."""
        return super().apply(module, name, amount=amount, dim=dim)


class LnStructured(BasePruningMethod):
    """Prunes the channels of a dimension with the smallest `n`-norms (as in ``torch.norm``)."""

    PRUNING_TYPE = "structured"

    def __init__(self, amount: Any, n: Any, dim: int = -1) -> None:
        _check_amount(amount)
        self.amount, self.n, self.dim = amount, n, dim

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        _check_channels(t, self.dim)
        size = t.shape[self.dim]
        count = _count(self.amount, size)
        if not count:
            return default_mask
        norms = ops.norm(t, p=self.n, dim=_other_dimensions(t, self.dim))
        kept = ops.topk(norms, size - count, largest=True).indices
        return _keep_channels(t, default_mask, self.dim, kept)

    @classmethod
    def apply(  # type: ignore[override]
        cls, module: Module, name: str, amount: Any, n: Any, dim: int, importance_scores: Any = None
    ) -> Any:
        """See `BasePruningMethod.apply`."""
        return super().apply(
            module, name, amount=amount, n=n, dim=dim, importance_scores=importance_scores
        )


class CustomFromMask(BasePruningMethod):
    """Prunes where a given mask is zero."""

    PRUNING_TYPE = "global"

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        if default_mask.shape != self.mask.shape:
            raise AssertionError(
                f"default_mask shape {default_mask.shape} must match "
                f"self.mask shape {self.mask.shape}"
            )
        return default_mask * self.mask.to(dtype=default_mask.dtype)

    @classmethod
    def apply(cls, module: Module, name: str, mask: Tensor) -> Any:  # type: ignore[override]
        """See `BasePruningMethod.apply`."""
        return super().apply(module, name, mask=mask)


# --- functions -----------------------------------------------------------------------------------


def identity(module: Module, name: str) -> Module:
    """Set a parameter up for pruning without pruning it. Returns the module."""
    Identity.apply(module, name)
    return module


def random_unstructured(module: Module, name: str, amount: Any) -> Module:
    """Prune random elements of a parameter, `amount` or a fraction. Returns the module.

    Errors: TypeError or ValueError for other amounts; as for all functions here.
    """
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(
    module: Module, name: str, amount: Any, importance_scores: Tensor | None = None
) -> Module:
    """Prune the smallest elements of a parameter. Returns the module."""
    L1Unstructured.apply(module, name, amount=amount, importance_scores=importance_scores)
    return module


def n_of_m(
    module: Module,
    name: str,
    n: int = 2,
    m: int = 4,
    dim: int = 1,
    importance_scores: Tensor | None = None,
) -> Module:
    """Keep the `n` largest of every `m` elements along `dim` of a parameter. Returns the module.

    Errors: ValueError where `m` does not divide the size of that dimension.
    """
    NOfM.apply(module, name, n, m, dim, importance_scores=importance_scores)
    return module


def random_structured(module: Module, name: str, amount: Any, dim: int) -> Module:
    """Prune random channels of dimension `dim` of a parameter. Returns the module."""
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(
    module: Module,
    name: str,
    amount: Any,
    n: Any,
    dim: int,
    importance_scores: Tensor | None = None,
) -> Module:
    """Prune the channels of dimension `dim` with the smallest n-norms. Returns the module."""
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def global_unstructured(
    parameters: Any, pruning_method: Any, importance_scores: Any = None, **kwargs: Any
) -> None:
    """Prune parameters, pairs (module, name), as if they were one vector.

    `pruning_method` is a class of the type "unstructured" (else TypeError) and the keywords its
    constructor's. `importance_scores` is a dictionary from pairs to tensors.
    """
    if not isinstance(parameters, Iterable):
        raise TypeError("global_unstructured(): parameters is not an Iterable")
    if importance_scores is None:
        importance_scores = {}
    if not isinstance(importance_scores, dict):
        raise TypeError("global_unstructured(): importance_scores must be of type dict")
    pairs = list(parameters)
    tensors = [getattr(module, name).detach() for module, name in pairs]
    scores = [importance_scores.get(pair, tensor) for pair, tensor in zip(pairs, tensors)]
    masks = [
        getattr(module, name + "_mask", ops.ones_like(tensor))
        for (module, name), tensor in zip(pairs, tensors)
    ]
    method = pruning_method(**kwargs)
    if method.PRUNING_TYPE != "unstructured":
        raise TypeError(
            'Only "unstructured" PRUNING_TYPE supported for the `pruning_method`. '
            f"Found method {pruning_method} of type {method.PRUNING_TYPE}"
        )
    container = PruningContainer()
    container._tensor_name = method._tensor_name = "parameters"
    container.add_pruning_method(method)
    together = container.compute_mask(
        parameters_to_vector(scores).detach(), parameters_to_vector(masks)
    )
    parts = together.split([tensor.numel() for tensor in tensors])
    for (module, name), tensor, part in zip(pairs, tensors, parts):
        custom_from_mask(module, name, mask=part.view(tensor.shape))


def custom_from_mask(module: Module, name: str, mask: Tensor) -> Module:
    """Prune a parameter where the mask is zero. Returns the module."""
    CustomFromMask.apply(module, name, mask)
    return module


def remove(module: Module, name: str) -> Module:
    """Make pruning permanent: the parameter gets its name back, with zeros where it was pruned.

    Errors: ValueError if it is not pruned. Returns the module.
    """
    key = _hook_key(module, name)
    if key is None:
        raise ValueError(
            f"Parameter '{name}' of module {module} has to be pruned before pruning can be removed"
        )
    module._forward_pre_hooks.pop(key).remove(module)
    return module


def is_pruned(module: Module) -> bool:
    """Whether a parameter of the module or of a descendant is pruned."""
    return any(
        isinstance(hook, BasePruningMethod)
        for each in module.modules()
        for hook in each._forward_pre_hooks.values()
    )


def shrink(module: Module, *inputs: Any, exact: bool = True) -> Module:
    """Make a pruned model smaller: remove channels that are zero, or that nobody reads.

    First, pruning is made permanent (`remove`). Then output channels of linear and convolutional
    layers whose weights are all zero are taken out, with what belongs to them in normalisations and
    depthwise convolutions behind, and in the inputs of the next layer. What bias and normalisation
    make of such a channel is a constant, which goes into the next layer's bias. So results in
    evaluation stay the same, to rounding. A channel for which that cannot be (the next layer pads
    with zeros, or has no bias) stays; with ``exact=False`` it goes, too.

    Layers are found within ``Sequential``. With `inputs`, the module is called with them once, and
    layers are found by what its ``forward`` does; those whose results are read twice stay.

    Parameters remain the same objects, without gradients; an optimizer that has state for them must
    be made anew. Returns the module.
    """
    for each in module.modules():
        hooks = [h for h in each._forward_pre_hooks.values() if isinstance(h, BasePruningMethod)]
        for hook in hooks:
            remove(each, str(hook._tensor_name))
    channels.cut(module, inputs, exact)
    return module
