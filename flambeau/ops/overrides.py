"""Classes that take over what is called with them: ``__torch_function__``.

A door notices such an argument where it asks for its kind, which it does for no plain tensor: calls
without one pay nothing.
"""

from typing import Any

from . import modes

plain: set[type] = set()  # classes of tensors that take nothing over
taking: set[type] = set()  # those that do; while there are none, composites do not look


class Overridden(Exception):
    """Raised where the key of a plan is asked of an argument whose class takes the op over."""


def disabled(func, types, args=(), kwargs=None):
    """As ``__torch_function__`` of a class: it takes nothing over."""
    return NotImplemented


def takes_over(cls: type) -> bool:
    """Whether a class has a ``__torch_function__`` that does something."""
    return getattr(cls, "__torch_function__", disabled) is not disabled


def taken(values) -> bool:
    """Whether one of `values`, or of the lists among them, is a tensor of a class that takes
    over.
    """
    return modes.state.overrides and any(type(item) in taking for item in _items(values))


def _items(values):
    for value in values:
        if value.__class__ in (tuple, list):
            yield from value
        else:
            yield value


def overloaded(values) -> list:
    """Those of `values`, and of the lists among them, whose classes take over: one of each class,
    subclasses before their bases, otherwise in order. None while that is disabled.
    """
    found: list[Any] = []
    if not modes.state.overrides:
        return found
    for item in _items(values):
        cls = type(item)
        if cls in plain or not takes_over(cls) or any(type(f) is cls for f in found):
            continue
        after = (i for i, f in enumerate(found) if isinstance(item, type(f)))
        found.insert(next(after, len(found)), item)
    return found


def foreign(values) -> bool:
    """Whether one of `values`, or of the lists among them, is no tensor and takes over: asked
    where a call has failed, so that calls with tensors alone pay nothing.
    """
    return any(type(item) not in taking for item in overloaded(values))


def handle(function, found, args, kwargs):
    """Asks the classes of `found`, in order, for the result of ``function(*args, **kwargs)``;
    TypeError where all decline.
    """
    types = tuple(map(type, found))
    for value in found:
        result = value.__torch_function__(function, types, args, kwargs)
        if result is not NotImplemented:
            return result
    name = f"{function.__module__}.{function.__name__}"
    raise TypeError(
        f"no implementation found for '{name}' on types that implement __torch_function__: "
        f"{list(types)}"
    )


def performed(op, raw, target):
    """The result of an op of whose arguments some take over. `target` is as in `interpreting`."""
    function, args, kwargs = as_called(op, raw, target)
    return handle(function, overloaded((*args, *kwargs.values())), args, kwargs)


# Told by the tensor layer: the public function of an op, and of its in-place form.
public: dict = {}


def as_called(op, raw, target):
    """(function, args, kwargs) of a user's call that ends in `op` with the arguments `raw`: those
    that have their default value are left out at the end, and where they are keywords.
    """
    args, kwargs = [], {}
    kept = 0
    for argument, value in zip(op.schema.arguments, raw, strict=True):
        default = argument.has_default and _is_default(argument.default, value)
        if argument.keyword:
            kwargs |= {} if default else {argument.name: value}
            continue
        args.append(value)
        kept = kept if default else len(args)
    if target is not None and target is not modes.INPLACE:
        kwargs["out"] = target
    function = public["inplace" if target is modes.INPLACE else "function"](op)
    return function, tuple(args[:kept]), kwargs


def _is_default(default, value):
    return value is default or (type(value) is type(default) and value == default)
