"""Arithmetic: sums, products, quotients, remainders, and what is close to them."""

from flambeau import ir
from flambeau.ir import math
from flambeau.types import by_name

from .facts import c_name, type_name
from .family import Pointwise, fused, pointwise
from .family.pointwise import int_to_float, same
from .op import also, composite, find, is_tensor

DOUBLE, COMPLEX, INT64 = by_name("float64"), by_name("complex128"), by_name("int64")
INF = float("inf")


def no_bool(remedy):
    """A check that refuses bool."""

    def check(common, *args):
        if common.kind == "b":
            raise RuntimeError(remedy)

    return check


def real_only(message):
    """A check that refuses complex numbers, with a message that may name their type: ``{}``."""

    def check(common, *args):
        if common.kind == "c":
            raise NotImplementedError(message.format(type_name(common)))

    return check


def conj_of(value):
    """The conjugate factor in a derivative; real tensors and numbers are their own."""
    try:
        return value if value.layout.dtype.kind != "c" else value.conj()
    except AttributeError:
        return value.conjugate() if isinstance(value, complex) else value


def _scaled(grad, alpha):
    if alpha.__class__ is int and alpha == 1:
        return grad
    return grad * conj_of(alpha)


def _check_alpha(common, self, other, alpha):
    if alpha.__class__ is bool and common.kind != "b":
        raise RuntimeError("Boolean alpha only supported for Boolean results.")
    if isinstance(alpha, complex) and common.kind != "c":
        raise RuntimeError(
            "For non-complex input tensors, argument alpha must not be a complex number."
        )
    if common.kind not in "fc" and isinstance(alpha, float):
        raise RuntimeError(
            "For integral input tensors, argument alpha must not be a floating point number."
        )


def _sum(a, b, alpha):
    if a.dtype.kind == "b":
        return a | (b & alpha)
    return a + b * alpha


add = pointwise(
    "aten::add(Tensor|Scalar self, Tensor|Scalar other, *, Scalar alpha=1) -> Tensor",
    """``self + alpha * other``.""",
    scalar=_sum,
    promotes=("self", "other"),
    check=_check_alpha,
    grad=dict(self=lambda grad: grad, other=_scaled),
)


def _is_bool(value):
    return is_tensor(value) and value.layout.dtype.kind == "b"


def _check_difference(common, self, other, alpha):
    if common.kind == "b":
        raise RuntimeError(
            "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or "
            "`logical_xor()` operator instead."
        )
    if any(isinstance(v, bool) or _is_bool(v) for v in (self, other)):
        raise RuntimeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying "
            "to invert a mask, use the `~` or `logical_not()` operator instead."
        )
    _check_alpha(common, self, other, alpha)


sub = pointwise(
    "aten::sub(Tensor|Scalar self, Tensor|Scalar other, *, Scalar alpha=1) -> Tensor",
    """``self - alpha * other``.""",
    scalar=lambda self, other, alpha: self - other * alpha,
    promotes=("self", "other"),
    check=_check_difference,
    grad=dict(self=lambda grad: grad, other=lambda grad, alpha: -_scaled(grad, alpha)),
)
add.older = sub.older = ("alpha",)
also(sub, "subtract")
rsub = pointwise(
    "aten::rsub(Tensor self, Tensor|Scalar other, *, Scalar alpha=1) -> Tensor",
    """``other - alpha * self``.""",
    scalar=lambda self, other, alpha: other - self * alpha,
    promotes=("self", "other"),
    check=_check_difference,
    grad=dict(self=lambda grad, alpha: -_scaled(grad, alpha), other=lambda grad: grad),
)
mul = pointwise(
    "aten::mul(Tensor|Scalar self, Tensor|Scalar other) -> Tensor",
    """``self * other``.""",
    scalar=lambda self, other: self & other if self.dtype.kind == "b" else self * other,
    grad=dict(
        self=lambda grad, other: grad * conj_of(other),
        other=lambda grad, self: grad * conj_of(self),
    ),
)
also(mul, "multiply")
add.of_numbers = sub.of_numbers = mul.of_numbers = True
for _gradient in mul.gradients.values():
    _gradient.if_real = mul  # the same, where nothing is complex


