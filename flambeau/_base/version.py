"""Versions: flambeau's own, and the one of PyTorch whose API it has."""

import re

VERSION = "0.1.0"


class TorchVersion(str):
    """A version as text, which compares with others by its numbers: ``"2.9" < "2.13"``.

    The other may be a text, a tuple of numbers, or what `str` makes a version of.
    """

    __slots__ = ()

    def _key(self, other) -> tuple[tuple, tuple]:
        return _numbers(self), _numbers(other)

    def __lt__(self, other):
        mine, theirs = self._key(other)
        return mine < theirs

    def __le__(self, other):
        mine, theirs = self._key(other)
        return mine <= theirs

    def __gt__(self, other):
        mine, theirs = self._key(other)
        return mine > theirs

    def __ge__(self, other):
        mine, theirs = self._key(other)
        return mine >= theirs

    def __eq__(self, other):
        mine, theirs = self._key(other)
        return mine == theirs

    def __ne__(self, other):
        return not self == other

    __hash__ = str.__hash__


def _numbers(version) -> tuple:
    """What is compared: the numbers of a release, without zeros at the end, and whether it is one
    (1) or a candidate of it (0).
    """
    if isinstance(version, tuple | list):
        version = ".".join(map(str, version))
    public = str(version).partition("+")[0]
    found = re.match(r"v?(\d+(?:\.\d+)*)(.*)", public)
    if found is None:
        return ((), 0)
    release = [int(part) for part in found.group(1).split(".")]
    while release and not release[-1]:
        release.pop()
    candidate = re.match(r"[-_.]?(a|b|c|rc|alpha|beta|pre|dev)", found.group(2))
    return (tuple(release), 0 if candidate else 1)


TORCH_VERSION = TorchVersion(f"2.13.0+flambeau{VERSION}")
