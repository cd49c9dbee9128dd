"""The memory of tensors as objects of its own: bytes, and elements of one dtype."""

import sys
import weakref
from typing import Any

from flambeau import runtime
from flambeau._base import numpy
from flambeau.types import by_name, cpu, layout

from .convert import LEGACY_NAMES

# Conversions by name, and their dtypes.
_CASTS = {
    "bfloat16": "bfloat16",
    "bool": "bool",
    "byte": "uint8",
    "char": "int8",
    "complex_double": "complex128",
    "complex_float": "complex64",
    "double": "float64",
    "float": "float32",
    "half": "float16",
    "int": "int32",
    "long": "int64",
    "short": "int16",
}


class _Storage:
    """What both kinds have in common: they lie in the CPU's memory."""

    __slots__ = ()
    device = cpu
    storage_of_bytes = True
    is_cuda = is_hpu = is_sparse = is_sparse_csr = False

    def cpu(self):
        return self

    def get_device(self):
        return -1

    def is_pinned(self, device="cuda"):
        return False

    def resizable(self):
        """Never: a storage keeps its memory."""
        return False

    def to(self, *, device, non_blocking=False):
        """On that device, which is the CPU."""
        if str(device).partition(":")[0] != "cpu":
            raise RuntimeError(f"storages lie on the CPU, not on {device}")
        return self


def _elements(storage):
    """The storage as a tensor of one dimension."""
    count = storage.nbytes() // storage.dtype.itemsize
    return runtime.wrap(storage.memory, layout((count,), (1,), storage.dtype), 0)


def _converted(storage, dtype):
    """The elements as those of another dtype; the storage itself where they are."""
    made = _elements(storage).to(dtype)
    return storage if made._storage is storage.memory else typed_storage(made)


def _cast(dtype):
    def cast(self):
        return _converted(self, by_name(dtype))

    cast.__doc__ = f"The elements as {dtype}."
    return cast


for _name, _dtype in _CASTS.items():
    setattr(_Storage, _name, _cast(_dtype))


class UntypedStorage(_Storage):
    """The bytes that tensors lie in. One object for each storage, as long as it is referred to."""

    __slots__ = ("__weakref__", "memory")
    memory: Any
    dtype = by_name("uint8")
    _made: "weakref.WeakValueDictionary" = weakref.WeakValueDictionary()

    def __new__(cls, size=0):
        return cls.of(runtime.empty(size.__index__()) if not hasattr(size, "ptr") else size)

    @classmethod
    def of(cls, storage):
        """The wrapper of a runtime storage."""
        found = cls._made.get(id(storage))
        if found is None or found.memory is not storage:
            found = object.__new__(cls)
            found.memory = storage
            cls._made[id(storage)] = found
        return found

    def _array(self):
        return (
            numpy.ndarray((self.memory.nbytes,), numpy.uint8, self.memory)
            if self.memory.nbytes
            else numpy.empty(0, numpy.uint8)
        )

    def nbytes(self) -> int:
        """The size in bytes."""
        return self.memory.nbytes

    size = __len__ = nbytes

    def data_ptr(self) -> int:
        """The address of the first byte."""
        return self.memory.ptr

    def element_size(self) -> int:
        return 1

    def __getitem__(self, index):
        if isinstance(index, slice):
            return share_bytes(self._array()[index])
        return int(self._array()[index])

    def __setitem__(self, index, value):
        self._array()[index] = value
        self.memory.version += 1

    def __iter__(self):
        return iter(self._array().tolist())

    def tolist(self):
        return self._array().tolist()

    def fill_(self, value):
        self[:] = value
        return self

    def copy_(self, source, non_blocking=None):
        self[:] = source._array()
        return self

    def clone(self):
        made = type(self)(self.memory.nbytes)
        made._array()[...] = self._array()
        return made

    def untyped(self):
        """This storage itself."""
        return self

    @classmethod
    def from_buffer(cls, buffer, byte_order="native", *, dtype=None):
        """A copy of the bytes of elements that are stored in that order."""
        if byte_order not in ("native", "little", "big"):
            raise ValueError(f"byte order {byte_order!r} is none of native, little, big")
        made = _storage_of(buffer)
        if dtype is not None and byte_order not in ("native", sys.byteorder):
            made.byteswap(dtype)
        return made

    def byteswap(self, dtype):
        """Turns the bytes of each element round, in place."""
        parts = 2 if dtype.kind == "c" else 1
        self._array().view(f"u{dtype.itemsize // parts}").byteswap(inplace=True)
        self.memory.version += 1

    def resize_(self, nbytes):
        """Only to the size that it has: a storage keeps its memory."""
        if nbytes != self.memory.nbytes:
            raise RuntimeError("Trying to resize storage that is not resizable")
        return self

    def __deepcopy__(self, memo):
        key = ("storage", id(self.memory))
        if key not in memo:
            memo[key] = self.clone()
        return memo[key]

    def __reduce__(self):
        return _storage_of, (self._array().tobytes(),)

    def __repr__(self):
        rows = "".join(f" {b}\n" for b in self.tolist()[:1000])
        return f"{rows}[torch.storage.UntypedStorage(device=cpu) of size {len(self)}]"


