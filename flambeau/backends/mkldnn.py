"""oneDNN, which is not used: its switches may be set and do nothing."""

from flambeau._base import absent as _absent
from flambeau._base import missing
from flambeau.tensor import accelerator as _made

is_available, flags = _absent.is_available, _made.switches
enabled = False
__getattr__ = missing(globals())
__all__ = ["flags", "is_available"]
