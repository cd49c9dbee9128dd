"""Pickles in PyTorch's dialect: tensors refer to storages kept beside the pickle, classes have
PyTorch's names.

Reading calls nothing but what is on a list: the names below, and those that the user added.
`weights_only=False` lifts
that, for files that the user trusts.
"""

import collections
import contextlib
import importlib
import io
import pickle
from typing import Any

from flambeau.nn import Parameter
from flambeau.tensor import Size, Tensor, strided
from flambeau.types import DTYPES, Device, DType, by_name

STORAGE_TYPES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}
_NAME_OF = {dtype: name for name, dtype in STORAGE_TYPES.items()}
_BYTES = ("torch.storage", "UntypedStorage")


class Global:
    """A name in some module, as a pickle refers to it, whether or not the module can be
    imported.
    """

    def __init__(self, module, name):
        self.module, self.name = module, name

    def __call__(self, *args):
        raise TypeError(f"{self.module}.{self.name} stands only for itself")


class StorageReference:
    """What a tensor's pickle says about its memory."""

    def __init__(self, storage, dtype):
        self.storage, self.dtype = storage, dtype


def root(storage):
    """The storage that owns the memory: `.data` makes others on the same block."""
    while isinstance(getattr(storage, "owner", None), type(storage)):
        storage = storage.owner
    return storage


class Pickler(pickle._Pickler):
    """Writes protocol 2 with PyTorch's names; collects the storages it meets in `storages`, in
    order.
    """

    def __init__(self, file, protocol=2):
        super().__init__(file, protocol)
        self.storages: list = []
        self._keys: dict[int, str] = {}

    def save(self, value, save_persistent_id=True):
        if isinstance(value, Global):
            self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())
            self.memoize(value) if id(value) not in self.memo else None
        elif isinstance(value, Tensor):
            self._save_tensor(value)
        elif isinstance(value, DType):
            self.save(Global("torch", value.name))
        elif isinstance(value, Size):
            self.save_reduce(Global("torch", "Size"), (tuple(value),))
        elif isinstance(value, Device):
            args = (value.type,) if value.index is None else (value.type, value.index)
            self.save_reduce(Global("torch", "device"), args)
        else:
            super().save(value, save_persistent_id)

    def _save_tensor(self, tensor):
        if id(tensor) in self.memo:
            self.write(self.get(self.memo[id(tensor)][0]))
            return
        plain = tensor.detach()
        if type(tensor) is Parameter:
            args = (plain, tensor.requires_grad, collections.OrderedDict())
            self.save_reduce(Global("torch._utils", "_rebuild_parameter"), args, obj=tensor)
            return
        if tensor.device.type == "meta":
            raise NotImplementedError("Cannot copy out of meta tensor; no data!")
        args: tuple = (
            StorageReference(plain.storage, plain.dtype),
            plain.offset,
            tuple(plain.shape),
            tuple(plain.stride()),
            tensor.requires_grad and tensor.is_leaf,
            collections.OrderedDict(),
        )
        version = "v2"
        if plain.dtype.name not in _NAME_OF:  # a storage without a class of its own is bytes
            version, args = "v3", (*args, plain.dtype)
        if bits := {bit: True for bit in ("conj", "neg") if getattr(plain.layout, bit)}:
            args = (*args, bits)
        self.save_reduce(Global("torch._utils", f"_rebuild_tensor_{version}"), args, obj=tensor)

    def persistent_id(self, value):
        if not isinstance(value, StorageReference):
            return None
        storage = root(value.storage)
        key = self._keys.get(id(storage))
        if key is None:
            key = self._keys[id(storage)] = str(len(self.storages))
            self.storages.append(storage)
        name = _NAME_OF.get(value.dtype.name)
        if name is None:
            return ("storage", Global(*_BYTES), key, "cpu", storage.nbytes)
        count = storage.nbytes // value.dtype.itemsize
        return ("storage", Global("torch", name), key, "cpu", count)

    def save_global(self, value, name=None):
        module = pickle.whichmodule(value, name or value.__qualname__)
        if module.partition(".")[0] == __name__.partition(".")[0]:
            reference = Global(
                "torch" + module[len(__name__.partition(".")[0]) :], name or value.__qualname__
            )
            self.write(pickle.GLOBAL + f"{reference.module}\n{reference.name}\n".encode())
            self.memoize(value)
            return
        super().save_global(value, name)

    dispatch = dict(pickle._Pickler.dispatch)  # type: ignore[misc]
    dispatch[type(save_global)] = save_global  # type: ignore[assignment]

    def _save_class(self: Any, value: type) -> None:
        singular = value in (type(None), type(NotImplemented), type(...))
        (self.save_type if singular else self.save_global)(value)

    dispatch[type] = _save_class


def dumps(value, protocol=2):
    """(pickle, storages) of a value."""
    file = io.BytesIO()
    pickler = Pickler(file, protocol)
    pickler.dump(value)
    return file.getvalue(), pickler.storages


class Storages:
    """A storage of the file, with the dtype that its reference names."""

    def __init__(self, storage, dtype):
        self.storage, self.dtype = storage, dtype


