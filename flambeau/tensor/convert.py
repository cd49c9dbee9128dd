"""Tensors from Python's and NumPy's values: `tensor`, `as_tensor`, `from_numpy`, the legacy
constructors.
"""

import warnings
from struct import error as StructError
from struct import pack_into

from flambeau import runtime
from flambeau._base import numpy
from flambeau.ops import adopt, find, modes
from flambeau.types import (
    DTYPES,
    PYTHON_TYPES,
    STRUCT_LETTERS,
    UNPROMOTED,
    by_name,
    contiguous,
    cpu,
    layout,
    promote,
)
from flambeau.types import from_numpy as dtype_of_numpy

from . import tensor as tensor_module
from .creation import as_device, as_dtype, empty, finish, full, shape_of
from .tensor import Size, Tensor

_defaults = modes.defaults
_SUPPORTED = (
    "float64, float32, float16, complex64, complex128, int64, int32, int16, int8, uint64, uint32, "
    "uint16, uint8, and bool"
)
_NUMBERS = frozenset((bool, int, float, complex))
_ELEMENTS = {bool: "b", int: "i", float: "f"}  # kinds of dtype by type of number
INT64, UINT64, FLOAT64 = by_name("int64"), by_name("uint64"), by_name("float64")


def _array(array):
    """A NumPy array as one whose dtype exists here; TypeError or ValueError where there is none."""
    if not array.dtype.isnative:
        raise ValueError(
            "given numpy array has byte order different from the native byte order. Conversion "
            "between byte orders is currently not supported."
        )
    if dtype_of_numpy(array.dtype) is None:
        raise TypeError(
            f"can't convert np.ndarray of type {_full_name(array.dtype)}. The only supported types "
            f"are: {_SUPPORTED}."
        )
    return array


def _full_name(dtype):
    return f"{dtype.type.__module__}.{dtype.type.__name__}"


def from_numpy(ndarray):
    """A tensor on the memory of a NumPy array: changes of one are seen in the other."""
    if not isinstance(ndarray, numpy.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    array = _array(ndarray)
    if array.size and min(array.strides, default=0) < 0:
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative "
            "strides are not currently supported. (You can probably work around this by making a "
            "copy of your array  with array.copy().) "
        )
    if any(s % array.itemsize for s in array.strides):
        raise ValueError(
            "given numpy array strides not a multiple of the element byte size. Copy the numpy "
            "array to reallocate the memory."
        )
    if not array.flags.writeable:
        warnings.warn(
            "The given NumPy array is not writable, and PyTorch does not support non-writable "
            "tensors. This means writing to this tensor will result in undefined behavior.",
            stacklevel=2,
        )
    return share(array)


