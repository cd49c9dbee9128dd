"""Sums and what follows from them."""

from flambeau import ir
from flambeau.types import by_name

from .family import Fold, reduction
from .family.reduction import wrap_dims
from .op import composite
from .promotion import compute_type

FLOAT32, FLOAT64, INT64 = map(by_name, ("float32", "float64", "int64"))


def sum_dtype(source, asked):
    """Integers and bool add up in int64; `asked` decides otherwise."""
    result = asked or (source if source.kind in "fc" else INT64)
    return result, (result,)


def accumulator(dtype):
    """What a sum of `dtype` is accumulated in: one size wider than float32, so that order hardly matters."""
    return FLOAT64 if dtype in (FLOAT32, FLOAT64) else dtype


def add_fold(dtype):
    """The sum."""
    if dtype.kind == "c":
        inner = dtype.to_complex() if dtype.to_real() is FLOAT64 else by_name("complex128")
        return Fold(((0, inner),), lambda x: (ir.cast(x, inner),), lambda a, b: (a[0] + b[0],), lambda s, n: (s[0],))
    inner = accumulator(dtype)
    return Fold(((0, inner),), lambda x: (ir.cast(x, inner),), lambda a, b: (a[0] + b[0],), lambda s, n: (s[0],))


def spread(grad, layout, dim, keepdim):
    """A gradient of a reduction's result, expanded over the reduced dimensions."""
    if not keepdim and layout.ndim:
        for d in wrap_dims(dim, layout.ndim):
            grad = grad.unsqueeze(d)
    return grad.expand(layout.shape)


sum_ = reduction(
    "aten::sum(Tensor self, int[]? dim=None, bool keepdim=False, *, ScalarType? dtype=None) -> Tensor",
    """The sum over `dim` (all dimensions by default); integers add up in int64.""",
    fold=add_fold,
    dtype=sum_dtype,
    grad=dict(self=lambda grad, self_layout, dim, keepdim: spread(grad, self_layout, dim, keepdim).to(self_layout.dtype)),
)


@composite("aten::sum_to_size(Tensor self, int[] size) -> Tensor", function=False)
def sum_to_size(self, size):
    """The sum over the dimensions that broadcasting `size` to this shape repeats."""
    shape = self.layout.shape
    if shape == tuple(size):
        return self
    lead = len(shape) - len(size)
    dims = tuple(range(lead)) + tuple(d for d in range(lead, len(shape)) if size[d - lead] == 1 and shape[d] != 1)
    if lead < 0 or any(size[d - lead] not in (1, shape[d]) for d in range(lead, len(shape))):
        raise RuntimeError(f"size {{{list(size)}}} is not expandable to size {{{list(shape)}}}.")
    out = sum_(self, dims, True, dtype=self.layout.dtype) if dims else self
    return out.reshape(size) if lead else out


__all__ = ["FLOAT32", "compute_type", "spread"]
