"""Batches on their way from a worker to the main process.

A batch is pickled with its arrays left out (PEP 574). Pickle and arrays go through the pipe
together if they are small. Else they are written to a nameless file in memory, whose descriptor
goes through the pipe: the main process maps it, and its tensors lie in the map. No name can be left
behind by a killed process, no limit on /dev/shm applies, and the memory is free when the last
tensor on it is.
"""

import io
import mmap
import os
import pickle
import socket

from flambeau.tensor import Tensor

from .tensors import from_numpy

_SMALL = 1 << 15  # bytes up to which a batch goes through the pipe itself
_ALIGNMENT = 64
_HAS_FILES_IN_MEMORY = hasattr(os, "memfd_create") and hasattr(socket, "send_fds")


class _Pickler(pickle.Pickler):
    """Tensors go as NumPy arrays, which pickle knows how to leave out."""

    def reducer_override(self, value):
        if isinstance(value, Tensor):
            return from_numpy, (value.numpy(force=True),)
        return NotImplemented


def _aligned(size):
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def send(connection, label, value) -> None:
    """Send `value` through `connection`, after the small object `label`, which must pickle."""
    stream = io.BytesIO()
    buffers: list[pickle.PickleBuffer] = []
    _Pickler(stream, 5, buffer_callback=buffers.append).dump(value)
    parts = [memoryview(stream.getbuffer()), *(buffer.raw() for buffer in buffers)]
    sizes = [part.nbytes for part in parts]
    in_file = _HAS_FILES_IN_MEMORY and sum(sizes) > _SMALL
    connection.send((label, sizes, in_file))
    if in_file:
        _send_file(connection, parts)
    else:
        connection.send_bytes(b"".join(bytes(part).ljust(_aligned(part.nbytes)) for part in parts))


def _send_file(connection, parts):
    descriptor = os.memfd_create("flambeau-batch", os.MFD_CLOEXEC)
    try:
        for part in parts:
            _write(descriptor, part)
            os.lseek(descriptor, -part.nbytes % _ALIGNMENT, os.SEEK_CUR)
        os.ftruncate(descriptor, sum(_aligned(part.nbytes) for part in parts))
        with socket.socket(fileno=os.dup(connection.fileno())) as channel:
            socket.send_fds(channel, [b"f"], [descriptor])
    finally:
        os.close(descriptor)


def _write(descriptor, part):
    while part.nbytes:
        part = part[os.write(descriptor, part) :]


def receive(connection):
    """The next `label` and a function that gives its value; EOFError where the worker is gone.

    The bytes are off the pipe when this returns; unpickling them may raise what the value's own
    code raises.
    """
    label, sizes, in_file = connection.recv()
    total = sum(_aligned(size) for size in sizes)
    memory = _receive_file(connection, total) if in_file else bytearray(connection.recv_bytes())

    def value():
        whole, start, parts = memoryview(memory), 0, []
        for size in sizes:
            parts.append(whole[start : start + size])
            start += _aligned(size)
        return pickle.loads(parts[0], buffers=parts[1:])

    return label, value


def _receive_file(connection, size):
    with socket.socket(fileno=os.dup(connection.fileno())) as channel:
        _, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
    if not descriptors:
        raise EOFError
    try:
        return mmap.mmap(descriptors[0], size)
    finally:
        os.close(descriptors[0])
