"""cuDNN, which is not there: its switches may be set and do nothing."""

from flambeau._base import absent as _absent
from flambeau._base import missing
from flambeau.tensor import accelerator as _made

is_available, version, flags = _absent.is_available, _absent.version, _made.switches
enabled = benchmark = deterministic = allow_tf32 = False
benchmark_limit = 10
__getattr__ = missing(globals())
__all__ = ["is_available", "version", "flags"]