def share(array):
    """A tensor on the array's memory, which it keeps alive."""
    strides = tuple(s // array.itemsize for s in array.strides)
    made = layout(array.shape, strides, dtype_of_numpy(array.dtype), cpu)
    address = array.__array_interface__["data"][0]
    return runtime.wrap(runtime.foreign(address, made.nbytes, array), made, 0)


def _leaf_types(data, found, depth=0):
    """Adds the classes of all innermost elements to `found`."""
    kinds = set(map(type, data))
    nested = {k for k in kinds if issubclass(k, list | tuple | range)}
    found |= kinds - nested
    if nested:
        for item in data:
            if type(item) in nested:
                _leaf_types(item, found, depth + 1)


def _infer(data, kinds):
    """The dtype that PyTorch gives nested sequences whose innermost elements are of these
    classes.
    """
    result = None
    for kind in kinds:
        if kind in _NUMBERS:
            dtype = _default_of(kind)
        elif issubclass(kind, numpy.generic):
            dtype = dtype_of_numpy(numpy.dtype(kind))
            if dtype is None:
                raise TypeError(
                    f"can't convert np.ndarray of type {_full_name(numpy.dtype(kind))}. The only "
                    f"supported types are: {_SUPPORTED}."
                )
        elif kind is numpy.ndarray or issubclass(kind, Tensor):
            continue
        elif issubclass(kind, int):
            dtype = INT64
        elif issubclass(kind, str):
            if len(kinds) == 1:
                raise ValueError(f"too many dimensions '{kind.__name__}'")
            raise TypeError(f"new(): invalid data type '{kind.__name__}'")
        elif hasattr(kind, "__float__") or hasattr(kind, "__index__"):
            dtype = _defaults.dtype if hasattr(kind, "__float__") else INT64
        else:
            raise RuntimeError(f"Could not infer dtype of {kind.__name__}")
        result = dtype if result is None else promote(result, dtype)
    if numpy.ndarray in kinds or any(issubclass(k, Tensor) for k in kinds):
        for leaf in _leaves(data):
            dtype = leaf.dtype if isinstance(leaf, Tensor) else None
            if isinstance(leaf, numpy.ndarray):
                dtype = dtype_of_numpy(_array(leaf).dtype)
            if dtype is not None:
                result = dtype if result is None else promote(result, dtype)
    return result or _defaults.dtype


def _default_of(kind):
    if kind is float:
        return _defaults.dtype
    return _defaults.dtype.to_complex() if kind is complex else PYTHON_TYPES[kind]


def _leaves(data):
    if isinstance(data, list | tuple | range):
        for item in data:
            yield from _leaves(item)
    else:
        yield data


def _plain(data):
    """Tensors inside the lists replaced by numbers."""
    if isinstance(data, Tensor):
        if data.layout.numel != 1:
            raise ValueError("only one element tensors can be converted to Python scalars")
        return data.item()
    return [_plain(item) for item in data] if isinstance(data, list | tuple) else data


def _ragged(data):
    """The error for nested sequences whose lengths differ."""
    shape, first = [], data
    while isinstance(first, list | tuple | numpy.ndarray) and not (
        isinstance(first, numpy.ndarray) and not first.ndim
    ):
        shape.append(len(first))
        if not len(first):
            break
        first = first[0]

    def check(part, depth):
        if depth == len(shape):
            if isinstance(part, list | tuple):
                raise TypeError(
                    f"'{type(part).__name__}' object cannot be interpreted as an integer"
                )
            return
        if not isinstance(part, list | tuple | range | numpy.ndarray):
            raise TypeError("not a sequence")
        if len(part) != shape[depth]:
            raise ValueError(
                f"expected sequence of length {shape[depth]} at dim {depth} (got {len(part)})"
            )
        for item in part:
            check(item, depth + 1)

    check(data, 0)
    return ValueError(f"too many dimensions '{type(data).__name__}'")  # for NumPy


def _checked_cast(values, dtype):
    """`values` in `dtype`, refusing numbers that an integer type cannot hold."""
    if dtype.kind in "iu" and values.size and values.dtype.kind in "iuf":
        info = numpy.iinfo(dtype.numpy)
        low = info.min if dtype.kind == "i" else -int(info.max) - 1
        smallest, largest = values.min(), values.max()
        if not (low <= smallest and largest <= info.max):
            raise RuntimeError(f"value cannot be converted to type {dtype.name} without overflow")
    if values.dtype.kind == "c" and dtype.kind != "c":
        raise TypeError("must be real number, not complex")
    if dtype.name == "bfloat16":
        values = values.astype(numpy.float32)
    with numpy.errstate(all="ignore"):
        return values.astype(dtype.numpy)


def _from_numbers(data, dtype):
    """A vector of numbers of one Python type; None where `dtype` does not hold them as they are."""
    kinds = set(map(type, data))
    kind = kinds.pop() if len(kinds) == 1 else None
    if kind not in _ELEMENTS:
        return None
    dtype = dtype or _default_of(kind)
    if dtype.kind != _ELEMENTS[kind] or dtype not in STRUCT_LETTERS:
        return None
    made = contiguous((len(data),), dtype)
    storage = runtime.empty(made.nbytes)
    try:
        pack_into(f"{len(data)}{STRUCT_LETTERS[dtype]}", storage, 0, *data)
    except (OverflowError, StructError):
        return None
    return runtime.wrap(storage, made, 0)


def _from_sequence(data, dtype):
    made = _from_numbers(data, dtype)
    if made is not None:
        return made
    kinds: set = set()
    try:
        _leaf_types(data, kinds)
    except RecursionError:
        raise ValueError(f"too many dimensions '{type(data).__name__}'") from None
    dtype = dtype or _infer(data, kinds)
    if numpy.ndarray in kinds:
        warnings.warn(
            "Creating a tensor from a list of numpy.ndarrays is extremely slow. Please consider "
            "converting the list to "
            "a single numpy.ndarray with numpy.array() before converting to a tensor.",
            stacklevel=4,
        )
    if any(issubclass(k, Tensor) for k in kinds):
        data = _plain(data)
    whole = dtype is UINT64 and all(issubclass(k, int) for k in kinds)
    try:
        values = numpy.array(data, dtype="uint64" if whole else None)
    except ValueError:
        raise _ragged(data) from None
    if values.dtype.kind == "O" or (values.dtype.name == "uint64" and not whole):
        if all(isinstance(leaf, int) for leaf in _leaves(data)):
            raise ValueError("Overflow when unpacking long long")
        values = values.astype(numpy.float64)
    return adopt(_checked_cast(values, dtype))


def _make(data, dtype, device):
    """The values of `data`, copied."""
    kind = data.__class__
    if kind in _NUMBERS:
        if kind is int and not -(2**63) <= data < 2 ** (64 if dtype is UINT64 else 63):
            raise ValueError("Overflow when unpacking long long")
        dtype = dtype or _default_of(kind)
        if dtype.kind in "iu" and kind is not bool:
            return adopt(_checked_cast(numpy.array(data), dtype))
        if kind is complex and dtype.kind != "c":
            raise TypeError("must be real number, not complex")
        return find("full").door((), data, dtype=dtype)
    if isinstance(data, Tensor):
        made = data.detach()
        return made.to(dtype, copy=True) if dtype is not None else made.clone()
    if isinstance(data, numpy.ndarray | numpy.generic):
        array = _array(numpy.asarray(data))
        dtype = dtype or dtype_of_numpy(array.dtype)
        return adopt(
            array.astype(dtype.numpy) if dtype.name != "bfloat16" else _checked_cast(array, dtype)
        )
    if isinstance(data, list | tuple | range):
        return _from_sequence(data if kind is not range else list(data), dtype)
    if isinstance(data, str | bytes):
        raise TypeError(f"new(): invalid data type '{kind.__name__}'")
    if hasattr(data, "__dlpack__"):
        return make_from_dlpack(data).clone()
    if hasattr(data, "__array__") or hasattr(data, "__array_interface__"):
        return _make(numpy.asarray(data), dtype, device)
    if isinstance(data, bytearray | memoryview):
        return _make(list(data), dtype, device)
    if hasattr(data, "__len__") and hasattr(data, "__getitem__") and not isinstance(data, dict):
        return _from_sequence([data[i] for i in range(len(data))], dtype)
    if hasattr(data, "__float__"):
        return _make(float(data), dtype, device)
    if hasattr(data, "__index__"):
        return _make(data.__index__(), dtype, device)
    raise RuntimeError(f"Could not infer dtype of {kind.__name__}")


make_from_dlpack = None  # told by `borders`


def tensor(data, *, dtype=None, device=None, requires_grad=False, pin_memory=False):
    """A new leaf tensor with the values of `data`: a number, nested sequences, a NumPy array,
    another tensor.

    The dtype is that of the values (Python floats: the default dtype) unless `dtype` says another.
    """
    if isinstance(data, Tensor):
        warnings.warn(
            "To copy construct from a tensor, it is recommended to use "
            "sourceTensor.detach().clone() or "
            "sourceTensor.detach().clone().requires_grad_(True), rather than "
            "torch.tensor(sourceTensor).",
            stacklevel=2,
        )
    made = _make(data, as_dtype(dtype), None)
    device = as_device(device) if device is not None else _defaults.device
    if device is not cpu:
        made = made.to(device)
    return finish(made, None, True) if requires_grad else made


def as_tensor(data, dtype=None, device=None):
    """`data` as a tensor, without a copy where that is possible (tensors, NumPy arrays of the same
    dtype).
    """
    dtype = as_dtype(dtype)
    if isinstance(data, Tensor):
        made = data
    elif isinstance(data, numpy.ndarray):
        made = share(_shareable(data))
    elif hasattr(data, "__dlpack__") and not isinstance(data, numpy.generic):
        made = make_from_dlpack(data)
    else:
        made = _make(data, dtype, None)
    if dtype is not None and made.dtype is not dtype:
        made = made.to(dtype)
    return made if device is None and _defaults.device is cpu else made.to(as_device(device))


def _shareable(array):
    array = _array(array)
    if array.size and (
        min(array.strides, default=0) < 0 or any(s % array.itemsize for s in array.strides)
    ):
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative "
            "strides are not currently supported. (You can probably work around this by making a "
            "copy of your array  with array.copy().) "
        )
    return array


