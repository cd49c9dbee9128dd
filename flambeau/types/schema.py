"""Op schemas: PyTorch's one-line signatures, parsed, and how Python arguments are brought to their
types.

add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor
"""

import ast
import math
import numbers
import operator
import re
from typing import Any

from .device import Device
from .dtype import PYTHON_TYPES, DType, by_name

_SIGNATURE = re.compile(r"(?:(\w+)::)?(\w+)(?:\.(\w+))?\((.*)\)\s*->\s*(.+)$", re.S)
_ARGUMENT = re.compile(
    r"([\w]+)(\|Scalar)?(?:\((\w+!?)\))?(\?(?=\[))?(\[(\d*)\])?(\?)?(?:\s+(\w+))?(?:\s*=\s*(.+))?$",
    re.S,
)


class Argument:
    """One parameter: `name`, `type` (Tensor, Scalar, int, float, bool, str, ScalarType, …), `list`,
    `size` of a fixed-size list (a lone number is repeated), `gaps` where its elements may be None,
    `optional`, `default`, `keyword`-only, `written` in place. ``Tensor|Scalar`` is a Tensor for
    which a `number` may stand: PyTorch has an overload for each.
    """

    __slots__ = (
        "default",
        "gaps",
        "has_default",
        "keyword",
        "list",
        "name",
        "number",
        "optional",
        "position",
        "size",
        "type",
        "written",
    )

    def __init__(self, text, keyword, position):
        match = _ARGUMENT.match(text.strip())
        if match is None:
            raise ValueError(f"not an argument: {text!r}")
        self.type, number, alias, gaps, brackets, size, optional, self.name, default = (
            match.groups()
        )
        self.gaps = gaps is not None
        self.number = number is not None
        self.written = bool(alias and alias.endswith("!"))
        self.list, self.size = brackets is not None, int(size) if size else None
        self.optional, self.keyword, self.position = optional is not None, keyword, position
        self.has_default = default is not None
        self.default = self._parse_default(default) if self.has_default else None

    def _parse_default(self, text):
        if self.type == "ScalarType" and text != "None":
            return by_name(text)
        if self.type == "Reduction" or text in ("Mean", "Sum"):
            return {"Mean": 1, "Sum": 2, "None": 0}[text]
        value = (
            math.inf if text == "inf" else -math.inf if text == "-inf" else ast.literal_eval(text)
        )
        return tuple(value) if isinstance(value, list) else self._repeat(value)

    def _repeat(self, value):
        return (value,) * (self.size or 1) if self.list and isinstance(value, int) else value

    @property
    def is_tensor(self) -> bool:
        return self.type == "Tensor"

    def __repr__(self):
        kind = (
            self.type
            + ("|Scalar" if self.number else "")
            + ("?" if self.gaps else "")
            + (f"[{self.size or ''}]" if self.list else "")
            + ("?" if self.optional else "")
        )
        return f"{kind} {self.name}" + (f"={self.default}" if self.has_default else "")


class Schema:
    """A parsed signature: `name`, `overload`, `arguments`, `returns` (names; "" where unnamed)."""

    __slots__ = (
        "_normalise",
        "arguments",
        "name",
        "namespace",
        "overload",
        "returns",
        "text",
        "variadic",
    )

    def __init__(self, text: str):
        match = _SIGNATURE.match(text.strip())
        if match is None:
            raise ValueError(f"not a schema: {text!r}")
        self.text = text
        self._normalise: Any = None
        namespace, self.name, overload, inside, returns = match.groups()
        self.namespace, self.overload = namespace or "aten", overload or ""
        keyword = False
        self.arguments: list[Argument] = []
        for piece in _split(inside):
            if piece == "*":
                keyword = True
            else:
                self.arguments.append(Argument(piece, keyword, len(self.arguments)))
        returns = returns.strip()
        pieces = _split(returns[1:-1]) if returns.startswith("(") else [returns]
        self.returns = tuple(p.partition(" ")[2].strip() for p in pieces)
        rest = [a for a in self.arguments if not a.keyword and a.name != "self"]
        # PyTorch lets x.view(2, 3) stand for x.view((2, 3)) where the list is all there is.
        alone = len(rest) == 1 and rest[0].list and rest[0].type == "int" and not rest[0].optional
        self.variadic = rest[0].name if alone else None

    def __repr__(self):
        return self.text

    def normalise(self, args) -> list:
        """All arguments, in order and positional, brought to their types; PyTorch's TypeError where
        one does not fit.
        """
        return (self._normalise or self.normaliser())(*args)

    def normaliser(self):
        """The function that `normalise` calls."""
        if self._normalise is None:
            self._normalise = _make_normalise(self)
        return self._normalise


