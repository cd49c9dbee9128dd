"""PyTorch's path to factorisations of low rank."""

from flambeau._base import missing
from flambeau.tensor import lowrank as _made

get_approximate_basis = _made.get_approximate_basis
pca_lowrank, svd_lowrank = _made.pca_lowrank, _made.svd_lowrank
__getattr__ = missing(globals())
__all__ = ["get_approximate_basis", "pca_lowrank", "svd_lowrank"]
