"""Optimizer, the base class: parameter groups, state, hooks, state dictionaries."""

from __future__ import annotations

import copy
import functools
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from flambeau._base import RemovableHandle
from flambeau.ops import type_name
from flambeau.tensor import PUBLIC, Tensor, enable_grad, function_of, no_grad, set_grad_enabled

from .kernels import update

# What optimizers take: tensors, groups of them, or pairs of names and tensors.
ParamsT = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]

_global_pre_hooks: dict[int, Callable] = OrderedDict()
_global_post_hooks: dict[int, Callable] = OrderedDict()
_HOOK_DICTIONARIES = (
    "_optimizer_step_pre_hooks",
    "_optimizer_step_post_hooks",
    "_optimizer_state_dict_pre_hooks",
    "_optimizer_state_dict_post_hooks",
    "_optimizer_load_state_dict_pre_hooks",
    "_optimizer_load_state_dict_post_hooks",
)


class _Required:
    """Stands for an option that every group must give."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


def register_optimizer_step_pre_hook(hook: Callable) -> RemovableHandle:
    """Call ``hook(optimizer, args, kwargs)`` before every optimizer's step."""
    return _add(_global_pre_hooks, hook)


def register_optimizer_step_post_hook(hook: Callable) -> RemovableHandle:
    """Call ``hook(optimizer, args, kwargs)`` after every optimizer's step."""
    return _add(_global_post_hooks, hook)


def _add(hooks: Any, hook: Callable, prepend: bool = False) -> RemovableHandle:
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


def _hooked(function: Callable) -> Callable:
    """`step` with its hooks around it."""

    @functools.wraps(function)
    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not (
            _global_pre_hooks
            or _global_post_hooks
            or self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
        ):
            return function(self, *args, **kwargs)
        given = (self, *args)
        for hook in [*_global_pre_hooks.values(), *self._optimizer_step_pre_hooks.values()]:
            changed = hook(self, given, kwargs)
            if changed is None:
                continue
            if not (isinstance(changed, tuple) and len(changed) == 2):
                raise RuntimeError(
                    f"{function} must return None or a tuple of (new_args, new_kwargs), "
                    f"but got {changed}."
                )
            given, kwargs = changed
        result = function(*given, **kwargs)
        for hook in [*self._optimizer_step_post_hooks.values(), *_global_post_hooks.values()]:
            hook(self, given, kwargs)
        return result

    vars(step)["hooked"] = True
    return step


