"""Distances between rows, and the product of two vectors through a weight."""

import math

from flambeau import ir
from flambeau._base import numpy
from flambeau.ir import math as scalar
from flambeau.types import by_name

from .family import Fold, chain
from .family.launch import broadcast
from .family.pointwise import type_name
from .op import composite
from .promotion import compute_type
from .reductions import accumulator

INT64 = by_name("int64")


def _power(x, p):
    """|x| to a power."""
    size = abs(x)
    return size if p == 1 else x * x if p == 2 else scalar.pow(size, ir.const(p, x.dtype))


def _fold(p, inner):
    """The p-norm of differences: for 0 the number of nonzero ones, for inf the largest."""
    wide = accumulator(inner) if p != math.inf else inner

    def element(a, b):
        gap = ir.cast(a, inner) - ir.cast(b, inner)
        if p == 0:
            return (
                ir.select(gap.differs(ir.const(0, inner)), ir.const(1, wide), ir.const(0, wide)),
            )
        return (ir.cast(abs(gap) if p == math.inf else _power(gap, p), wide),)

    def combine(a, b):
        if p != math.inf:
            return (a[0] + b[0],)
        return (ir.select((b[0] > a[0]) | b[0].differs(b[0]), b[0], a[0]),)

    def finish(state, count):
        total = state[0]
        if p == 2:
            total = scalar.sqrt(total)
        elif p not in (0, 1, math.inf):
            total = scalar.pow(total, ir.const(1 / p, wide))
        return (ir.cast(total, inner),)

    return Fold(((0, wide),), element, combine, finish)


def _build(steps, a, b, p):
    shape = broadcast((a.layout.shape, b.layout.shape))[:-1]
    made = steps.result((*shape, 1), a.dtype, steps.plain(shape, a.dtype))
    steps.reduce(_fold(p, compute_type(a.dtype)), [a, b], (len(shape),), [made])


def _backward(grad, a, b, result, p):
    """The gradient with respect to ``a - b``; zero where the distance is."""
    gap = a - b
    distance, grad = result.unsqueeze(-1), grad.unsqueeze(-1)
    if p == 0:
        return gap * 0
    if p == 1:
        return grad * gap.sign()
    if p == math.inf:
        return grad * gap.sign() * gap.abs().eq(distance)
    none = distance.eq(0)
    if p == 2:
        return gap * (grad / distance).masked_fill(none, 0)
    if p < 2:
        part = (gap.sign() * gap.abs().pow(p - 1)).masked_fill(gap.eq(0) if p < 1 else none, 0)
    else:
        part = gap * gap.abs().pow(p - 2)
    return (part * grad / distance.pow(p - 1)).masked_fill(none, 0)


def _euclidean_backward(grad, a, b, result):
    """For every pair of rows at once, without their differences: sums of rows, weighted by grad /
    distance.
    """
    factor = (grad / result).masked_fill(result.eq(0), 0)
    return a.squeeze(-2) * factor.sum(-1).unsqueeze(-1) - factor.matmul(b.squeeze(-3))


_LARGE = 1 << 22  # elements of differences from which they are not all made at once


def _grad_of(grad, a, b, result, p, first):
    pairs = a.layout.ndim > 2 and a.layout.shape[-2] == 1 and b.layout.shape[-3] == 1
    if p == 2 and pairs and result.layout.numel * a.layout.shape[-1] > _LARGE:
        if first:
            return _euclidean_backward(grad, a, b, result).unsqueeze(-2)
        turned = [t.transpose(-3, -2) for t in (b, a)]
        return _euclidean_backward(
            grad.transpose(-1, -2), *turned, result.transpose(-1, -2)
        ).unsqueeze(-3)
    made = _backward(grad, a, b, result, p)
    return made.sum_to_size((a if first else b).layout.shape) * (1 if first else -1)


distance = chain(
    "aten::_distance(Tensor a, Tensor b, float p) -> Tensor",
    """The p-norm over the last dimension of a - b, whose dimensions are equally many and
    broadcast.
    """,
    build=_build,
    grad=dict(
        a=lambda grad, a, b, result, p: _grad_of(grad, a, b, result, p, True),
        b=lambda grad, a, b, result, p: _grad_of(grad, a, b, result, p, False),
    ),
    method=False,
    function=False,
)


# How the Euclidean distance is computed in PyTorch; here always from the differences, which is
# never less exact.
_MODES = (
    None,
    "use_mm_for_euclid_dist_if_necessary",
    "use_mm_for_euclid_dist",
    "donot_use_mm_for_euclid_dist",
)


