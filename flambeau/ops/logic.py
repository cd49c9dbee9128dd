"""Logic, bits, and what floating-point values are."""

from flambeau import ir
from flambeau.ir import math
from flambeau.types import by_name

from .facts import type_name
from .family.pointwise import pointwise, same, to_bool
from .op import composite, find

BOOL = by_name("bool")


def _truth(x):
    return ir.cast(x, BOOL)


def _logical(name, doc, scalar):
    return pointwise(
        f"aten::logical_{name}(Tensor self, Tensor other) -> Tensor",
        doc,
        scalar=lambda self, other: scalar(_truth(self), _truth(other)),
        dtype=to_bool,
    )


logical_and = _logical("and", """Whether both are true (non-zero).""", lambda a, b: a & b)
logical_or = _logical("or", """Whether at least one is true.""", lambda a, b: a | b)
logical_xor = _logical("xor", """Whether exactly one is true.""", lambda a, b: a ^ b)
logical_not = pointwise(
    "aten::logical_not(Tensor self) -> Tensor",
    """Whether the element is zero.""",
    scalar=lambda self: ~_truth(self),
    dtype=to_bool,
)


def _integers_only(name):
    def check(common, *args):
        if common.kind in "fc":
            raise NotImplementedError(f"\"{name}_cpu\" not implemented for '{type_name(common)}'")

    return check


def _bitwise(name, doc, scalar, label=None):
    return pointwise(
        f"aten::bitwise_{name}(Tensor|Scalar self, Tensor|Scalar other) -> Tensor",
        doc,
        scalar=scalar,
        check=_integers_only(label or f"bitwise_{name}"),
    )


bitwise_and = _bitwise("and", """The bits that both have.""", lambda a, b: a & b)
bitwise_or = _bitwise("or", """The bits that either has.""", lambda a, b: a | b)
bitwise_xor = _bitwise("xor", """The bits in which they differ.""", lambda a, b: a ^ b)
bitwise_left_shift = _bitwise("left_shift", """``self << other``.""", lambda a, b: a << b, "lshift")
bitwise_right_shift = _bitwise(
    "right_shift", """``self >> other``, keeping the sign.""", lambda a, b: a >> b, "rshift"
)
bitwise_not = pointwise(
    "aten::bitwise_not(Tensor self) -> Tensor",
    """Every bit flipped; logical not for bool.""",
    scalar=lambda self: ~self,
    check=_integers_only("bitwise_not"),
)


def _no_complex(common, self):
    if common.kind == "c":
        raise RuntimeError("isposinf and isneginf do not support complex inputs.")


def _float_test(name, doc, test, integer, check=None):
    """A test of floating values, with the constant answer for integers; complex: true if either
    part is.
    """

    def scalar(self):
        if self.dtype.kind == "c":
            return test(self.re) | test(self.im)
        return test(self) if self.dtype.kind == "f" else ir.const(integer, BOOL)

    text = f"aten::{name}(Tensor self) -> Tensor"
    return pointwise(text, doc, scalar=scalar, dtype=to_bool, check=check)


INF = float("inf")
isnan = _float_test("isnan", """Whether the element is nan.""", lambda x: x.differs(x), False)
isinf = _float_test(
    "isinf", """Whether the element is infinite.""", lambda x: abs(x).equals(INF), False
)
isposinf = _float_test(
    "isposinf", """Whether the element is +inf.""", lambda x: x.equals(INF), False, _no_complex
)
isneginf = _float_test(
    "isneginf", """Whether the element is -inf.""", lambda x: x.equals(-INF), False, _no_complex
)


def _finite(self):
    if self.dtype.kind == "c":
        return (abs(self.re) < INF) & (abs(self.im) < INF)
    return abs(self) < INF if self.dtype.kind == "f" else ir.const(True, BOOL)


isfinite = pointwise(
    "aten::isfinite(Tensor self) -> Tensor",
    """Whether the element is neither infinite nor nan.""",
    scalar=_finite,
    dtype=to_bool,
)
isreal = pointwise(
    "aten::isreal(Tensor self) -> Tensor",
    """Whether the imaginary part is zero.""",
    scalar=lambda self: self.im.equals(0.0) if self.dtype.kind == "c" else ir.const(True, BOOL),
    dtype=to_bool,
)


