"""Saving and loading the state of modules."""

from __future__ import annotations

import functools
import warnings
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Mapping
from typing import Any

from flambeau._base import RemovableHandle
from flambeau.tensor import Tensor, no_grad

from ..parameter import Parameter, is_lazy
from .module_hooks import BoundHook, Hooks, add_hook

EXTRA_STATE = "_extra_state"


class _IncompatibleKeys(namedtuple("IncompatibleKeys", ["missing_keys", "unexpected_keys"])):
    """What `load_state_dict` found missing and unexpected."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return super().__repr__()

    __str__ = __repr__


class _Report:
    """The problems met while loading, and the error they make together."""

    def __init__(self) -> None:
        self.missing: list[str] = []
        self.unexpected: list[str] = []
        self.errors: list[str] = []

    def raise_if_any(self, module: Any, strict: bool) -> None:
        errors = list(self.errors)
        if strict and self.unexpected:
            names = ", ".join(f'"{key}"' for key in self.unexpected)
            errors.insert(0, f"Unexpected key(s) in state_dict: {names}. ")
        if strict and self.missing:
            names = ", ".join(f'"{key}"' for key in self.missing)
            errors.insert(0, f"Missing key(s) in state_dict: {names}. ")
        if errors:
            lines = "\n\t".join(errors)
            raise RuntimeError(
                f"Error(s) in loading state_dict for {type(module).__name__}:\n\t{lines}"
            )


class ModuleState:
    """The part of Module that makes and reads state dictionaries."""

    _version: int
    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    _modules: dict[str, Any]
    _non_persistent_buffers_set: set[str]
    _state_dict_hooks: Hooks
    _state_dict_pre_hooks: Hooks
    _load_state_dict_pre_hooks: Hooks
    _load_state_dict_post_hooks: Hooks

    def get_extra_state(self) -> Any:
        """Return what else belongs in the state dict; override together with the setter."""
        raise RuntimeError("get_extra_state() is called only where a class overrides it")

    def set_extra_state(self, state: Any) -> None:
        """Take back what `get_extra_state` returned; override together with the getter."""
        raise RuntimeError("set_extra_state() is called only where a class overrides it")

    def _register_state_dict_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata)`` after saving (private kind)."""
        if getattr(hook, "_from_public_api", False):
            raise RuntimeError(
                "Cannot register the same function as the state dict post hook that was "
                "previously registered via register_state_dict_post_hook"
            )
        return add_hook(self._state_dict_hooks, hook)

    def register_state_dict_post_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata)`` after `state_dict`."""
        vars(hook)["_from_public_api"] = True
        return add_hook(self._state_dict_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(module, prefix, keep_vars)`` before `state_dict`."""
        return add_hook(self._state_dict_pre_hooks, hook)

    def _register_load_state_dict_pre_hook(
        self, hook: Callable, with_module: bool = False
    ) -> RemovableHandle:
        bound = BoundHook(hook, self if with_module else None)
        return add_hook(self._load_state_dict_pre_hooks, bound)

    def register_load_state_dict_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, …)`` before this module loads its part."""
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def register_load_state_dict_post_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(module, incompatible_keys)`` after loading; it may edit the keys in place."""
        return add_hook(self._load_state_dict_post_hooks, hook)

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        """Put this module's own state, not its children's, into `destination`."""
        for name, tensor in self._persistent_members():
            destination[prefix + name] = tensor if keep_vars else tensor.detach()
        if _overrides(self, "get_extra_state"):
            destination[prefix + EXTRA_STATE] = self.get_extra_state()

    def _persistent_members(self) -> list[tuple[str, Tensor]]:
        skipped = self._non_persistent_buffers_set
        members = [*self._parameters.items()]
        members += [(name, each) for name, each in self._buffers.items() if name not in skipped]
        return [(name, tensor) for name, tensor in members if tensor is not None]

    def state_dict(
        self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> Any:
        """Return an ordered dict of all parameters and persistent buffers, by dotted name.

        The tensors share memory with the module's. With `keep_vars` they stay attached to autograd.
        """
        if args:
            warnings.warn(
                "Positional args are being deprecated, use kwargs instead. Refer to "
                "https://pytorch.org/docs/main/generated/torch.nn.Module.html#torch.nn.Module.state_dict"
                " for details.",
                FutureWarning,
                stacklevel=2,
            )
            given = dict(zip(("destination", "prefix", "keep_vars"), args, strict=False))
            destination = given.get("destination", destination)
            prefix = given.get("prefix", prefix) or prefix
            keep_vars = given.get("keep_vars", keep_vars)
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        local_metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = local_metadata
        for hook in self._state_dict_pre_hooks.values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, child in self._modules.items():
            if child is not None:
                child.state_dict(
                    destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars
                )
        for hook in self._state_dict_hooks.values():
            result = hook(self, destination, prefix, local_metadata)
            if getattr(hook, "_from_public_api", False):
                if result is not None:
                    raise RuntimeError("state_dict post-hook must return None")
            elif result is not None:
                destination = result
        return destination

    def _load_from_state_dict(
        self,
        state_dict: dict,
        prefix: str,
        local_metadata: dict,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Copy this module's own state, not its children's, out of `state_dict`."""
        lists = (missing_keys, unexpected_keys, error_msgs)
        for hook in self._load_state_dict_pre_hooks.values():
            hook(state_dict, prefix, local_metadata, strict, *lists)
        members = dict(self._persistent_members())
        assign = local_metadata.get("assign_to_params_buffers", False)
        for name, member in members.items():
            key = prefix + name
            if key in state_dict:
                _load_member(self, name, member, key, state_dict[key], assign, error_msgs)
            elif strict:
                missing_keys.append(key)
        extra = prefix + EXTRA_STATE
        if _overrides(self, "set_extra_state"):
            if extra in state_dict:
                self.set_extra_state(state_dict[extra])
            elif strict:
                missing_keys.append(extra)
        elif strict and extra in state_dict:
            unexpected_keys.append(extra)
        if not strict:
            return
        for key in state_dict:
            if not key.startswith(prefix) or key == extra:
                continue
            first, dot, _ = key[len(prefix) :].partition(".")
            if first not in (self._modules if dot else members):
                unexpected_keys.append(key)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Copy parameters and buffers from `state_dict` into this module and its descendants.

        With `strict` the names must be the same. With `assign` the tensors themselves become the
        module's, instead of being copied in place. Returns the missing and the unexpected keys.
        Errors: RuntimeError that lists all mismatches.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        metadata = getattr(state_dict, "_metadata", None)
        state: Any = OrderedDict(state_dict)
        if metadata is not None:
            state._metadata = metadata
        report = _Report()
        _load(self, state, "", metadata, assign, report)
        report.raise_if_any(self, strict)
        return _IncompatibleKeys(report.missing, report.unexpected)


def consume_prefix_in_state_dict_if_present(state_dict: dict, prefix: str) -> None:
    """Take a prefix off the names of a state dict, in place: ``module.`` of DataParallel."""
    for table in (state_dict, getattr(state_dict, "_metadata", None) or {}):
        for key in list(table):
            if key.startswith(prefix):
                table[key[len(prefix) :]] = table.pop(key)
            elif table is not state_dict and key == prefix.rstrip("."):
                table[""] = table.pop(key)


def _load(
    module: Any, state: dict, prefix: str, metadata: Any, assign: bool, report: _Report
) -> None:
    local_metadata = {} if metadata is None else metadata.get(prefix[:-1], {})
    if assign:
        local_metadata["assign_to_params_buffers"] = assign
    module._load_from_state_dict(
        state, prefix, local_metadata, True, report.missing, report.unexpected, report.errors
    )
    for name, child in module._modules.items():
        if child is None:
            continue
        below = f"{prefix}{name}."
        part = {key: value for key, value in state.items() if key.startswith(below)}
        _load(child, part, below, metadata, assign, report)
    keys = _IncompatibleKeys(report.missing, report.unexpected)
    for hook in module._load_state_dict_post_hooks.values():
        if hook(module, keys) is not None:
            raise AssertionError(
                "Hooks registered with ``register_load_state_dict_post_hook`` are not "
                "expected to return new values, if incompatible_keys need to be modified, "
                "it should be done inplace."
            )


def _load_member(
    module: Any, name: str, member: Tensor, key: str, value: Any, assign: bool, errors: list[str]
) -> None:
    if not isinstance(value, Tensor):
        errors.append(
            f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like '
            f"object from checkpoint but received {type(value)}"
        )
        return
    lazy = is_lazy(member)
    if not lazy and member.dim() == 0 and tuple(value.shape) == (1,):
        value = value[0]
    if not lazy and value.shape != member.shape:
        errors.append(
            f"size mismatch for {key}: copying a param with shape {value.shape} from checkpoint, "
            f"the shape in current model is {member.shape}."
        )
        return
    if not assign and member.is_meta and not value.is_meta:
        warnings.warn(
            f"for {key}: copying from a non-meta parameter in the checkpoint to a meta "
            "parameter in the current model, which is a no-op. (Did you mean to "
            "pass `assign=True` to assign items in the state dictionary to their "
            "corresponding key in the module instead of copying them in place?)",
            stacklevel=2,
        )
    try:
        with no_grad():
            if assign:
                _assign_member(module, name, member, value)
            else:
                member.copy_(value)
    except Exception as error:
        first = str(error).partition("\n")[0]
        errors.append(
            f'While copying the parameter named "{key}", whose dimensions in the model are '
            f"{member.size()} and whose dimensions in the checkpoint are {value.size()}, "
            f"an exception occurred : ({first!r},)."
        )


def _assign_member(module: Any, name: str, member: Tensor, value: Tensor) -> None:
    if isinstance(member, Parameter):
        if isinstance(value, Parameter):
            value.requires_grad_(member.requires_grad)
        else:
            value = Parameter(value, requires_grad=member.requires_grad)
    setattr(module, name, value)


@functools.cache
def _class_overrides(cls: type, name: str) -> bool:
    return getattr(cls, name) is not getattr(ModuleState, name)


def _overrides(module: Any, name: str) -> bool:
    cls: Any = type(module)
    return _class_overrides(cls, name)