def _divide(self, other, rounding_mode):
    if rounding_mode is None:
        return self / other
    if rounding_mode == "floor":
        return math.floor_divide(self, other)
    return ir.trunc(self / other) if self.dtype.kind == "f" else self / other


def zero_divisor(self, other):
    """Where an integer division is refused."""
    return other.equals(0) if other.dtype.kind in "iu" else None


class _Division(Pointwise):
    """True division promotes integers to the default dtype; the rounding forms do not, and refuse
    zero divisors.
    """

    def analyse(self, args):
        mode = args[2]
        if mode not in (None, "trunc", "floor"):
            raise RuntimeError(
                "div expected rounding_mode to be one of None, 'trunc', or 'floor' but found "
                f"'{mode}'"
            )
        operands, common, compute, result = super().analyse(args)
        if mode is None:
            compute, result = int_to_float(common)
        elif common.kind == "c":
            raise NotImplementedError(
                f"\"div_{mode}_cpu\" not implemented for '{type_name(common)}'"
            )
        return operands, common, compute, result


def _divided(grad, other, rounding_mode):
    return grad / conj_of(other) if rounding_mode is None else grad * 0


div = _Division(
    "aten::div(Tensor|Scalar self, Tensor|Scalar other, *, str? rounding_mode=None) -> Tensor",
    """``self / other``; `rounding_mode` "trunc" or "floor" rounds the quotient and keeps
    integers.
    """,
    _divide,
    same,
    dict(
        self=_divided,
        other=lambda grad, self, other, rounding_mode: (
            -grad * conj_of(self / other / other) if rounding_mode is None else grad * 0
        ),
    ),
    (),
    None,
    lambda self, other, rounding_mode: zero_divisor(self, other) if rounding_mode else None,
)
div.of_numbers = True
also(div, "divide")


@composite("aten::true_divide(Tensor|Scalar self, Tensor|Scalar other) -> Tensor")
def true_divide(self, other):
    """The quotient, floating also for integers."""
    return div(self, other)


@composite("aten::floor_divide(Tensor|Scalar self, Tensor|Scalar other) -> Tensor")
def floor_divide(self, other):
    """The quotient, rounded down."""
    return div(self, other, rounding_mode="floor")


true_divide.inplace_form = floor_divide.inplace_form = True

neg = pointwise(
    "aten::neg(Tensor self) -> Tensor",
    """``-self``.""",
    scalar=lambda self: -self,
    check=no_bool(
        "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to "
        "invert a mask, use the `~` or `logical_not()` operator instead."
    ),
    grad=dict(self=lambda grad: -grad),
)
also(neg, "negative")
remainder = pointwise(
    "aten::remainder(Tensor|Scalar self, Tensor|Scalar other) -> Tensor",
    """The remainder of floor division: it has the divisor's sign.""",
    scalar=lambda self, other: math.remainder(self, other),
    refuses=zero_divisor,
    check=real_only("\"remainder_cpu\" not implemented for '{}'"),
    grad=dict(
        self=lambda grad: grad,
        other=lambda grad, self, other: -grad * div(self, other, rounding_mode="floor"),
    ),
)
fmod = pointwise(
    "aten::fmod(Tensor self, Tensor|Scalar other) -> Tensor",
    """The remainder of truncating division: it has the dividend's sign.""",
    scalar=lambda self, other: math.fmod(self, other),
    refuses=zero_divisor,
    check=real_only("\"fmod_cpu\" not implemented for '{}'"),
    grad=dict(
        self=lambda grad: grad,
        other=lambda grad, self, other: -grad * div(self, other, rounding_mode="trunc"),
    ),
)
reciprocal = pointwise(
    "aten::reciprocal(Tensor self) -> Tensor",
    """``1 / self``.""",
    scalar=lambda self: 1 / self,
    dtype=int_to_float,
    grad=dict(self=lambda grad, result: -grad * conj_of(result * result)),
)


@composite("aten::square(Tensor self) -> Tensor")
def square(self):
    """``self * self``; bool as int64."""
    return self * self if self.layout.dtype.kind != "b" else self.to(INT64)


