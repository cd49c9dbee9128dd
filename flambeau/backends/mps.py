"""Apple's graphics processors, which are not used."""

from flambeau._base import absent as _absent
from flambeau._base import missing

is_available = is_built = _absent.is_available
__getattr__ = missing(globals())
__all__ = ["is_available", "is_built"]
