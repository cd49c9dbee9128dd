"""PyTorch's questions about symbolic sizes. Sizes are numbers here, and these are the answers."""

from __future__ import annotations

from typing import Any

__all__ = [
    "expect_true",
    "free_symbols",
    "free_unbacked_symbols",
    "guard_bool",
    "guard_float",
    "guard_int",
    "guard_or_false",
    "guard_or_true",
    "guard_scalar",
    "guard_size_oblivious",
    "has_free_symbols",
    "has_free_unbacked_symbols",
    "has_static_value",
    "is_concrete_bool",
    "is_concrete_float",
    "is_concrete_int",
    "is_symbolic",
    "statically_known_false",
    "statically_known_true",
    "sym_and",
    "sym_eq",
    "sym_or",
]


def _checked(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise AssertionError(f"expected {kind.__name__}, got {type(value)}")
    return value


def guard_bool(a: Any) -> bool:
    """`a`, which is a bool."""
    return _checked(a, bool)


def guard_int(a: Any) -> int:
    """`a`, which is an int."""
    return _checked(a, int)


def guard_float(a: Any) -> float:
    """`a`, which is a float."""
    return _checked(a, float)


def guard_scalar(a: Any) -> bool | int | float:
    """`a`, which is a number."""
    return _checked(a, (bool, int, float))  # type: ignore[arg-type]


def guard_size_oblivious(expr: Any) -> bool:
    """A condition on sizes, which is known."""
    return bool(expr)


def guard_or_true(a: Any) -> bool:
    """A condition on sizes, which is known."""
    return bool(a)


guard_or_false = guard_or_true


def statically_known_true(x: Any) -> bool:
    """Whether a condition on sizes holds."""
    return bool(x)


def statically_known_false(x: Any) -> bool:
    """Whether a condition on sizes is false."""
    return not x


def expect_true(a: Any, skip: int = 0) -> bool:
    """RuntimeError where a condition does not hold."""
    if not a:
        raise RuntimeError("a condition that the program expects does not hold")
    return True


def is_concrete_int(a: Any) -> bool:
    """Whether `a` is an int: always."""
    return isinstance(_checked(a, int), int)


def is_concrete_float(a: Any) -> bool:
    """Whether `a` is a float: always."""
    return isinstance(_checked(a, float), float)


def is_concrete_bool(a: Any) -> bool:
    """Whether `a` is a bool: always."""
    return isinstance(_checked(a, bool), bool)


def has_static_value(a: Any) -> bool:
    """Whether a number is known: always."""
    return isinstance(guard_scalar(a), bool | int | float)


def is_symbolic(val: Any) -> bool:
    """Whether a number is a symbol: never."""
    guard_scalar(val)
    return False


def free_symbols(val: Any) -> set[Any]:
    """The symbols of sizes in a value, a tensor or a node: none."""
    return set()


def free_unbacked_symbols(x: Any) -> set[Any]:
    """The symbols of sizes that depend on data: none."""
    return set()


def has_free_symbols(val: Any) -> bool:
    """Whether there are symbols of sizes in a value: never."""
    return False


def has_free_unbacked_symbols(x: Any) -> bool:
    """Whether there are symbols of sizes that depend on data: never."""
    return False


def sym_eq(x: Any, y: Any) -> bool:
    """Whether two numbers, or two rows of them, are equal."""
    if isinstance(x, tuple | list) and isinstance(y, tuple | list):
        return len(x) == len(y) and all(map(sym_eq, x, y))
    return x == y


def sym_and(x: Any, *others: Any) -> bool:
    """Whether all conditions hold."""
    return bool(x) and all(others)


def sym_or(x: Any, *others: Any) -> bool:
    """Whether one of the conditions holds."""
    return bool(x) or any(others)