def asarray(obj, *, dtype=None, device=None, copy=None, requires_grad=False):
    """`obj` as a tensor; `copy` True always copies, False raises where a copy is needed."""
    dtype = as_dtype(dtype)
    shared = (
        isinstance(obj, Tensor | numpy.ndarray) or hasattr(obj, "__dlpack__") or _is_buffer(obj)
    )
    if (
        shared
        and _is_buffer(obj)
        and not isinstance(obj, Tensor | numpy.ndarray)
        and not hasattr(obj, "__dlpack__")
    ):
        made = frombuffer(obj, dtype=dtype or _defaults.dtype)
    elif shared:
        made = as_tensor(obj)
    else:
        made = _make(obj, dtype, None)
    changed = dtype is not None and made.dtype is not dtype
    if copy is False and (changed or not shared):
        raise ValueError(
            "can't alias arbitrary sequence into a tensor."
            if not shared
            else f"can't alias tensor with dtype '{made.dtype}' into dtype '{dtype}'."
        )
    if changed:
        made = made.to(dtype)
    elif copy and shared:
        made = made.clone()
    if device is not None:
        made = made.to(as_device(device))
    if isinstance(obj, Tensor) and not requires_grad and made is not obj and not obj.requires_grad:
        return made
    if isinstance(obj, Tensor):
        return made if requires_grad == made.requires_grad else (
            made.requires_grad_() if requires_grad else made.detach()
        )  # fmt: skip
    return finish(made, None, requires_grad)


