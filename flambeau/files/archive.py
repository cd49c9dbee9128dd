"""PyTorch's zip format: a pickle, and one uncompressed, aligned member for each storage.

NAME/data.pkl   NAME/byteorder   NAME/data/0, /1, …   NAME/version
"""

import io
import mmap as mmap_
import os
import pickle
import sys
import tempfile
import zipfile

from flambeau import runtime
from flambeau._base import numpy
from flambeau.types import Device

from .pickled import Unpickler, dumps

ALIGNMENT = 64
_HEADER = 30  # bytes of a zip member's local header before its name


def save(obj, f, pickle_module=None, pickle_protocol=2, _use_new_zipfile_serialization=True):
    """Writes `obj` to the path or binary file `f`, in a format that PyTorch reads.

    A path is written in one step: whoever reads it sees the old file or the whole new one, also
    after a crash or on a
    full disk. Raises OSError where the file cannot be written.
    """
    if not hasattr(f, "write") and not isinstance(f, str | os.PathLike):
        raise AttributeError(
            "expected 'f' to be string, path, or a file-like object with a 'write' attribute"
        )
    data, storages = dumps(obj, pickle_protocol)
    if hasattr(f, "write"):
        _write(f, "archive", data, storages)
        return
    path = os.fspath(f)
    name = os.path.splitext(os.path.basename(path))[0] or "archive"
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise RuntimeError(f"Parent directory {os.path.dirname(path) or '.'} does not exist.")
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{os.path.basename(path)}.")
    try:
        with os.fdopen(handle, "wb") as file:
            _write(file, name, data, storages)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _write(file, name, data, storages):
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        archive.writestr(f"{name}/data.pkl", data)
        archive.writestr(f"{name}/.format_version", "1")
        archive.writestr(f"{name}/.storage_alignment", str(ALIGNMENT))
        archive.writestr(f"{name}/byteorder", sys.byteorder)
        for key, storage in enumerate(storages):
            info = zipfile.ZipInfo(f"{name}/data/{key}", (1980, 1, 1, 0, 0, 0))
            _align(info, archive)
            archive.writestr(
                info, memoryview(storage).cast("B")[: storage.nbytes] if storage.nbytes else b""
            )
        archive.writestr(f"{name}/version", "3\n")


def _align(info, archive):
    """Pads the member's extra field so that its bytes begin at a multiple of the alignment."""
    start = archive.fp.tell() + _HEADER + len(info.filename.encode()) + 4
    gap = -start % ALIGNMENT
    info.extra = b"FB" + gap.to_bytes(2, "little") + b"Z" * gap


def load(
    f, map_location=None, pickle_module=None, *, weights_only=None, mmap=None, **pickle_load_args
):
    """What `save` wrote, or PyTorch did, from the path or binary file `f`.

    By default only tensors, containers and plain values are built, and no code of the file runs;
    `weights_only=False`
    lifts that. `map_location` must name a device that is there. `mmap` maps the file instead of
    reading it. Raises
    RuntimeError or `pickle.UnpicklingError` for files that are damaged or of another kind.
    """
    _check_location(map_location)
    weights_only = pickle_module is None if weights_only is None else weights_only
    if not isinstance(f, str | os.PathLike):
        if not hasattr(f, "read"):
            raise AttributeError(
                f"'{type(f).__name__}' object has no attribute 'read': a path or a file is wanted"
            )
        if mmap:
            raise ValueError("f must be a file path in order to use the mmap argument")
        return _read(f, weights_only, None)
    path = os.fspath(f)
    with open(path, "rb") as file:
        if mmap and os.path.getsize(path):
            mapped = mmap_.mmap(file.fileno(), 0, access=mmap_.ACCESS_COPY)
            return _read(io.BytesIO(mapped), weights_only, mapped)
        return _read(file, weights_only, None)


def _check_location(where):
    if where is not None and not callable(where) and not isinstance(where, str | Device | dict):
        raise TypeError(f"map_location must be a device, a function or a dict, not {where!r}")
    if isinstance(where, str | Device):
        device = Device(where)
        if device.type not in ("cpu", "meta"):
            raise RuntimeError(
                f"Attempting to deserialize object on a {device.type} device, but none is there"
            )


def _read(file, weights_only, mapped):
    try:
        archive = zipfile.ZipFile(file)
    except zipfile.BadZipFile as error:
        raise RuntimeError(
            f"PytorchStreamReader failed reading zip archive: {error}\n"
            "  the file is damaged, or no file of torch.save's zip format"
        ) from None
    with archive:
        members = {info.filename: info for info in archive.infolist()}
        pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise RuntimeError("PytorchStreamReader failed locating file data.pkl: file not found")
        name = pickles[0].removesuffix("/data.pkl")
        order = (
            _member(archive, members, f"{name}/byteorder")
            if f"{name}/byteorder" in members
            else b""
        )
        if order and order.decode().strip() != sys.byteorder:
            raise RuntimeError(
                f"the file was written on a machine of other byte order: {order.decode()!r}"
            )
        made: dict = {}

        def storage_of(key, dtype, numel):
            if key not in made:
                made[key] = _storage(archive, members, f"{name}/data/{key}", mapped)
            if numel * dtype.itemsize > made[key].nbytes:
                raise RuntimeError(
                    f"storage {key} should hold {numel} elements, but has {made[key].nbytes} bytes"
                )
            return made[key]

        stream = io.BytesIO(_member(archive, members, pickles[0]))
        try:
            return Unpickler(stream, storage_of, weights_only).load()
        except (
            EOFError,
            IndexError,
            KeyError,
            UnicodeDecodeError,
            AttributeError,
            ValueError,
        ) as error:
            raise pickle.UnpicklingError(
                f"the file's pickle is damaged: {type(error).__name__}: {error}"
            ) from None


def _member(archive, members, name):
    """A member's bytes; stored members only, so that no small file unpacks into a huge one."""
    info = members.get(name)
    if info is None:
        raise RuntimeError(f"PytorchStreamReader failed locating file {name}: file not found")
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise RuntimeError(f"{name} is compressed, which files of torch.save never are")
    try:
        return archive.read(info)
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise RuntimeError(f"PytorchStreamReader failed reading file {name}: {error}") from None


def _storage(archive, members, name, mapped):
    if mapped is not None and name in members:
        start = _start(mapped, members[name].header_offset)
        block = numpy.frombuffer(mapped, numpy.uint8, members[name].file_size, start)
        return runtime.foreign(block.ctypes.data, block.nbytes, block)
    content = _member(archive, members, name)
    storage = runtime.empty(len(content))
    if content:
        memoryview(storage).cast("B")[: len(content)] = content
    return storage


def _start(mapped, header):
    lengths = mapped[header + 26 : header + 30]
    return (
        header
        + _HEADER
        + int.from_bytes(lengths[:2], "little")
        + int.from_bytes(lengths[2:], "little")
    )
