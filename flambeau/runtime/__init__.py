"""Stand-in until the native runtime lands: the same interface in plain Python."""

import ctypes
import struct
from typing import Any, NamedTuple

import numpy

from .random import Generator, Stream, default_generator


class Stage(NamedTuple):
    kernel: Any
    data: tuple
    dims: bytes
    total: int
    grain: int


class Launch(NamedTuple):
    arguments: str
    itemsizes: tuple
    outputs: tuple
    stages: tuple
    release: bool = False
    record: Any = None
    fail: Any = None


_tensor: Any = None
_grad_enabled: Any = None


def bind(tensor_type, grad_enabled):
    global _tensor, _grad_enabled
    _tensor, _grad_enabled = tensor_type, grad_enabled


def foreign(ptr, nbytes, owner):
    memory = (ctypes.c_char * max(nbytes, 1)).from_address(ptr) if ptr else (ctypes.c_char * 1)()
    memory.ptr, memory.nbytes, memory.version, memory.owner = ptr, nbytes, 0, owner
    return memory


def empty(nbytes):
    block = numpy.empty(max(nbytes, 1) + 64, numpy.uint8)
    return foreign(block.ctypes.data, nbytes, block)


def wrap(storage, layout, offset):
    made = object.__new__(_tensor)
    made.storage, made.layout, made.offset = storage, layout, offset
    made._node = made._base = made._grad = made._views = None
    return made


def alias(tensor, layout, offset):
    made = wrap(tensor.storage, layout, offset)
    made._base = tensor._base if tensor._base is not None else tensor
    return made


def set_special(n):
    pass


_CALL = ctypes.CFUNCTYPE(
    ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64
)


def launcher(launch):
    calls = [s.kernel if callable(s.kernel) else _CALL(s.kernel) for s in launch.stages]

    def run(*args):
        if len(args) != len(launch.arguments):
            raise TypeError("wrong number of arguments")
        blocks = [empty(n) for _, n in launch.outputs]
        scalars = b""
        for letter, a in zip(launch.arguments, args):
            if letter == "i":
                scalars += int(a).to_bytes(8, "little", signed=True)
            elif letter == "d":
                scalars += struct.pack("d", a)
            elif letter == "c":
                scalars += struct.pack("2d", a.real, a.imag)
        for call, stage in zip(calls, launch.stages):
            data = [(blocks[-1 - k], 0) if k < 0 else (args[k].storage, args[k].offset) for k in stage.data]
            if getattr(call, "dims", False):
                call.total = stage.total
                code = call(data, scalars, stage.dims)
            elif stage.total:
                sizes = [0 if k < 0 else launch.itemsizes[k] for k in stage.data]
                pointers = (ctypes.c_void_p * len(data))(*[b.ptr + o * n for (b, o), n in zip(data, sizes)])
                code = call(ctypes.addressof(pointers), stage.dims, scalars, 0, stage.total)
            else:
                code = 0
            if code:
                if launch.fail:
                    launch.fail(code, *args)
                raise RuntimeError("kernel failed")
        results = [wrap(b, layout, 0) for b, (layout, _) in zip(blocks, launch.outputs) if layout is not None]
        for letter, a in zip(launch.arguments, args):
            if letter == "m":
                a.storage.version += 1
        result = (results[0] if len(results) == 1 else tuple(results)) if results else next(
            a for letter, a in zip(launch.arguments, args) if letter == "m"
        )
        if launch.record and _grad_enabled() and any(getattr(a, "_node", None) is not None for a in args):
            launch.record(result, *args)
        return result

    return run


def gemm_kernel(name):
    import struct

    def run(data, scalars, dims):
        ta, tb, m, n, k, lda, ldb, ldc, sa, sb, sc, add = struct.unpack("12q", dims)
        d = numpy.dtype(name)

        def read(block, code, rows, columns, ld, step, i):
            storage, offset = block
            if rows * columns == 0:
                return numpy.zeros((rows, columns), d)
            straight = code in (111, 114)
            shape = (rows, columns) if straight else (columns, rows)
            x = numpy.ndarray(shape, d, storage, (offset + i * step) * d.itemsize, (ld * d.itemsize, d.itemsize))
            x = x if straight else x.T
            return x.conj() if code in (113, 114) else x

        def one(i):
            out = read(data[0], 111, m, n, ldc, sc, i)
            product = read(data[1], ta, m, k, lda, sa, i) @ read(data[2], tb, k, n, ldb, sb, i)
            out[...] = out + product if add else product

        for i in range(run.total):
            one(i)

    run.dims = True
    return run
