"""Where tensors meet the outside: dtype casts by name, copies, pickling, DLPack, storages, NumPy's
protocols.
"""

import copy
import ctypes
import warnings

from flambeau import runtime
from flambeau._base import numpy
from flambeau.ops import conjugate_of_scalar, find, memory, modes, ndarray
from flambeau.types import DType, by_name, cpu, layout

from . import convert
from .autograd import hooks
from .convert import LEGACY_NAMES, share, type_text
from .settings import check_tensor
from .storages import TypedStorage, UntypedStorage, typed_storage, untyped_storage
from .tensor import Tensor

# Casts by name: x.float(), x.long(), …

CASTS = {
    "float": "float32",
    "double": "float64",
    "half": "float16",
    "bfloat16": "bfloat16",
    "long": "int64",
    "int": "int32",
    "short": "int16",
    "char": "int8",
    "byte": "uint8",
    "bool": "bool",
    "cfloat": "complex64",
    "cdouble": "complex128",
}


def _cast(name, dtype):
    def method(self, memory_format=None):
        if self.layout.dtype is dtype and memory_format is None:
            return self
        return self.to(dtype, memory_format=memory_format)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"""The values as {dtype.name}; the tensor itself where that is its dtype."""
    return method


def type_(self, dtype=None, non_blocking=False):
    """Without argument the type's name, such as ``torch.FloatTensor``; else the tensor cast to
    it.
    """
    if dtype is None:
        return type_text(self.layout.dtype)
    if isinstance(dtype, DType):
        return self.to(dtype)
    if not isinstance(dtype, str | type):
        raise TypeError("dtype must be a type, str, or dtype object")
    name = (dtype if isinstance(dtype, str) else dtype.__name__).rpartition(".")[2]
    found = next((n for n, legacy in LEGACY_NAMES.items() if legacy == name), None)
    if found is None and name != "Tensor":
        raise ValueError(f"invalid type: '{dtype}'")
    return self.to(by_name(found) if found else modes.defaults.dtype)


def type_as(self, other):
    """The values in the dtype of another tensor."""
    check_tensor("type_as", "other", other, 1)
    return self.to(other.layout.dtype)


def cpu_(self, memory_format=None):
    """The tensor on the CPU: itself where it is there."""
    return self.to(cpu)


def cuda(self, device=None, non_blocking=False, memory_format=None):
    """The tensor on a CUDA device, where there is one."""
    return self.to("cuda" if device is None else device)


def pin_memory(self, device=None):
    """The tensor itself: memory is not pinned without a device to copy to."""
    return self


# Views written in place: the tensor itself takes the view's shape.


def _in_place_view(name):
    def method(self, *args, **kwargs):
        modes.check_unversioned(self)
        if modes.state.grad and self.is_leaf and self._node is not None:
            raise RuntimeError(
                "a leaf Variable that requires grad is being used in an in-place operation."
            )
        made = getattr(self, name)(*args, **kwargs)
        with hooks.retained([self]):
            self.layout, self._offset, self._node = made.layout, made._offset, made._node
        self._storage.version += 1
        return self

    method.__name__ = method.__qualname__ = name + "_"
    method.__doc__ = f"""As `{name}`; the tensor itself changes its shape."""
    return method


def view(self, *shape, dtype=None, size=None):
    """The same memory under another shape, or as elements of another dtype: ``x.view(2, -1)``,
    ``x.view(torch.int32)``.
    """
    if len(shape) == 1 and shape[0].__class__ is DType:
        dtype = shape[0]
    if dtype is not None:
        return find("_view_dtype").door(self, dtype)
    return _view_door(self, *(shape if size is None else (size,)))


_view_door = find("view").door


def _matrix_property(name, doc, conjugates, batches):
    def get(self):
        n = self.layout.ndim
        what = "matrices or batches of matrices" if batches else "matrices (2-D tensors)"
        if n == 0 and conjugates:
            return conjugate_of_scalar(self, f"Tensor.{name}")
        if n == 0 and batches:
            message = f"Tensor.{name} is deprecated on 0-D tensors."
            warnings.warn(f"{message} This function is the identity in these cases.", stacklevel=2)
            return self
        if n < 2 or (n > 2 and not batches):
            hint = " For batches of matrices, consider using tensor.mH" if n > 2 else ""
            raise RuntimeError(
                f"tensor.{name} is only supported on {what}. Got {n}-D tensor.{hint}"
            )
        made = self.transpose(-2, -1)
        return made.conj() if conjugates and made.layout.dtype.kind == "c" else made

    return property(get, doc=doc)


