"""Hooks of modules: how they are registered, and the call path of modules that have some."""

from __future__ import annotations

import functools
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from flambeau._base import RemovableHandle
from flambeau.ops import AccumulateGrad, Node, Output, alone
from flambeau.tensor import Tensor, is_grad_enabled

_global_backward_pre_hooks: dict[int, Callable] = OrderedDict()
_global_backward_hooks: dict[int, Callable] = OrderedDict()
_global_is_full_backward_hook: bool | None = None
_global_forward_pre_hooks: dict[int, Callable] = OrderedDict()
_global_forward_hooks: dict[int, Callable] = OrderedDict()
_global_forward_hooks_always_called: dict[int, bool] = OrderedDict()
_global_forward_hooks_with_kwargs: dict[int, bool] = OrderedDict()
_global_buffer_registration_hooks: dict[int, Callable] = OrderedDict()
_global_module_registration_hooks: dict[int, Callable] = OrderedDict()
_global_parameter_registration_hooks: dict[int, Callable] = OrderedDict()

Hooks = OrderedDict[int, Any]

# Whether any of the four global call hooks exists: the one global that Module.__call__ reads.
call_hooks: dict[int, Callable] = OrderedDict()

_MIXED_ON_MODULE = (
    "Cannot use both regular backward hooks and full backward hooks on a "
    "single Module. Please use only one of them."
)
_MIXED_GLOBALLY = (
    "Cannot use both regular backward hooks and full backward hooks as a "
    "global Module hook. Please use only one of them."
)


def add_hook(hooks: Any, hook: Callable, *flags: Any, prepend: bool = False) -> RemovableHandle:
    """Put a hook into a dictionary, and its id into each of the `flags` dictionaries."""
    handle = RemovableHandle(hooks, extra_dict=flags)
    hooks[handle.id] = hook
    for each in flags:
        each[handle.id] = hook if each is call_hooks else True
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


def register_module_buffer_registration_hook(hook: Callable) -> RemovableHandle:
    """Call ``hook(module, name, buffer)`` at every buffer registration; it may return another."""
    return add_hook(_global_buffer_registration_hooks, hook)


def register_module_module_registration_hook(hook: Callable) -> RemovableHandle:
    """Call ``hook(module, name, child)`` at every child registration; it may return another."""
    return add_hook(_global_module_registration_hooks, hook)


def register_module_parameter_registration_hook(hook: Callable) -> RemovableHandle:
    """Call ``hook(module, name, parameter)`` at every registration; it may return another."""
    return add_hook(_global_parameter_registration_hooks, hook)


def register_module_forward_pre_hook(hook: Callable) -> RemovableHandle:
    """Call ``hook(module, args)`` before every module's forward; it may return new arguments."""
    return add_hook(_global_forward_pre_hooks, hook, call_hooks)


