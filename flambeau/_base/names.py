"""What to say about a name that does not exist: so, and which one does."""

import difflib
import importlib
import sys
from collections.abc import Callable, Iterable
from typing import Any

PACKAGE = __name__.partition(".")[0]


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` most like `name`, upper and lower case alike; None if none is like it."""
    by_folded = {candidate.casefold(): candidate for candidate in names}
    found = difflib.get_close_matches(name.casefold(), by_folded, n=1)
    return by_folded[found[0]] if found else None


def public_name(module_name: str) -> str:
    """The module's name as the user wrote it: torch.nn while flambeau stands for PyTorch."""
    stands_for_torch = sys.modules.get("torch") is sys.modules.get(PACKAGE)
    first, dot, rest = module_name.partition(".")
    return "torch" + dot + rest if stands_for_torch and first == PACKAGE else module_name


def missing(
    module_name: str, names: Iterable[str], submodules: Iterable[str] = ()
) -> Callable[[str], Any]:
    """A module's ``__getattr__``: AttributeError that names the nearest existing name.

    `names` is what the module has; pass ``globals()`` for a list that stays current. The names in
    `submodules` are imported when first asked for. In a module::

        __getattr__ = missing(__name__, globals())
    """
    lazy = frozenset(submodules)
    messages: dict[str, str] = {}

    def __getattr__(name: str) -> Any:
        if name in lazy:
            return importlib.import_module(f"{module_name}.{name}")
        message = messages.get(name)
        if message is None:  # programs probe for the same names over and over: hasattr
            message = messages[name] = _absent(module_name, name, [*names, *lazy])
        raise AttributeError(message, name=name)

    return __getattr__


def _absent(module_name: str, name: str, names: list[str]) -> str:
    shown = public_name(module_name)
    if name.startswith("__"):  # asked for by machinery, not by people
        return f"module {shown!r} has no attribute {name!r}"
    guess = nearest(name, [candidate for candidate in names if not candidate.startswith("_")])
    hint = f"; the nearest existing name is {guess!r}" if guess else ""
    return f"module {shown!r} has no attribute {name!r} in {PACKAGE}{hint}"
