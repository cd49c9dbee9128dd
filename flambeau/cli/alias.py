"""Makes `import torch` mean flambeau, in this process.

Every module of flambeau is also a module of torch, the same object: ``torch.nn is flambeau.nn``.
"""

import importlib.util
import pkgutil
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

import flambeau
from flambeau._base import PACKAGE, TORCH_VERSION, nearest, public_module

ALIAS = "torch"


def install() -> None:
    """From now on, imports of torch and its modules give flambeau's, and its version is that of the
    PyTorch which it stands for. Idempotent.
    """
    if not any(isinstance(finder, AliasFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, AliasFinder())
    sys.modules[ALIAS] = public_module(PACKAGE)
    flambeau.__version__ = TORCH_VERSION
    flambeau.__name__ = flambeau.Tensor.__module__ = ALIAS  # programs compare these


class AliasFinder(MetaPathFinder):
    """Finds torch.x where flambeau.x is."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        first, dot, rest = name.partition(".")
        if first != ALIAS:
            return None
        real = PACKAGE + dot + rest
        if real in sys.modules or importlib.util.find_spec(real) is not None:
            return ModuleSpec(name, AliasLoader(real))
        # An import statement gets the better message; importlib.util.find_spec, which programs
        # use to ask whether a module exists, gets its None.
        if sys._getframe(2).f_code.co_name == "_find_and_load_unlocked":
            raise ModuleNotFoundError(_absent(name), name=name)
        return None


class AliasLoader(Loader):
    """Loads a module by importing the one it stands for."""

    def __init__(self, real: str):
        self.real = real

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = public_module(self.real)
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has just put torch's spec onto flambeau's module: undo that.
        module.__spec__ = self.spec
        # What is loaded below it is so under torch's names, too: the import system would set it as
        # an attribute, where a function of the same name may be (torch.autograd.gradcheck).
        for name, below in list(sys.modules.items()):
            if name.startswith(self.real + "."):
                sys.modules.setdefault(ALIAS + name.removeprefix(PACKAGE), below)


def _absent(name: str) -> str:
    """What to say of a module that PyTorch may have and flambeau has not."""
    parent = name.rpartition(".")[0]
    siblings = [module.name for module in pkgutil.iter_modules(sys.modules[parent].__path__)]
    guess = nearest(name, [f"{parent}.{x}" for x in siblings if not x.startswith("_")])
    hint = f"; the nearest existing one is {guess!r}" if guess else ""
    return f"No module named {name!r}: flambeau has no such module{hint}"
