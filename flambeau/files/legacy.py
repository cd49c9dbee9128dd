"""The formats before PyTorch 1.6: a row of pickles with the storages' bytes behind them, and
before PyTorch 0.1.10 a tar file.

The row is: a magic number, a version, facts on the machine, the value, the keys of its storages;
then for each its number of elements (8 bytes) and its bytes.
"""

import io
import pickle
import struct
import sys
import tarfile

from flambeau import runtime
from flambeau.tensor import strided

from .allowed import BYTES
from .archive import swap
from .pickled import dumps
from .unpickled import load_one

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
TAR_MAGIC_AT = 257  # where a tar file says "ustar"


def write(obj, file, protocol, pickle_module):
    """Writes `obj` in the format before the zip files."""
    # A reference says after its count which part of another storage it is: never one.
    data, storages = dumps(obj, protocol, pickle_module, more=(None,))
    machine = {
        "protocol_version": VERSION,
        "little_endian": sys.byteorder == "little",
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    for head in (MAGIC, VERSION, machine):
        pickle.dump(head, file, protocol)
    file.write(data)
    pickle.dump(list(storages), file, protocol)
    for storage, itemsize in storages.values():
        file.write(struct.pack("<q", storage.nbytes // itemsize))
        if storage.nbytes:
            file.write(memoryview(storage).cast("B"))


class Storages:
    """The storages of such a file. They are made when the value refers to them, and filled when
    their bytes come; together they are no larger than the file.
    """

    def __init__(self, placement, size):
        self._placement, self._left = placement, size
        self._made: dict = {}  # key: storage
        self._kinds: dict = {}  # key: (dtype, number of elements)

    def __call__(self, dtype, key, location, count, part=None):
        if part is not None:
            raise RuntimeError(f"storage {key} is a part of another, which PyTorch 0.1 wrote")
        dtype = None if dtype is BYTES else dtype
        nbytes = count * (dtype.itemsize if dtype else 1)
        if self._kinds.setdefault(key, (dtype, count)) != (dtype, count):
            raise RuntimeError(f"storage {key} is referred to as of two kinds")

        def memory():
            self._left -= nbytes
            if self._left < 0:
                raise RuntimeError(f"storage {key} should hold more bytes than the file has")
            self._made[key] = runtime.empty(nbytes)
            return self._made[key]

        return self._placement.stored(key, memory, dtype, location, nbytes)

    def fill(self, key, file, byteorder):
        """Reads the bytes of a storage, or skips them where it is on the device meta."""
        if key not in self._kinds:
            raise RuntimeError(f"the file has bytes for storage {key}, which nothing refers to")
        dtype, wanted = self._kinds[key]
        count = int.from_bytes(_exactly(file, 8), "little", signed=True)
        if count != wanted:
            raise RuntimeError(f"storage {key} should hold {wanted} elements, but has {count}")
        storage = self._made.get(key)
        if storage is None:
            file.seek(count * (dtype.itemsize if dtype else 1), io.SEEK_CUR)
        elif storage.nbytes:
            memoryview(storage).cast("B")[:] = _exactly(file, storage.nbytes)
            if byteorder != sys.byteorder:
                swap(storage, dtype)


def _exactly(file, count):
    content = file.read(count)
    if len(content) != count:
        raise RuntimeError("unexpected EOF: the file is corrupted")
    return content


def _size(file):
    here = file.tell()
    size = file.seek(0, io.SEEK_END) - here
    file.seek(here)
    return size


def read(file, placement, weights_only, pickle_module, **options):
    """What was saved in the binary file `file`, which stands at the value and then behind it."""
    storages = Storages(placement, _size(file))

    def head():
        return load_one(file, storages, True)

    try:
        magic = head()
    except (pickle.UnpicklingError, EOFError) as error:
        raise RuntimeError(f"Invalid magic number; corrupt file? {error}") from None
    if magic != MAGIC:
        raise RuntimeError("Invalid magic number; corrupt file?")
    if (version := head()) != VERSION:
        raise RuntimeError(f"Invalid protocol version: {version}")
    machine = head()
    little = not isinstance(machine, dict) or machine.get("little_endian", True)
    value = load_one(file, storages, weights_only, pickle_module, **options)
    for key in head():
        storages.fill(key, file, "little" if little else "big")
    return value


def is_tar(start: bytes) -> bool:
    """Whether a file that starts so is of the oldest format."""
    return start[TAR_MAGIC_AT : TAR_MAGIC_AT + 5] == b"ustar"


def read_tar(file, placement, weights_only, pickle_module, **options):
    """What was saved in a tar file: storages, tensors on them, and a pickle that names the tensors.

    Nothing of it is unpacked to disk.
    """
    tensors: dict = {}
    storages = Storages(placement, _size(file))
    try:
        archive = tarfile.open(fileobj=file, mode="r:")
        storage_file, tensor_file, pickle_file = map(
            archive.extractfile, ("storages", "tensors", "pickle")
        )
    except (tarfile.TarError, KeyError, EOFError) as error:
        raise RuntimeError(f"the file is a damaged tar file: {error}") from None
    stored = {}
    for _ in range(load_one(storage_file, storages, True)):
        key, location, dtype = load_one(storage_file, storages, True)
        count = int.from_bytes(_exactly(storage_file, 8), "little")
        storage_file.seek(-8, io.SEEK_CUR)
        stored[key] = storages(dtype, str(key), str(location), count)
        storages.fill(str(key), storage_file, "little")
    if load_one(storage_file, storages, True):
        raise RuntimeError("the file's storages are parts of others, which PyTorch 0.1 wrote")
    for _ in range(load_one(tensor_file, storages, True)):
        key, storage_key, _ = load_one(tensor_file, storages, True)
        rank = struct.unpack("<ixxxx", _exactly(tensor_file, 8))[0]
        numbers = struct.unpack(f"<{2 * rank + 1}q", _exactly(tensor_file, 8 * (2 * rank + 1)))
        where = stored[storage_key]
        tensors[str(key)] = strided(
            where.memory, where.dtype, numbers[:rank], numbers[rank:-1], numbers[-1]
        )
    return load_one(pickle_file, tensors, weights_only, pickle_module, **options)
