"""One Python function for several ops of a name (`max`, `max.dim`, `max.other`): the first whose
schema fits.
"""

import functools
import inspect

from flambeau.ops import announced, overrides, registry

NUMPYS = {"axis": "dim", "keepdims": "keepdim"}  # NumPy's names, which doors take as well


@functools.cache
def packet(name, ending=""):
    """A function that calls the op whose signature takes the arguments, remembered by their
    types; with the ending "_", its in-place form.
    """
    declared = [op for op in registry[name] if op.inplace_form or not ending]
    chosen: dict = {}

    def function(*args, **kwargs):
        key = tuple([_kind(a) for a in args])
        if kwargs:
            key = (key, *[(k, _kind(v)) for k, v in kwargs.items()])
        op = chosen.get(key)
        if op is None:
            found = overrides.overloaded((*args, *kwargs.values()))
            if found:
                return overrides.handle(function, found, args, kwargs)
            op = chosen[key] = choose(name + ending, declared, args, kwargs)
        return (op.inplace if ending else op.door)(*args, **kwargs)

    function.__name__ = function.__qualname__ = name + ending
    function.__doc__ = "\n\n".join(op.doc or "" for op in declared)
    function.__module__ = "torch"
    return announced(function)


def _kind(value):
    """What of an argument decides between overloads: its class, and that of its first element."""
    if value.__class__ in (list, tuple) and value:
        return value.__class__, value[0].__class__
    return value.__class__


def choose(name, declared, args, kwargs):
    """The first declared op whose schema takes these arguments; PyTorch's error if none does."""
    first_error = None
    named = {NUMPYS.get(k, k): v for k, v in kwargs.items()}
    for op in declared:
        try:
            bound = inspect.signature(op.door).bind(*args, **named)
            bound.apply_defaults()
            raw = [v for n, v in bound.arguments.items() if n not in ("out", *NUMPYS)]
            op.schema.normalise(raw)
            if all(_fits(a, v) for a, v in zip(op.schema.arguments, raw, strict=True)):
                return op
        except TypeError as error:
            first_error = first_error or error
    given = ", ".join(
        [type(a).__name__ for a in args] + [f"{k}={type(v).__name__}" for k, v in kwargs.items()]
    )
    listed = "\n".join(f" * {op.schema.text}" for op in declared)
    raise TypeError(
        f"{name}() received an invalid combination of arguments - got ({given}), but expected one "
        f"of:\n{listed}"
    ) from first_error


def _fits(argument, value):
    """In a choice between overloads a number is no tensor and a bool is no int."""
    if argument.is_tensor and not argument.list:
        return value is None or hasattr(value, "layout")
    if argument.type == "int" and not argument.list:
        return not isinstance(value, bool)
    return True