def _type_name(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"torch.{type_name(value.dtype)}Tensor"
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


class Optimizer:
    """Base class of optimizers.

    `params` is an iterable of tensors, of (name, tensor) pairs, or of dicts that describe groups;
    `defaults` fills in the options that a group does not give.
    """

    # Numbers of the state that PyTorch keeps as 0-dimensional float32 tensors. They are Python
    # numbers while training, which saves two ops a parameter, and tensors in the state dict.
    _number_state: tuple[str, ...] = ("step",)
    _later: dict[str, Any] = {}  # options that states of older releases lack, and what they were

    _optimizer_step_pre_hooks: OrderedDict[int, Any]
    _optimizer_step_post_hooks: OrderedDict[int, Any]
    _optimizer_state_dict_pre_hooks: OrderedDict[int, Any]
    _optimizer_state_dict_post_hooks: OrderedDict[int, Any]
    _optimizer_load_state_dict_pre_hooks: OrderedDict[int, Any]
    _optimizer_load_state_dict_post_hooks: OrderedDict[int, Any]

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self._make_hooks()
        self._patch_step_function()
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be "
                "an iterable of Tensors or dicts, but got " + _type_name(params)
            )
        self.state: defaultdict[Tensor, Any] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)
        if defaults.get("fused") and defaults.get("differentiable"):
            raise RuntimeError("`fused` does not support `differentiable`")
        if defaults.get("fused") and defaults.get("foreach"):
            raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
        self._warned_capturable_if_run_uncaptured = True

    def _make_hooks(self) -> None:
        for name in _HOOK_DICTIONARIES:
            self.__dict__.setdefault(name, OrderedDict())

    def _patch_step_function(self) -> None:
        cls: Any = type(self)
        if not getattr(cls.step, "hooked", False):
            cls.step = _hooked(cls.step)

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._make_hooks()
        self._patch_step_function()
        self.defaults.setdefault("differentiable", False)
        for group in self.param_groups:
            for name, value in self._later.items():
                group.setdefault(name, value)

    def __repr__(self) -> str:
        text = type(self).__name__ + " ("
        for number, group in enumerate(self.param_groups):
            text += f"\nParameter Group {number}\n"
            for key in sorted(group):
                if key != "params":
                    text += f"    {key}: {group[key]}\n"
        return text + ")"

    # --- hooks ----------------------------------------------------------------------------------

    def register_step_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` before `step`; it may return new arguments."""
        return _add(self._optimizer_step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` after `step`."""
        return _add(self._optimizer_step_post_hooks, hook)

    def register_state_dict_pre_hook(
        self, hook: Callable, prepend: bool = False
    ) -> RemovableHandle:
        """Call ``hook(optimizer)`` before `state_dict`."""
        return _add(self._optimizer_state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(
        self, hook: Callable, prepend: bool = False
    ) -> RemovableHandle:
        """Call ``hook(optimizer, state_dict)`` after `state_dict`; it may return another."""
        return _add(self._optimizer_state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(
        self, hook: Callable, prepend: bool = False
    ) -> RemovableHandle:
        """Call ``hook(optimizer, state_dict)`` before loading; it may return another."""
        return _add(self._optimizer_load_state_dict_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(
        self, hook: Callable, prepend: bool = False
    ) -> RemovableHandle:
        """Call ``hook(optimizer)`` after loading."""
        return _add(self._optimizer_load_state_dict_post_hooks, hook, prepend)

    # --- state dictionaries ---------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The state and the groups, parameters by number; the format is PyTorch's."""
        for pre_hook in self._optimizer_state_dict_pre_hooks.values():
            pre_hook(self)
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for parameter in group["params"]:
                numbers.setdefault(id(parameter), len(numbers))
            packed = {key: value for key, value in group.items() if key != "params"}
            packed["params"] = [numbers[id(parameter)] for parameter in group["params"]]
            groups.append(packed)
        state = {
            numbers[id(key)] if isinstance(key, Tensor) else key: self._pack_state(value)
            for key, value in self.state.items()
            if value or not isinstance(value, dict)
        }
        result = {"state": state, "param_groups": groups}
        for post_hook in self._optimizer_state_dict_post_hooks.values():
            changed = post_hook(self, result)
            if changed is not None:
                result = changed
        return result

    def _pack_state(self, state: Any) -> Any:
        if not isinstance(state, dict):
            return state
        make = PUBLIC["tensor"]
        return {
            key: make(float(value))
            if key in self._number_state and isinstance(value, int | float)
            else value
            for key, value in state.items()
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state and the options of a state dict, PyTorch's included."""
        state_dict = state_dict.copy()
        for pre_hook in self._optimizer_load_state_dict_pre_hooks.values():
            changed = pre_hook(self, state_dict)
            if changed is not None:
                state_dict = changed
        groups = self.param_groups
        saved = copy.deepcopy(state_dict["param_groups"])
        if len(groups) != len(saved):
            raise ValueError("loaded state dict has a different number of parameter groups")
        pairs = list(zip(groups, saved, strict=True))
        if any(len(ours["params"]) != len(theirs["params"]) for ours, theirs in pairs):
            raise ValueError(
                "loaded state dict contains a parameter group "
                "that doesn't match the size of optimizer's group"
            )
        parameters = {
            number: parameter
            for ours, theirs in pairs
            for number, parameter in zip(theirs["params"], ours["params"], strict=True)
        }
        state: defaultdict[Any, Any] = defaultdict(dict)
        for key, value in state_dict["state"].items():
            if key in parameters:
                state[parameters[key]] = self._unpack_state(parameters[key], value)
            else:
                state[key] = value
        for ours, theirs in pairs:
            theirs["params"] = ours["params"]
            if "param_names" in ours and "param_names" not in theirs:
                theirs["param_names"] = ours["param_names"]
        self.__setstate__({"state": state, "param_groups": saved})
        for post_hook in self._optimizer_load_state_dict_post_hooks.values():
            post_hook(self)

    def _unpack_state(self, parameter: Tensor, value: Any, key: str | None = None) -> Any:
        """Copy a loaded state, cast to the parameter's dtype and device."""
        if isinstance(value, dict):
            return {name: self._unpack_state(parameter, each, name) for name, each in value.items()}
        if isinstance(value, Tensor):
            if key in self._number_state:
                return value.item()
            if parameter.is_floating_point():
                return value.to(dtype=parameter.dtype, device=parameter.device, copy=True)
            return value.to(device=parameter.device, copy=True)
        if isinstance(value, Iterable) and not isinstance(value, str):
            kind: Any = type(value)
            return kind(self._unpack_state(parameter, each) for each in value)
        return value

    # --- groups ---------------------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group: ``{"params": …, option: value}``."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, Tensor):
            params = [params]
        elif isinstance(params, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the "
                "ordering of tensors in sets will change between runs. Please use a list instead."
            )
        param_group["params"] = list(params)
        _split_names(param_group)
        for parameter in param_group["params"]:
            self._check_parameter(parameter)
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(
                    "parameter group didn't specify a value of required optimization parameter "
                    + name
                )
            param_group.setdefault(name, default)
        self._check_new_group(param_group)
        self.param_groups.append(param_group)

    def _check_parameter(self, parameter: Any) -> None:
        if not isinstance(parameter, Tensor):
            raise TypeError(
                "optimizer can only optimize Tensors, but one of the params is "
                + _type_name(parameter)
            )
        if self.defaults.get("differentiable"):
            return
        if not (parameter.is_leaf or parameter.retains_grad):
            raise ValueError("can't optimize a non-leaf Tensor")

    def _check_new_group(self, group: dict[str, Any]) -> None:
        new = {id(parameter) for parameter in group["params"]}
        if len(new) != len(group["params"]):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; "
                "in future, this will cause an error; "
                "see github.com/pytorch/pytorch/issues/40967 for more information",
                stacklevel=4,
            )
        for other in self.param_groups:
            if ("param_names" in other) != ("param_names" in group):
                kind = "with names" if "param_names" in group else "without names"
                raise ValueError(
                    "all optimizer param groups should be with/without names. "
                    f"cannot add param group {kind} to the optimizer"
                )
            if not new.isdisjoint(id(parameter) for parameter in other["params"]):
                raise ValueError("some parameters appear in more than one parameter group")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or set them to zero."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if set_to_none:
                    parameter.grad = None
                    continue
                gradient = parameter.grad
                if gradient is None:
                    continue
                if gradient.grad_fn is not None:
                    gradient.detach_()
                else:
                    gradient.requires_grad_(False)
                gradient.zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters once; `closure` recomputes the loss."""
        raise NotImplementedError


def _split_names(group: dict[str, Any]) -> None:
    """Turn (name, tensor) pairs into tensors and a list of names."""
    named = [isinstance(each, tuple) for each in group["params"]]
    if not any(named):
        return
    if not all(named):
        raise ValueError(
            "all optimizer params should be with/without names. Some param names are missing"
        )
    group["param_names"] = [name for name, _ in group["params"]]
    group["params"] = [parameter for _, parameter in group["params"]]


class PerParameter(Optimizer):
    """An optimizer that updates each parameter by itself.

    Subclasses define `_begin`, which makes the first state, and `_update`, one whole update of one
    parameter: as few op calls as possible, because small models spend their time on those.
    """

    def _begin(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    _op = ""  # the op that updates a parameter, where it is one

    def _update(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        update(self._op, parameter, gradient, state, self._numbers(state, group))

    # ``_numbers(state, group)`` gives the numbers that the next step takes, which are the same for
    # all parameters of a group that made as many steps, and advances the numbers of the state. Ops
    # of updates take them by these names; by default they are the numbers of `_op`, in order.
    _numbers: Any = None
    _number_names: tuple[str, ...] | None = None

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient once; `closure` recomputes the loss."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        states = self.state
        update = self._update
        with no_grad():
            for group in self.param_groups:
                if group.get("differentiable"):
                    self._step_group_differentiably(group)
                    continue
                for parameter in group["params"]:
                    gradient = parameter.grad
                    if gradient is None:
                        continue
                    state = states[parameter]
                    if not state:
                        state.update(self._begin(parameter, group))
                    if group.get("maximize"):
                        gradient = -gradient
                    if parameter.is_complex():
                        self._update_complex(parameter, gradient, state, group)
                    else:
                        update(parameter, gradient, state, group)
        return loss

    def _step_group_differentiably(self, group: dict[str, Any]) -> None:
        with set_grad_enabled(True):
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state.update(self._begin(parameter, group))
                # The update saves these for backward, and the next one changes them in place.
                state.update({k: v.clone() for k, v in state.items() if isinstance(v, Tensor)})
                gradient = -parameter.grad if group.get("maximize") else parameter.grad
                self._update(parameter, gradient, state, group)

    def _update_complex(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> None:
        """Update real and imaginary parts as two real numbers."""
        view = function_of("view_as_real")
        real = {
            key: view(value) if isinstance(value, Tensor) and value.is_complex() else value
            for key, value in state.items()
        }
        self._update(view(parameter), view(gradient), real, group)
        for key, value in real.items():
            if not (isinstance(value, Tensor) and isinstance(state.get(key), Tensor)):
                state[key] = value


def check_range(value: Any, name: str, low: float = 0.0) -> None:
    """Raise PyTorch's error for a hyper-parameter below its least value."""
    if getattr(value, "ndim", 0) and value.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")
    if not low <= value:
        raise ValueError(f"Invalid {name}: {value}")


def check_betas(betas: tuple[Any, Any]) -> None:
    """Raise PyTorch's error for decay rates outside [0, 1)."""
    if len({isinstance(beta, Tensor) for beta in betas}) > 1:
        raise ValueError("betas must be either both floats or both Tensors")
    for index, beta in enumerate(betas):
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"Invalid beta parameter at index {index}: {beta}")


def zeros_like(tensor: Tensor) -> Tensor:
    """A state tensor of zeros in the parameter's layout."""
    return function_of("zeros_like")(tensor)
