"""Hangs the declared ops on `Tensor`: methods, in-place forms and operators, each made on its first
use.
"""

import functools
import numbers
import types

from flambeau._base import numpy
from flambeau.ops import announced, overrides, registry

from .convert import as_tensor
from .overloads import packet
from .tensor import Tensor


class LazyMethod:
    """Stands for an op's door on the class until the first use, so that import generates
    nothing.
    """

    __slots__ = ("make", "name")

    def __init__(self, name, make):
        self.name, self.make = name, make

    def __get__(self, instance, owner):
        function = self.make()
        setattr(Tensor, self.name, function)
        return function if instance is None else function.__get__(instance, owner)

    def __call__(self, *args, **kwargs):
        return self.__get__(None, Tensor)(*args, **kwargs)


# Python's operators and the ops behind them.
OPERATORS = {
    "__add__": "add",
    "__sub__": "sub",
    "__mul__": "mul",
    "__truediv__": "div",
    "__floordiv__": "floor_divide",
    "__mod__": "remainder",
    "__pow__": "pow",
    "__matmul__": "matmul",
    "__and__": "bitwise_and",
    "__or__": "bitwise_or",
    "__xor__": "bitwise_xor",
    "__lshift__": "bitwise_left_shift",
    "__rshift__": "bitwise_right_shift",
    "__neg__": "neg",
    "__pos__": "positive",
    "__abs__": "abs",
    "__eq__": "eq",
    "__ne__": "ne",
    "__lt__": "lt",
    "__le__": "le",
    "__gt__": "gt",
    "__ge__": "ge",
    "__radd__": "add",
    "__rmul__": "mul",
    "__rand__": "bitwise_and",
    "__ror__": "bitwise_or",
    "__rxor__": "bitwise_xor",
}
REFLECTED = {
    "__rsub__": "sub",
    "__rtruediv__": "div",
    "__rfloordiv__": "floor_divide",
    "__rmod__": "remainder",
    "__rpow__": "pow",
    "__rmatmul__": "matmul",
    "__rlshift__": "bitwise_left_shift",
    "__rrshift__": "bitwise_right_shift",
}
INPLACE_OPERATORS = {
    "__iadd__": "add",
    "__isub__": "sub",
    "__imul__": "mul",
    "__itruediv__": "div",
    "__ifloordiv__": "floor_divide",
    "__imod__": "remainder",
    "__ipow__": "pow",
    "__iand__": "bitwise_and",
    "__ior__": "bitwise_or",
    "__ixor__": "bitwise_xor",
    "__ilshift__": "bitwise_left_shift",
    "__irshift__": "bitwise_right_shift",
}


@functools.cache
def door_of(name):
    """The Python function of all ops of that name."""
    declared = registry[name]
    if len(declared) > 1:
        return packet(name)
    return _by_name(declared[0].door, declared[0], name)


def _by_name(function, op, name, ending=""):
    """A function of an op, or, where the op's own name is another, a copy that goes by `name`: so
    traced programs print the name that was called."""
    own = op.name if op.namespace in ("", "aten") else f"{op.namespace}.{op.name}"
    if own.removeprefix("nn.") == name.removeprefix("nn."):
        return function
    name += ending
    plain = getattr(function, "__wrapped__", function)  # while a program is traced
    short = name.rpartition(".")[2]
    made = types.FunctionType(
        plain.__code__, plain.__globals__, short, plain.__defaults__, plain.__closure__
    )
    made.__kwdefaults__, made.__doc__ = plain.__kwdefaults__, plain.__doc__
    made.__module__, made.__qualname__ = "torch", short
    return announced(made)


def function_of(name):
    """The function `torch.NAME` (or `torch.nn.functional.NAME` for "nn.NAME"), in place where the
    name ends in _; None where no op has it.
    """
    if any(op.function for op in registry.get(name, ())):
        return door_of(name)
    if name.endswith("_") and name[:-1] in registry and registry[name[:-1]][0].inplace_form:
        return inplace_of(name[:-1])
    return None


def public(namespace):
    """What finds a public module's names among the declared ops: `torch.linalg`, `torch.special`,
    `torch.fft`. Its attribute `names` lists them.
    """

    def find(name):
        return function_of(f"{namespace}.{name}")

    find.names = functools.partial(functions_in, namespace)
    return find


def functions_in(namespace):
    """The names of the functions that ops are in a public module: "" for `torch` itself."""
    parts = [(key.rpartition("."), declared) for key, declared in registry.items()]
    return [
        name
        for (space, _, name), declared in parts
        if space == namespace and name[0] != "_" and any(op.function for op in declared)
    ]


@functools.cache
def inplace_of(name):
    """The `name_` form."""
    if len(registry[name]) > 1:
        return packet(name, "_")
    op = registry[name][0]
    return _by_name(op.inplace, op, name, ending="_")


def operator_of(name):
    """The function behind a binary operator: it takes NumPy arrays too, and answers NotImplemented
    for what is no number, so that Python asks the other side.
    """
    declared = registry[name]
    if len(declared) > 1:
        return _guarded(door_of(name), name)
    op = declared[0]
    if len(op.schema.arguments) < 2:
        return op.door
    return op.make_door(slow=_tolerant(op))


# The reflected operator of each op that has one.
_ANSWERS = {n: dunder for dunder, n in (OPERATORS | REFLECTED).items() if dunder.startswith("__r")}


def _takes_over(other, name):
    """Whether the class of `other` takes an operator over; one that has the reflected operator
    answers by that, as Python has it.
    """
    return overrides.overloaded((other,)) and not hasattr(other, _ANSWERS.get(name, ""))


def _tolerant(op):
    def slow(raw):
        self, other = raw[:2]
        if not isinstance(self, Tensor):
            raise TypeError(f"{op.name}(): argument 'input' must be Tensor, not {type(self)}")
        if not isinstance(other, Tensor | numbers.Number) and not _takes_over(other, op.name):
            if not isinstance(other, numpy.ndarray):
                return NotImplemented
            raw = (raw[0], as_tensor(other), *raw[2:])
        return op.slow(raw)

    return slow


def _guarded(door, name):
    def method(self, other):
        if other.__class__ is not Tensor and not isinstance(other, Tensor | numbers.Number):
            if _takes_over(other, name):
                return door(self, other)
            if not isinstance(other, numpy.ndarray):
                return NotImplemented
            other = as_tensor(other)
        return door(self, other)

    return method


def _reflect(name):
    def build():
        door = door_of(name)
        return _guarded(lambda self, other: door(other, self), name)

    return build


def install():
    """Puts every declared op on the class."""
    for name, declared in registry.items():
        if any(op.method for op in declared) and name not in Tensor.__dict__:
            setattr(Tensor, name, LazyMethod(name, lambda name=name: door_of(name)))
        if (
            declared[0].inplace_form
            and "." not in name
            and name + "_" not in Tensor.__dict__
            and name + "_" not in registry
        ):
            setattr(Tensor, name + "_", LazyMethod(name + "_", lambda name=name: inplace_of(name)))
    for table, make in ((OPERATORS, operator_of), (INPLACE_OPERATORS, inplace_of)):
        for dunder, name in table.items():
            if name in registry:
                setattr(Tensor, dunder, LazyMethod(dunder, lambda make=make, name=name: make(name)))
    for dunder, name in REFLECTED.items():
        if name in registry:
            setattr(Tensor, dunder, LazyMethod(dunder, _reflect(name)))


__all__ = ["door_of", "function_of", "inplace_of", "install", "public"]