def _t(self):
    """The dimensions in reverse order."""
    return self.permute(tuple(range(self.layout.ndim - 1, -1, -1)))


# Memory.


def resize_(self, *sizes, memory_format=None):
    """Gives the tensor another shape, row-major; memory grows where it is too small, and old
    elements stay in place.
    """
    if self._node is not None:
        raise RuntimeError("cannot resize variables that require grad")
    modes.check_unversioned(self)
    shape = convert.shape_of("resize_", sizes)
    strides = (
        None
        if memory_format is None or memory_format.is_row_major
        else memory_format.strides(shape)
    )
    made = (
        self.layout.reshaped(shape, strides)
        if strides
        else self.layout.reshaped(shape, _row_major(shape))
    )
    needed = (self._offset + made.span) * made.itemsize
    if needed > self._storage.nbytes:
        fresh = runtime.empty(needed)
        fresh.version = self._storage.version
        old = UntypedStorage.of(self._storage)._array()
        UntypedStorage.of(fresh)._array()[: old.size] = old
        self._storage = fresh
    self.layout = made
    return self


def _row_major(shape):
    return find("empty").door(shape, device="meta").layout.strides


def resize_as_(self, the_template, *, memory_format=None):
    """Gives the tensor the shape of another."""
    check_tensor("resize_as_", "the_template", the_template, 2)
    return self.resize_(the_template.layout.shape, memory_format=memory_format)


def set_(self, source=None, storage_offset=0, size=None, stride=None):
    """Makes the tensor look at other memory: that of a tensor, or of a storage under a given
    shape.
    """
    modes.check_unversioned(self)
    if source is None:
        source = find("empty").door((0,), dtype=self.layout.dtype)
    if isinstance(source, Tensor):
        if source.layout.dtype is not self.layout.dtype:
            raise RuntimeError(
                f"Could not set tensor of type {source.dtype.name} to a tensor of type "
                f"{self.dtype.name}"
            )
        if size is None:
            self._storage, self.layout, self._offset = (
                source._storage,
                source.layout,
                source._offset,
            )
            return self
        block = source._storage
    elif isinstance(source, UntypedStorage | TypedStorage):
        block = source.memory
    else:
        kind = type(source).__name__
        raise TypeError(
            f"set_(): argument 'source' (position 1) must be Tensor or Storage, not {kind}"
        )
    if size is None:
        size = (block.nbytes // self.layout.itemsize,)
    size = tuple(size) if hasattr(size, "__iter__") else (size,)
    stride = _row_major(size) if stride is None else tuple(stride)
    where = f"sizes {list(size)}, strides {list(stride)}, storage offset {storage_offset}"
    if len(size) != len(stride) or any(n < 0 for n in (*size, *stride, storage_offset)):
        raise RuntimeError(f"set_(): invalid {where}")
    made = layout(size, stride, self.layout.dtype)
    needed = (made.span + storage_offset) * made.itemsize if made.numel else 0
    if needed > block.nbytes:
        raise RuntimeError(
            f"setStorage: {where}, and itemsize {made.itemsize} requiring a storage size of "
            f"{needed} are out of bounds for storage of size {block.nbytes}"
        )
    self.layout, self._storage, self._offset = made, block, storage_offset
    return self


def fill_diagonal_(self, fill_value, wrap=False):
    """Writes one value on the diagonal; `wrap` starts again below a tall matrix's last column."""
    source = self.layout
    if source.ndim < 2:
        raise RuntimeError("dimensions must larger than 1")
    if source.ndim > 2 and len(set(source.shape)) > 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    step, n = sum(source.strides), min(source.shape)
    self.as_strided((n,), (step,), self._offset).fill_(fill_value)
    rows, columns = source.shape[:2]
    if wrap and source.ndim == 2 and rows > columns + 1:
        for start in range(columns + 1, rows, columns + 1):
            part = self.narrow(0, start, rows - start)
            part.diagonal().fill_(fill_value)
    return self


def apply_(self, callable):
    """Replaces each element by what the function gives for it. Slow: a Python call each."""
    values = ndarray(self)
    made = numpy.array([callable(v) for v in values.reshape(-1).tolist()], dtype=object)
    memory.store(self, made.astype(self.layout.dtype.numpy).reshape(values.shape))
    return self


def map_(self, tensor, callable):
    """Replaces each element by what the function gives for it and the other tensor's element."""
    pairs = zip(
        ndarray(self).reshape(-1).tolist(),
        ndarray(tensor.expand(self.shape)).reshape(-1).tolist(),
        strict=True,
    )
    made = numpy.array([callable(a, b) for a, b in pairs], dtype=object).astype(
        self.layout.dtype.numpy
    )
    memory.store(self, made.reshape(self.layout.shape))
    return self


# Copies and pickles.


def deepcopy(self, memo):
    """A copy with its own memory; tensors that share memory share it in the copies."""
    if id(self) in memo:
        return memo[id(self)]
    if not self.is_leaf:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
            "protocol at the moment.  If you were attempting to deepcopy a module, this may be "
            "because of a torch.nn.utils.weight_norm usage, see "
            "https://github.com/pytorch/pytorch/pull/103001"
        )
    if self.layout.device.type == "meta":
        data = runtime.wrap(self._storage, self.layout, self._offset)
    elif self.layout.conj or self.layout.neg:
        data = self.detach().clone()
    else:
        block = copy.deepcopy(UntypedStorage.of(self._storage), memo).memory
        data = runtime.wrap(block, self.layout, self._offset)
    made = data if self.__class__ is Tensor else Tensor._make_subclass(self.__class__, data)
    if self._node is not None:
        made.requires_grad_()
    memo[id(self)] = made
    if self._grad is not None:
        made._grad = copy.deepcopy(self._grad, memo)
    if self.__dict__:
        made.__dict__.update(copy.deepcopy(self.__dict__, memo))
    return made


