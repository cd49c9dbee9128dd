"""Writing pickles of PyTorch's dialect: tensors refer to storages kept beside the pickle, classes
have PyTorch's names.
"""

import collections
import functools
import io
import pickle
import types

from flambeau.nn import Parameter
from flambeau.tensor import Size, Tensor, TypedStorage, UntypedStorage, formats, sharing
from flambeau.types import Device, DType

from .allowed import NAME_OF_STORAGE
from .location import location_tag
from .unpickled import theirs


class _Global:
    """A name in some module, as a pickle refers to it, whether or not the module can be
    imported.
    """

    def __init__(self, module, name):
        self.module, self.name = module, name

    def __call__(self, *args):
        raise TypeError(f"{self.module}.{self.name} stands only for itself")


Global = functools.cache(_Global)
# Most of what a pickle is made of, and nothing that is written in a way of its own.
_PLAIN = frozenset((bool, bytes, collections.OrderedDict, dict, float, int, list, str, tuple))
_UTILS = "torch._utils"
_BYTES = Global("torch.storage", "UntypedStorage")


class Writing:
    """Writes PyTorch's names; collects the storages it meets in `storages`, by their keys.

    `more` is what the format adds to a reference to a storage.
    """

    def __init__(self, file, protocol=2, more=()):
        super().__init__(file, protocol)  # type: ignore[call-arg]
        self.storages: dict[str, tuple] = {}  # key: (storage, bytes of an element)
        self._keys: dict[int, str] = {}
        self._more = tuple(more)

    def save(self, value, save_persistent_id=True):
        if type(value) in _PLAIN:
            super().save(value, save_persistent_id)
        elif isinstance(value, _Global):
            self._save_name(value, value.module, value.name)
        elif isinstance(value, Tensor):
            self._save_tensor(value)
        elif isinstance(value, DType | formats.MemoryFormat):
            self.save(Global("torch", value.name))
        elif isinstance(value, formats.MemoryLayout):
            self.save_reduce(Global("torch.serialization", "_get_layout"), (repr(value),))
        elif isinstance(value, Size):
            self.save_reduce(Global("torch", "Size"), (tuple(value),))
        elif isinstance(value, Device):
            args = (value.type,) if value.index is None else (value.type, value.index)
            self.save_reduce(Global("torch", "device"), args)
        elif isinstance(value, type | types.FunctionType) and (module := theirs(value.__module__)):
            self._save_name(value, module, value.__qualname__)
        else:
            super().save(value, save_persistent_id)

    def _save_name(self, value, module, name):
        if id(value) in self.memo:
            self.write(self.get(self.memo[id(value)][0]))
            return
        self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
        self.memoize(value)

    def _save_tensor(self, tensor):
        if id(tensor) in self.memo:
            self.write(self.get(self.memo[id(tensor)][0]))
            return
        kind = type(tensor)
        if kind.__reduce_ex__ not in (Tensor.__reduce_ex__, Parameter.__reduce_ex__):
            super().save(tensor)  # its class knows better
            return
        state = dict(tensor.__dict__)
        if issubclass(kind, Parameter):
            name = "_rebuild_parameter" + ("_with_state" if state else "")
            more = (state,) if state else ()
            args = (tensor.detach(), tensor.requires_grad, collections.OrderedDict(), *more)
            self.save_reduce(Global(_UTILS, name), args, obj=tensor)
            return
        name, args = self._parts(tensor)
        function = Global(_UTILS, name)
        if kind is Tensor and not state:
            self.save_reduce(function, args, obj=tensor)
            return
        named = Global("torch", "Tensor") if kind is Tensor else kind
        rebuild = Global("torch._tensor", "_rebuild_from_type_v2")
        self.save_reduce(rebuild, (function, named, args, state), obj=tensor)

    def _parts(self, tensor):
        """The function of PyTorch's that makes such a tensor, and its arguments."""
        wants_grad = tensor.requires_grad and tensor.is_leaf
        layout = tensor.layout
        if layout.device.type == "meta":
            args = (layout.dtype, layout.shape, layout.strides, wants_grad)
            return "_rebuild_meta_tensor_no_storage", args
        untyped = UntypedStorage.of(sharing.root(tensor._storage))
        known = layout.dtype.name in NAME_OF_STORAGE
        stored = TypedStorage(untyped, layout.dtype) if known else untyped
        hooks: collections.OrderedDict = collections.OrderedDict()
        args = (stored, tensor._offset, layout.shape, layout.strides, wants_grad, hooks)
        if not known:  # a storage without a class of its own is bytes
            args = (*args, layout.dtype)
        if bits := {bit: True for bit in ("conj", "neg") if getattr(layout, bit)}:
            args = (*args, bits)
        return "_rebuild_tensor_v2" if known else "_rebuild_tensor_v3", args

    def persistent_id(self, value):
        if not isinstance(value, TypedStorage | UntypedStorage):
            return None
        storage = sharing.root(value.memory)
        key = self._keys.get(id(storage))
        typed = isinstance(value, TypedStorage)
        itemsize = value.dtype.itemsize if typed else 1
        if key is None:
            key = self._keys[id(storage)] = str(len(self.storages))
            self.storages[key] = (storage, itemsize)
        kind = Global("torch", NAME_OF_STORAGE[value.dtype.name]) if typed else _BYTES
        count = storage.nbytes // itemsize
        return ("storage", kind, key, location_tag(value), count, *self._more)


class Pickler(Writing, pickle._Pickler):  # type: ignore[misc,name-defined]
    """`Writing` over Python's own pickler."""


def dumps(value, protocol=2, pickle_module=None, more=()):
    """(pickle, {key: (storage, bytes of an element)}) of a value.

    `pickle_module` may be another whose Pickler is written in Python, such as dill; TypeError if
    it is not.
    """
    kind: type = Pickler
    if pickle_module not in (None, pickle):
        if not issubclass(pickle_module.Pickler, pickle._Pickler):  # type: ignore[attr-defined]
            raise TypeError(
                f"{pickle_module.__name__}.Pickler cannot be taught to write tensors: it is no "
                "subclass of Python's pickle._Pickler"
            )
        kind = type("Pickler", (Writing, pickle_module.Pickler), {})
    file = io.BytesIO()
    pickler = kind(file, protocol, more)
    pickler.dump(value)
    return file.getvalue(), pickler.storages
