"""Where storages of a file go: what `map_location` means."""

import os
from collections.abc import Callable
from typing import IO, Any

from flambeau import runtime
from flambeau.tensor import TypedStorage, UntypedStorage
from flambeau.types import Device

META = Device("meta")
MAP_LOCATION = Callable[[Any, str], Any] | Device | str | dict[str, str] | None
FILE_LIKE = str | os.PathLike[str] | IO[bytes]


class NoMemory:
    """A storage on the device meta: bytes that tensors have in theory."""

    device = META
    memory = None

    def __init__(self, dtype, nbytes: int):
        self.dtype, self._nbytes = dtype, nbytes

    def nbytes(self) -> int:
        return self._nbytes


def _cpu_tag(storage):
    return "cpu" if storage.device.type == "cpu" else None


def _to_cpu(storage, location):
    return storage if location == "cpu" else None


def _meta_tag(storage):
    return "meta" if storage.device.type == "meta" else None


def _to_meta(storage, location):
    return (
        NoMemory(getattr(storage, "dtype", None), storage.nbytes()) if location == "meta" else None
    )


_packages = [(10, _cpu_tag, _to_cpu), (22, _meta_tag, _to_meta)]


def register_package(priority, tagger, deserializer):
    """Teaches `save` and `load` another kind of device.

    ``tagger(storage)`` gives the location of its storages as a string, and
    ``deserializer(storage, location)`` brings a storage there; each answers None for what is not
    its own. Lower priorities are asked first.
    """
    _packages.append((priority, tagger, deserializer))
    _packages.sort(key=lambda package: package[0])


def location_tag(storage) -> str:
    """The location of a storage, as files name it: "cpu"."""
    for _, tagger, _ in _packages:
        location = tagger(storage)
        if location is not None:
            return location
    raise RuntimeError(f"don't know how to determine data location of {type(storage).__name__}")


def default_restore_location(storage, location):
    """`storage` on the device that `location` names; RuntimeError where there is no such device."""
    for _, _, deserializer in _packages:
        found = deserializer(storage, location)
        if found is not None:
            return found
    kind = str(location).partition(":")[0]
    raise RuntimeError(
        f"Attempting to deserialize object on a {kind.upper()} device but torch.{kind}."
        "is_available() is False. If you are running on a CPU-only machine, please use torch.load "
        "with map_location=torch.device('cpu') to map your storages to the CPU."
    )


class Placement:
    """What `map_location` means: a device, a dict from locations to locations, or a function
    (storage, location) -> storage or None. TypeError for anything else. One for each file: it
    remembers where its storages went.
    """

    def __init__(self, map_location):
        known = map_location is None or callable(map_location)
        if not known and not isinstance(map_location, str | Device | dict):
            raise TypeError(
                f"map_location must be a device, a function or a dict, not {map_location!r}"
            )
        self._map = map_location
        self._placed: dict = {}

    def _target(self, location):
        if isinstance(self._map, dict):
            return str(self._map.get(location, location))
        return location if self._map is None else str(self._map)

    def reads(self, location) -> bool:
        """Whether a storage saved from there is needed with its bytes."""
        return callable(self._map) or self._target(location) != "meta"

    def place(self, untyped, location):
        """The storage where it belongs; RuntimeError where there is no such device."""
        if not callable(self._map):
            return default_restore_location(untyped, self._target(location))
        found = self._map(untyped, location)
        return default_restore_location(untyped, location) if found is None else found

    def stored(self, key, read, dtype, location, nbytes):
        """The storage of that key, which ``read()`` gives, placed, as elements of `dtype`; bytes
        for None. RuntimeError where it has fewer than `nbytes` bytes.
        """
        if not self.reads(location):
            return NoMemory(dtype, nbytes)
        if key not in self._placed:
            self._placed[key] = self.place(UntypedStorage.of(read()), location)
        found = self._placed[key]
        if found.device is META:
            return NoMemory(dtype, nbytes)
        untyped = found.untyped()
        if untyped.nbytes() < nbytes:
            raise RuntimeError(
                f"storage {key} should hold {nbytes} bytes, but has {untyped.nbytes()}"
            )
        return untyped if dtype is None else TypedStorage(untyped, dtype)


def nowhere():
    """The runtime storage of a tensor on the device meta."""
    return runtime.foreign(0, 0, None)
