"""`save` and `load`: which format a file has, and how it is opened."""

import contextlib
import io
import mmap as mmap_
import os
import pickle

from . import archive, legacy, safe
from .atomic import replacing
from .location import Placement
from .unpickled import Listing

_HEAD = 512  # bytes that tell a file's format


def save(
    obj, f, pickle_module=None, pickle_protocol=2, _use_new_zipfile_serialization=True
) -> None:
    """Writes `obj` to the path or binary file `f`, in a format that PyTorch reads.

    A path is written in one step: whoever reads it sees the old file or the whole new one, also
    after a crash or on a full disk. Raises OSError where the file cannot be written.
    """

    def write(file, name):
        if _use_new_zipfile_serialization:
            archive.write(obj, file, name, pickle_protocol, pickle_module)
        else:
            legacy.write(obj, file, pickle_protocol, pickle_module)

    if hasattr(f, "write"):
        write(f, "archive")
        return
    if not isinstance(f, str | os.PathLike):
        raise AttributeError(
            "expected 'f' to be string, path, or a file-like object with a 'write' attribute"
        )
    name = os.path.splitext(os.path.basename(os.fspath(f)))[0] or "archive"
    with replacing(f) as temporary, open(temporary, "wb") as file:
        write(file, name)


def load(
    f, map_location=None, pickle_module=None, *, weights_only=None, mmap=None, **pickle_load_args
):
    """What `save` wrote, or PyTorch did, from the path or binary file `f`; a file of safetensors
    gives a dict.

    By default only tensors, containers and plain values are built, and no code of the file runs;
    ``weights_only=False`` lifts that. `map_location` says where storages go: a device, a dict from
    devices to devices, or a function (storage, location) -> storage. `mmap` maps the file instead
    of reading it. Raises RuntimeError or `pickle.UnpicklingError` for files that are damaged or of
    another kind.
    """
    placement = Placement(map_location)
    weights_only = _is_careful(weights_only, pickle_module)
    options = (placement, weights_only, pickle_module)
    if not isinstance(f, str | os.PathLike):
        if not hasattr(f, "read") or not hasattr(f, "seek"):
            raise AttributeError(
                f"'{type(f).__name__}' object has no attribute 'read' or 'seek': "
                "torch.load wants a path or a file that it can seek in"
            )
        if mmap:
            raise ValueError("f must be a file path in order to use the mmap argument")
        return _read(f, None, *options, **pickle_load_args)
    path = os.fspath(f)
    with open(path, "rb") as file:
        head = file.read(_HEAD)
        size = os.fstat(file.fileno()).st_size
        if safe.is_safetensors(head, size):
            return safe.load_safetensors(path, map_location)
        file.seek(0)
        if not mmap:
            return _read(file, None, *options, **pickle_load_args)
        if not head.startswith(archive.SIGNATURE):
            raise RuntimeError(
                "mmap can only be used with files saved with torch.save's zip format"
            )
        mapped = mmap_.mmap(file.fileno(), 0, access=mmap_.ACCESS_COPY)
        return _read(file, mapped, *options, **pickle_load_args)


def _is_careful(weights_only, pickle_module) -> bool:
    """What `weights_only` means where it is not given, as PyTorch says it."""
    if weights_only is None:
        free = os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "0")
        return pickle_module is None and free.lower() not in ("1", "y", "yes", "true")
    if weights_only and pickle_module is not None:
        raise RuntimeError("Can not safely load weights when explicit pickle_module is specified")
    return weights_only


def _read(file, mapped, *options, **pickle_load_args):
    here = file.tell()
    head = file.read(_HEAD)
    file.seek(here)
    if head.startswith(archive.SIGNATURE):
        return archive.read(file, mapped, *options, **pickle_load_args)
    if legacy.is_tar(head):
        return legacy.read_tar(file, *options, **pickle_load_args)
    return legacy.read(file, *options, **pickle_load_args)


def get_unsafe_globals_in_checkpoint(f) -> list[str]:
    """The names that a file of the zip format refers to and `load` would refuse; nothing of it is
    built. ValueError for other formats.
    """
    with open(f, "rb") if isinstance(f, str | os.PathLike) else contextlib.nullcontext(f) as file:
        if not file.read(len(archive.SIGNATURE)) == archive.SIGNATURE:
            raise ValueError("Expected input to be a checkpoint returned by torch.save")
        opened = archive.Archive(file)
        listing = Listing(io.BytesIO(opened.read(f"{opened.name}/data.pkl")), encoding="utf-8")
        try:
            listing.load()
        except Exception as error:
            raise pickle.UnpicklingError(f"the file's pickle is damaged: {error}") from None
    return sorted(listing.found)
