"""Subclasses of `Tensor`, and ``__torch_function__``: PyTorch's `torch.overrides`.

Doors notice arguments whose class takes over (`flambeau.ops.overrides`). Methods of `Tensor` that
are no doors are wrapped on such a class when it is defined, so that plain tensors keep theirs.
"""

import collections
import functools
from typing import Any

from flambeau.ops import find, modes, overrides, registry

from .methods import door_of, inplace_of
from .tensor import Tensor

handle = overrides.handle
disabled_torch_function = overrides.disabled

_METHODS = (
    "__getitem__", "__setitem__", "__invert__", "__contains__", "__reversed__",
    "apply_", "backward", "bfloat16", "bool", "byte", "cdouble", "cfloat", "char", "cpu", "cuda",
    "detach_", "double", "fill_diagonal_", "float", "half", "int", "item", "long", "map_", "new",
    "new_empty", "new_empty_strided", "new_full", "new_ones", "new_tensor", "new_zeros",
    "numpy", "pin_memory", "register_hook",
    "requires_grad_", "resize_", "resize_as_", "set_", "share_memory_", "short", "to", "tolist",
    "type", "type_as", "view",
)  # fmt: skip


def _method(name):
    original = getattr(Tensor, name)

    @functools.wraps(original)
    def method(self, *args, **kwargs):
        found = overrides.overloaded((self, *args, *kwargs.values()))
        if not found:
            return original(self, *args, **kwargs)
        return handle(original, found, (self, *args), kwargs)

    return method


@functools.cache
def _wrapped() -> dict[str, Any]:
    """What classes that take over get in place of `Tensor`'s own."""
    found: dict[str, Any] = {name: _method(name) for name in _METHODS}
    data = Tensor.__dict__["data"]

    def get(self):
        taken = overrides.overloaded((self,))
        return handle(data.__get__, taken, (self,), {}) if taken else data.fget(self)

    return found | {"data": property(get, data.fset, doc=data.__doc__)}


def _init_subclass(cls, **options):
    super(Tensor, cls).__init_subclass__(**options)
    if not overrides.takes_over(cls):
        overrides.plain.add(cls)
        return
    overrides.taking.add(cls)
    for name, member in _wrapped().items():
        if next(base for base in cls.__mro__ if name in base.__dict__) is Tensor:
            setattr(cls, name, member)


def _torch_function(cls, func, types, args=(), kwargs=None):
    """Calls `func` on the tensors as plain ones; its results that are tensors become of this class.

    A subclass may take calls over by a method of this name, which declines with NotImplemented.
    """
    if not all(issubclass(cls, other) for other in types):
        return NotImplemented
    with DisableTorchFunctionSubclass():
        made = func(*args, **(kwargs or {}))
        return made if func in get_default_nowrap_functions() else _as_class(made, cls, args)


def _as_class(made, cls, args):
    if cls is Tensor:
        return made
    if isinstance(made, Tensor) and not isinstance(made, cls):
        if any(made is value for value in args):
            return made.as_subclass(cls)
        made.__class__ = cls  # a fresh result: nobody else has it
        return made
    if isinstance(made, tuple | list):
        values = [_as_class(value, cls, args) for value in made]
        return type(made)(*values) if hasattr(made, "_fields") else type(made)(values)
    return made


def as_subclass(self, cls):
    """The same values, with their history, as a tensor of class `cls` on the same memory."""
    with DisableTorchFunctionSubclass():
        made = find("alias").door(self)
    made.__class__ = cls
    return made


class DisableTorchFunctionSubclass:
    """A with block in which no class takes anything over; modes still do."""

    def __enter__(self):
        self._before, modes.state.overrides = modes.state.overrides, False

    def __exit__(self, *exception):
        modes.state.overrides = self._before


class DisableTorchFunction(DisableTorchFunctionSubclass):
    """A with block in which neither classes nor modes take anything over."""

    def __enter__(self):
        super().__enter__()
        self._stack = modes.state.stack
        modes.state.stack = tuple(i for i in self._stack if not isinstance(i, TorchFunctionMode))

    def __exit__(self, *exception):
        modes.state.stack = self._stack
        super().__exit__(*exception)


