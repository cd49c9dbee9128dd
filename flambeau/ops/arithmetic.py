"""Arithmetic: add, mul and what surrounds them."""

from flambeau import ir

from .family import pointwise


def _no_bool(remedy):
    def check(common, *args):
        if common.kind == "b":
            raise RuntimeError(remedy)

    return check


add = pointwise(
    "aten::add(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor",
    """``self + alpha * other``.""",
    scalar=lambda self, other, alpha: _add(self, other, alpha),
    promotes=("self", "other"),
    grad=dict(self=lambda grad: grad, other=lambda grad, alpha: _scaled(grad, alpha)),
)  # fmt: skip
sub = pointwise(
    "aten::sub(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor",
    """``self - alpha * other``.""",
    scalar=lambda self, other, alpha: _add(self, -other, alpha),
    promotes=("self", "other"),
    check=_no_bool(
        "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or `logical_xor()` "
        "operator instead.",
    ),
    grad=dict(self=lambda grad: grad, other=lambda grad, alpha: _scaled(grad, alpha).neg()),
)  # fmt: skip
mul = pointwise(
    "aten::mul(Tensor self, Tensor other) -> Tensor",
    """``self * other``.""",
    scalar=lambda self, other: _times(self, other),
    grad=dict(self=lambda grad, other: grad * conj_of(other), other=lambda grad, self: grad * conj_of(self)),
)
neg = pointwise(
    "aten::neg(Tensor self) -> Tensor",
    """``-self``.""",
    scalar=lambda self: -self,
    check=_no_bool(
        "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use the "
        "`~` or `logical_not()` operator instead.",
    ),
    grad=dict(self=lambda grad: -grad),
)
copy = pointwise(
    "aten::copy(Tensor self, Tensor src, bool non_blocking=False) -> Tensor",
    """The values of `src` in the shape and dtype of `self`; ``copy_`` writes them into `self`.""",
    scalar=lambda self, src, non_blocking: src,
    promotes=("self",),
    function=False,
    method=False,
    grad=dict(self=lambda grad: None, src=lambda grad: grad),
)


fill = pointwise(
    "aten::fill(Tensor self, Tensor value) -> Tensor",
    """Every element replaced by the one value.""",
    scalar=lambda self, value: value,
    promotes=("self",),
    grad=dict(self=lambda grad: grad * 0, value=lambda grad: grad),
)
zero = pointwise(
    "aten::zero(Tensor self) -> Tensor",
    """Every element replaced by zero.""",
    scalar=lambda self: ir.const(0, self.dtype),
    function=False,
    method=False,
    grad=dict(self=lambda grad: grad * 0),
)


def conj_of(value):
    """The conjugate factor in a derivative; real tensors and numbers are their own."""
    if isinstance(value, complex):
        return value.conjugate()
    return value.conj() if hasattr(value, "layout") and value.layout.dtype.kind == "c" else value


def _scaled(grad, alpha):
    if alpha.__class__ is int and alpha == 1:
        return grad
    return grad * conj_of(alpha)


def _add(a, b, alpha):
    if a.dtype.kind == "b":
        return a | (b & alpha)
    return a + b * alpha


def _times(a, b):
    return a & b if a.dtype.kind == "b" else a * b