@composite("aten::positive(Tensor self) -> Tensor")
def positive(self):
    """The tensor itself."""
    if self.dtype.kind == "b":
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return self


square.inplace_form = True

addcmul = pointwise(
    "aten::addcmul(Tensor self, Tensor tensor1, Tensor tensor2, *, Scalar value=1) -> Tensor",
    """``self + value * tensor1 * tensor2``.""",
    scalar=lambda self, tensor1, tensor2, value: self + tensor1 * tensor2 * value,
    promotes=("self", "tensor1", "tensor2"),
    grad=dict(
        self=lambda grad: grad,
        tensor1=lambda grad, tensor2, value: grad * conj_of(tensor2 * value),
        tensor2=lambda grad, tensor1, value: grad * conj_of(tensor1 * value),
    ),
)
addcdiv = pointwise(
    "aten::addcdiv(Tensor self, Tensor tensor1, Tensor tensor2, *, Scalar value=1) -> Tensor",
    """``self + value * tensor1 / tensor2``.""",
    scalar=lambda self, tensor1, tensor2, value: self + tensor1 / tensor2 * value,
    promotes=("self", "tensor1", "tensor2"),
    check=lambda common, *args: _no_integer_division(common),
    grad=dict(
        self=lambda grad: grad,
        tensor1=lambda grad, tensor2, value: grad * conj_of(value / tensor2),
        tensor2=lambda grad, tensor1, tensor2, value: (
            -grad * conj_of(value * tensor1 / (tensor2 * tensor2))
        ),
    ),
)
addcmul.older = addcdiv.older = ("value",)


def _no_integer_division(common):
    if common.kind not in "fc":
        raise RuntimeError(
            "Integer division with addcdiv is no longer supported, and in a future  release "
            "addcdiv will perform a true division of tensor1 and tensor2."
        )


def _check_lerp(common, self, end, weight):
    for name, other in (("end", end), ("weight", weight)):
        if hasattr(other, "layout") and other.layout.dtype is not self.layout.dtype:
            raise RuntimeError(
                f"expected dtype {c_name(self.layout.dtype)} for `{name}` but got dtype "
                f"{c_name(other.layout.dtype)}"
            )
    if common.kind not in "fc":
        form = "tensor" if hasattr(weight, "layout") else "scalar"
        raise NotImplementedError(
            f"\"lerp_kernel_{form}\" not implemented for '{type_name(common)}'"
        )


def _lerp(self, end, weight):
    # Two forms, so that both ends are met exactly; which one is decided by the weight, as in the
    # reference.
    small = (
        abs(weight) < 0.5
        if weight.dtype.kind != "c"
        else (weight.re * weight.re + weight.im * weight.im) < 0.25
    )
    return ir.select(small, self + (end - self) * weight, end - (end - self) * (1 - weight))


lerp = pointwise(
    "aten::lerp(Tensor self, Tensor end, Tensor|Scalar weight) -> Tensor",
    """``self + weight * (end - self)``.""",
    scalar=_lerp,
    check=_check_lerp,
    promotes=("self", "end"),
    grad=dict(
        self=lambda grad, weight: grad * conj_of(1 - weight),
        end=lambda grad, weight: grad * conj_of(weight),
        weight=lambda grad, self, end: grad * conj_of(end - self),
    ),
)


# Exponents with kernels of their own: products, quotients and roots.
_EXPONENTS = frozenset((-2, -1, -0.5, 0.5, 1, 2, 3))


def _power(self, exponent):
    known = exponent.value if getattr(exponent, "op", None) == "const" else None
    if self.dtype.kind in "iu":
        return math.ipow(self, exponent if known is None else known)
    if known not in _EXPONENTS or self.dtype.kind != "f":
        return math.pow(self, exponent)
    if abs(known) == 0.5:  # as with any other exponent, zeros and infinities have no sign
        self = ir.sqrt(ir.select(self.equals(-INF), ir.const(INF, self.dtype), self + 0.0))
    base = 1.0 / self if known < 0 else self
    return {0.5: base, 1: base, 2: base * base, 3: base * base * base}[abs(known)]


