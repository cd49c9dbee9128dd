"""Reading pickles of PyTorch's dialect.

`Careful` runs no code but what is on a list. It is Python's own pickle machine without the
instructions that are not needed, and with those checked that call, or that change what exists.
"""

import _compat_pickle
import importlib
import pickle
from collections import OrderedDict
from typing import Any

from flambeau._base import PACKAGE
from flambeau.tensor import Tensor

from . import allowed

_MACHINE: Any = pickle._Unpickler  # type: ignore[attr-defined]
# Left out: INST and OBJ (call a class), EXT (the registry of copyreg), PERSID (text references),
# NEWOBJ_EX, and buffers outside the pickle.
_LEFT_OUT = b"io\x82\x83\x84P\x92\x97\x98"


class Reading:
    """What both unpicklers share. `storage_of(*reference)` gives the storages by reference.

    A reference is what the file says after the word "storage": (dtype, key, location, count, …),
    with `allowed.BYTES` for storages without a dtype.
    """

    def __init__(self, file, storage_of, **options):
        super().__init__(file, **options)
        self._storage_of = storage_of

    def persistent_load(self, identifier):
        if isinstance(self._storage_of, dict) and str(identifier) in self._storage_of:
            return self._storage_of[str(identifier)]  # a tensor of a tar file
        if isinstance(identifier, tuple) and identifier[:1] == ("module",):
            return identifier[1]  # a class, with its source: as PyTorch 0.4 wrote modules
        if not isinstance(identifier, tuple) or len(identifier) < 5 or identifier[0] != "storage":
            raise pickle.UnpicklingError(
                f"unknown reference to data outside the pickle: {str(identifier)[:80]}"
            )
        dtype, key, location, count = identifier[1:5]
        if not allowed.is_dtype(dtype) or not isinstance(count, int) or count < 0:
            raise pickle.UnpicklingError(f"unknown kind of storage: {str(dtype)[:80]}")
        return self._storage_of(dtype, str(key), str(location), count, *identifier[5:])


class Trusting(Reading, pickle.Unpickler):
    """Runs whatever the file says."""

    def find_class(self, module, name):
        known = allowed.ALLOWED.get((module, name))
        return named(module, name) if known is None else known


class Careful(Reading, _MACHINE):
    """Builds only what is on the list (`allowed`); UnpicklingError where the file wants more."""

    dispatch = {code: step for code, step in _MACHINE.dispatch.items() if code not in _LEFT_OUT}

    def find_class(self, module, name):
        known = allowed.ALLOWED.get((module, name))
        if known is None:
            known = allowed.added({f"{module}.{name}", f"{ours(module)}.{name}"})
        if known is None:
            raise pickle.UnpicklingError(refusal(f"{module}.{name}"))
        return known

    def load_reduce(self):
        arguments = self.stack.pop()
        function = self.stack[-1]
        if not allowed.is_callable(function):
            raise pickle.UnpicklingError(refusal(f"a call of {function!r:.80}"))
        self.stack[-1] = function(*arguments)

    def load_newobj(self):
        arguments = self.stack.pop()
        kind = self.stack[-1]
        if not isinstance(kind, type) or not allowed.is_added(kind):
            raise pickle.UnpicklingError(refusal(f"a new {kind!r:.80}"))
        self.stack[-1] = kind.__new__(kind, *arguments)

    def load_build(self):
        made = self.stack[-2]
        if allowed.is_added(type(made)):
            super().load_build()
        elif type(made) is OrderedDict and isinstance(self.stack[-1], dict):
            made.__dict__.update(self.stack.pop())
        elif isinstance(made, Tensor):
            allowed.with_state(made, self.stack.pop())
        else:
            raise pickle.UnpicklingError(refusal(f"a state for {made!r:.80}"))

    # What these change must be what they are for: no object's own methods are called.

    def load_append(self):
        self._check(self.stack[-2], list)
        super().load_append()

    def load_appends(self):
        self._check(self.metastack[-1][-1], list)
        super().load_appends()

    def load_setitem(self):
        self._check(self.stack[-3], dict)
        super().load_setitem()

    def load_setitems(self):
        self._check(self.metastack[-1][-1], dict)
        super().load_setitems()

    def load_additems(self):
        self._check(self.metastack[-1][-1], set)
        super().load_additems()

    def _check(self, target, kind):
        if not isinstance(target, kind):
            raise pickle.UnpicklingError(
                f"{target!r:.80} is changed as if it were a {kind.__name__}"
            )

    for _code, _step in (
        (pickle.REDUCE, load_reduce),
        (pickle.NEWOBJ, load_newobj),
        (pickle.BUILD, load_build),
        (pickle.APPEND, load_append),
        (pickle.APPENDS, load_appends),
        (pickle.SETITEM, load_setitem),
        (pickle.SETITEMS, load_setitems),
        (pickle.ADDITEMS, load_additems),
    ):
        dispatch[_code[0]] = _step