def _sign_bit(self):
    if self.dtype.kind == "f":
        bits = ir.bitcast(self, by_name("int32" if self.dtype.itemsize == 4 else "int64"))
        return bits < 0
    return self < 0 if self.dtype.kind == "i" else ir.const(False, BOOL)


signbit = pointwise(
    "aten::signbit(Tensor self) -> Tensor",
    """Whether the sign bit is set: also for -0.0.""",
    scalar=_sign_bit,
    dtype=to_bool,
)


def _close(self, other, rtol, atol, equal_nan):
    if self.dtype.kind == "c":
        gap, size = math.hypot((self - other).re, (self - other).im), math.hypot(other.re, other.im)
    elif self.dtype.kind in "biu":
        self, other = (ir.cast(x, by_name("float64")) for x in (self, other))
        gap, size = abs(self - other), abs(other)
    else:
        gap, size = abs(self - other), abs(other)
    near = self.equals(other) | ((gap <= size * rtol + atol) & (gap < INF))
    if equal_nan:
        parts = list(zip(ir.parts(self), ir.parts(other), strict=True))
        nan = [a.differs(a) for a, _ in parts], [b.differs(b) for _, b in parts]
        both = (nan[0][0] | nan[0][-1]) & (nan[1][0] | nan[1][-1])
        near = near | both
    return near


def _check_close(common, self, other, rtol, atol, equal_nan):
    if self.dtype is not other.dtype:
        raise RuntimeError(f"{type_name(self.dtype)} did not match {type_name(other.dtype)}")
    for name, bound in (("rtol", rtol), ("atol", atol)):
        if not bound >= 0:
            raise RuntimeError(f"{name} must be greater than or equal to zero, but got {bound:g}")


isclose = pointwise(
    "aten::isclose(Tensor self, Tensor other, float rtol=1e-05, float atol=1e-08, bool "
    "equal_nan=False) -> Tensor",
    """``|self - other| <= atol + rtol * |other|``, and whatever is equal.""",
    scalar=_close,
    dtype=to_bool,
    check=_check_close,
)


@composite(
    "aten::allclose(Tensor self, Tensor other, float rtol=1e-05, float atol=1e-08, bool "
    "equal_nan=False) -> bool"
)
def allclose(self, other, rtol, atol, equal_nan):
    """Whether all elements are close: see `isclose`."""
    return bool(isclose(self, other, rtol, atol, equal_nan).all())


def _gcd(a, b):
    """Euclid's algorithm, unrolled: the number of steps is bounded by the width (Lamé), zero
    divisors stop it.
    """
    a, b = abs(a), abs(b)
    for _ in range(int(1.45 * 8 * a.dtype.itemsize) + 1):
        a, b = ir.select(b.equals(0), a, b), ir.select(b.equals(0), b, ir.rem(a, b))
    return a


gcd = pointwise(
    "aten::gcd(Tensor self, Tensor other) -> Tensor",
    """The greatest common divisor.""",
    scalar=_gcd,
    dtype=same,
    check=_integers_only("gcd"),
)
lcm = pointwise(
    "aten::lcm(Tensor self, Tensor other) -> Tensor",
    """The least common multiple.""",
    scalar=lambda self, other: abs(self / _gcd(self, other) * other),
    check=_integers_only("lcm"),
)


@composite("aten::equal_shape(Tensor self, Tensor other) -> bool", method=False, function=False)
def equal_shape(self, other):
    """Whether two tensors have the same shape."""
    return self.layout.shape == other.layout.shape


__all__ = ["find"]


def _outside(self, low, high, message):
    highest = self.max().item()
    return RuntimeError(message.format(highest if highest > high else self.min().item()))


within = pointwise(
    "aten::_within(Tensor self, Scalar low, Scalar high, str message) -> Tensor",
    """The elements, all of which must lie in [`low`, `high`]: else a RuntimeError with `message`,
    in which {} stands for an element.
    """,
    scalar=lambda self, low, high, message: self,
    refuses=lambda self, low, high, message: ~((self >= low) & (self <= high)),
    refusal=_outside,
    promotes=("self",),
    grad=dict(self=lambda grad: grad),
    method=False,
    function=False,
)