def reduce_ex(self, protocol):
    """How `pickle` and `copy.copy` see a tensor: its storage (once, for all views of it) and its
    layout.
    """
    source = self.layout
    if source.device.type == "meta":
        args = (self.__class__, None, source, 0, self.requires_grad, self.__dict__)
    else:
        args = (
            self.__class__,
            UntypedStorage.of(self._storage),
            source,
            self._offset,
            self.requires_grad,
            self.__dict__,
        )
    return rebuild, args


def rebuild(cls, storage, made, offset, requires_grad, attributes):
    """The tensor that `reduce_ex` took apart."""
    block = runtime.foreign(0, 0, None) if storage is None else storage.memory
    tensor = runtime.wrap(block, made, offset)
    if cls is not Tensor:
        tensor = Tensor._make_subclass(cls, tensor)
    if requires_grad:
        tensor.requires_grad_()
    tensor.__dict__.update(attributes)
    return tensor


# DLPack (https://dmlc.github.io/dlpack). NumPy writes and reads the structure; bfloat16, which it
# lacks, travels as uint16 under a changed type code.

_CODE_OFFSET = {
    b"dltensor": 20,
    b"dltensor_versioned": 52,
}  # of DLDataType in the managed structures
_UINT, _BFLOAT = 1, 4
_CPU = (1, 0)


NO_CAPSULE = (
    "from_dlpack received an invalid capsule. Note that DLTensor capsules can be consumed only "
    "once, so you might have already constructed a tensor from it once."
)


def _capsule_type(capsule):
    """The three fields of a capsule's DLDataType, as an array that may be written."""
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = (
        ctypes.c_char_p,
        [ctypes.py_object],
    )
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    name = api.PyCapsule_GetName(capsule)
    if name not in _CODE_OFFSET:
        raise RuntimeError(NO_CAPSULE)
    address = api.PyCapsule_GetPointer(capsule, name) + _CODE_OFFSET[name]
    return (ctypes.c_uint8 * 2).from_address(address)


def to_dlpack(self, *, stream=None, max_version=None, dl_device=None, copy=None):
    """A DLPack capsule on the tensor's memory, for another library."""
    if self._node is not None:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    for bit, name in ((self.layout.conj, "conjugate"), (self.layout.neg, "negative")):
        if bit:
            raise BufferError(f"Can't export tensors with the {name} bit set")
    if self.layout.device is not cpu:
        raise BufferError(f"Can't export tensors on device {self.layout.device}")
    if dl_device is not None and tuple(dl_device) != _CPU:
        raise BufferError("Can't export to another device than the CPU")
    array = ndarray(self.clone() if copy else self)
    brain = self.layout.dtype.name == "bfloat16"
    if brain:
        array = array.view(numpy.uint16)
    capsule = (
        array.__dlpack__(max_version=max_version) if max_version is not None else array.__dlpack__()
    )
    if brain:
        _capsule_type(capsule)[0] = _BFLOAT
    return capsule


class _Exporter:
    """Hands a capsule to NumPy."""

    def __init__(self, capsule):
        self.capsule = capsule

    def __dlpack__(self, **options):
        return self.capsule

    def __dlpack_device__(self):
        return _CPU