def _is_buffer(obj):
    return isinstance(obj, bytes | bytearray | memoryview)


def frombuffer(buffer, *, dtype, count=-1, offset=0, requires_grad=False):
    """A vector on the memory of an object with the buffer protocol, from byte `offset` on."""
    try:
        view = memoryview(buffer)
    except TypeError:
        raise ValueError("object does not implement Python buffer protocol.") from None
    if not view.c_contiguous:
        raise RuntimeError("could not retrieve buffer from object")
    size, nbytes = as_dtype(dtype).itemsize, view.nbytes
    if nbytes == 0 or count == 0:
        raise ValueError(f"both buffer length ({nbytes}) and count ({count}) must not be 0")
    if not 0 <= offset < nbytes:
        raise ValueError(
            f"offset ({offset} bytes) must be non-negative and no greater than buffer length "
            f"({nbytes} bytes) minus 1"
        )
    if count < 0 and (nbytes - offset) % size:
        raise ValueError(
            f"buffer length ({nbytes - offset} bytes) after offset ({offset} bytes) must be a "
            f"multiple of element size ({size})"
        )
    count = (nbytes - offset) // size if count < 0 else count
    if offset + count * size > nbytes:
        raise ValueError(
            f"requested buffer length ({count} * {size} bytes) after offset ({offset} bytes) must "
            f"not be greater than actual buffer length ({nbytes} bytes)"
        )
    if view.readonly:
        warnings.warn(
            "The given buffer is not writable, and PyTorch does not support non-writable tensors. "
            "This means you can write to the underlying (supposedly non-writable) buffer using "
            "the tensor. You may want to copy the buffer to protect its data or make it writable "
            "before converting it to a tensor.",
            stacklevel=2,
        )
    array = numpy.frombuffer(buffer, numpy.uint8, count * size, offset).view(as_dtype(dtype).numpy)
    return finish(share(array), None, requires_grad)