def rebuild_tensor(stored, offset, size, stride, requires_grad=False, hooks=None, metadata=None):
    """A tensor on a storage of the file; raises where it would reach outside. `metadata` says which
    of the conj and the neg bit is set.
    """
    bits = {bit: bool((metadata or {}).get(bit)) for bit in ("conj", "neg")}
    tensor = strided(stored.storage, stored.dtype, tuple(size), tuple(stride), offset, **bits)
    return tensor.requires_grad_() if requires_grad else tensor


def rebuild_typed_tensor(stored, offset, size, stride, requires_grad, hooks, dtype, metadata=None):
    """As `rebuild_tensor`, on bytes that are read as `dtype`."""
    typed = Storages(stored.storage, dtype)
    return rebuild_tensor(typed, offset, size, stride, requires_grad, hooks, metadata)


def rebuild_parameter(data, requires_grad=True, hooks=None):
    """A Parameter on the memory of `data`."""
    return Parameter(data, requires_grad)


def rebuild_parameter_with_state(data, requires_grad, hooks, state):
    """A Parameter with attributes."""
    made = Parameter(data, requires_grad)
    made.__dict__.update(state if isinstance(state, dict) else {})
    return made


ALLOWED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "defaultdict"): collections.defaultdict,
    ("collections", "Counter"): collections.Counter,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "complex"): complex,
    ("builtins", "bytearray"): bytearray,
    ("builtins", "slice"): slice,
    ("builtins", "range"): range,
    ("builtins", "list"): list,
    ("builtins", "dict"): dict,
    ("builtins", "int"): int,
    ("builtins", "str"): str,
    ("builtins", "float"): float,
    ("builtins", "bool"): bool,
    ("builtins", "tuple"): tuple,
    ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v3"): rebuild_typed_tensor,
    ("torch._utils", "_rebuild_tensor"): rebuild_tensor,
    _BYTES: by_name("uint8"),
    ("torch._utils", "_rebuild_parameter"): rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): rebuild_parameter_with_state,
    ("torch", "Size"): Size,
    ("torch", "device"): Device,
    ("torch", "Tensor"): Tensor,
    ("torch.nn.parameter", "Parameter"): Parameter,
}
ALLOWED |= {("torch", d.name): d for d in DTYPES}
ALLOWED |= {("torch", name): by_name(dtype) for name, dtype in STORAGE_TYPES.items()}
ALLOWED |= {
    ("__builtin__", name): value
    for (module, name), value in list(ALLOWED.items())
    if module == "builtins"
}
_added: list = []


def add_safe_globals(globals_):
    """Lets `load` with ``weights_only=True`` build instances of these classes and call these
    functions.
    """
    _added.extend(globals_)


def clear_safe_globals():
    """Takes back what `add_safe_globals` added."""
    _added.clear()


def get_safe_globals():
    """What `add_safe_globals` added."""
    return list(_added)


@contextlib.contextmanager
def safe_globals(globals_):
    """`add_safe_globals` for the length of a with block."""
    before = list(_added)
    _added.extend(globals_)
    try:
        yield
    finally:
        _added[:] = before


class Unpickler(pickle.Unpickler):
    """Reads a pickle of PyTorch's. `storage_of(key, dtype, numel)` gives the storages."""

    def __init__(self, file, storage_of, weights_only):
        super().__init__(file, encoding="utf-8")
        self._storage_of, self._weights_only = storage_of, weights_only

    def find_class(self, module, name):
        found = ALLOWED.get((module, name))
        if found is not None:
            return found
        for extra in _added:
            known, path = extra if isinstance(extra, tuple) else (extra, None)
            own = path or f"{known.__module__}.{known.__qualname__}"
            if own in (f"{module}.{name}", f"{_ours(module)}.{name}"):
                return known
        if self._weights_only:
            raise pickle.UnpicklingError(
                "Weights only load failed. This file can still be loaded, to do so you have two "
                "options, do those "
                "steps only if you trust the source of the checkpoint.\n"
                f"  it refers to {module}.{name}, which is not on the list of what may be called\n"
                "  load(..., weights_only=False) runs whatever the file says: only for files that "
                "you trust\n"
                f"  add_safe_globals([{name}]) allows this one"
            )
        value = importlib.import_module(_ours(module))
        for part in name.split("."):
            value = getattr(value, part)
        return value

    def persistent_load(self, identifier):
        if not isinstance(identifier, tuple) or len(identifier) < 5 or identifier[0] != "storage":
            raise pickle.UnpicklingError(
                f"unknown reference to data outside the pickle: {str(identifier)[:80]}"
            )
        _, dtype, key, _, numel = identifier[:5]
        if not isinstance(dtype, DType) or not isinstance(numel, int):
            raise pickle.UnpicklingError(f"unknown kind of storage: {str(dtype)[:80]}")
        return Storages(self._storage_of(str(key), dtype, numel), dtype)


def _ours(module):
    """PyTorch's module names stand for flambeau's."""
    first, dot, rest = module.partition(".")
    return __name__.partition(".")[0] + dot + rest if first == "torch" else module
