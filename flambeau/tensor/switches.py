"""Switches of PyTorch's that programs set and ask for, and that change nothing here."""

from typing import Any

_MODES = ("default", "warn", "error")
_PRECISIONS = ("highest", "high", "medium")
_state: dict[str, Any] = {"deterministic": 0, "precision": "highest", "warn_always": False}


def use_deterministic_algorithms(mode, *, warn_only=False):
    """Asks for the same results in every run, which flambeau's are in any case."""
    if not isinstance(mode, bool):
        raise TypeError(f"mode must be a bool, not {type(mode).__name__}")
    _state["deterministic"] = (1 if warn_only else 2) if mode else 0


def are_deterministic_algorithms_enabled() -> bool:
    """Whether `use_deterministic_algorithms` is on."""
    return _state["deterministic"] > 0


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """Whether it was asked to warn only."""
    return _state["deterministic"] == 1


def set_deterministic_debug_mode(debug_mode):
    """`use_deterministic_algorithms` as a number or a word: "default", "warn" or "error"."""
    if debug_mode in _MODES:
        debug_mode = _MODES.index(debug_mode)
    if debug_mode not in (0, 1, 2):
        raise RuntimeError(
            "invalid value of debug_mode, expected `default`, `warn`, `error`, or 0, 1, 2, but "
            f"got {debug_mode}"
        )
    _state["deterministic"] = debug_mode


def get_deterministic_debug_mode() -> int:
    """The number: 0, 1 or 2."""
    return _state["deterministic"]


def set_float32_matmul_precision(precision):
    """Allows products of less than full precision ("high", "medium"); flambeau's stay full."""
    if precision not in _PRECISIONS:
        raise RuntimeError(f"float32_matmul_precision must be one of {_PRECISIONS}")
    _state["precision"] = precision


def get_float32_matmul_precision() -> str:
    """What was allowed."""
    return _state["precision"]


def set_warn_always(b):
    """Asks for warnings at each occasion; Python's own filters decide that here."""
    _state["warn_always"] = bool(b)


def is_warn_always_enabled() -> bool:
    """What was asked."""
    return _state["warn_always"]


def typename(obj, /) -> str:
    """The name of a tensor's type, such as ``torch.FloatTensor``; of other things, of their
    class.
    """
    if hasattr(obj, "layout") and callable(getattr(obj, "type", None)):
        return obj.type()
    kind = obj if hasattr(obj, "__qualname__") else type(obj)
    module = getattr(kind, "__module__", None)
    plain = module in (None, "", "builtins", "__builtin__")
    return kind.__qualname__ if plain else f"{module}.{kind.__qualname__}"


PUBLIC = (
    "are_deterministic_algorithms_enabled",
    "get_deterministic_debug_mode",
    "get_float32_matmul_precision",
    "is_deterministic_algorithms_warn_only_enabled",
    "is_warn_always_enabled",
    "set_deterministic_debug_mode",
    "set_float32_matmul_precision",
    "set_warn_always",
    "typename",
    "use_deterministic_algorithms",
)