def new_tensor(
    self, data, *, dtype=None, device=None, requires_grad=False, layout=None, pin_memory=False
):
    """A copy of `data` with this tensor's dtype and device by default."""
    device = as_device(self.device if device is None else device, layout)
    made = _make(data, as_dtype(dtype) or self.dtype, None).to(device)
    return finish(made, None, requires_grad)


def _legacy(dtype, args, device):
    """What ``FloatTensor(*args)`` makes: of sizes unwritten memory, of a sequence its values."""
    _check_legacy(device)
    if not args:
        return empty(0, dtype=dtype)
    first = args[0]
    if len(args) == 1:
        if isinstance(first, Tensor):
            if dtype is not first.dtype:
                raise TypeError(f"expected {dtype} (got {first.dtype})")
            return first.detach()
        if isinstance(first, Size):
            return empty(tuple(first), dtype=dtype)
        if isinstance(first, list | tuple | numpy.ndarray | range):
            return _make(first, dtype, None)
        if hasattr(first, "storage_of_bytes"):
            return empty(0, dtype=dtype).set_(first)
    if all(isinstance(a, int | numpy.integer) for a in args):
        return empty(tuple(map(int, args)), dtype=dtype)
    kinds = ", ".join(type(a).__name__ for a in args)
    if len(args) == 1:
        raise TypeError(f"new(): data must be a sequence (got {kinds})")
    raise TypeError(f"new() received an invalid combination of arguments - got ({kinds})")


def _check_legacy(device):
    if device is not None and as_device(device) is not cpu:
        raise RuntimeError(
            "legacy constructor expects device type: cpu but device type: "
            f"{as_device(device).type} was passed"
        )


def construct(cls, args, dtype, device):
    """``Tensor(...)``: in the default dtype; of a tensor, the tensor without history."""
    _check_legacy(device)
    if len(args) == 1 and isinstance(args[0], Tensor):
        made = args[0].detach()
    else:
        made = _legacy(dtype or _defaults.dtype, args, device)
    return made if cls is Tensor else Tensor._make_subclass(cls, made)


class LegacyType(type):
    """The class of `FloatTensor` and its kin, which stand for a dtype."""

    def __instancecheck__(cls, value):
        return isinstance(value, Tensor) and value.layout.dtype is cls.dtype

    def __call__(cls, *args, device=None):
        return _legacy(cls.dtype, args, device)

    def __repr__(cls):
        return f"<class 'torch.{cls.__name__}'>"


LEGACY_NAMES = {d.name: f"{d.type_name}Tensor" for d in DTYPES}
LEGACY = {
    name: LegacyType(
        name,
        (),
        {"dtype": dtype, "__module__": "torch", "__doc__": f"Tensors of {dtype}, as a type."},
    )
    for dtype, name in zip(DTYPES, LEGACY_NAMES.values(), strict=True)
    if dtype not in UNPROMOTED
}


def type_text(dtype):
    """How `Tensor.type` calls a dtype: ``torch.FloatTensor``."""
    return f"torch.{LEGACY_NAMES[dtype.name]}"


def new(self, *args, device=None):
    """The legacy constructor with this tensor's dtype."""
    return _legacy(self.dtype, args, device)


def install():
    """Puts the methods on the class."""
    tensor_module._constructor.append(construct)
    Tensor.new_tensor, Tensor.new = new_tensor, new


PUBLIC = ("as_tensor", "asarray", "from_numpy", "frombuffer", "tensor")
__all__ = [*PUBLIC, "FLOAT64", "LEGACY", "full", "shape_of", "share", "type_text"]