class Listing(Careful):
    """Notes in `found` what is not on the list, and builds nothing of it."""

    def __init__(self, file, **options):
        super().__init__(file, lambda *reference: None, **options)
        self.found: set[str] = set()

    def find_class(self, module, name):
        try:
            super().find_class(module, name)
        except pickle.UnpicklingError:
            self.found.add(f"{module}.{name}")
        return None

    def _make_nothing(self):
        self.stack.pop()
        self.stack[-1] = None

    def _leave(self, count):
        del self.stack[-count:]

    def _leave_marked(self):
        self.pop_mark()

    dispatch = Careful.dispatch | {
        pickle.REDUCE[0]: _make_nothing,
        pickle.NEWOBJ[0]: _make_nothing,
        pickle.BUILD[0]: lambda self: self._leave(1),
        pickle.APPEND[0]: lambda self: self._leave(1),
        pickle.SETITEM[0]: lambda self: self._leave(2),
        pickle.APPENDS[0]: _leave_marked,
        pickle.SETITEMS[0]: _leave_marked,
        pickle.ADDITEMS[0]: _leave_marked,
    }


def load_one(file, storage_of, weights_only, pickle_module=None, **options):
    """The next value of a stream of pickles. Whatever is wrong with a file that may not run code is
    an UnpicklingError, or the RuntimeError of a tensor that does not fit its storage.
    """
    options.setdefault("encoding", "utf-8")
    if not weights_only:
        kind: type = Trusting
        if pickle_module not in (None, pickle):
            kind = type("Unpickler", (Trusting, pickle_module.Unpickler), {})
        return kind(file, storage_of, **options).load()
    try:
        return Careful(file, storage_of, **options).load()
    except (pickle.UnpicklingError, RuntimeError):
        raise
    except Exception as error:
        raise pickle.UnpicklingError(
            f"the file's pickle is damaged: {type(error).__name__}: {error}"
        ) from error


def refusal(what: str) -> str:
    """What to say of a pickle that wants something which is not on the list."""
    return (
        "Weights only load failed. This file can still be loaded, to do so you have two options, "
        "do those steps only if you trust the source of the checkpoint.\n"
        f"  it asks for {what}, which is not on the list of what a file may do\n"
        "  load(..., weights_only=False) runs whatever the file says: only for files that you "
        "trust\n"
        "  add_safe_globals([...]) puts a class or function on the list"
    )


# flambeau's modules that have another name in PyTorch; the first that fits counts.
_MOVED = {
    "data.loader": "utils.data.dataloader",
    "data": "utils.data",
    "distributions.transform": "distributions.transforms",
    "files": "serialization",
    "nn.modules.attention": "nn.modules.activation",
    "optim.cyclic": "optim.lr_scheduler",
    "optim.schedule": "optim.lr_scheduler",
}


def ours(module: str) -> str:
    """The name of flambeau's module behind PyTorch's name; other names stay."""
    first, dot, rest = module.partition(".")
    return PACKAGE + dot + rest if first == "torch" else module


def theirs(module: str) -> str | None:
    """PyTorch's name for a module of flambeau's; None for all others."""
    first, _, rest = module.partition(".")
    if first == "torch":
        return module
    if first != PACKAGE:
        return None
    if rest.startswith("nn.functions."):  # one module in PyTorch
        return "torch.nn.functional"
    for own, moved in _MOVED.items():
        if rest == own or rest.startswith(own + "."):
            rest = moved + rest.removeprefix(own)
            break
    return ".".join(filter(None, ("torch", rest)))


def named(module: str, name: str):
    """What `name` is in `module`, of which PyTorch's stand for flambeau's."""
    inner = next((own for own, moved in _MOVED.items() if module == f"torch.{moved}"), None)
    try:
        value: Any = importlib.import_module(ours(module))
    except ModuleNotFoundError:  # pickles of protocol 2 have Python 2's names
        moved = _compat_pickle.IMPORT_MAPPING
        if module not in moved:
            raise
        module, name = _compat_pickle.NAME_MAPPING.get((module, name), (moved[module], name))
        value = importlib.import_module(module)
    if inner is not None and not hasattr(value, name.partition(".")[0]):
        value = importlib.import_module(f"{PACKAGE}.{inner}")
    for part in name.split("."):
        value = getattr(value, part)
    return value