def _storage_of(data):
    made = UntypedStorage(len(data))
    made._array()[...] = numpy.frombuffer(data, numpy.uint8)
    return made


def share_bytes(array):
    return UntypedStorage.of(
        runtime.foreign(array.__array_interface__["data"][0], array.nbytes, array)
    )


class TypedStorage(_Storage):
    """A storage seen as elements of one dtype."""

    __slots__ = ("_untyped", "dtype")

    def __init__(self, untyped, dtype):
        self._untyped, self.dtype = untyped, dtype

    @property
    def memory(self):
        return self._untyped.memory

    def untyped(self):
        return self._untyped

    def nbytes(self):
        return self._untyped.nbytes()

    def size(self):
        return self._untyped.nbytes() // self.dtype.itemsize

    __len__ = size

    def element_size(self):
        return self.dtype.itemsize

    def data_ptr(self):
        return self._untyped.data_ptr()

    def __getitem__(self, index):
        return _elements(self)[index].item()

    def __setitem__(self, index, value):
        _elements(self)[index] = value

    def tolist(self):
        return _elements(self).tolist()

    def fill_(self, value):
        _elements(self).fill_(value)
        return self

    def copy_(self, source, non_blocking=None):
        """Takes over the elements of another storage, in this one's dtype."""
        _elements(self).copy_(_elements(source))
        return self

    def clone(self):
        return type(self)(self._untyped.clone(), self.dtype)

    def type(self, dtype=None):
        """The name of the storage's type; or the elements as another dtype."""
        if dtype is not None:
            return _converted(self, dtype)
        return f"torch.{LEGACY_NAMES[self.dtype.name].replace('Tensor', 'Storage')}"

    def share_memory_(self):
        self._untyped.share_memory_()
        return self

    def is_shared(self):
        return self._untyped.is_shared()

    def __iter__(self):
        return iter(self.tolist())

    def __repr__(self):
        rows = "".join(f" {v}\n" for v in self.tolist()[:1000])
        kind = f"dtype={self.dtype}, device=cpu"
        return f"{rows}[torch.storage.TypedStorage({kind}) of size {len(self)}]"


def is_storage(obj, /):
    """Whether `obj` is a storage."""
    return isinstance(obj, UntypedStorage | TypedStorage)


def untyped_storage(self):
    """The bytes that the tensor lies in."""
    return UntypedStorage.of(self._storage)


def typed_storage(self):
    """The memory that the tensor lies in, as elements of its dtype."""
    return TypedStorage(UntypedStorage.of(self._storage), self.layout.dtype)


PUBLIC = ("TypedStorage", "UntypedStorage", "is_storage")
