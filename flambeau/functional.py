"""Functions that PyTorch writes in Python: its `torch.functional`."""

from flambeau._base import missing as _missing
from flambeau.tensor import PUBLIC as _PUBLIC
from flambeau.tensor import function_of as _function_of

__getattr__ = _missing(
    globals(),
    find=lambda name: _PUBLIC.get(name) or _function_of(name),
    later=dict.fromkeys(("pca_lowrank", "svd_lowrank"), "flambeau._lowrank"),
)
