"""Intel's MKL, which is not used: OpenBLAS multiplies matrices."""

from flambeau._base import absent as _absent
from flambeau._base import missing

is_available = _absent.is_available
__getattr__ = missing(globals())
__all__ = ["is_available"]
