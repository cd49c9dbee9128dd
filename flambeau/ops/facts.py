"""What an error says beyond its first line: the op with its arguments' layouts, the user's line.

Ops raise PyTorch's first line; the ways that lead to them (`Op.slow` and its like) add the rest,
on the error path only.
"""

import struct

from flambeau import ir
from flambeau._base import user_line
from flambeau.types import TENSOR_TYPES, DType, meta

from .promotion import result_type

# Errors of these very types get facts: subclasses may print themselves in their own way.
TOLD = frozenset((RuntimeError, TypeError, ValueError, IndexError, NotImplementedError))
# What our own code trips over where an argument is not what the schema says.
STUMBLES = (
    AttributeError,
    KeyError,
    StopIteration,
    UnboundLocalError,
    ZeroDivisionError,
    struct.error,
)
LEVELS = 3  # ops around the failing one that are named
MOST = 2**63


def is_tensor(value) -> bool:
    return isinstance(value, tuple(TENSOR_TYPES))


def is_operand(value) -> bool:
    return is_tensor(value) or isinstance(value, float | complex)


class Facts:
    """What is known of an error: PyTorch's message, ops from inner to outer, the user's line."""

    __slots__ = ("line", "message", "ops")

    def __init__(self, message: str, line: str):
        self.message, self.line = message, line
        self.ops: list = []

    def __str__(self):
        lines = [
            self.message,
            *(f"  {op}" for op in self.ops[:1]),
            *(f"  in {op}" for op in self.ops[1:]),
        ]
        return "\n".join([*lines, f"  at {self.line}"] if self.line else lines)


def tell(op, args, error, suffix="") -> Exception:
    """The error to raise for `error`, which `op` met with `args`.

    That is `error` itself, with facts, or the user's mistake behind it.
    """
    mistake = None if hasattr(error, "facts") else behind(op, args, error)
    error = mistake or error
    if type(error) not in TOLD:
        return error
    facts = getattr(error, "facts", None)
    if facts is None:
        if len(error.args) != 1 or not isinstance(error.args[0], str):
            return error
        line = user_line()  # which the message may end with already
        facts = error.facts = Facts(error.args[0].removesuffix(f"\n  at {line}"), line)
    text = call_text(op, args, suffix)
    told = text in facts.ops  # a plan that was made before tells for itself
    if len(facts.ops) < LEVELS and not told and not (facts.ops and op.name.startswith("_")):
        facts.ops.append(text)
        error.args = (str(facts),)
    return error


def no_memory(error: MemoryError) -> RuntimeError:
    """PyTorch's error for memory that NumPy could not have."""
    return RuntimeError(f"DefaultCPUAllocator: can't allocate memory: {error}")


def behind(op, args, error):
    """The user's mistake that made our code stumble; None where `error` is the one to raise."""
    if isinstance(error, MemoryError):
        return no_memory(error)
    ordered = isinstance(error, TypeError | AttributeError) and "'Pair'" in str(error)
    if ordered or isinstance(error, ir.WrongType):  # the scalar body is for other types
        kinds = [v.layout if is_tensor(v) else type(v) for v in args if is_operand(v)]
        dtype = type_name(result_type(kinds)) if kinds else "Scalar"
        return NotImplementedError(f"\"{op.name}_cpu\" not implemented for '{dtype}'")
    if not isinstance(error, (*STUMBLES, TypeError, OverflowError)):
        return None
    for a, v in zip(op.schema.arguments, args, strict=True):
        wrong = not_fitting(a, v)
        if wrong:
            position = "" if a.keyword else f" (position {a.position + 1})"
            kind = "tuple of Tensors" if a.list else "Tensor"
            name = "input" if a.name == "self" else a.name
            return TypeError(
                f"{op.name}(): argument '{name}'{position} must be {kind}, not {wrong}"
            )
    if any(
        isinstance(v, int) and not -MOST <= v < MOST
        for a in args
        for v in (a if isinstance(a, tuple | list) else (a,))
    ):
        return ValueError("Overflow when unpacking long long")
    if isinstance(error, ZeroDivisionError):  # PyTorch's kernels say no more than this
        return RuntimeError("ZeroDivisionError")
    return None


def not_fitting(argument, value) -> str:
    """The type of what stands where a tensor should, or ""."""
    if not argument.is_tensor or (value is None and argument.optional):
        return ""
    values = value if argument.list and isinstance(value, tuple | list) else (value,)
    return next(
        (
            type(v).__name__
            for v in values
            if not is_tensor(v) and not (argument.list and v is None)
        ),
        "",
    )


def call_text(op, args, suffix="") -> str:
    """The call as its schema sees it: ``mm(self: float32[2, 3], mat2: float32[4, 5])``."""
    shown = []
    for a, v in zip(op.schema.arguments, args, strict=True):
        if a.has_default and (v is a.default or (type(v) is type(a.default) and v == a.default)):
            continue
        shown.append(f"{a.name}{': ' if a.is_tensor else '='}{value_text(v)}")
    space = "" if op.namespace in ("", "aten") else op.namespace + "."
    return f"{space}{op.name}{suffix}({', '.join(shown)})"


def value_text(value, depth=4) -> str:
    """A short text for an argument: a tensor's layout, anything else as Python prints it. Lists are
    told `depth` deep."""
    if is_tensor(value):
        return f"{value.layout!r}" + (" on meta" if value.layout.device is meta else "")
    if isinstance(value, tuple | list):
        told = [value_text(v, depth - 1) for v in value[:8]] if depth else []
        return f"[{', '.join(told + ['…'] * (len(value) > len(told)))}]"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def type_name(dtype: DType) -> str:
    """PyTorch's C++ name of a dtype, as its messages print it: Float, Long, …"""
    return dtype.type_name


_C_NAMES = {
    "bool": "bool",
    "uint8": "unsigned char",
    "int8": "signed char",
    "int16": "short int",
    "int32": "int",
    "int64": "long int",
    "uint16": "short unsigned int",
    "uint32": "unsigned int",
    "uint64": "long unsigned int",
    "float16": "c10::Half",
    "bfloat16": "c10::BFloat16",
    "float32": "float",
    "float64": "double",
    "complex64": "c10::complex<float>",
    "complex128": "c10::complex<double>",
}


def c_name(dtype: DType) -> str:
    """C++'s name of a dtype, as some of PyTorch's messages print it: float, long int, …"""
    return _C_NAMES[dtype.name]