def _pow_base(grad, self, exponent):
    """exponent * self ** (exponent - 1), and 0 where the exponent is 0, whatever the base."""
    if not hasattr(exponent, "layout"):
        return grad * conj_of(exponent * self ** (exponent - 1)) if exponent != 0 else grad * 0
    slope = conj_of(exponent * self ** (exponent - 1))
    return grad * find("where").door(exponent == 0, 0, slope)


def _pow_exponent(grad, self, exponent, result):
    """result * log(self), and 0 for a zero base with a non-negative exponent."""
    if not hasattr(self, "layout"):
        logarithm = find("scalar_log").door(grad, self)
        flat = exponent.real >= 0 if exponent.layout.dtype.kind == "c" else exponent >= 0
        return (
            find("where").door(flat, 0, grad * conj_of(result * logarithm))
            if self == 0
            else (grad * conj_of(result * logarithm))
        )
    flat = (self == 0) & (
        (exponent.real if getattr(exponent, "is_complex", bool)() else exponent) >= 0
    )
    return find("where").door(flat, 0, grad * conj_of(result * self.log()))


def _check_power(common, self, exponent):
    if common.kind in "iu" and isinstance(exponent, int) and exponent < 0:
        raise RuntimeError("Integers to negative integer powers are not allowed.")


pow_ = pointwise(
    "aten::pow(Tensor|Scalar self, Tensor|Scalar exponent) -> Tensor",
    """``self`` to the power ``exponent``.""",
    scalar=_power,
    check=_check_power,
    grad=dict(
        self=_pow_base,
        exponent=_pow_exponent,
    ),
)
pow_.bakes_numbers = _EXPONENTS
scalar_log = pointwise(
    "aten::scalar_log(Tensor self, Scalar value) -> Tensor",
    """The logarithm of a number, in the dtype and shape of a tensor.""",
    scalar=lambda self, value: math.log(ir.cast(value, self.dtype)),
    promotes=("self",),
    method=False,
    function=False,
)


@composite("aten::float_power(Tensor|Scalar self, Tensor|Scalar exponent) -> Tensor")
def float_power(self, exponent):
    """The power, computed in float64 or complex128."""
    from_types = [x.dtype for x in (self, exponent) if hasattr(x, "layout")]
    wide = DOUBLE
    if (
        any(d.kind == "c" for d in from_types)
        or isinstance(self, complex)
        or isinstance(exponent, complex)
    ):
        wide = COMPLEX
    self, exponent = (x.to(wide) if hasattr(x, "layout") else x for x in (self, exponent))
    return pow_(self, exponent)


float_power.inplace_form = True

copy = pointwise(
    "aten::copy(Tensor self, Tensor src, bool non_blocking=False) -> Tensor",
    """The values of `src` in the shape and dtype of `self`; ``copy_`` writes them into `self`.""",
    scalar=lambda self, src, non_blocking: src,
    promotes=("self",),
    function=False,
    method=False,
    grad=dict(self=lambda grad: grad * 0, src=lambda grad: grad),
)
copy.mixes_devices = True


def _check_fill(common, self, value):
    if getattr(value, "ndim", 0):
        raise RuntimeError(
            "fill_ only supports 0-dimension value tensor but got tensor with "
            f"{value.ndim} dimensions."
        )


fill = pointwise(
    "aten::fill(Tensor self, Tensor|Scalar value) -> Tensor",
    """Every element replaced by the one value.""",
    scalar=lambda self, value: value,
    promotes=("self",),
    check=_check_fill,
    grad=dict(self=lambda grad: grad * 0, value=lambda grad: grad),
)
fill.holds = "value"
zero = pointwise(
    "aten::zero(Tensor self) -> Tensor",
    """Every element replaced by zero.""",
    scalar=lambda self: ir.const(0, self.dtype),
    function=False,
    method=False,
    grad=dict(self=lambda grad: grad * 0),
)


def _between(self, low, high):
    """The clamped value; nan stays, and where the bounds cross the upper one wins."""
    if low is not None:
        self = ir.maximum(self, low)
    return self if high is None else ir.minimum(self, high)