def register_module_forward_hook(
    hook: Callable, *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Call ``hook(module, args, output)`` after every module's forward; it may replace output."""
    flags: list[Any] = [call_hooks]
    if with_kwargs:
        flags.append(_global_forward_hooks_with_kwargs)
    if always_call:
        flags.append(_global_forward_hooks_always_called)
    return add_hook(_global_forward_hooks, hook, *flags)


def register_module_backward_hook(hook: Callable) -> RemovableHandle:
    """Call ``hook(module, grad_input, grad_output)`` in every module's backward (old kind)."""
    return _register_global_backward(hook, full=False)


def register_module_full_backward_pre_hook(hook: Callable) -> RemovableHandle:
    """Call ``hook(module, grad_output)`` before every module's backward."""
    return add_hook(_global_backward_pre_hooks, hook, call_hooks)


def register_module_full_backward_hook(hook: Callable) -> RemovableHandle:
    """Call ``hook(module, grad_input, grad_output)`` after every module's backward."""
    return _register_global_backward(hook, full=True)


def _register_global_backward(hook: Callable, full: bool) -> RemovableHandle:
    global _global_is_full_backward_hook
    if _global_is_full_backward_hook is (not full):
        raise RuntimeError(_MIXED_GLOBALLY)
    _global_is_full_backward_hook = full
    return add_hook(_global_backward_hooks, hook, call_hooks)


class BoundHook:
    """A hook that also gets its module, which it holds weakly."""

    def __init__(self, hook: Callable, module: Any = None) -> None:
        self.hook = hook
        functools.update_wrapper(self, hook)
        self.with_module = module is not None
        if module is not None:
            self.module = weakref.ref(module)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.with_module:
            return self.hook(*args, **kwargs)
        module = self.module()
        if module is None:
            raise RuntimeError("You are trying to call the hook of a dead Module!")
        return self.hook(module, *args, **kwargs)

    def __getstate__(self) -> dict:
        state = {"hook": self.hook, "with_module": self.with_module}
        if self.with_module:
            state["module"] = self.module()
        return state

    def __setstate__(self, state: dict) -> None:
        self.hook = state["hook"]
        self.with_module = state["with_module"]
        if self.with_module:
            if state["module"] is None:
                raise RuntimeError("You are trying to revive the hook of a dead Module!")
            self.module = weakref.ref(state["module"])


class _Boundary(Node):
    """The identity on several tensors; its backward hands all their gradients to a callback."""

    __slots__ = ("callback", "results")

    def __init__(self, callback: Callable, tensors: list[Tensor]) -> None:
        self.callback = callback
        self.results = len(tensors)
        self.edges = [each._node for each in tensors]
        self.order = AccumulateGrad(tensors[0]).order  # the next number of the tape's own count
        self.extra = self.shapes = None
        self.saved = ()

    def name(self) -> str:
        return "BackwardHookFunctionBackward"

    def run(self, grad: Any, keep: bool) -> tuple[Any, ...]:
        return self.callback([grad] if self.results == 1 else grad)


def _through_boundary(callback: Callable, value: Any) -> tuple[Any, list[int], int, bool]:
    """Send the tensors of a tuple that need gradients through one boundary.

    Returns the value, the places of those tensors, the width of the tuple, and whether any was.
    """
    values = value if isinstance(value, tuple) else (value,)
    places = []
    if is_grad_enabled():
        places = [
            place
            for place, each in enumerate(values)
            if isinstance(each, Tensor) and each.requires_grad
        ]
    if not places:
        return value, places, len(values), False
    tensors = [values[place] for place in places]
    node = _Boundary(callback, tensors)
    result = list(values)
    for index, (place, tensor) in enumerate(zip(places, tensors, strict=True)):
        sent = alone(tensor)
        sent._node = node if len(tensors) == 1 else Output(node, index)
        result[place] = sent
    if not isinstance(value, tuple):
        return result[0], places, len(values), True
    if type(value) is tuple:
        return tuple(result), places, len(values), True
    return type(value)(*result), places, len(values), True


def _spread(gradients: Sequence[Any], places: list[int], width: int) -> tuple[Any, ...]:
    spread: list[Any] = [None] * width
    for place, gradient in zip(places, gradients, strict=True):
        spread[place] = gradient
    return tuple(spread)


class BackwardHook:
    """Runs a module's full backward hooks between two identities around its forward.

    The identity at the outputs receives all gradients of the outputs at once, runs the pre-hooks
    and keeps the gradients; the one at the inputs then has both and runs the hooks. Where no input
    needs a gradient, the hooks run at the outputs, with None for each input.
    """

    def __init__(self, module: Any, hooks: Sequence[Callable], pre_hooks: Sequence[Callable]):
        self.module = module
        self.hooks = hooks
        self.pre_hooks = pre_hooks
        self.grad_outputs: tuple[Any, ...] | None = None
        self.input_places: list[int] = []
        self.output_places: list[int] = []
        self.input_width = self.output_width = 0
        self.inputs_recorded = False

    def around_inputs(self, args: tuple) -> tuple:
        """Return the arguments, their tensors behind a boundary."""
        sent = _through_boundary(self._at_inputs, args)
        args, self.input_places, self.input_width, self.inputs_recorded = sent
        return args

    def around_outputs(self, result: Any) -> Any:
        """Return the result, its tensors behind a boundary."""
        result, self.output_places, self.output_width, _ = _through_boundary(
            self._at_outputs, result
        )
        return result

    def _at_outputs(self, gradients: tuple) -> tuple:
        gradients = _spread(gradients, self.output_places, self.output_width)
        for hook in self.pre_hooks:
            changed = hook(self.module, gradients)
            if changed is None:
                continue
            gradients = changed if isinstance(changed, tuple) else (changed,)
            _check_count(len(gradients), self.output_width)
        self.grad_outputs = gradients
        if not self.inputs_recorded:
            for hook in self.hooks:
                changed = hook(self.module, (None,) * self.input_width, gradients)
                if changed is not None and not _all_none(changed):
                    raise RuntimeError(
                        "Backward hook for Modules where no input requires gradient should always "
                        "return None or None for all gradients."
                    )
            self.grad_outputs = None
        return tuple(gradients[place] for place in self.output_places)

    def _at_inputs(self, gradients: tuple) -> tuple:
        if self.grad_outputs is None:  # the gradient came by no output: hooks are not told
            return gradients
        spread = _spread(gradients, self.input_places, self.input_width)
        for hook in self.hooks:
            changed = hook(self.module, spread, self.grad_outputs)
            if changed is None:
                continue
            spread = changed if isinstance(changed, tuple) else (changed,)
            _check_count(len(spread), self.input_width)
        self.grad_outputs = None
        return tuple(spread[place] for place in self.input_places)


def _all_none(gradients: Any) -> bool:
    return isinstance(gradients, Sequence) and all(each is None for each in gradients)


def _check_count(actual: int, expected: int) -> None:
    if actual != expected:
        raise RuntimeError(
            f"Backward hook returned an invalid number of grad_input, got {actual}, "
            f"but expected {expected}"
        )


class ModuleHooks:
    """The part of Module that registers hooks and calls a module that has some."""

    _is_full_backward_hook: bool | None
    _backward_pre_hooks: Hooks
    _backward_hooks: Hooks
    _forward_pre_hooks: Hooks
    _forward_pre_hooks_with_kwargs: Hooks
    _forward_hooks: Hooks
    _forward_hooks_with_kwargs: Hooks
    _forward_hooks_always_called: Hooks
    forward: Callable[..., Any]

    def register_full_backward_pre_hook(
        self, hook: Callable, prepend: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, grad_output)`` before the backward; it may return another."""
        return add_hook(self._backward_pre_hooks, hook, prepend=prepend)

    def register_backward_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` (old kind; prefer the full one)."""
        if self._is_full_backward_hook is True:
            raise RuntimeError(_MIXED_ON_MODULE)
        self._is_full_backward_hook = False
        return add_hook(self._backward_hooks, hook)

    def register_full_backward_hook(self, hook: Callable, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` once the input gradients are known.

        It may return a replacement for ``grad_input``.
        """
        if self._is_full_backward_hook is False:
            raise RuntimeError(_MIXED_ON_MODULE)
        self._is_full_backward_hook = True
        return add_hook(self._backward_hooks, hook, prepend=prepend)

    def register_forward_pre_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args)`` before forward; it may return new positional arguments.

        With `with_kwargs` the call is ``hook(module, args, kwargs)`` and it returns None or both.
        """
        flags = (self._forward_pre_hooks_with_kwargs,) if with_kwargs else ()
        return add_hook(self._forward_pre_hooks, hook, *flags, prepend=prepend)

    def register_forward_hook(
        self,
        hook: Callable,
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after forward; it may return another output.

        With `with_kwargs` the call is ``hook(module, args, kwargs, output)``. With `always_call`
        it runs even when forward raises.
        """
        flags = []
        if with_kwargs:
            flags.append(self._forward_hooks_with_kwargs)
        if always_call:
            flags.append(self._forward_hooks_always_called)
        return add_hook(self._forward_hooks, hook, *flags, prepend=prepend)

    def _get_backward_hooks(self) -> tuple[list[Callable], list[Callable]]:
        """The full backward hooks and the old ones, global ones first."""
        full: list[Callable] = []
        old: list[Callable] = []
        if _global_is_full_backward_hook is not None:
            (full if _global_is_full_backward_hook else old).extend(_global_backward_hooks.values())
        if self._is_full_backward_hook is not None:
            (full if self._is_full_backward_hook else old).extend(self._backward_hooks.values())
        return full, old

    def _call_with_hooks(self, args: tuple, kwargs: dict) -> Any:
        """Forward, with all hooks around it; hooks marked so run even when it raises."""
        called: set[int] = set()
        state = [args, kwargs, None]
        try:
            return self._run_hooks(state, called)
        except Exception:
            self._run_always_called(state, called)
            raise

    def _run_hooks(self, state: list, called: set[int]) -> Any:
        args, kwargs = state[0], state[1] = self._run_pre_hooks(state[0], state[1])
        full, old = self._get_backward_hooks()
        pre = [*_global_backward_pre_hooks.values(), *self._backward_pre_hooks.values()]
        backward = BackwardHook(self, full, pre) if full or pre else None
        if backward is not None:
            args = state[0] = backward.around_inputs(args)
        result = state[2] = self.forward(*args, **kwargs)
        for is_global, hooks, with_kwargs in self._forward_hook_groups():
            for identity, hook in list(hooks.items()):
                always = (
                    _global_forward_hooks_always_called
                    if is_global
                    else self._forward_hooks_always_called
                )
                if identity in always:
                    called.add(identity)
                if identity in with_kwargs:
                    changed = hook(self, args, kwargs, result)
                else:
                    changed = hook(self, args, result)
                if changed is not None:
                    result = state[2] = changed
        if backward is not None:
            result = backward.around_outputs(result)
        if old:
            _attach_old_hooks(self, old, result)
        return result

    def _forward_hook_groups(self) -> tuple:
        return (
            (True, _global_forward_hooks, _global_forward_hooks_with_kwargs),
            (False, self._forward_hooks, self._forward_hooks_with_kwargs),
        )

    def _run_pre_hooks(self, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        pre_hooks = [*_global_forward_pre_hooks.items(), *self._forward_pre_hooks.items()]
        for identity, hook in pre_hooks:
            if identity in self._forward_pre_hooks_with_kwargs:
                changed = hook(self, args, kwargs)
                if changed is None:
                    continue
                if not (isinstance(changed, tuple) and len(changed) == 2):
                    raise RuntimeError(
                        "forward pre-hook must return None or a tuple "
                        f"of (new_args, new_kwargs), but got {changed}."
                    )
                args, kwargs = changed
                continue
            changed = hook(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        return args, kwargs

    def _run_always_called(self, state: list, called: set[int]) -> None:
        args, kwargs, result = state
        always = {**_global_forward_hooks_always_called, **self._forward_hooks_always_called}
        for _, hooks, with_kwargs in self._forward_hook_groups():
            for identity, hook in list(hooks.items()):
                if identity not in always or identity in called:
                    continue
                try:
                    if identity in with_kwargs:
                        changed = hook(self, args, kwargs, result)
                    else:
                        changed = hook(self, args, result)
                except Exception as error:
                    _warn_silenced(error)
                    continue
                if changed is not None:
                    result = changed


def _warn_silenced(error: Exception) -> None:
    warnings.warn(
        "module forward hook with ``always_call=True`` raised an exception "
        f"that was silenced as another error was raised in forward: {error}",
        stacklevel=3,
    )


def _attach_old_hooks(module: Any, hooks: list[Callable], result: Any) -> None:
    """Old-style hooks see the gradients of the node that made the output."""
    value = result
    while not isinstance(value, Tensor):
        values = value.values() if isinstance(value, dict) else value
        value = next((each for each in values if isinstance(each, Tensor)), None)
        if value is None:
            return
    node = value.grad_fn
    if node is None:
        return
    for hook in hooks:
        node.register_hook(functools.partial(hook, module))