def from_dlpack(ext_tensor, *, device=None, copy=None):
    """A tensor on the memory of another library's array (anything with `__dlpack__`, or a capsule),
    without a copy.
    """
    if isinstance(ext_tensor, Tensor):
        capsule = to_dlpack(ext_tensor)
    elif hasattr(ext_tensor, "__dlpack__"):
        kind = tuple(ext_tensor.__dlpack_device__())
        if kind[0] != _CPU[0]:
            raise RuntimeError(f"from_dlpack: no device of DLPack type {int(kind[0])} is there")
        try:
            capsule = ext_tensor.__dlpack__(max_version=(1, 0))
        except TypeError:
            capsule = ext_tensor.__dlpack__()
    else:
        capsule = ext_tensor
    try:
        code = _capsule_type(capsule)
    except ValueError:  # no capsule at all
        raise RuntimeError(NO_CAPSULE) from None
    brain = code[0] == _BFLOAT
    if brain:
        code[0] = _UINT
    array = numpy.from_dlpack(_Exporter(capsule))
    if brain:
        array = array.view(by_name("bfloat16").numpy)
    if array.size and min(array.strides, default=0) < 0:
        raise ValueError("tensors with negative strides are not supported: copy the array first")
    made = share(convert._array(array))
    made = made.clone() if copy else made
    return made if device is None else made.to(device)


def dlpack_device(self):
    """DLPack's (device type, device number)."""
    return _CPU


def reversed_(self):
    """The elements in reverse order along the first dimension."""
    return self.flip(0) if self.layout.ndim else self


def array_interface(self):
    return self.numpy().__array_interface__


def members():
    """Methods and properties by name."""
    found = {name: _cast(name, by_name(dtype)) for name, dtype in CASTS.items()}
    found |= {name + "_": _in_place_view(name) for name in (
        "as_strided", "squeeze", "swapaxes", "swapdims", "t", "transpose", "unsqueeze",
    )}  # fmt: skip
    found |= {
        "type": type_,
        "type_as": type_as,
        "cpu": cpu_,
        "cuda": cuda,
        "pin_memory": pin_memory,
        "view": view,
        "untyped_storage": untyped_storage,
        "_typed_storage": typed_storage,
        "storage": typed_storage,
        "resize_": resize_,
        "resize_as_": resize_as_,
        "set_": set_,
        "fill_diagonal_": fill_diagonal_,
        "apply_": apply_,
        "map_": map_,
        "__deepcopy__": deepcopy,
        "__reduce_ex__": reduce_ex,
        "__dlpack__": to_dlpack,
        "__dlpack_device__": dlpack_device,
        "__reversed__": reversed_,
        "__array_priority__": 1000,
        "is_pinned": lambda self, device=None: False,
        "is_set_to": is_set_to,
        "dim_order": dim_order,
        "is_distributed": lambda self: False,
        "to_dense": to_dense,
        "T": property(_t, doc=_t.__doc__),
        "mT": _matrix_property("mT", "The transpose of the last two dimensions.", False, True),
        "mH": _matrix_property(
            "mH", "The conjugate transpose of the last two dimensions.", True, True
        ),
        "H": _matrix_property("H", "The conjugate transpose of a matrix.", True, False),
        "real": property(
            lambda self: find("real").door(self), set_real, doc="The real part: a view."
        ),
        "imag": property(
            lambda self: find("imag").door(self), set_imag, doc="The imaginary part: a view."
        ),
    }
    return found


def set_real(self, value):
    (self.real if self.layout.dtype.kind == "c" else self).copy_(convert.as_tensor(value))


def set_imag(self, value):
    self.imag.copy_(convert.as_tensor(value))


def dim_order(self, *, ambiguity_check=False):
    """The dimensions from the outermost in memory to the innermost."""
    strides = self.layout.strides
    return tuple(sorted(range(self.layout.ndim), key=lambda dim: -strides[dim]))


def to_dense(self, dtype=None, *, masked_grad=True):
    """The tensor itself, or cast: all tensors are dense."""
    return self if dtype is None else self.to(dtype)


def is_set_to(self, tensor):
    """Whether both tensors are the same memory under the same layout."""
    return (
        self._storage is tensor._storage
        and self.layout is tensor.layout
        and self._offset == tensor._offset
    )


def install():
    """Puts the methods on the class."""
    convert.make_from_dlpack = from_dlpack
    for name, member in members().items():
        setattr(Tensor, name, member)


def resize_as(input, the_template, *, memory_format=None):
    """Gives `input` the shape of another tensor, in place."""
    return resize_as_(input, the_template, memory_format=memory_format)


PUBLIC = ("from_dlpack",)