def _check_clamp(common, self, low, high):
    if low is None and high is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if common.kind == "c":
        raise NotImplementedError("clamp is not supported for complex types")


def _inside(grad, self, low, high):
    mask = None
    for bound, test in ((low, "ge"), (high, "le")):
        if bound is not None:
            here = find(test).door(self, bound)
            mask = here if mask is None else mask & here
    return masked(grad, mask)


def _below(grad, self, low, high):
    mask = self < low
    return masked(grad, mask if high is None else mask & (low < high))


def _above(grad, self, low, high):
    mask = self > high
    return masked(grad, mask if low is None else mask | (high < low))


clamp = pointwise(
    "aten::clamp(Tensor self, Tensor|Scalar? min=None, Tensor|Scalar? max=None) -> Tensor",
    """Every element brought into [min, max]; bounds are numbers or tensors.""",
    scalar=_between,
    check=_check_clamp,
    grad=dict(
        self=lambda grad, self, min, max: _inside(grad, self, min, max),
        min=lambda grad, self, min, max: _below(grad, self, min, max),
        max=lambda grad, self, min, max: _above(grad, self, min, max),
    ),
)
also(clamp, "clip")
clamp_min = pointwise(
    "aten::clamp_min(Tensor self, Tensor|Scalar min) -> Tensor",
    """Every element at least `min`.""",
    scalar=lambda self, min: ir.maximum(self, min),
    check=real_only("clamp is not supported for complex types"),
    grad=dict(
        self=lambda grad, self, min: masked(grad, self >= min),
        min=lambda grad, self, min: masked(grad, self < min),
    ),
)
clamp_max = pointwise(
    "aten::clamp_max(Tensor self, Tensor|Scalar max) -> Tensor",
    """Every element at most `max`.""",
    scalar=lambda self, max: ir.minimum(self, max),
    check=real_only("clamp is not supported for complex types"),
    grad=dict(
        self=lambda grad, self, max: masked(grad, self <= max),
        max=lambda grad, self, max: masked(grad, self > max),
    ),
)
masked = pointwise(
    "aten::_masked(Tensor self, Tensor mask) -> Tensor",
    """`self` where `mask`, else 0 (also where `self` is nan).""",
    scalar=lambda self, mask: ir.select(mask, self, ir.const(0, self.dtype)),
    promotes=("self",),
    method=False,
    function=False,
    grad=dict(self=lambda grad, mask: masked(grad, mask)),
)


def _nan_to_num(self, nan, posinf, neginf):
    if self.dtype.kind in "biu":
        return self
    if self.dtype.kind == "c":
        return ir.Pair(*(_nan_to_num(p, nan, posinf, neginf) for p in ir.parts(self)))
    top = LARGEST[self.dtype.name]
    nan, posinf, neginf = (
        nan or 0.0,
        top if posinf is None else posinf,
        -top if neginf is None else neginf,
    )
    infinite = ir.select(
        self > top,
        ir.const(posinf, self.dtype),
        ir.select(self < -top, ir.const(neginf, self.dtype), self),
    )
    return ir.select(self.differs(self), ir.const(nan, self.dtype), infinite)


LARGEST = {"float32": 3.4028234663852886e38, "float64": 1.7976931348623157e308}
nan_to_num = pointwise(
    "aten::nan_to_num(Tensor self, float? nan=None, float? posinf=None, float? neginf=None) -> "
    "Tensor",
    """nan, inf and -inf replaced: by 0 and the largest finite values, unless others are given.""",
    scalar=_nan_to_num,
    grad=dict(self=lambda grad, self: masked(grad, find("isfinite").door(self))),
)


def _no_complex_angle(name, angle):
    if angle.layout.dtype.kind == "c":
        raise RuntimeError(f"{name} is not supported for complex tensors.")


@fused("aten::deg2rad(Tensor self) -> Tensor")
def deg2rad(self):
    """Degrees to radians."""
    _no_complex_angle("deg2rad", self)
    return self * (3.141592653589793 / 180)


@fused("aten::rad2deg(Tensor self) -> Tensor")
def rad2deg(self):
    """Radians to degrees."""
    _no_complex_angle("rad2deg", self)
    return self * (180 / 3.141592653589793)
