"""Memory that processes share: nameless files in memory, mapped by each, whose descriptors go from
process to process. No name can be left behind by one that is killed.
"""

import mmap
import os
import sys
import weakref

from flambeau import runtime
from flambeau._base import numpy

from .storages import UntypedStorage
from .tensor import Tensor

_SOLE = 3  # references to a storage of one tensor: the tensor's, a variable's, and getrefcount's


class Shared:
    """A block of shared memory: `descriptor` of the file, and where it is mapped."""

    def __init__(self, descriptor: int, nbytes: int):
        self.descriptor = descriptor
        self._map = mmap.mmap(descriptor, max(nbytes, 1))  # a file of no bytes cannot be mapped
        self._array = numpy.frombuffer(self._map, numpy.uint8)
        self.address, self.nbytes = self._array.ctypes.data, nbytes
        self.kept = None
        weakref.finalize(self, os.close, descriptor)

    @classmethod
    def fresh(cls, nbytes: int):
        """A new block of zeros."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("flambeau-shared", os.MFD_CLOEXEC)
        else:
            path = os.path.join("/tmp", f"flambeau-{os.urandom(8).hex()}")
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            os.unlink(path)
        os.truncate(descriptor, max(nbytes, 1))
        return cls(descriptor, nbytes)

    def storage(self):
        """A storage on the block."""
        return runtime.foreign(self.address, self.nbytes, self)


def root(storage):
    """The storage that owns the memory: `.data` makes others on the same block."""
    while isinstance(storage.owner, type(storage)):
        storage = storage.owner
    return storage


def block_of(storage) -> Shared | None:
    """The shared block that a storage lies in; None where its memory is this process's own."""
    owner = root(storage).owner
    return owner if isinstance(owner, Shared) else None


def share(storage) -> Shared:
    """Moves a storage, with all tensors on it, to shared memory, if it is not there."""
    storage = root(storage)
    found = block_of(storage)
    if found is not None:
        return found
    block = Shared.fresh(storage.nbytes)
    made = block.storage()
    if storage.nbytes:
        memoryview(made).cast("B")[:] = memoryview(storage).cast("B")
    others = sys.getrefcount(storage) > _SOLE
    runtime.exchange(storage, made)
    if others:  # NumPy arrays, or `.data`, may look at the old memory: it stays
        block.kept = made
    return block


def share_memory_(self):
    """Moves the tensor's memory, with all tensors on it, to where other processes see it: those
    that are forked from now on, and those that get the tensor through a queue.
    """
    aliased = root(self._storage) is not self._storage
    share(self._storage)
    if aliased:
        owner = root(self._storage)
        self._storage = runtime.foreign(owner.ptr, owner.nbytes, owner)
    return self


def is_shared(self) -> bool:
    """Whether other processes may see the tensor's memory."""
    return block_of(self._storage) is not None


def from_file(filename, shared=False, nbytes=0):
    """A storage on the first `nbytes` bytes of a file. With `shared`, what is written to it reaches
    the file, which is made as long as that.
    """
    path = os.fspath(filename)
    access = mmap.ACCESS_WRITE if shared else mmap.ACCESS_COPY
    with open(path, ("r+b" if os.path.exists(path) else "w+b") if shared else "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if shared and size < nbytes:
            os.truncate(file.fileno(), nbytes)
        elif size < nbytes:
            raise RuntimeError(f"{path} has {size} bytes, fewer than {nbytes}")
        if not nbytes:
            return UntypedStorage(0)
        array = numpy.frombuffer(mmap.mmap(file.fileno(), nbytes, access=access), numpy.uint8)
    return UntypedStorage.of(runtime.foreign(array.ctypes.data, nbytes, array))


_received: weakref.WeakValueDictionary = weakref.WeakValueDictionary()  # storages by file


def from_descriptor(descriptor: int, nbytes: int):
    """The storage on a block of another process; the same for the same block."""
    facts = os.fstat(descriptor)
    key = facts.st_dev, facts.st_ino
    storage = _received.get(key)
    if storage is None:
        storage = _received[key] = Shared(descriptor, nbytes).storage()
    else:
        os.close(descriptor)
    return storage


def check_sendable(tensor) -> None:
    """Raises where a tensor cannot go to another process: its history stays here."""
    if tensor._node is not None and not tensor.is_leaf:
        raise RuntimeError(
            "Cowardly refusing to serialize non-leaf tensor which requires_grad, since autograd "
            "does not support crossing process boundaries.  If you just want to transfer the data, "
            "call detach() on the tensor before serializing (e.g., putting it on the queue)."
        )


def rebuilt(cls, storage, layout, offset, requires_grad, attributes):
    """A tensor of class `cls` on a storage that came from another process."""
    made = runtime.wrap(storage, layout, offset)
    if cls is not Tensor:
        made = Tensor._make_subclass(cls, made)
    with_grad = made.requires_grad_() if requires_grad else made
    with_grad.__dict__.update(attributes)
    return with_grad


def install():
    """Puts the methods on the classes."""
    Tensor.share_memory_, Tensor.is_shared = share_memory_, is_shared
    UntypedStorage.from_file = staticmethod(from_file)
    UntypedStorage.share_memory_ = lambda self: (share(self.memory), self)[1]
    UntypedStorage.is_shared = lambda self: block_of(self.memory) is not None
