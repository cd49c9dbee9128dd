"""The safetensors format: a header in JSON, and the tensors' bytes. It holds no code.

The package `safetensors` checks headers and writes files; the bytes of a file that is read are
mapped, not copied.
"""

import mmap
import os

import safetensors

from flambeau import runtime
from flambeau._base import numpy
from flambeau.tensor import Tensor, strided
from flambeau.types import DType, by_name, contiguous

from .atomic import replacing
from .location import META, Placement, nowhere

DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "F16": "float16",
    "BF16": "bfloat16",
    "U32": "uint32",
    "I32": "int32",
    "F32": "float32",
    "U64": "uint64",
    "I64": "int64",
    "F64": "float64",
    "C64": "complex64",
}


def is_safetensors(start: bytes, size: int) -> bool:
    """Whether a file of `size` bytes that starts so may be one."""
    return len(start) > 8 and start[8:9] == b"{" and 8 + int.from_bytes(start[:8], "little") <= size


def save_safetensors(tensors: dict, path, metadata: dict | None = None) -> None:
    """Writes a dict of tensors to `path`, in one step. `metadata` are texts by name.

    Views are written as tensors of their own: what shares memory does so no longer when it is read.
    Raises TypeError for what is no tensor, ValueError for dtypes that the format lacks.
    """
    specs, kept = {}, []
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name!r} is no tensor but a {type(tensor).__name__}")
        if tensor.dtype.name not in DTYPES.values():
            raise ValueError(f"{name!r} is of dtype {tensor.dtype.name}, which safetensors lacks")
        plain = tensor.detach().resolve_conj().resolve_neg().contiguous()
        kept.append(plain)
        specs[name] = safetensors.TensorSpec(
            dtype=plain.dtype.name,
            shape=list(plain.shape),
            data_ptr=plain.data_ptr(),
            data_len=plain.nbytes,
        )
    with replacing(path) as temporary:
        safetensors.serialize_file(specs, temporary, metadata=metadata)


def load_safetensors(path, map_location=None) -> dict:
    """The tensors of a safetensors file, by name, on a private map of it: nothing is read before it
    is used, and what a program writes to them does not reach the file.

    Raises RuntimeError where the file is damaged.
    """
    placement = Placement(map_location)
    try:
        # The frame of NumPy's is asked for shapes only, none of its arrays.
        opened = safetensors.safe_open(path, framework="numpy")
    except safetensors.SafetensorError as error:
        raise RuntimeError(f"{os.fspath(path)} is no safetensors file: {error}") from None
    found = {}
    with opened, open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        start = 8 + int.from_bytes(mapped[:8], "little")
        for name in opened.offset_keys():  # without gaps, which the package has checked
            part = opened.get_slice(name)
            dtype, shape = _dtype(name, part.get_dtype()), tuple(part.get_shape())
            layout = contiguous(shape, dtype)
            found[name] = _tensor(name, mapped, start, layout, placement)
            start += layout.nbytes
    return found


def _dtype(name, code) -> DType:
    if code not in DTYPES:
        raise RuntimeError(f"{name!r} is of dtype {code}, which flambeau lacks")
    return by_name(DTYPES[code])


def _tensor(name, mapped, start, layout, placement):
    def memory():
        if start % layout.itemsize:  # the header's length is not a multiple of 8
            block = numpy.frombuffer(mapped[start : start + layout.nbytes], numpy.uint8)
        else:
            block = numpy.frombuffer(mapped, numpy.uint8, layout.nbytes, start)
        return runtime.foreign(block.ctypes.data, block.nbytes, block)

    stored = placement.stored(name, memory, layout.dtype, "cpu", layout.nbytes)
    if stored.device is META:
        return runtime.wrap(nowhere(), contiguous(layout.shape, layout.dtype, META), 0)
    return strided(stored.memory, layout.dtype, layout.shape, layout.strides)