# Classes whose instances are tensors, told by the tensor layer: the check that is made most often
# must be quick.
TENSOR_TYPES: set = set()
MOST = 1 << 63  # above the largest int that a schema takes
_EXACT = {"int": int, "SymInt": int, "float": float, "bool": bool, "str": str}


def _make_normalise(schema):
    """normalise(*args) -> list, generated: arguments that are already what they should be cost one
    comparison each.
    """
    names = [f"a{i}" for i in range(len(schema.arguments))]
    scope = {
        "convert": _convert,
        "schema": schema,
        "tensors": TENSOR_TYPES,
        "numbers": PYTHON_TYPES,
        "tuple": tuple,
    }
    lines = [f"def normalise({', '.join(names)}):"]
    for name, a in zip(names, schema.arguments, strict=True):
        scope[f"of_{name}"] = a
        if a.type == "Tensor" and not a.list:
            wrong = f"{name}.__class__ not in tensors"
        elif a.type in _EXACT and not a.list:
            wrong = f"{name}.__class__ is not {_EXACT[a.type].__name__}"
            if _EXACT[a.type] is int:
                wrong += f" or not {-MOST} <= {name} < {MOST}"
        elif a.type == "Scalar" and not a.list:
            wrong = f"{name}.__class__ not in numbers"
        elif a.type == "int" and not a.size:
            wrong = (
                f"{name}.__class__ is not tuple or not all([i.__class__ is int for i in {name}])"
            )
        else:
            wrong = "True"
        if a.optional:
            wrong = f"{name} is not None and ({wrong})"
        lines.append(f"    if {wrong}: {name} = convert(schema, of_{name}, {name})")
    lines.append(f"    return [{', '.join(names)}]")
    exec(compile("\n".join(lines), "<flambeau generated>", "exec"), scope)
    return scope["normalise"]


def _split(text):
    pieces, depth, current = [], 0, ""
    for c in text:
        depth += (c in "([") - (c in ")]")
        if c == "," and depth == 0:
            pieces.append(current.strip())
            current = ""
        else:
            current += c
    return pieces + ([current.strip()] if current.strip() else [])


_EXPECTED = {
    "ScalarType": "torch.dtype",
    "Device": "torch.device",
    "Scalar": "Number",
    "Generator": "torch.Generator",
    "MemoryFormat": "torch.memory_format",
}


def _convert(schema, argument, value):
    if value is None:
        if argument.optional or (argument.has_default and argument.default is None):
            return None
        _refuse(schema, argument, value)
    if argument.list:
        return _convert_list(schema, argument, value)
    return _CONVERT.get(argument.type, _keep)(schema, argument, value)


def _convert_list(schema, argument, value):
    if argument.type == "Tensor":
        if not isinstance(value, list | tuple):
            _refuse(schema, argument, value)
        for i, v in enumerate(value):
            if not _is_tensor(v) and not (v is None and argument.gaps):
                raise TypeError(
                    f"expected Tensor as element {i} in argument {argument.position}, but got "
                    f"{type(v).__name__}"
                )
        return tuple(value)
    if isinstance(value, numbers.Number) or hasattr(value, "layout"):
        if argument.type == "int" and isinstance(value, float):
            _refuse(schema, argument, value)
        one = _CONVERT[argument.type](schema, argument, value)
        return (one,) * (argument.size or 1)
    if not isinstance(value, list | tuple) and not hasattr(value, "__iter__"):
        _refuse(schema, argument, value)
    convert = _CONVERT[argument.type]
    value = tuple(convert(schema, argument, v) for v in value)
    if argument.size and len(value) == 1:
        value *= argument.size
    return value


