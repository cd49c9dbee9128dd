"""Arguments and results of saved programs as data that JSON can hold, and back.

None, booleans, numbers and strings are themselves; what else is known is an object of one entry,
whose key says what it is. Nothing that comes out of a file is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau.ops import named, result_type_of
from flambeau.tensor import Tensor, formats
from flambeau.types import Device, DType, Layout, by_name, layout

FORMATS = {f.name: f for named in (formats.FORMATS, formats.LAYOUTS) for f in named}
PLAIN = (type(None), bool, int, float, str)


class Refused(Exception):
    """What cannot be saved, or be read from a file."""


def encoded(value: Any, tensor: Callable[[Any], Any]) -> Any:
    """The data of a value; `tensor(t)` is that of a tensor. Raises Refused."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if isinstance(value, Tensor):
        return {"tensor": tensor(value)}
    if kind is list or kind is tuple or (isinstance(value, tuple) and kind.__name__ == "Size"):
        items = [encoded(v, tensor) for v in value]
        return {"list" if kind is list else "tuple": items}
    if result_type_of(kind.__name__) is kind:  # such as `max` gives
        return {"result": [kind.__name__, [encoded(v, tensor) for v in value], list(kind._fields)]}
    if kind is dict:
        return {"dict": [[encoded(k, tensor), encoded(v, tensor)] for k, v in value.items()]}
    if kind is complex:
        return {"complex": [value.real, value.imag]}
    if kind is DType:
        return {"dtype": value.name}
    if kind is Device:
        return {"device": str(value)}
    if kind is slice:
        return {"slice": [encoded(v, tensor) for v in (value.start, value.stop, value.step)]}
    if value is ...:
        return {"ellipsis": True}
    if kind in (formats.MemoryFormat, formats.MemoryLayout):
        return {"format": value.name}
    raise Refused(f"a {kind.__name__} cannot be saved")


def decoded(data: Any, tensor: Callable[[Any], Any]) -> Any:
    """The value of data; `tensor(d)` is that of a tensor's. Raises Refused, or an error of Python's
    where the data is not like what `encoded` gives.
    """
    if type(data) in PLAIN:
        return data
    [(kind, inside)] = data.items()
    match kind:
        case "tensor":
            return tensor(inside)
        case "list":
            return [decoded(v, tensor) for v in inside]
        case "tuple":
            return tuple([decoded(v, tensor) for v in inside])
        case "result":
            name, items, fields = inside
            return named(name, " ".join(fields))(*[decoded(v, tensor) for v in items])
        case "dict":
            return {decoded(k, tensor): decoded(v, tensor) for k, v in inside}
        case "complex":
            return complex(*map(float, inside))
        case "dtype":
            return by_name(inside)
        case "device":
            return Device(inside)
        case "slice":
            return slice(*[decoded(v, tensor) for v in inside])
        case "ellipsis":
            return ...
        case "format":
            return FORMATS[inside]
    raise Refused(f"a {kind} is not known")


def matched(data: Any, value: Any, found: list[Any], where: str = "arguments") -> None:
    """Collects in `found` the tensors of a value that has the form of `data`, in the order of their
    numbers there. Raises TypeError where it has another.
    """
    if isinstance(value, Tensor) and isinstance(data, dict) and "tensor" in data:
        found.append(value)
        return
    kind = next(iter(data)) if isinstance(data, dict) else ""
    known: Any = result_type_of(data[kind][0]) if kind == "result" else None
    if kind == type(value).__name__ == "dict":
        if [k for k, _ in data["dict"]] == list(value):
            for (key, inside), v in zip(data["dict"], value.values(), strict=True):
                matched(inside, v, found, f"{where}[{key!r}]")
            return
    elif kind == "result" and type(value) is known:
        for k, (inside, v) in enumerate(zip(data[kind][1], value, strict=True)):
            matched(inside, v, found, f"{where}[{k}]")
        return
    elif kind in ("list", "tuple") and type(value).__name__ == kind:
        if len(data[kind]) == len(value):
            for k, (inside, v) in enumerate(zip(data[kind], value, strict=True)):
                matched(inside, v, found, f"{where}[{k}]")
            return
    elif kind != "tensor" and not isinstance(value, Tensor):
        try:
            same = encoded(value, id) == data and type(data) is type(encoded(value, id))
        except Refused:
            same = False
        if same:
            return
    raise TypeError(f"{where} is not what the program was made for: {_brief(data)}")


def _brief(data: Any) -> str:
    if not isinstance(data, dict):
        return repr(data)
    [(kind, inside)] = data.items()
    return f"a {kind} of {len(inside)}" if isinstance(inside, list) else f"a {kind}"


class Layouts:
    """Layouts by number; `data` is their list for JSON."""

    def __init__(self) -> None:
        self.data: list[list[Any]] = []
        self._numbers: dict[Layout, int] = {}
        self._layouts: list[Layout] = []

    @classmethod
    def of(cls, data: Any) -> Layouts:
        """The layouts of a file. Raises Refused."""
        made = cls()
        for shape, strides, dtype, conj, neg in data:
            numbers = [*shape, *strides]
            if len(shape) != len(strides) or not all(type(n) is int and n >= 0 for n in numbers):
                raise Refused("a layout has no shape")
            kind = by_name(dtype)
            if type(conj) is not bool or type(neg) is not bool or (conj and kind.kind != "c"):
                raise Refused("a layout has no bits")
            made.number(layout(tuple(shape), tuple(strides), kind, conj=conj, neg=neg))
        return made

    def number(self, of: Layout) -> int:
        """The number of a layout. Raises Refused for tensors that are on no CPU."""
        if of.device.type != "cpu":
            raise Refused(f"a tensor is on {of.device}")
        if of not in self._numbers:
            self._numbers[of] = len(self._layouts)
            self._layouts.append(of)
            self.data.append([list(of.shape), list(of.strides), of.dtype.name, of.conj, of.neg])
        return self._numbers[of]

    def __getitem__(self, number: int) -> Layout:
        if type(number) is not int or not 0 <= number < len(self._layouts):
            raise Refused("there is no such layout")
        return self._layouts[number]
