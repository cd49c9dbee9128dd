"""opt_einsum, which is not used: `einsum` orders its products by itself."""

from flambeau._base import absent as _absent
from flambeau._base import missing

is_available = _absent.is_available
enabled, strategy = False, None
__getattr__ = missing(globals())
__all__ = ["is_available"]
