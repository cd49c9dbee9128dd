"""NumPy, loaded by its first use: it takes longer to import than all of flambeau."""

import sys
import types
from typing import TYPE_CHECKING


class _Numpy(types.ModuleType):
    """Stands for the module until an attribute is asked for; from then on holds all of its
    names.
    """

    def __getattr__(self, name):
        import numpy  # the one place

        vars(self).update({k: v for k, v in vars(numpy).items() if k not in _OWN})
        # NumPy itself makes some names on demand.
        return getattr(numpy, name)


_OWN = frozenset(("__name__", "__spec__", "__loader__", "__path__", "__getattr__", "__dir__"))
if TYPE_CHECKING:
    import numpy
else:
    numpy = sys.modules.get("numpy") or _Numpy("numpy")