class TorchFunctionMode:
    """A with block in which ``__torch_function__`` of this object takes over all ops.

    Inside that method the mode is off; the method of this class calls the function.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))

    def __enter__(self):
        if not hasattr(self, "_blocks"):
            self._blocks = []
        self._blocks.append(modes.interpreting(self))
        self._blocks[-1].__enter__()
        return self

    def __exit__(self, *exception):
        self._blocks.pop().__exit__(*exception)

    def process(self, op, raw, target):
        """An op of the program, as interpreters get it."""
        function, args, kwargs = overrides.as_called(op, raw, target)
        types = tuple(map(type, overrides.overloaded((*args, *kwargs.values()))))
        made = self.__torch_function__(function, types, args, kwargs)
        if made is NotImplemented:
            raise TypeError(f"{type(self).__name__} declined {resolve_name(function)}")
        return made


class BaseTorchFunctionMode(TorchFunctionMode):
    """A mode that changes nothing."""


# What programs ask and call: https://docs.pytorch.org/docs/stable/torch.overrides.html


def has_torch_function(relevant_args) -> bool:
    """Whether a mode is on, or one of the arguments is of a class that takes over."""
    return bool(overrides.overloaded(tuple(relevant_args))) or any(
        isinstance(interpreter, TorchFunctionMode) for interpreter in modes.state.stack
    )


def has_torch_function_unary(argument) -> bool:
    """`has_torch_function` of one argument."""
    return has_torch_function((argument,))


def has_torch_function_variadic(*arguments) -> bool:
    """`has_torch_function` of several arguments."""
    return has_torch_function(arguments)


def handle_torch_function(public_api, relevant_args, *args, **kwargs):
    """Lets the innermost mode, or the classes of `relevant_args`, do the call of `public_api`."""
    found = overrides.overloaded(tuple(relevant_args))
    stack = modes.state.stack
    if stack and isinstance(stack[-1], TorchFunctionMode):
        modes.state.stack = stack[:-1]
        try:
            types = tuple(map(type, found))
            return stack[-1].__torch_function__(public_api, types, args, kwargs)
        finally:
            modes.state.stack = stack
    return handle(public_api, found, args, kwargs)


def wrap_torch_function(dispatcher):
    """Decorator: lets classes take the function over. ``dispatcher(*args, **kwargs)`` gives the
    arguments whose classes are asked.
    """

    def decorate(function):
        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            relevant = dispatcher(*args, **kwargs)
            if has_torch_function(relevant):
                return handle_torch_function(wrapped, relevant, *args, **kwargs)
            return function(*args, **kwargs)

        return wrapped

    return decorate


def is_tensor_like(value) -> bool:
    """Whether it is a tensor, or of a class with ``__torch_function__``."""
    return type(value) is Tensor or hasattr(value, "__torch_function__")


@functools.cache
def get_default_nowrap_functions() -> set:
    """Functions whose results the default ``__torch_function__`` leaves as they are."""
    members = Tensor.__dict__
    return {members[name].__get__ for name in ("_base", "grad", "_grad")}


_HOMES = {"": "torch", "nn": "torch.nn.functional"}


@functools.cache
def _names() -> dict:
    """The public name of every function that may be taken over."""
    found: dict = {}
    for name, declared in registry.items():
        space, _, base = name.rpartition(".")
        home = _HOMES.get(space, f"torch.{space}")
        if any(op.function for op in declared):
            found.setdefault(door_of(name), f"{home}.{base}")
        elif any(op.method for op in declared):
            found.setdefault(door_of(name), f"torch.Tensor.{base}")
        if declared[0].inplace_form:
            found.setdefault(inplace_of(name), f"torch.Tensor.{base}_")
    found |= {getattr(Tensor, name): f"torch.Tensor.{name}" for name in _METHODS}
    found[Tensor.__dict__["data"].__get__] = "torch.Tensor.data.__get__"
    return found


def resolve_name(function) -> str | None:
    """The public name of a function that may be taken over; None for others."""
    return _names().get(function)


def get_overridable_functions() -> dict:
    """The functions that may be taken over, by the name of their module or class."""
    found = collections.defaultdict(list)
    for function, name in _names().items():
        found[name.removesuffix(".__get__").rpartition(".")[0]].append(function)
    return found


def is_tensor_method_or_property(function) -> bool:
    """Whether the function is a method of `Tensor`, or what gets a property of it."""
    name = getattr(function, "__name__", "")
    if name == "__get__":
        return (
            isinstance(function.__self__, property) and function.__self__ in vars(Tensor).values()
        )
    return getattr(Tensor, name, None) is function


def _function(op):
    return door_of(f"{op.namespace}.{op.name}" if op.namespace not in ("", "aten") else op.name)


def install():
    """Puts the methods on the class."""
    overrides.plain.add(Tensor)
    overrides.public.update(function=_function, inplace=lambda op: op.inplace)
    Tensor.__init_subclass__ = classmethod(_init_subclass)
    Tensor.__torch_function__ = classmethod(_torch_function)
    Tensor.as_subclass = as_subclass