def _refuse(schema, argument, value):
    kind = _EXPECTED.get(argument.type, argument.type)
    if argument.list:
        kind = {
            "int": "tuple of ints",
            "float": "tuple of floats",
            "Tensor": "tuple of Tensors",
        }.get(kind, kind)
    name = "input" if argument.name == "self" else argument.name
    raise TypeError(
        f"{schema.name}(): argument '{name}' (position {argument.position + 1}) must be {kind}, "
        f"not {type(value).__name__}"
    )


def _is_tensor(value):
    return hasattr(value, "layout") and hasattr(value, "_storage")


def _tensor(schema, argument, value):
    if _is_tensor(value):
        return value
    if not argument.number or not isinstance(value, numbers.Number):
        _refuse(schema, argument, value)
    return _scalar(schema, argument, value)


def _int(schema, argument, value):
    if isinstance(value, int):
        if not -MOST <= value < MOST:
            raise ValueError("Overflow when unpacking long long")
        return value
    if isinstance(value, float) or (_is_tensor(value) and value.dtype.kind in "fc"):
        _refuse(schema, argument, value)
    try:
        return operator.index(value)
    except TypeError:
        _refuse(schema, argument, value)


def _float(schema, argument, value):
    if isinstance(value, str):
        _refuse(schema, argument, value)
    try:
        return float(value)
    except TypeError:
        _refuse(schema, argument, value)


def _bool(schema, argument, value):
    if isinstance(value, bool):
        return value
    if isinstance(value, int) or type(value).__name__ == "bool":
        return bool(value)
    _refuse(schema, argument, value)


def _scalar(schema, argument, value):
    if type(value) in PYTHON_TYPES:
        return value
    # Of a tensor that requires grad, the gradient would be lost.
    if hasattr(value, "item") and not getattr(value, "requires_grad", False):
        return value.item()
    for kind in (bool, numbers.Integral, numbers.Real, numbers.Complex):
        if isinstance(value, kind):
            return {numbers.Integral: int, numbers.Real: float, numbers.Complex: complex}.get(
                kind, bool
            )(value)
    _refuse(schema, argument, value)


def _scalar_type(schema, argument, value):
    if isinstance(value, DType):
        return value
    if value in PYTHON_TYPES:
        return {float: by_name("float64"), complex: by_name("complex128")}.get(
            value
        ) or PYTHON_TYPES[value]
    _refuse(schema, argument, value)


def _device(schema, argument, value):
    if isinstance(value, str | int | Device) and not isinstance(value, bool):
        return Device(value)
    _refuse(schema, argument, value)


def _duck(attribute):
    """A converter for types that this layer does not know: they are told by an attribute."""

    def convert(schema, argument, value):
        return value if hasattr(value, attribute) else _refuse(schema, argument, value)

    return convert


def _string(schema, argument, value):
    return value if isinstance(value, str) else _refuse(schema, argument, value)


def _keep(schema, argument, value):
    return value


_CONVERT = {
    "Tensor": _tensor,
    "int": _int,
    "SymInt": _int,
    "float": _float,
    "bool": _bool,
    "Scalar": _scalar,
    "str": _string,
    "ScalarType": _scalar_type,
    "Device": _device,
    "Generator": _duck("stream"),
    "MemoryFormat": _duck("preserves"),
}

# Argument values that may be part of a plan's key as they are.
PLAIN = frozenset((int, float, bool, str, type(None), DType, Device, complex))
