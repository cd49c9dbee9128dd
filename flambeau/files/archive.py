"""PyTorch's zip format: a pickle, and one uncompressed, aligned member for each storage.

NAME/data.pkl   NAME/byteorder   NAME/data/0, /1, …   NAME/version
"""

import io
import struct
import sys
import zipfile
import zlib

from flambeau import runtime
from flambeau._base import numpy

from .allowed import BYTES
from .pickled import dumps
from .unpickled import load_one

ALIGNMENT = 64
SIGNATURE = b"PK\x03\x04"
_PIECE = 1 << 18  # bytes that are read and then still in the cache for the checksum
_HEADER = 30  # bytes of a member's local header before its name
_DAMAGE = (
    zipfile.BadZipFile,
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    struct.error,
    ValueError,
)


def write(obj, file, name, protocol, pickle_module):
    """Writes `obj` to the binary file `file`, under the folder `name` of the archive."""
    data, storages = dumps(obj, protocol, pickle_module)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        archive.writestr(f"{name}/data.pkl", data)
        archive.writestr(f"{name}/.format_version", "1")
        archive.writestr(f"{name}/.storage_alignment", str(ALIGNMENT))
        archive.writestr(f"{name}/byteorder", sys.byteorder)
        for key, (storage, _) in storages.items():
            info = zipfile.ZipInfo(f"{name}/data/{key}", (1980, 1, 1, 0, 0, 0))
            _align(info, archive)
            archive.writestr(info, memoryview(storage).cast("B") if storage.nbytes else b"")
        archive.writestr(f"{name}/version", "3\n")


def _align(info, archive):
    """Pads the member's extra field so that its bytes begin at a multiple of the alignment."""
    start = archive.fp.tell() + _HEADER + len(info.filename.encode()) + 4
    gap = -start % ALIGNMENT
    info.extra = b"FB" + gap.to_bytes(2, "little") + b"Z" * gap


class Archive:
    """A file of the zip format, open for reading. RuntimeError where it is damaged.

    `mapped` is the same file as a map of memory, which storages then lie in; else they are read and
    compared with their checksums.
    """

    def __init__(self, file, mapped=None):
        self.file, self.mapped = file, mapped
        self.size = file.seek(0, io.SEEK_END)
        try:
            with zipfile.ZipFile(file) as archive:
                self.members = {info.filename: info for info in archive.infolist()}
        except _DAMAGE as error:
            raise RuntimeError(
                f"PytorchStreamReader failed reading zip archive: {error}\n"
                "  the file is damaged, or no file of torch.save's zip format"
            ) from None
        if sum(info.file_size for info in self.members.values()) > self.size:
            raise RuntimeError(
                "PytorchStreamReader failed reading zip archive: its members unpack to more than "
                "its size"
            )
        found = [name for name in self.members if name.partition("/")[2] == "data.pkl"]
        if len(found) != 1:
            raise RuntimeError("PytorchStreamReader failed locating file data.pkl: file not found")
        self.name = found[0].removesuffix("/data.pkl")
        if f"{self.name}/constants.pkl" in self.members:
            raise RuntimeError("the file is a TorchScript archive, which torch.jit.load reads")
        order = f"{self.name}/byteorder"
        self.byteorder = sys.byteorder
        if order in self.members:
            self.byteorder = self.read(order).decode(errors="replace").strip()
        if self.byteorder not in ("little", "big"):
            raise RuntimeError(f"Unknown endianness type: {self.byteorder!r}")

    def _find(self, name):
        """(member, where its bytes start); stored members only, so that no small file unpacks into
        a huge one.
        """
        info = self.members.get(name)
        if info is None:
            raise RuntimeError(f"PytorchStreamReader failed locating file {name}: file not found")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise RuntimeError(f"{name} is compressed, which files of torch.save never are")
        if info.header_offset < 0:  # as zipfile makes it where the directory is damaged
            raise RuntimeError(f"PytorchStreamReader failed reading file {name}: it is not there")
        self.file.seek(info.header_offset)
        header = self.file.read(_HEADER)
        start = info.header_offset + _HEADER + sum(struct.unpack("<HH", header[26:30].ljust(4)))
        if header[:4] != SIGNATURE or start + info.file_size > self.size:
            raise RuntimeError(f"PytorchStreamReader failed reading file {name}: it is not there")
        return info, start

    def read(self, name: str) -> bytearray:
        """A member's bytes."""
        content = bytearray(self.members[name].file_size if name in self.members else 0)
        self._read_into(name, memoryview(content))
        return content

    def _read_into(self, name, view):
        info, start = self._find(name)
        self.file.seek(start)
        done = checksum = 0
        while done < len(view):
            count = _read_some(self.file, view[done : done + _PIECE])
            if not count:
                raise RuntimeError(f"PytorchStreamReader failed reading file {name}: it ends early")
            checksum = zlib.crc32(view[done : done + count], checksum)
            done += count
        if info.CRC and checksum != info.CRC:  # 0: PyTorch was told not to compute it
            raise RuntimeError(f"PytorchStreamReader failed reading file {name}: bad checksum")

    def storage(self, key: str):
        """The storage of that key."""
        name = f"{self.name}/data/{key}"
        info, start = self._find(name)
        if self.mapped is not None:
            block = numpy.frombuffer(self.mapped, numpy.uint8, info.file_size, start)
            return runtime.foreign(block.ctypes.data, block.nbytes, block)
        storage = runtime.empty(info.file_size)
        if info.file_size:
            self._read_into(name, memoryview(storage).cast("B"))
        return storage


def _read_some(file, view) -> int:
    """How many bytes of `view` a file filled; some have no `readinto`."""
    if hasattr(file, "readinto"):
        return file.readinto(view)
    content = file.read(len(view))
    view[: len(content)] = content
    return len(content)


def read(file, mapped, placement, weights_only, pickle_module, **options):
    """What was saved in the binary file `file`; `placement` brings storages to their devices."""
    archive = Archive(file, mapped)
    foreign_order = archive.byteorder != sys.byteorder

    def storage_of(dtype, key, location, count):
        dtype = None if dtype is BYTES else dtype

        def memory():
            storage = archive.storage(key)
            if foreign_order:
                swap(storage, dtype)
            return storage

        nbytes = count * (dtype.itemsize if dtype else 1)
        return placement.stored(key, memory, dtype, location, nbytes)

    stream = io.BytesIO(archive.read(f"{archive.name}/data.pkl"))
    return load_one(stream, storage_of, weights_only, pickle_module, **options)


def swap(storage, dtype):
    """Turns the bytes of each element round: the file is from a machine of other byte order."""
    if dtype is None:
        raise RuntimeError("the file is from a machine of other byte order, and has untyped bytes")
    width = dtype.itemsize // 2 if dtype.kind == "c" else dtype.itemsize
    array = numpy.ndarray(storage.nbytes // width, f"V{width}", storage).view(f"u{width}")
    array.byteswap(inplace=True)