def _check_floating(name, *tensors):
    for t in tensors:
        if t.layout.dtype.kind != "f":
            raise RuntimeError(
                f"{name} only supports floating-point dtypes, X1 got: {type_name(t.layout.dtype)}"
            )


@composite(
    "aten::cdist(Tensor x1, Tensor x2, float p=2, str? "
    "compute_mode='use_mm_for_euclid_dist_if_necessary') -> Tensor",
    method=False,
)
def cdist(x1, x2, p, compute_mode):
    """The p-norm distance between each row of x1 [*, P, M] and each of x2 [*, R, M]: [*, P, R]."""
    for t, name in ((x1, "X1"), (x2, "X2")):
        if t.layout.ndim < 2:
            raise RuntimeError(
                f"cdist only supports at least 2D tensors, {name} got: {t.layout.ndim}D"
            )
    if x1.layout.shape[-1] != x2.layout.shape[-1]:
        raise RuntimeError(
            f"X1 and X2 must have the same number of columns. X1: {x1.layout.shape[-1]} X2: "
            f"{x2.layout.shape[-1]}"
        )
    _check_floating("cdist", x1, x2)
    if x1.layout.dtype is not x2.layout.dtype:
        found = type_name(x1.layout.dtype), type_name(x2.layout.dtype)
        raise RuntimeError("expected scalar type {} but found {}".format(*found))
    if compute_mode not in _MODES:
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode")
    if not p >= 0:
        raise RuntimeError("cdist only supports non-negative p values")
    lead = broadcast((x1.layout.shape[:-2], x2.layout.shape[:-2]))
    a, b = (t.expand((*lead, *t.layout.shape[-2:])) if lead else t for t in (x1, x2))
    if not a.layout.shape[-1] or not a.layout.shape[-2] or not b.layout.shape[-2]:
        empty = x1.new_zeros((*lead, x1.layout.shape[-2], x2.layout.shape[-2]))
        return empty + (x1.sum() + x2.sum()) * 0
    return distance(a.unsqueeze(-2), b.unsqueeze(-3), p)


@composite("aten::pdist(Tensor self, float p=2) -> Tensor", method=False)
def pdist(self, p):
    """The p-norm distances between all pairs of different rows of [N, M], in the order (0, 1), (0,
    2), ….
    """
    if self.layout.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {self.layout.ndim}D")
    if self.layout.dtype.kind != "f":
        raise RuntimeError("pdist only supports floating-point dtypes")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    places = numpy.triu_indices(self.layout.shape[0], 1)
    first, second = (self.new_tensor(i, dtype=INT64) for i in places)
    if not first.layout.numel or not self.layout.shape[1]:
        return self.new_zeros((first.layout.numel,)) + self.sum() * 0
    return distance(self.index_select(0, first), self.index_select(0, second), p)


@composite(
    "aten::bilinear(Tensor input1, Tensor input2, Tensor weight, Tensor? bias=None) -> Tensor",
    method=False,
)
def bilinear(input1, input2, weight, bias):
    """``sum(input1[…, i] * weight[o, i, j] * input2[…, j])`` for each output o, plus `bias`."""
    if input1.layout.ndim != input2.layout.ndim:
        raise RuntimeError(
            f"bilinear(): input dimensions do not match: got {input1.layout.ndim} and "
            f"{input2.layout.ndim}"
        )
    for d, (m, n) in enumerate(
        zip(input1.layout.shape[:-1], input2.layout.shape[:-1], strict=True)
    ):
        if m != n:
            raise RuntimeError(
                f"bilinear(): input batch dimensions do not match at dim {d}: got {m} and {n}"
            )
    for which, x, d in (("input1", input1, 1), ("input2", input2, 2)):
        if x.layout.shape[-1] != weight.layout.shape[d]:
            raise RuntimeError(
                f"bilinear(): {which} size does not match weight size: got {x.layout.shape[-1]} "
                f"but expected {weight.layout.shape[d]}"
            )
    outputs, m, n = weight.layout.shape
    if bias is not None and bias.layout.shape[0] != outputs:
        raise RuntimeError(
            f"bilinear(): bias size does not match weight size: got {bias.layout.shape[0]} but "
            f"expected {outputs}"
        )
    lead = input1.layout.shape[:-1]
    left = input1.reshape((-1, m)).matmul(weight.permute((1, 0, 2)).reshape((m, outputs * n)))
    out = (
        left.reshape((-1, outputs, n)).matmul(input2.reshape((-1, n, 1))).reshape((*lead, outputs))
    )
    return out if bias is None else out + bias
