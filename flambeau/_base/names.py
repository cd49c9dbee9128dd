"""What to say about a name that does not exist: so, and which one does."""

import importlib
import sys
from collections.abc import Callable, Iterable
from types import FrameType, ModuleType
from typing import Any

PACKAGE = __name__.partition(".")[0]


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` most like `name`, upper and lower case alike; None if none is like it."""
    import difflib  # for messages only, and not quick to load

    by_folded = {candidate.casefold(): candidate for candidate in names}
    found = difflib.get_close_matches(name.casefold(), by_folded, n=1)
    return by_folded[found[0]] if found else None


def public_name(module_name: str) -> str:
    """The module's name as the user wrote it: torch.nn while flambeau stands for PyTorch."""
    stands_for_torch = sys.modules.get("torch") is sys.modules.get(PACKAGE)
    first, dot, rest = module_name.partition(".")
    return "torch" + dot + rest if stands_for_torch and first == PACKAGE else module_name


def missing(
    space: dict[str, Any],
    submodules: Iterable[str] = (),
    find: Callable[[str], Any] | None = None,
    more: Iterable[str] = (),
    later: dict[str, str] | None = None,
) -> Callable[[str], Any]:
    """A module's ``__getattr__``: names made on first use, and AttributeError for all others.

    `space` is the module's ``globals()``. A name in `submodules` is imported; one in `later` comes
    from the submodule, or package of flambeau's, that it is mapped to, imported on first use; any
    other is asked of `find`, which answers None for what it has not; either is kept in `space`. The
    error says that flambeau has no such name, and the nearest one of those in `space`, `submodules`
    and `more`. ``dir`` of the module lists its names, `submodules`, `later` and what `find` has, if
    that is a function with an attribute `names`. In a module::

        __getattr__ = missing(globals())
        __getattr__ = missing(globals(), submodules=("fft",), find=function_of, more=registry)
    """
    module_name: str = space["__name__"]
    lazy = frozenset(submodules)
    messages: dict[str, str] = {}

    def __getattr__(name: str) -> Any:
        if name in lazy:
            return public_module(f"{module_name}.{name}")
        if later is not None and name in later:
            home = later[name]
            home = home if home.startswith(PACKAGE + ".") else f"{module_name}.{home}"
            space[name] = getattr(importlib.import_module(home), name)
            return space[name]
        found = find(name) if find is not None else None
        if found is not None:
            space[name] = found
            return found
        asker = sys._getframe(1)
        if asker.f_code.co_name == "_handle_fromlist":  # the import system asks on the way
            raise AttributeError(name)
        message = messages.get(name)
        if message is None:  # programs probe for the same names over and over: hasattr
            message = messages[name] = _absent(module_name, name, [*space, *lazy, *more])
        if _imports_from(asker) and f"{module_name}.{name}" not in sys.modules:
            # Of an AttributeError the statement would keep no word.
            raise ImportError(message, name=module_name)
        raise AttributeError(message, name=name)

    def __dir__() -> list[str]:
        found = getattr(find, "names", tuple)
        return sorted({*space, *lazy, *(later or ()), *found()})

    space.setdefault("__dir__", __dir__)
    return __getattr__


def _imports_from(frame: FrameType) -> bool:
    """Whether a frame is at a ``from module import name``."""
    from opcode import opmap  # for messages only

    code = frame.f_code.co_code
    return 0 <= frame.f_lasti < len(code) and code[frame.f_lasti] == opmap["IMPORT_FROM"]


def public_module(name: str) -> ModuleType:
    """Imports a module for people to see: it and those below it answer for missing names, too."""
    module = importlib.import_module(name)
    loaded = sys.modules.copy()  # other threads import, too
    for below in [m for n, m in loaded.items() if n == name or n.startswith(name + ".")]:
        if "__getattr__" not in below.__dict__:
            below.__dict__["__getattr__"] = missing(below.__dict__)
    return module


def _absent(module_name: str, name: str, names: list[str]) -> str:
    shown = public_name(module_name)
    if name.startswith("__"):  # asked for by machinery, not by people
        return f"module {shown!r} has no attribute {name!r}"
    guess = nearest(name, [candidate for candidate in names if not candidate.startswith("_")])
    hint = f"; the nearest existing name is {guess!r}" if guess else ""
    return f"module {shown!r} has no attribute {name!r} in {PACKAGE}{hint}"
